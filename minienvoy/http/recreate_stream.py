"""A stream that begins anew with a changed request, as internal redirects do.

Envoy: `Http::ConnectionManagerImpl::ActiveStream::recreateStream`, `StreamInfo::setFromForRecreateStream`. The old
stream ends without an answer, but with a line in the access log; the new one goes through all filters again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .header_map import RequestHeaderMap, ResponseHeaderMap

if TYPE_CHECKING:
    from .active_stream import ActiveStream


def recreate_stream(old: ActiveStream, headers: ResponseHeaderMap, body: bytes) -> bool:
    """As `FilterManager.recreate_stream`."""
    request = old.request_headers
    if request is None or not old.remote_complete or old.ended:
        return False
    manager, encoder = old.manager, old.encoder
    old.response_headers = headers
    old.response_code = headers.status
    old.response_code_details = "internal_redirect"
    # The connection must not be closed because it has no stream for a moment.
    draining, manager.draining = manager.draining, False
    old._end()
    manager.draining = draining
    new = manager.new_stream(encoder)
    encoder.set_request_decoder(new)
    new.recreated = True
    new.start_monotonic = old.start_monotonic
    new.protocol = old.protocol
    new.connection = old.connection
    new.bytes_received = old.bytes_received
    new.saw_connection_close = old.saw_connection_close
    # It is looked for again, but until then logs tell this one.
    new._route = old._route
    new.route_random = old.route_random
    new._filter_state = old._filter_state
    new._traced = old._traced
    _decode(new, request, body)
    return True


def _decode(stream: ActiveStream, headers: RequestHeaderMap, body: bytes) -> None:
    """What a request goes through that has been looked at before: nothing is added to it again."""
    config = stream.config
    stream.request_headers = headers
    stream.remote_complete = True
    stream.last_downstream_rx_byte_time = stream.dispatcher.monotonic_time()
    if config.has_stream_timers:
        stream._on_headers_complete(True)
    if headers.path[:1] != b"/":
        config.stats.downstream_rq_non_relative_path += 1
        stream.send_local_reply(404, "", "absolute_path_rejected")
        return
    if config.rewrites_target and not stream._rewrite_target(headers):
        return
    if config.flush_access_log_on_new_request:
        stream._log_start()
    stream._start_filters(headers, not body)
    if body and not stream.ended:
        stream.decode_data(body, True)
