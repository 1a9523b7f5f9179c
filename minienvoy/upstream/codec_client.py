"""One upstream connection with an HTTP codec on it.

Envoy: `Http::CodecClient`, `Http::HttpConnPoolImplBase`'s `ActiveClient`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from ..errors import CodecProtocolError
from ..http.codec import RequestEncoder, ResponseDecoder, StreamResetReason
from ..network.connection import ConnectionCallbacks, ConnectionCloseType, ConnectionEvent
from ..network.filter import FilterStatus, ReadFilter

if TYPE_CHECKING:
    from ..event.dispatcher import Timer
    from ..http.codec import ClientConnection as ClientCodec
    from ..network.client_connection import ClientConnection
    from .http_conn_pool import HttpConnPool


_STOP: Final = FilterStatus.STOP_ITERATION


class CodecClient(ReadFilter, ConnectionCallbacks):
    """Connecting, then idle or busy with one stream, then closed. The pool that made it hears of every change.

    Attributes:
        codec: once it is known which one.
        new_stream: the codec's, for whoever has been given the connection.
        requests: streams it has carried.
        ready: connected and not closed.
    """

    codec: ClientCodec
    new_stream: Callable[[ResponseDecoder], RequestEncoder]

    bytes_received_before: int = 0
    bytes_sent_before: int = 0
    _idle_timer: Timer | None = None
    _duration_timer: Timer | None = None

    def __init__(self, pool: HttpConnPool, connection: ClientConnection, codec: ClientCodec | None) -> None:
        # What each request reads is an attribute of the object itself: a default of the class takes longer to find.
        self.pool = pool
        if codec is not None:
            self.take_codec(codec)
        self.busy = False
        self.ready = False
        self.draining = False
        self.requests = 0
        self.idle_since = 0.0
        self.watermark: Callable[[bool], None] | None = None
        """Who feeds the stream, told (True) to stop and (False) to go on."""
        self.start = connection.dispatcher.monotonic_time()
        connection.add_callbacks(self)
        connection.add_read_filter(self)
        self.connection: ClientConnection = connection

    def take_codec(self, codec: ClientCodec) -> None:
        self.codec = codec
        self.new_stream = codec.new_stream

    def wait_idle(self, now: float) -> None:
        """Nothing to do for now; the timer, armed once, looks at `idle_since` when it fires."""
        self.idle_since = now
        if self._idle_timer is None:
            timeout = self.pool.idle_timeout
            if timeout:
                self._idle_timer = self.connection.dispatcher.create_timer(self._on_idle_timer)
                self._idle_timer.enable(timeout)

    def reset_stream(self, reason: StreamResetReason) -> None:
        """Whoever asked does not want the answer any more: with HTTP/1 that is the end of the connection."""
        self.codec.abandon()
        self.close()

    def read_disable(self, disable: bool) -> None:
        """Counted: whoever asked takes no more of the answer for now."""
        self.connection.read_disable(disable)

    def close(self) -> None:
        self.connection.close(ConnectionCloseType.NO_FLUSH)

    # -- from the connection

    def on_data(self, data: bytes, end_stream: bool) -> FilterStatus:
        try:
            self.codec.dispatch(data)
        except CodecProtocolError as error:
            self.pool.stats.upstream_cx_protocol_error += 1
            self._on_protocol_error(error)
        else:
            if self.codec.extra_bytes:
                self.pool.stats.upstream_cx_protocol_error += 1
                self.close()
        return _STOP

    def on_event(self, event: ConnectionEvent) -> None:
        if event is ConnectionEvent.CONNECTED:
            self.ready = True
            options = self.pool.cluster.http_options
            maximum = options.max_connection_duration
            if maximum:
                if options.max_connection_duration_jitter:
                    jitter = options.max_connection_duration_jitter / 100.0
                    maximum *= 1.0 + self.pool.cluster.random.random() * jitter
                self._duration_timer = self.connection.dispatcher.create_timer(self._on_max_duration)
                self._duration_timer.enable(maximum)
            self.pool.on_connected(self)
            return
        for timer in (self._idle_timer, self._duration_timer):
            if timer is not None:
                timer.disable()
        self.pool.on_closed(self, event is ConnectionEvent.REMOTE_CLOSE)

    def on_above_write_buffer_high_watermark(self) -> None:
        self.pool.stats.upstream_flow_control_backed_up_total += 1
        if self.watermark is not None:
            self.watermark(True)

    def on_below_write_buffer_low_watermark(self) -> None:
        self.pool.stats.upstream_flow_control_drained_total += 1
        if self.watermark is not None:
            self.watermark(False)

    # -- inside

    def _on_protocol_error(self, error: CodecProtocolError) -> None:
        stream = self.codec.abandon()
        self.close()
        if stream is not None:
            stream.on_reset_stream(StreamResetReason.PROTOCOL_ERROR, error.details)

    def _on_idle_timer(self) -> None:
        timeout = self.pool.idle_timeout
        if not timeout or self._idle_timer is None:
            return
        left = timeout
        if not self.busy:
            left = self.idle_since + timeout - self.connection.dispatcher.monotonic_time()
            if left <= 1e-6:
                self.pool.stats.upstream_cx_idle_timeout += 1
                self.close()
                return
        self._idle_timer.enable(left)

    def _on_max_duration(self) -> None:
        self.pool.stats.upstream_cx_max_duration_reached += 1
        self.draining = True
        if not self.busy:
            self.close()
