"""The connection manager of a connection that carries several streams at the same time.

Envoy: `Http::ConnectionManagerImpl`, of which one class serves all protocols; `Http2::ServerConnectionImpl` for the two
steps of a drain: GOAWAY that asks for no more streams, and, `drain_timeout` later, GOAWAY that takes no more. The
connection is closed when the last stream has ended after that.

A `ConnectionManager` becomes this one when the first bytes say HTTP/2.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ...errors import CodecProtocolError
from ...network.connection import ConnectionCloseType
from ...network.overload_state import CONNECTION_IDLE, STREAM_IDLE
from ...stream_info import ResponseFlag
from ..active_stream import ActiveStream
from ..codec import ResponseEncoder, ServerConnection, StreamResetReason
from ..conn_manager import DEFERRED_CLOSE, ConnectionManager
from .active_stream import STREAM_CLASSES, Http2ActiveStream
from .flood import Flood, Http2ProtocolError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .server_connection import ServerConnection as Http2ServerConnection

PREMATURE_RESET_TOTAL_STREAM_COUNT: Final = "overload.premature_reset_total_stream_count"
"""Streams; 500 if the runtime says nothing."""
PREMATURE_RESET_MIN_STREAM_LIFETIME: Final = "overload.premature_reset_min_stream_lifetime_seconds"
"""Likewise, 1."""


class Http2ConnectionManager(ConnectionManager):
    """One downstream connection.

    Attributes:
        streams: those that are under way.
    """

    multiplexed = True
    codec: Http2ServerConnection
    streams: dict[Http2ActiveStream, None]
    _stream_class: type[Http2ActiveStream]
    _closed_streams: int = 0
    _premature_resets: int = 0

    def become(self) -> None:
        """Take over what is there, before the first stream."""
        self.streams = {}
        self._stream_class = STREAM_CLASSES[self.config.stream_class]
        stats = self.config.stats
        stats.downstream_cx_http2_total += 1
        stats.downstream_cx_http2_active += 1
        if self._idle_timer is not None:
            # It would call what this object was before.
            self._idle_timer.disable()
            self._idle_timer = None
        self.response_timer = self.config.dispatcher.create_timer(self.on_response_timer)
        self.look_for_idle_within(min(self._idle_limits(), default=0.0))

    @property
    def has_streams(self) -> bool:
        return bool(self.streams)

    def _on_codec_closed(self, codec: ServerConnection) -> None:
        self.config.stats.downstream_cx_http2_active -= 1
        codec.on_connection_closed()

    def on_keepalive_timeout(self) -> None:
        self.connection.close(ConnectionCloseType.NO_FLUSH, "http2_ping_timeout")

    # -- streams

    def new_stream(self, encoder: ResponseEncoder) -> ActiveStream:
        config = self.config
        self.requests += 1
        config.stats.downstream_rq_http2_total += 1
        stream = self._stream_class(self, encoder)
        self.streams[stream] = None
        if config.max_requests_per_connection and self.requests >= config.max_requests_per_connection:
            config.stats.downstream_cx_max_requests_reached += 1
            self.start_drain_sequence()
        return stream

    def on_stream_reset(self, stream: Http2ActiveStream, reason: StreamResetReason) -> None:
        """The client has given up a stream; who only makes and unmakes streams is sent away (CVE-2023-44487)."""
        if reason is StreamResetReason.CONNECTION_TERMINATION or stream.response_code is not None:
            return
        least = self.config.runtime.snapshot.get_integer(PREMATURE_RESET_MIN_STREAM_LIFETIME, 1)
        # Envoy compares whole seconds.
        if stream.dispatcher.monotonic_time() - stream.start_monotonic < 1 + least:
            self._premature_resets += 1

    def on_stream_ended(self, stream: ActiveStream, now: float) -> None:
        self.streams.pop(stream, None)  # type: ignore[call-overload]
        self.last_activity = now
        self._closed_streams += 1
        if self._premature_resets:
            self._look_for_premature_resets()
        if self.draining and not self.streams:
            self.check_for_deferred_close(False)

    def _look_for_premature_resets(self) -> None:
        count = self.config.runtime.snapshot.get_integer(PREMATURE_RESET_TOTAL_STREAM_COUNT, 500)
        least = max(self._closed_streams, count)
        if self._premature_resets * 2 >= least and not self.connection.closed:
            stats = self.config.stats
            stats.downstream_rq_too_many_premature_resets += 1
            self._premature_resets = 0
            self.end_streams("too_many_premature_resets", 0, ConnectionCloseType.NO_FLUSH)
            if self.codec.dispatching:
                # Envoy's codec finds itself closed before it is done with the frame.
                stats.downstream_cx_protocol_error += 1

    def on_response_timer(self) -> None:
        """One timer serves the response timeouts of all streams: it fires for the first and looks at each."""
        now = self.config.dispatcher.monotonic_time()
        soonest = 0.0
        for stream in tuple(self.streams):
            callback = stream.response_timeout_callback
            if callback is None:
                continue
            left = stream.response_deadline - now
            if left <= 1e-6:
                stream.response_timeout_callback = None
                callback()
            else:
                soonest = min(soonest or left, left)
        if soonest and not self.connection.closed and self.response_timer is not None:
            self.response_timer.enable(soonest)

    # -- flow control of the connection reaches every stream

    def on_above_write_buffer_high_watermark(self) -> None:
        self.config.stats.downstream_flow_control_paused_reading_total += 1
        for stream in tuple(self.streams):
            if stream.watermark_callbacks is not None:
                stream.watermark_callbacks(True)

    def on_below_write_buffer_low_watermark(self) -> None:
        self.config.stats.downstream_flow_control_resumed_reading_total += 1
        for stream in tuple(self.streams):
            if stream.watermark_callbacks is not None:
                stream.watermark_callbacks(False)

    # -- the end of the connection

    def start_drain_sequence(self) -> None:
        if not self.drain_announced:
            self.codec.shutdown_notice()
            super().start_drain_sequence()

    def check_for_deferred_close(self, skip_delay: bool) -> None:
        if self.draining and not self.streams and not self.connection.closed:
            self.codec.flush()
            self.connection.close(ConnectionCloseType.FLUSH_WRITE_AND_DELAY, DEFERRED_CLOSE)

    def _on_drain_timeout(self) -> None:
        self.codec.go_away()
        super()._on_drain_timeout()

    def on_codec_error(self, error: CodecProtocolError) -> None:
        stats = self.config.stats
        blamed: Mapping[int, str] = {}
        if isinstance(error, Http2ProtocolError):
            blamed = error.blamed
        if not isinstance(error, Flood):
            stats.downstream_cx_protocol_error += 1
        self.connection.stream_info.set_response_flag(ResponseFlag.DOWNSTREAM_PROTOCOL_ERROR)
        self.draining = True
        if self.streams:
            stats.downstream_cx_destroy_active_rq += 1
            stats.downstream_cx_destroy_local_active_rq += 1
        for stream in reversed(tuple(self.streams)):
            stream.on_protocol_error(blamed.get(stream.encoder.id) or error.details)
        self.check_for_deferred_close(False)

    # -- idle

    def look_for_idle_within(self, seconds: float) -> None:
        seconds = self._scaled(STREAM_IDLE, seconds)
        timer = self._idle_timer
        if timer is None:
            timer = self._idle_timer = self.config.dispatcher.create_timer(self._on_idle_timer)
        if seconds and timer.deadline > self.config.dispatcher.monotonic_time() + seconds:
            timer.enable(seconds)

    def _on_idle_timer(self) -> None:
        """One timer serves the connection and all its streams: it looks at who has been idle for too long."""
        config = self.config
        now = config.dispatcher.monotonic_time()
        idle_timeout = self._scaled(CONNECTION_IDLE, config.idle_timeout)
        soonest = self._scaled(STREAM_IDLE, config.stream_idle_timeout) or idle_timeout
        for stream in tuple(self.streams):
            limit = self._scaled(STREAM_IDLE, stream.stream_idle_timeout)
            if not limit:
                continue
            left = stream.last_activity + limit - now
            if left > 1e-6:
                soonest = min(soonest or left, left)
            else:
                stream.last_activity = now
                stream.on_idle_timeout()
        if not self.streams and idle_timeout:
            left = self.last_activity + idle_timeout - now
            if left > 1e-6:
                soonest = min(soonest or left, left)
            elif not self.drain_announced and not self.draining:
                config.stats.downstream_cx_idle_timeout += 1
                self.start_drain_sequence()
        if soonest and not self.connection.closed and self._idle_timer is not None:
            self._idle_timer.enable(max(0.01, soonest))
