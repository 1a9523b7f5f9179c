"""Attempts that are logged: the router's `upstream_log`.

Envoy: `Router::UpstreamRequest`'s own `StreamInfo` and `FilterConfig::upstream_logs_`; docs "Router". An attempt tells
its own story: its status, its flags, the answer as it came, before anybody changed it; of the client it knows what the
stream knows. `LoggedUpstreamRequest` takes the place of `UpstreamRequest` where there are such logs; where there are
none nothing is asked of an attempt.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from ..config.fields import honours
from ..http.codec import StreamResetReason
from ..http.header_map import HeaderMap, ResponseHeaderMap
from ..stream_info import AccessLogType, StreamInfo
from .upstream_request import RESET_REASONS, UpstreamRequest

if TYPE_CHECKING:
    from ..access_log.access_log import AccessLog
    from ..event.dispatcher import Timer
    from ..upstream.codec_client import CodecClient
    from ..upstream.conn_pool import PoolFailureReason
    from ..upstream.host import Host
    from .router import Router

_TYPE = "envoy.extensions.filters.http.router.v3.Router"

honours(f"{_TYPE}.UpstreamAccessLogOptions", "flush_upstream_log_on_upstream_stream", "upstream_log_flush_interval")

_TIMES: Final = (
    "first_upstream_tx_byte_time",
    "last_upstream_tx_byte_time",
    "first_upstream_rx_byte_time",
    "last_upstream_rx_byte_time",
)
"""What the stream knows of its last attempt."""


class UpstreamLogs:
    """Attributes:
    logs: that hear of every attempt.
    on_ready: also when it has a connection.
    interval: also every so many seconds; 0 for not.
    """

    __slots__ = ("interval", "logs", "on_ready")

    def __init__(self, logs: tuple[AccessLog, ...], on_ready: bool = False, interval: float = 0.0) -> None:
        self.logs = logs
        self.on_ready = on_ready
        self.interval = interval

    @classmethod
    def from_proto(cls, config: Any, logs: tuple[AccessLog, ...]) -> UpstreamLogs:
        """Of the router's configuration, whose `upstream_log` is compiled already."""
        options = config.upstream_log_options
        interval = options.upstream_log_flush_interval.ToTimedelta().total_seconds()
        return cls(logs, options.flush_upstream_log_on_upstream_stream, interval)


class AttemptInfo(StreamInfo):
    """What an attempt knows; it has no request id."""


class LoggedUpstreamRequest(UpstreamRequest):
    """An attempt that is logged when it is over, however that is."""

    __slots__ = ("_info", "_logs", "_over", "_response_headers", "_response_trailers", "_timer")

    def __init__(self, router: Router, host: Host) -> None:
        super().__init__(router, host)
        stream = router.stream
        info = self._info = AttemptInfo()
        info.start_time = stream.dispatcher.wall_time()
        info.start_monotonic = stream.dispatcher.monotonic_time()
        info.connection = stream.connection
        route = router.route_entry
        info.route_name, info.virtual_host_name = route.name, route.virtual_host_name
        info.route_metadata, info.virtual_host_metadata = route.metadata, route.virtual_host_metadata
        info.upstream_cluster_name = route.cluster_name
        info.cluster_metadata = router.cluster.metadata
        logs = router.config.upstream_logs
        assert logs is not None
        self._logs = logs
        self._over = False
        self._response_headers: ResponseHeaderMap | None = None
        self._response_trailers: HeaderMap | None = None
        self._timer: Timer | None = None
        if logs.interval:
            self._timer = stream.dispatcher.create_timer(self._log_periodically)
            self._timer.enable(logs.interval)

    # -- what an attempt hears, and then does

    def on_pool_ready(self, client: CodecClient) -> None:
        info = self._info
        info.upstream_host = self.host
        info.upstream_connection = client.connection.info
        info.protocol = info.upstream_protocol = client.codec.protocol
        if not self.filtered:
            info.bytes_sent += self._router.buffered_size
        if self._logs.on_ready:
            self._log(AccessLogType.UPSTREAM_POOL_READY)
        super().on_pool_ready(client)

    def on_pool_failure(self, reason: PoolFailureReason, details: str, host: Host | None) -> None:
        info = self._info
        info.upstream_host = host
        info.upstream_transport_failure_reason = details
        self._end_with(RESET_REASONS[reason])
        super().on_pool_failure(reason, details, host)

    def encode_data(self, data: bytes, end_stream: bool) -> bool:
        sent = super().encode_data(data, end_stream)
        if sent:
            self._info.bytes_sent += len(data)
        return sent

    def decode_headers(self, headers: ResponseHeaderMap, end_stream: bool) -> None:
        self._info.response_code = headers.status
        self._response_headers = ResponseHeaderMap(headers.status, headers.entries[:], headers.seen)
        if end_stream:
            self._end()
        super().decode_headers(headers, end_stream)

    def decode_data(self, data: bytes, end_stream: bool) -> None:
        self._info.bytes_received += len(data)
        if end_stream:
            self._end()
        super().decode_data(data, end_stream)

    def decode_trailers(self, trailers: HeaderMap) -> None:
        self._response_trailers = trailers
        self._end()
        super().decode_trailers(trailers)

    def on_reset_stream(self, reason: StreamResetReason, details: str) -> None:
        if not self.done:
            self._end_with(reason)
        super().on_reset_stream(reason, details)

    def note(self, flag: int) -> None:
        super().note(flag)
        self._info.set_response_flag(flag)

    def reset(self) -> None:
        if not self.done:
            if self._router.stream.ended:
                # The client's end is logged first.
                self._router.stream.dispatcher.post(self._end)
            else:
                self._end()
        super().reset()

    # -- inside

    def _end_with(self, reason: StreamResetReason) -> None:
        # That module needs this one to be made.
        from .router_replies import RESET_FLAGS

        self._info.set_response_flag(RESET_FLAGS[reason])
        self._end()

    def _end(self) -> None:
        if self._over:
            return
        self._over = True
        if self._timer is not None:
            self._timer.disable()
        self._info.request_complete_time = self._router.stream.dispatcher.monotonic_time()
        self._log(AccessLogType.UPSTREAM_END)

    def _log_periodically(self) -> None:
        self._log(AccessLogType.UPSTREAM_PERIODIC)
        if self._timer is not None:
            self._timer.enable(self._logs.interval)

    def _log(self, kind: str) -> None:
        info, router = self._info, self._router
        for name in _TIMES:
            setattr(info, name, getattr(router.stream, name))
        meter = router.stream.upstream_meter
        if meter is not None:
            info.upstream_wire_bytes_received, info.upstream_wire_bytes_sent = meter.wire_received, meter.wire_sent
            info.upstream_header_bytes_received, info.upstream_header_bytes_sent = (
                meter.header_received,
                meter.header_sent,
            )
            info.upstream_decompressed_header_bytes_received = meter.decompressed_header_received
        for log in self._logs.logs:
            log.log(router.request_headers, self._response_headers, self._response_trailers, info, kind)
