"""Attempts that go through filters of their own.

Envoy: `Router::UpstreamRequest` and its `UpstreamFilterManager`. There every attempt has a chain, which usually is the
codec alone; here these take the place of `UpstreamRequest` where a cluster or a router has more in it. The codec feeds
the filters, and what comes out of them is what the attempt hears; what the router says goes through them to the codec.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ..http.codec import StreamResetReason
from ..http.header_map import HeaderMap, RequestHeaderMap, ResponseHeaderMap
from ..http.upstream_filter_manager import UpstreamFilterManager
from .traced_upstream_request import LoggedTracedUpstreamRequest, TracedUpstreamRequest
from .upstream_log import LoggedUpstreamRequest
from .upstream_request import UpstreamRequest

if TYPE_CHECKING:
    from ..upstream.conn_pool import PoolFailureReason
    from ..upstream.host import Host
    from .router import Router


class FilteredUpstreamRequest(UpstreamRequest):
    """Attributes:
    filters: of this attempt.
    """

    # It has a dictionary: two bases with slots of their own could not be combined.

    filtered = True
    filters: UpstreamFilterManager
    _response_paused: bool
    _started: bool

    def __init__(self, router: Router, host: Host) -> None:
        super().__init__(router, host)
        self._started = self._response_paused = False
        chain = router.cluster.upstream_filters
        if chain is None:
            chain = router.config.upstream_filters
        self.filters = UpstreamFilterManager(chain, router.stream, self)

    def run_filters(self) -> None:
        if self._started:
            self.filters.on_connected()
            return
        self._started = True
        router = self._router
        stream = router.stream
        stream.attempt_count = stream.attempt_count or 1
        stream.cluster_metadata = router.cluster.metadata
        ends = router.request_complete and not router.buffered and router.request_trailers is None
        self.filters.decode_headers(router.request_headers, ends)
        if not self.done and (router.buffered or router.request_trailers is not None):
            router.send_buffered(self)

    # -- from the router, to the filters

    @property
    def has_request(self) -> bool:
        return True

    def encode_data(self, data: bytes, end_stream: bool) -> bool:
        filters = self.filters
        if end_stream and data and self._router.stream.protocol != "HTTP/2":
            # Envoy's HTTP/1 codec tells the end of a body by itself, and filters can tell the difference: the request
            # is not complete yet for whoever answers it now.
            stream = self._router.stream
            complete, stream.remote_complete = stream.remote_complete, False
            filters.decode_data(data, False)
            if not stream.ended:
                stream.remote_complete = complete
            filters.decode_data(b"", True)
        else:
            filters.decode_data(data, end_stream)
        return True

    def encode_trailers(self, trailers: HeaderMap) -> bool:
        self.filters.decode_trailers(trailers)
        return True

    # -- from the filters, to the codec

    def codec_headers(self, headers: RequestHeaderMap, end_stream: bool) -> None:
        encoder, stream = self._encoder, self._router.stream
        assert encoder is not None
        if end_stream and self.metadata is None:
            stream.last_upstream_tx_byte_time = stream.dispatcher.monotonic_time()
            encoder.encode_headers(headers, True)
            return
        encoder.encode_headers(headers, False)
        if not self.done:
            self._after_headers(encoder, headers, end_stream)

    def codec_data(self, data: bytes, end_stream: bool) -> None:
        super().encode_data(data, end_stream)

    def codec_trailers(self, trailers: HeaderMap) -> None:
        super().encode_trailers(trailers)

    # -- from the codec, to the filters

    def decode_headers(self, headers: ResponseHeaderMap, end_stream: bool) -> None:
        if self._held is not None and not self._open_tunnel(self._held, headers):
            self._on_handshake_refused(headers)
            return
        self.filters.encode_headers(headers, end_stream)
        if end_stream:
            self._give_back()

    def decode_data(self, data: bytes, end_stream: bool) -> None:
        filters = self.filters
        if end_stream and data and self._client is not None and self._client.codec.protocol != "HTTP/2":
            # As for requests.
            filters.encode_data(data, False)
            filters.encode_data(b"", True)
        else:
            filters.encode_data(data, end_stream)
        if end_stream:
            self._give_back()

    def decode_trailers(self, trailers: HeaderMap) -> None:
        self.filters.encode_trailers(trailers)
        self._give_back()

    # -- from the filters, to the router

    def router_headers(self, headers: ResponseHeaderMap, end_stream: bool) -> None:
        super().decode_headers(headers, end_stream)

    def router_data(self, data: bytes, end_stream: bool) -> None:
        super().decode_data(data, end_stream)

    def router_trailers(self, trailers: HeaderMap) -> None:
        super().decode_trailers(trailers)

    def on_request_watermark(self, high: bool) -> None:
        traffic = self._router.cluster.stats.traffic
        if high:
            traffic.upstream_flow_control_backed_up_total += 1
        else:
            traffic.upstream_flow_control_drained_total += 1
        self._on_upstream_watermark(high)

    def on_response_watermark(self, high: bool) -> None:
        # A response that has not begun is not made to wait: whoever waits for it could not tell it from a slow one.
        if self.headers_received or self._response_paused:
            self._response_paused = high
            self.on_downstream_watermark(high)

    # -- how it ends

    def on_pool_failure(self, reason: PoolFailureReason, details: str, host: Host | None) -> None:
        super().on_pool_failure(reason, details, host)
        self.filters.destroy()

    def on_reset_stream(self, reason: StreamResetReason, details: str) -> None:
        super().on_reset_stream(reason, details)
        self.filters.destroy()

    def reset(self) -> None:
        super().reset()
        self.filters.destroy()

    def _complete(self, now: float) -> None:
        super()._complete(now)
        self.filters.destroy()

    def _give_back(self) -> None:
        """The codec has had the whole response. A filter may hold it, but the connection is free."""
        if self._client is None or self.done:
            return
        timers, self.timers = self.timers, None
        super()._complete(self._router.stream.dispatcher.monotonic_time())
        self.timers = timers
        self.done = False


class FilteredLoggedUpstreamRequest(FilteredUpstreamRequest, LoggedUpstreamRequest):
    """One that has an access log of its own as well."""


class FilteredTracedUpstreamRequest(FilteredUpstreamRequest, TracedUpstreamRequest):
    """One of a request that is traced."""


class FilteredLoggedTracedUpstreamRequest(FilteredUpstreamRequest, LoggedTracedUpstreamRequest):
    """Both."""


FILTERED: Final[dict[type[UpstreamRequest], type[UpstreamRequest]]] = {
    UpstreamRequest: FilteredUpstreamRequest,
    LoggedUpstreamRequest: FilteredLoggedUpstreamRequest,
    TracedUpstreamRequest: FilteredTracedUpstreamRequest,
    LoggedTracedUpstreamRequest: FilteredLoggedTracedUpstreamRequest,
}
"""What takes the place of which."""
