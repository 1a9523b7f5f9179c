"""The HTTP connection manager: the network filter that turns bytes into streams.

Envoy: `Http::ConnectionManagerImpl`; docs "HTTP connection management".

A connection is *draining* in two steps, as in Envoy: first it is announced (`connection: close` on what is still
answered) and a drain timer runs; then, or at once when the protocol leaves no choice, the connection is closed as
soon as no stream is left.

One timer serves both idle timeouts, the connection's while there is no stream and the stream's while there is one.
Whatever moves only writes `last_activity` of its stream; the timer looks at it when it fires, and goes on waiting if
there was any.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ..errors import CodecProtocolError, ResponseFloodError
from ..network.connection import ConnectionCallbacks, ConnectionCloseType, ConnectionEvent
from ..network.filter import FilterStatus, ReadFilter
from ..network.overload_state import CONNECTION_IDLE, CONNECTION_MAX, STREAM_IDLE
from ..stream_info import ResponseFlag
from .active_stream import ActiveStream
from .codec import ResponseEncoder, ServerConnection
from .codes import reason_phrase
from .conn_manager_config import ConnectionManagerConfig

if TYPE_CHECKING:
    from ..event.dispatcher import Timer


_STOP: Final = FilterStatus.STOP_ITERATION
DEFERRED_CLOSE: Final = "deferred_close_on_drained_connection"


class ConnectionManager(ReadFilter, ConnectionCallbacks):
    """One downstream connection.

    Attributes:
        draining: it is closed as soon as its stream has ended.
        drain_announced: responses say so already.
        last_activity: monotonic seconds; when the last stream ended.
    """

    multiplexed = False
    """There may be several streams at the same time."""
    max_duration: float = 0.0
    """Seconds that the connection may last; 0 for no limit."""
    close_details: str = "downstream_remote_disconnect"
    """What streams say that the end of the connection cuts short."""
    reset_flag: int = ResponseFlag.DOWNSTREAM_CONNECTION_TERMINATION
    """Their response flag."""
    bytes_received_before: int = 0
    bytes_sent_before: int = 0
    _drain_timer: Timer | None = None
    _drain_deadline_timer: Timer | None = None
    _duration_timer: Timer | None = None
    _idle_timer: Timer | None = None

    def __init__(self, config: ConnectionManagerConfig) -> None:
        # What each request reads is an attribute of the object itself: a default of the class takes longer to find.
        self.config = config
        self.codec: ServerConnection | None = None
        self.stream: ActiveStream | None = None
        self.requests = 0
        self.draining = False
        self.drain_announced = False
        self.last_activity = 0.0
        self.response_timer: Timer | None = None

    @property
    def has_streams(self) -> bool:
        return self.stream is not None

    @classmethod
    def http2_class(cls) -> type[ConnectionManager]:
        """What this becomes when the peer speaks HTTP/2."""
        from .http2.conn_manager import Http2ConnectionManager

        return Http2ConnectionManager

    # -- the connection's life

    def initialize_read_filter_callbacks(self) -> None:
        config = self.config
        connection = self.connection
        connection.add_callbacks(self)
        connection.delayed_close_timeout = config.delayed_close_timeout
        config.connections.add(self)
        stats = config.stats
        stats.downstream_cx_total += 1
        stats.downstream_cx_active += 1
        if connection.info.ssl is not None:
            stats.downstream_cx_ssl_total += 1
            stats.downstream_cx_ssl_active += 1
        self.start = self.last_activity = config.dispatcher.monotonic_time()
        self._rearm_idle_timer()
        if config.max_connection_duration:
            self._duration_timer = config.dispatcher.create_timer(self._on_max_connection_duration)
            self.max_duration = self._jittered(config.max_connection_duration, config.max_connection_duration_jitter)
            self._duration_timer.enable(self.max_duration)
        config.drain_state.watchers.add(self._on_drain)
        if config.drain_state.active:
            self._on_drain()
        if config.overload is not None and config.overload.reduces_timeouts:
            config.overload.watchers.add(self._on_overload)
            self._on_overload()

    def on_data(self, data: bytes, end_stream: bool) -> FilterStatus:
        codec = self.codec
        if codec is None:
            codec = self._create_codec(data)
        try:
            codec.dispatch(data)
        except CodecProtocolError as error:
            self.on_codec_error(error)
        return _STOP

    def redispatch(self, data: bytes) -> None:
        self.on_data(data, False)

    def on_event(self, event: ConnectionEvent) -> None:
        if event is ConnectionEvent.CONNECTED:
            return
        for timer in (
            self._drain_timer,
            self._drain_deadline_timer,
            self._duration_timer,
            self._idle_timer,
            self.response_timer,
        ):
            if timer is not None:
                timer.disable()
        config = self.config
        config.drain_state.watchers.discard(self._on_drain)
        if config.overload is not None:
            config.overload.watchers.discard(self._on_overload)
        stats = config.stats
        remote = event is ConnectionEvent.REMOTE_CLOSE
        if not remote and self.connection.local_close_reason:
            self.close_details = f"downstream_local_disconnect({self.connection.local_close_reason})"
        stats.downstream_cx_destroy += 1
        if remote:
            stats.downstream_cx_destroy_remote += 1
        else:
            stats.downstream_cx_destroy_local += 1
        if self.has_streams:
            stats.downstream_cx_destroy_active_rq += 1
            if remote or self.multiplexed:
                stats.downstream_cx_destroy_remote_active_rq += 1
            else:
                stats.downstream_cx_destroy_local_active_rq += 1
        stats.downstream_cx_active -= 1
        if self.connection.info.ssl is not None:
            stats.downstream_cx_ssl_active -= 1
        if self.connection.delayed_close_timed_out:
            stats.downstream_cx_delayed_close_timeout += 1
        if self.codec is not None:
            self._on_codec_closed(self.codec)
        config.connections.discard(self)
        stats.downstream_cx_rx_bytes_total += self.connection.bytes_received - self.bytes_received_before
        stats.downstream_cx_tx_bytes_total += self.connection.bytes_sent - self.bytes_sent_before
        stats.downstream_cx_length_ms.record(int((config.dispatcher.monotonic_time() - self.start) * 1000))

    def on_above_write_buffer_high_watermark(self) -> None:
        stream = self.stream
        if stream is not None and stream.watermark_callbacks is not None:
            stream.watermark_callbacks(True)

    def on_below_write_buffer_low_watermark(self) -> None:
        stream = self.stream
        if stream is not None and stream.watermark_callbacks is not None:
            stream.watermark_callbacks(False)

    # -- streams

    def new_stream(self, encoder: ResponseEncoder) -> ActiveStream:
        self.requests += 1
        config = self.config
        config.stats.downstream_rq_http1_total += 1
        stream_class = config.stream_class
        stream = self.stream = stream_class(self, encoder)
        if config.max_requests_per_connection and self.requests >= config.max_requests_per_connection:
            config.stats.downstream_cx_max_requests_reached += 1
            stream.saw_connection_close = self.draining = True
        return stream

    def look_for_idle_within(self, seconds: float) -> None:
        """A stream has a timeout of its own: see to it that the timer does not sleep longer."""
        self._rearm_idle_timer()

    def on_stream_ended(self, stream: ActiveStream, now: float) -> None:
        self.stream = None
        self.last_activity = now
        if self.draining:
            stream.encoder.last_response = True
            self.check_for_deferred_close(
                stream.saw_connection_close
                and stream.remote_complete
                # What is answered while it is read has not been read to its end.
                and not (stream.is_local_reply and self.codec is not None and self.codec.dispatching)
            )

    # -- the end of the connection

    def start_drain_sequence(self) -> None:
        """Announce that the connection will be closed; close it `drain_timeout` later."""
        if self.drain_announced:
            return
        self.drain_announced = True
        self._drain_timer = self.config.dispatcher.create_timer(self._on_drain_timeout)
        self._drain_timer.enable(self._jittered(self.config.drain_timeout, self.config.drain_timeout_jitter))

    def _on_drain(self) -> None:
        """Something has begun to drain: this connection has to end in time, even if nothing is asked on it."""
        if self._drain_deadline_timer is None:
            delay = self.config.drain_delay(self.config.drain_timeout)
            if delay is not None:
                self._drain_deadline_timer = self.config.dispatcher.create_timer(self._on_drain_deadline)
                self._drain_deadline_timer.enable(delay)

    def _on_drain_deadline(self) -> None:
        if self.drain_announced or self.draining:
            return
        self.config.stats.downstream_cx_drain_close += 1
        if self.codec is None:
            self.connection.close(ConnectionCloseType.FLUSH_WRITE, "downstream_local_disconnect")
        else:
            self.start_drain_sequence()

    def check_for_deferred_close(self, skip_delay: bool) -> None:
        """Close if it was decided to and nothing is under way any more.

        Unless the client expects the end, it gets `delayed_close_timeout` to read the answer: a FIN, or worse a RST,
        that overtakes it in the client's buffers would lose it.
        """
        if self.draining and self.stream is None and not self.connection.closed:
            kind = ConnectionCloseType.FLUSH_WRITE if skip_delay else ConnectionCloseType.FLUSH_WRITE_AND_DELAY
            self.connection.close(kind, DEFERRED_CLOSE)

    def _on_drain_timeout(self) -> None:
        self.draining = True
        self.check_for_deferred_close(False)

    def _idle_limit(self) -> float:
        if self.stream is None:
            return self._scaled(CONNECTION_IDLE, self.config.idle_timeout)
        return self._scaled(STREAM_IDLE, self.stream.stream_idle_timeout)

    def _idle_since(self) -> float:
        return self.last_activity if self.stream is None else self.stream.last_activity

    def _scaled(self, timer: str, timeout: float) -> float:
        """A timeout as short as the overload manager has made it."""
        overload = self.config.overload
        return timeout if overload is None else overload.scaled(timer, timeout)

    def _idle_limits(self) -> list[float]:
        """All that may apply to this connection and its streams, in seconds."""
        config = self.config
        limits = [
            self._scaled(CONNECTION_IDLE, config.idle_timeout),
            self._scaled(STREAM_IDLE, config.stream_idle_timeout),
        ]
        if self.stream is not None:
            limits.append(self._scaled(STREAM_IDLE, self.stream.stream_idle_timeout))
        return [each for each in limits if each]

    def _on_overload(self) -> None:
        """Timeouts have become shorter, or are as long again as they were."""
        config = self.config
        self._rearm_idle_timer()
        if self._duration_timer is not None and self._duration_timer.enabled:
            limit = self._scaled(CONNECTION_MAX, self.max_duration)
            self._duration_timer.enable(max(0.0, self.start + limit - config.dispatcher.monotonic_time()))

    def _rearm_idle_timer(self) -> None:
        """Look again when the shorter of the two timeouts can have passed."""
        config = self.config
        limits = self._idle_limits()
        if not limits:
            return
        if self._idle_timer is None:
            self._idle_timer = config.dispatcher.create_timer(self._on_idle_timer)
        self._idle_timer.enable(max(0.0, self._idle_since() + min(limits) - config.dispatcher.monotonic_time()))

    def _on_idle_timer(self) -> None:
        config = self.config
        limit = self._idle_limit()
        now = config.dispatcher.monotonic_time()
        left = self._idle_since() + limit - now
        if limit and left <= 1e-6:
            self.last_activity = now
            if self.stream is not None:
                self.stream.last_activity = now
            self._on_idle()
            if self.connection.closed:
                return
        # A stream that starts now may have a shorter limit than what is waited for: never sleep longer than that.
        candidates = self._idle_limits()
        if limit and left > 1e-6:
            candidates.append(left)
        if candidates and self._idle_timer is not None:
            self._idle_timer.enable(max(0.01, min(candidates)))

    def _on_idle(self) -> None:
        stream = self.stream
        if stream is not None:
            stream.on_idle_timeout()
            return
        if self.drain_announced or self.draining:
            return
        self.config.stats.downstream_cx_idle_timeout += 1
        if self.codec is None:
            self.connection.close(ConnectionCloseType.FLUSH_WRITE, "on_idle_timeout")
        else:
            self.start_drain_sequence()

    def on_response_timer(self) -> None:
        """One timer serves the response timeouts of all streams: it fires for the oldest and looks at the present."""
        stream = self.stream
        if stream is None or stream.response_timeout_callback is None or self.response_timer is None:
            return
        left = stream.response_deadline - self.config.dispatcher.monotonic_time()
        if left > 1e-6:
            self.response_timer.enable(left)
        else:
            callback, stream.response_timeout_callback = stream.response_timeout_callback, None
            callback()

    def _on_max_connection_duration(self) -> None:
        self.config.stats.downstream_cx_max_duration_reached += 1
        if self.codec is None:
            self.connection.close(ConnectionCloseType.FLUSH_WRITE, "max_connection_duration")
        elif self.config.http1_safe_max_connection_duration and not self.multiplexed:
            # A client that sends its next request right now must not meet a closed connection.
            self.codec.make_streams_by(self._new_last_stream)  # type: ignore[attr-defined]
        else:
            self.start_drain_sequence()

    def _new_last_stream(self, encoder: ResponseEncoder) -> ActiveStream:
        stream = self.new_stream(encoder)
        self.draining = stream.saw_connection_close = True
        return stream

    def _jittered(self, seconds: float, jitter: float) -> float:
        """Longer by up to the fraction `jitter`, so that not all connections that began together end together."""
        return seconds * (1.0 + jitter * self.config.draw()) if jitter else seconds

    def on_codec_error(self, error: CodecProtocolError) -> None:
        if self.connection._stream_info is not None:
            # The listener's log tells of the connection.
            self.connection._stream_info.set_response_flag(ResponseFlag.DOWNSTREAM_PROTOCOL_ERROR)
        if isinstance(error, ResponseFloodError):
            self.end_streams(error.details, ResponseFlag.DOWNSTREAM_PROTOCOL_ERROR)
            return
        self.config.stats.downstream_cx_protocol_error += 1
        stream = self.stream
        self.draining = True
        if stream is not None:
            # Formats and filters of the reply do not see it: Envoy sets it when the reply has been made.
            stream.flag_after_reply = ResponseFlag.DOWNSTREAM_PROTOCOL_ERROR
            if stream.response_started:
                stream.set_response_flag(ResponseFlag.DOWNSTREAM_PROTOCOL_ERROR)
            stream.send_local_reply(error.status, reason_phrase(error.status).decode(), error.details)
        self.check_for_deferred_close(False)

    def end_streams(
        self, details: str, flag: int, close: ConnectionCloseType = ConnectionCloseType.FLUSH_WRITE_AND_DELAY
    ) -> None:
        """Streams end now, the connection when the peer has had the time to read what was sent, or as `close` says."""
        assert self.codec is not None
        self.close_details = details
        self.reset_flag = flag
        if self.has_streams:
            stats = self.config.stats
            stats.downstream_cx_destroy_active_rq += 1
            stats.downstream_cx_destroy_local_active_rq += 1
        self.codec.on_connection_closed()
        self.connection.close(close)

    # -- inside

    def _create_codec(self, data: bytes) -> ServerConnection:
        """The codec for what begins with `data`."""
        config = self.config
        codec = self.codec = config.make_codec(self, data)
        if codec.protocol == "HTTP/1.1":
            config.stats.downstream_cx_http1_total += 1
            config.stats.downstream_cx_http1_active += 1
        if self.connection._stream_info is not None:
            # The listener's log tells of the connection.
            self.connection._stream_info.protocol = codec.protocol
        return codec

    def _on_codec_closed(self, codec: ServerConnection) -> None:
        self.config.stats.downstream_cx_http1_active -= 1
        codec.on_connection_closed()
