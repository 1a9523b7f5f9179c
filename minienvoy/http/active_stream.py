"""One request and its response, from the codec's first call to the access log.

Envoy: `Http::ConnectionManagerImpl::ActiveStream`; docs "Life of a request".

A stream is *remote complete* when the whole request has come, *local complete* when the whole response has been given
to the codec, and over (`ended`) when both are so or when one side has given up. What happens at its end happens once,
in `_end`: filters are destroyed, it is counted and logged, and the connection manager hears of it.

This is the busiest code there is: what a request that goes its usual way does not need stands behind one question.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from ..explain.explanation import NO_EXPLANATION, Explanation
from ..stream_info import AccessLogType, ResponseFlag
from .codec import Metadata, ResponseEncoder, StreamResetReason
from .conn_manager_config import ServerHeaderTransformation
from .conn_manager_utility import (
    FORWARDED_HTTP,
    RESPONSE_HOP_BY_HOP,
    UNUSUAL,
    UNUSUAL_ORDINARY,
    mutate_request_headers,
    mutate_response_headers,
    set_request_id,
)
from .connect_udp import is_connect_udp, rewrite_authority
from .filter import HttpFilter, Route
from .filter_manager import ModifyHeaders
from .header_map import KIND, ORDINARY, HeaderMap, RequestHeaderMap, ResponseHeaderMap
from .local_reply import prepare_local_reply
from .recreate_stream import recreate_stream
from .stream_heads import StreamHeads

if TYPE_CHECKING:
    from .conn_manager import ConnectionManager

_DATE_AND_SERVER: Final = KIND[b"date"] | KIND[b"server"]
_OF_CONNECTION: Final = KIND[b"connection"] | KIND[b"expect"] | KIND[b"upgrade"]
_REQUEST_ID: Final = KIND[b"x-request-id"]
_FORCE_TRACE: Final = KIND[b"x-envoy-force-trace"]
_UPGRADE: Final = KIND[b"upgrade"]
_PASS_THROUGH: Final = ServerHeaderTransformation.PASS_THROUGH
_XFP: Final = KIND[b"x-forwarded-proto"]
_HTTP: Final = b"http"
_SLASH: Final = ord("/")
_HASH: Final = ord("#")


class ActiveStream(StreamHeads):
    """Made by the connection manager when the first byte of a request is there.

    Attributes:
        last_activity: monotonic seconds; when something of the message moved.
        stream_idle_timeout: seconds; 0 for none.
    """

    # What every stream has, or is asked about, is in slots: they are found at once, unlike the default of a class,
    # and the dictionary that holds the rest stays below the thirty attributes that it has a compact form for.
    __slots__ = (
        "_route",
        "_route_known",
        "_traced",
        "_upgrade",
        "buffer_limit",
        "config",
        "connection",
        "dispatcher",
        "downstream_connection",
        "duration_timer",
        "encoder",
        "ended",
        "explain",
        "is_health_check",
        "is_local_reply",
        "last_activity",
        "local_complete",
        "manager",
        "remote_complete",
        "response_started",
        "response_timeout_callback",
        "saw_connection_close",
        "start_monotonic",
        "stream_idle_timeout",
        "terminal",
        "upstream_override_host",
        "watermark_callbacks",
    )

    filtered = False
    """There are more filters than the terminal one; a class knows."""
    _filters: list[HttpFilter] | None = None
    flag_after_reply: int = 0
    """A response flag that is set when a local reply has been made, and which its formats do not see."""
    _lost: bool = False
    _pauses: int = 0

    def __init__(self, manager: ConnectionManager, encoder: ResponseEncoder) -> None:
        self.manager = manager
        self.config = config = manager.config
        self.encoder = encoder
        self.downstream_connection = connection = manager.connection
        self.connection = connection.info
        self.dispatcher = config.dispatcher
        self.buffer_limit = connection.buffer_limit
        monotonic_time = config.dispatcher.monotonic_time
        self.start_monotonic = self.last_activity = monotonic_time()
        self.stream_idle_timeout = config.stream_idle_timeout
        self.ended = self.remote_complete = self.local_complete = self.is_local_reply = self.is_health_check = False
        self.response_started = self.saw_connection_close = self._upgrade = self._route_known = self._traced = False
        self._route = self.terminal = self.watermark_callbacks = self.response_timeout_callback = None
        self.duration_timer = self.upstream_override_host = None
        self.explain = NO_EXPLANATION
        stats = config.stats
        stats.downstream_rq_total += 1
        stats.downstream_rq_active += 1
        if config.explanations is not None:
            self.explain = Explanation()
            self.explain.decisions.extend(connection.explain.decisions)
        if config.has_stream_timers:
            self._arm_timers()

    @property
    def start_time(self) -> float:  # type: ignore[override]
        """Seconds since the epoch; computed when somebody asks, which most requests never do."""
        dispatcher = self.dispatcher
        return dispatcher.wall_time() - (dispatcher.monotonic_time() - self.start_monotonic)

    # -- the request, from the codec

    def decode_headers(self, headers: RequestHeaderMap, end_stream: bool) -> None:
        config = self.config
        self.request_headers = headers
        if end_stream:
            self.remote_complete = True
            monotonic_time = self.dispatcher.monotonic_time
            self.last_downstream_rx_byte_time = monotonic_time()
        if config.has_stream_timers:
            self._on_headers_complete(end_stream)
        seen = headers.seen
        if self.encoder.http_10 or (seen > ORDINARY and seen & _OF_CONNECTION):
            self._look_at_connection_headers(headers)
        if headers.no_authority:
            self.send_local_reply(400, "", "missing_host_header")
            return
        if seen & _UPGRADE and is_connect_udp(headers) and not rewrite_authority(headers):
            self.send_local_reply(404, "The path is incorrect for CONNECT-UDP", "invalid_path")
            return
        path = headers.path
        if not path or path[0] != _SLASH:
            if headers.method != b"CONNECT":
                config.stats.downstream_rq_non_relative_path += 1
                self.send_local_reply(404, "", "absolute_path_rejected" if path else "missing_path_rejected")
                return
            self._upgrade = True
        if headers.method == b"QUERY" and not headers.has(b"content-type"):
            self.send_local_reply(400, "", "query_missing_content_type")
            return
        if _HASH in path:
            config.stats.downstream_rq_failed_path_normalization += 1
            self.send_local_reply(400, "", "path_normalization_failed")
            return
        if config.rewrites_target and not self._rewrite_target(headers):
            return
        seen = headers.seen
        client_cert = None
        if seen & UNUSUAL_ORDINARY or (seen > ORDINARY and seen & UNUSUAL) or config.rewrites_request:
            client_cert = config.client_cert
            upgrade = self._upgrade and headers.method != b"CONNECT"
            trusted = mutate_request_headers(headers, config, self.connection, upgrade)
            if trusted is not None and not self._trust(trusted):
                return
            if seen & _XFP and not headers.get(b"x-forwarded-proto"):
                # There is no route for what has come by no protocol.
                self._route_known = True
            seen = headers.seen
        else:
            # The usual case: nothing that must not be believed, and nobody in between.
            headers.entries.append(FORWARDED_HTTP)
            headers.seen = seen = seen | FORWARDED_HTTP[3]
            if not headers.scheme:
                headers.scheme = _HTTP
        if config.generate_request_id:
            if seen & _REQUEST_ID:
                set_request_id(headers, config)
            else:
                new_request_id = config.new_request_id
                headers.entries.append(new_request_id())
                headers.seen = seen | _REQUEST_ID
        if client_cert is not None:
            client_cert.mutate(headers, self.connection.ssl)
        if self._upgrade and not self._allow_upgrade(headers):
            return
        if headers.seen > ORDINARY and headers.seen & _FORCE_TRACE:
            self._traced = headers.has(b"x-envoy-force-trace")
        if self.explain is not NO_EXPLANATION:
            self.explain.request_id = (headers.get(b"x-request-id") or b"").decode("latin-1")
        if config.flush_access_log_on_new_request:
            self._log_start()
        if config.filtered:
            self._start_filters(headers, end_stream)
        else:
            make_terminal = config.filter_chain.make_terminal
            terminal = self.terminal = make_terminal()
            terminal.decoder_callbacks = self
            terminal.decode_headers(headers, end_stream)

    def decode_data(self, data: bytes, end_stream: bool) -> None:
        self.bytes_received += len(data)
        self.last_activity = now = self.dispatcher.monotonic_time()
        if end_stream:
            self._complete_request(now)
        if not self.ended and not self.is_local_reply:
            self._pass_data(data, end_stream)
        if self.local_complete and not self.ended:
            self._end()

    def decode_trailers(self, trailers: HeaderMap) -> None:
        self.request_trailers = trailers
        self.last_activity = now = self.dispatcher.monotonic_time()
        self._complete_request(now)
        if not self.ended and not self.is_local_reply:
            self._pass_trailers(trailers)
        if self.local_complete and not self.ended:
            self._end()

    def decode_metadata(self, metadata: Metadata) -> None:
        self.last_activity = self.dispatcher.monotonic_time()
        if not self.ended and not self.is_local_reply and self.terminal is not None:
            self.terminal.decode_metadata(metadata)

    def on_reset_stream(self, reason: StreamResetReason, details: str) -> None:
        """The codec has lost the stream: the client went away."""
        if self.ended:
            return
        self.config.stats.downstream_rq_rx_reset += 1
        self._lost = True
        self.set_response_flag(self.manager.reset_flag)
        if self.response_code_details is None or not self.local_complete:
            self.response_code_details = details or self.manager.close_details
        self._end()

    def _start_filters(self, headers: RequestHeaderMap | None, end_stream: bool, refused: bool = False) -> None:
        """Make the filters and give them the request (`decode_headers` does the same without a call).

        If it is `refused`, they see the answer alone; only a stream that has more than the terminal one is asked that.
        """
        terminal = self.terminal = self.config.filter_chain.make_terminal()
        terminal.decoder_callbacks = self
        if headers is not None and not refused:
            terminal.decode_headers(headers, end_stream)

    def _pass_data(self, data: bytes, end_stream: bool) -> None:
        if self.terminal is not None:
            self.terminal.decode_data(data, end_stream)

    def _pass_trailers(self, trailers: HeaderMap) -> None:
        if self.terminal is not None:
            self.terminal.decode_trailers(trailers)

    # -- the response, to the codec

    def encode_1xx_headers(self, headers: ResponseHeaderMap) -> None:
        if not self.config.proxy_100_continue:
            return
        mutate_response_headers(headers, False)
        self._tell_request_id(headers)
        self._encode_1xx_headers(headers)

    def _encode_1xx_headers(self, headers: ResponseHeaderMap) -> None:
        # It is counted as a response of its own.
        for stats in (self.config.stats, self.config.listener_stats):
            stats.downstream_rq_completed += 1
            stats.downstream_rq_1xx += 1
        self.response_code = headers.status  # what is logged if no other comes
        self.encoder.encode_1xx_headers(headers)

    def encode_headers(self, headers: ResponseHeaderMap, end_stream: bool, details: str) -> None:
        config = self.config
        manager = self.manager
        entries = headers.entries
        monotonic_time = self.dispatcher.monotonic_time
        now = monotonic_time()
        self.response_code_details = details
        date = config.date
        date_entry = date.entry if now < date.stale_at else date.refresh(now)
        seen = headers.seen
        if seen & _DATE_AND_SERVER:
            self._set_date_and_server(headers, date_entry)
        else:
            entries.append(date_entry)
            if config.server_transformation is not _PASS_THROUGH:
                entries.append(config.server_entry)
            headers.seen = seen | _DATE_AND_SERVER
        if seen > ORDINARY and seen & RESPONSE_HOP_BY_HOP:
            mutate_response_headers(headers, self._upgrade)
        if config.completes_response or self._traced:
            self._complete_headers(headers)
        if (
            not self.remote_complete
            or self.saw_connection_close
            or manager.draining
            or manager.drain_announced
            or config.drain_state.active
            or self.encoder.http_10
        ):
            self._decide_on_connection(headers)
        status = headers.status
        self.response_code = status
        self.response_started = True
        if self.is_health_check:
            config.tracing_stats.health_check += 1
        else:
            stats, listener_stats = config.stats, config.listener_stats
            stats.downstream_rq_completed += 1
            listener_stats.downstream_rq_completed += 1
            if 200 <= status < 300:
                stats.downstream_rq_2xx += 1
                listener_stats.downstream_rq_2xx += 1
            else:
                self._charge(status)
        self.last_activity = self.first_downstream_tx_byte_time = now
        self.response_headers = headers
        if end_stream:
            self.local_complete = True
            self.last_downstream_tx_byte_time = now
            self.encoder.encode_headers(headers, True)
            if not self.ended:
                self._end(now)
        else:
            self.encoder.encode_headers(headers, False)
            if self._upgrade and config.flush_log_on_tunnel_successfully_established and self._opens_tunnel(headers):
                self._log(AccessLogType.DOWNSTREAM_TUNNEL_SUCCESSFULLY_ESTABLISHED)

    def encode_data(self, data: bytes, end_stream: bool) -> None:
        if self.ended:
            return
        self.bytes_sent += len(data)
        monotonic_time = self.dispatcher.monotonic_time
        self.last_activity = now = monotonic_time()
        if end_stream:
            self.local_complete = True
            self.last_downstream_tx_byte_time = now
            self.encoder.encode_data(data, True)
            if not self.ended:
                self._end(now)
        else:
            self.encoder.encode_data(data, False)

    def encode_trailers(self, trailers: HeaderMap) -> None:
        if self.ended:
            return
        self.response_trailers = trailers
        self.local_complete = True
        self.last_downstream_tx_byte_time = self.dispatcher.monotonic_time()
        self.encoder.encode_trailers(trailers)
        if not self.ended:
            self._end()

    def encode_metadata(self, metadata: Metadata) -> None:
        if not self.ended:
            self.last_activity = self.dispatcher.monotonic_time()
            self.encoder.encode_metadata(metadata)

    # -- what filters ask

    @property
    def request_header_limits(self) -> tuple[int, int]:
        settings = self.config.http1
        return settings.max_headers_count, settings.max_headers_size

    def route(self) -> Route | None:
        if not self._route_known:
            self._route_known = True
            headers = self.request_headers
            if headers is not None:
                self._route = route = self.config.route_config.route(headers, self)
                if route is not None and route.has_timeouts:
                    self._take_route_timeouts(route)
        return self._route

    def send_local_reply(
        self,
        status: int,
        body: str | bytes,
        details: str,
        modify_headers: ModifyHeaders | None = None,
        grpc_status: int | None = None,
    ) -> None:
        if self.ended:
            return
        if self.response_started:
            # Headers are on their way: all that is left is to break off.
            self.response_code_details = details
            self.reset_stream()
            return
        self.is_local_reply = True
        if status == 400 and not self.config.http1.stream_error_on_invalid_http_message:
            # Something is wrong with the message itself: nothing more is believed on this connection.
            self._end_connection()
            self.saw_connection_close = self.saw_connection_close or self.recreated
        if self.explain is not NO_EXPLANATION:
            self.explain.decided("local_reply", status, details)
        self.response_code_details = details
        request = self.request_headers
        if self.terminal is None and request is not None:
            # It was refused before anybody asked for its route; without that header there is none yet.
            if request.get(b"x-forwarded-proto"):
                self.route()
            self._traced = request.has(b"x-envoy-force-trace")
        if self.config.filtered and self._filters is None:
            # However early it is refused: what is answered goes through the filters. They do not bring a route about.
            self._route_known = True
            self._start_filters(request, False, refused=True)
        headers = ResponseHeaderMap(status)
        route = self._route
        if route is not None and route.changes_response and route.direct_response is None:
            # What it says of responses holds for failures, too, if it leads anywhere.
            self.describe()
            route.finalize_response_headers(headers, self, request)
        if modify_headers is not None:
            modify_headers(headers)
        raw = prepare_local_reply(self, headers, body.encode() if isinstance(body, str) else body, details, grpc_status)
        headers_only = not headers.body_follows
        self.set_response_flag(self.flag_after_reply)
        self.encode_headers(headers, headers_only, details)
        if not headers_only and not self.ended:
            self.encode_data(raw, True)

    def reset_stream(self) -> None:
        if self.ended:
            return
        self.config.stats.downstream_rq_tx_reset += 1
        self.config.stats.downstream_rq_rx_reset += 1
        self._lost = True
        self.encoder.reset_stream(StreamResetReason.LOCAL_RESET)
        self._end_connection()
        self._end()

    def recreate_stream(self, headers: ResponseHeaderMap, body: bytes) -> bool:
        return recreate_stream(self, headers, body)

    def start_response_timeout(self, now: float, seconds: float, callback: Callable[[], None]) -> None:
        self.response_timeout_callback = callback
        self.response_deadline = deadline = now + seconds
        timer = self.manager.response_timer
        if timer is None:
            timer = self.manager.response_timer = self.dispatcher.create_timer(self.manager.on_response_timer)
        # Armed for an earlier stream it fires early, and looks again: most streams never arm it.
        if timer.deadline > deadline:
            timer.enable(seconds)

    def pause_request(self, pause: bool) -> None:
        stats = self.config.stats
        # Several may want it at the same time, such as an upstream and the shadows of the request.
        if pause:
            self._pauses += 1
            if self._pauses == 1:
                stats.downstream_flow_control_paused_reading_total += 1
        else:
            self._pauses -= 1
            if self._pauses == 0:
                stats.downstream_flow_control_resumed_reading_total += 1
        self.encoder.read_disable(pause)

    def _complete_request(self, now: float) -> None:
        self.remote_complete = True
        self.last_downstream_rx_byte_time = now
        if self.request_timer is not None:
            self.request_timer.disable()

    # -- the end

    def _end(self, now: float = 0.0) -> None:
        """The stream is over. Who knows what time it is says so (monotonic seconds)."""
        self.ended = True
        config = self.config
        if not self.remote_complete and not self._lost:
            config.stats.downstream_rq_rx_reset += 1
            broken = self.response_flags & ResponseFlag.DOWNSTREAM_PROTOCOL_ERROR
            self.encoder.reset_stream(StreamResetReason.PROTOCOL_ERROR if broken else StreamResetReason.LOCAL_RESET)
        if config.has_stream_timers or self.duration_timer is not None:
            self._disable_timers()
        terminal = self.terminal
        if terminal is not None:
            terminal.on_destroy()
        # Filters know their stream: let go of them, or only the garbage collector could.
        self.terminal = self.watermark_callbacks = self.response_timeout_callback = None
        if not now:
            now = self.dispatcher.monotonic_time()
        self.request_complete_time = now
        stats = config.stats
        stats.downstream_rq_active -= 1
        if self._upgrade and self._counted_upgrade:
            stats.downstream_cx_upgrades_active -= 1
        if self.local_complete:
            stats.downstream_rq_time.record(int((now - self.start_monotonic) * 1000.0))
        if config.access_logs:
            self._log(AccessLogType.DOWNSTREAM_END)
        if config.explanations is not None:
            config.explanations.append(self.explain)
        self.manager.on_stream_ended(self, now)
