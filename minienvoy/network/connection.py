"""A TCP or unix connection, downstream or upstream, and its read filters.

Envoy: `Network::ConnectionImpl`, `Network::FilterManagerImpl`, `Network::ConnectionCallbacks`.

A connection is open, then perhaps *closing* (what was written is flushed, perhaps with a delay so that the peer can
read the answer before the FIN), then closed. The transport beneath may outlive the closed connection by a moment;
nothing is delivered in that time. Which side ended it, and how, is told once, to every callback, by `on_event`.

Flow control: what could not be sent yet is the write buffer. Above `buffer_limit` bytes the callbacks hear
`on_above_write_buffer_high_watermark`, and whoever feeds the connection answers by a counted `read_disable(True)` of
the source. Only a part of it is the transport's, which lets go of what it was given in one turn when all of that has
been sent, and the sender may have been promised megabytes; the rest waits here, in pieces.

Nothing here buffers without a bound: while the reader is disabled one more chunk is taken from the transport and held,
then reading stops. It does not stop before that chunk, because most disabled times are over before a byte arrives,
pausing a transport costs two system calls, and one that still reads notices when the peer goes away.

Envoy leaves what it does not want to read in the kernel, and a kernel that closes a socket with unread bytes resets it.
So a connection that is closed from this side while it holds or ignores bytes is reset, too.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import sys
from collections import deque
from collections.abc import Callable
from enum import Enum
from itertools import count
from types import FunctionType
from typing import TYPE_CHECKING, Final, cast

from ..event.write_queue import MOST_BYTES, MOST_CHUNKS, MOST_WAITING, WriteBuffer, lose
from ..explain.explanation import NO_EXPLANATION, Explanation
from ..stream_info import ConnectionInfo, StreamInfo
from .filter import FilterStatus, ReadFilter

if TYPE_CHECKING:
    from ..event.dispatcher import Dispatcher, Timer
    from .splice import Splice

DEFAULT_BUFFER_LIMIT = 1024 * 1024
"""`per_connection_buffer_limit_bytes` when it is not set."""
MOST_OF_TRANSPORT: Final = 256 * 1024
"""Bytes: what a transport with more has not sent is full. As much as it reads at once."""

next_connection_id = count(1).__next__
"""Numbers the connections of this process, downstream and upstream (`ConnectionImpl::next_global_id_`)."""


class ConnectionEvent(Enum):
    REMOTE_CLOSE = 1
    LOCAL_CLOSE = 2
    CONNECTED = 3


MAX_LEFT_UNREAD = 1 << 20
"""Bytes of a peer that are thrown away while its connection closes."""


class ConnectionCloseType(Enum):
    FLUSH_WRITE = 1
    """Send what was written, then FIN."""
    NO_FLUSH = 2
    """Close now; what was not sent yet is lost."""
    FLUSH_WRITE_AND_DELAY = 3
    """Send what was written, then FIN when the peer closes or after `delayed_close_timeout`."""
    ABORT_RESET = 4
    """RST."""


class DetectedCloseType(Enum):
    """The values are what logs call it."""

    NORMAL = "Normal"
    REMOTE_RESET = "RemoteReset"
    LOCAL_RESET = "LocalReset"


class ConnectionCallbacks:
    """What a connection tells its users; override what is of interest."""

    __slots__ = ()

    def on_event(self, event: ConnectionEvent) -> None: ...

    def on_above_write_buffer_high_watermark(self) -> None: ...

    def on_below_write_buffer_low_watermark(self) -> None: ...


def _discard(data: bytes, end_stream: bool) -> None:
    """The connection is closed: nobody is there to read. A function, for a bound method would be a reference cycle."""


def _copy(function: FunctionType) -> FunctionType:
    """The same function once more, with what the interpreter learns about its attributes kept apart."""
    copied = FunctionType(function.__code__.replace(), function.__globals__, function.__name__, function.__defaults__)
    copied.__qualname__, copied.__doc__ = function.__qualname__, function.__doc__
    return copied


class Connection(asyncio.Protocol):
    """Made before its transport: `connection_made` starts it.

    Attributes:
        info: addresses and identity.
        half_close: a FIN from the peer ends only its direction; `on_data(b"", end_stream=True)` tells of it. Otherwise
            a FIN ends the connection, as in Envoy's HTTP.
        bytes_received, bytes_sent: on the wire, so far. Bytes are counted when they are handed to the transport.
        buffer_limit: bytes in the write buffer above which it is above its high watermark; 0 for no limit.
        delayed_close_timeout: seconds; how long FLUSH_WRITE_AND_DELAY waits for the peer, and how long any flush may
            go without progress. 0 for no delay and no such limit.
        closed: it has ended, and its callbacks were told.
        transport_full: the transport has so much to send that it is given no more.
        explain: why it went where it went; the streams that it carries begin with the same decisions.
        filter_chain_name: of a downstream connection.
        start_tls: makes a plain connection a secure one, if its transport socket can (`startSecureTransport`).
    """

    explain: Explanation = NO_EXPLANATION
    filter_chain_name: str = ""
    delayed_close_timeout: float = 1.0
    delayed_close_timed_out: bool = False
    local_close_reason: str = ""
    transport_failure_reason: str = ""
    detected_close_type: DetectedCloseType = DetectedCloseType.NORMAL
    transport_full: bool = False
    last_round_trip_time: float | None = None
    start_tls: Callable[[], bool] | None = None
    bytes_kept_back: int = 0
    """Of those received, what a filter has kept from the filters after it."""
    splices: tuple[Splice, ...] = ()
    """What moves bytes past this connection now."""
    _stream_info: StreamInfo | None = None
    _closing: ConnectionCloseType | None = None
    _delayed_close_timer: Timer | None = None
    _unflushed: int = 0
    _started: bool = False
    _read_disable_count: int = 0
    _write_half_closed: bool = False
    _read_half_closed: bool = False
    _end_stream_pending: bool = False
    _left_unread: int = 0
    _paused: bool = False
    _backlog: deque[bytes] | None = None
    """What was written since the transport is full."""
    _backlog_size: int = 0
    _held: bytes = b""
    _stopped_at: int | None = None

    def __init_subclass__(cls) -> None:
        # An inline cache of the interpreter knows one class. These two run for every read and write of both sides of
        # the proxy, so each class has its own: with one for all, every attribute in them is looked up anew.
        super().__init_subclass__()
        for each in (Connection.data_received, Connection.write):
            if getattr(cls, each.__name__) is each:
                setattr(cls, each.__name__, _copy(cast(FunctionType, each)))

    def __init__(self, dispatcher: Dispatcher, info: ConnectionInfo, buffer_limit: int = DEFAULT_BUFFER_LIMIT) -> None:
        self.dispatcher = dispatcher
        self.info = info
        self.buffer_limit = buffer_limit
        self.half_close = False
        self.transport: asyncio.Transport | None = None
        self.closed = False
        self.above_high_watermark = False
        self.bytes_received = 0
        self.bytes_sent = 0
        self._callbacks: list[ConnectionCallbacks] = []
        self._filters: list[ReadFilter] = []
        self._receive: Callable[[bytes, bool], object] = self._hold
        self._writable = False
        self.write_buffer = WriteBuffer()
        self._write_queue = dispatcher.write_queue

    # -- setting up

    def add_callbacks(self, callbacks: ConnectionCallbacks) -> None:
        self._callbacks.append(callbacks)

    def remove_callbacks(self, callbacks: ConnectionCallbacks) -> None:
        if callbacks in self._callbacks:
            self._callbacks.remove(callbacks)

    def add_read_filter(self, read_filter: ReadFilter) -> None:
        """Put a filter at the end of the chain; on a connection that has started, it starts at once."""
        read_filter.connection = self
        self._filters.append(read_filter)
        read_filter.initialize_read_filter_callbacks()
        if self._started and self._stopped_at is None and not self.closed:
            self._start_filters(len(self._filters) - 1)
            self._go_on()

    @property
    def stream_info(self) -> StreamInfo:
        """The connection as its access logs tell it; made when it is first asked for."""
        if self._stream_info is None:
            self._stream_info = StreamInfo()
            self._stream_info.connection = self.info
        return self._stream_info

    # -- what the event loop calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        if self.closed:
            self.transport.abort()
            return
        # Half of the limit at most: a transport that is not full is below the low watermark.
        most = min(self.buffer_limit // 2, MOST_OF_TRANSPORT) if self.buffer_limit else sys.maxsize
        self.transport.set_write_buffer_limits(most, most // 2)
        self._writable = True
        self.transport_full = False
        self.write_buffer.send = self.transport.write
        if self._started:
            return  # it goes on over TLS
        for callbacks in tuple(self._callbacks):
            callbacks.on_event(ConnectionEvent.CONNECTED)
        self._started = True
        self._start_filters(0)

    def data_received(self, data: bytes) -> None:
        self.bytes_received += len(data)
        receive = self._receive
        receive(data, False)

    def eof_received(self) -> bool:
        """True keeps the transport open for writing."""
        if self.closed:
            return False
        if not self.half_close:
            # The peer is done with a connection that has no half-close semantics: Envoy drops it, answered or not.
            self._end(ConnectionEvent.REMOTE_CLOSE)
            return False
        if self._closing is None:
            self._end_stream_pending = True
            self._go_on_now()
        return not self.closed

    def connection_lost(self, exc: Exception | None) -> None:
        self.write_buffer.send = lose
        if not self.closed:
            if isinstance(exc, ConnectionResetError) and self._waits_for_nothing_but_time:
                # Who does not read and has nothing to write does not see it, and neither does Envoy.
                self.transport = None
                return
            if isinstance(exc, ConnectionError):
                self.detected_close_type = DetectedCloseType.REMOTE_RESET
            flushed = self._closing is not None and exc is None
            self._end(ConnectionEvent.LOCAL_CLOSE if flushed else ConnectionEvent.REMOTE_CLOSE)
        self.transport = None

    @property
    def _waits_for_nothing_but_time(self) -> bool:
        """It closes when the delay is over, and all has left."""
        delayed = self._closing is ConnectionCloseType.FLUSH_WRITE_AND_DELAY and not self._unflushed
        return delayed and self._delayed_close_timer is not None

    def pause_for_tls(self) -> None:
        """The transport goes to TLS, and `connection_made` brings another one."""
        self.write_buffer.flush()
        self._give_backlog(everything=True)
        self.transport = None
        self._writable = False
        self.write_buffer.send = lose

    def pause_writing(self) -> None:
        self.transport_full = True
        if self._writable:
            self.write_buffer.send = self._keep_back
        if not self.above_high_watermark and self.unsent > self.buffer_limit:
            self._tell_watermark(True)

    def resume_writing(self) -> None:
        self.transport_full = False
        self._give_backlog()
        if not self.transport_full and self._writable and self.transport is not None:
            self.write_buffer.send = self.transport.write
        if self.above_high_watermark and (not self.transport_full or self.unsent <= self.buffer_limit // 2):
            self._tell_watermark(False)

    def change_transport(self, transport: asyncio.Transport) -> None:
        """Read and write by `transport`, which stands before the one that there was."""
        self.transport = transport
        if self._writable and not self.transport_full:
            self.write_buffer.send = transport.write

    # -- what filters, codecs and pools call

    @property
    def connecting(self) -> bool:
        return self.transport is None and not self.closed

    @property
    def both_sides_half_closed(self) -> bool:
        """Each side has said that it will send no more."""
        return self._read_half_closed and self._write_half_closed

    def write(self, data: bytes) -> None:
        """Queue `data`; it leaves at the end of this turn of the event loop (see `event.write_queue`).

        Ignored unless the connection is open for writing.
        """
        if self._writable:
            size = len(data)
            self.bytes_sent += size
            buffer = self.write_buffer
            chunks = buffer.chunks
            chunks.append(data)
            if size > MOST_BYTES or len(chunks) > MOST_CHUNKS:
                buffer.flush()
            elif len(chunks) == 1:
                queue = self._write_queue
                waiting = queue.waiting
                waiting.append(buffer)
                if len(waiting) == 1:
                    queue.call_soon(queue.flush)
                elif len(waiting) == MOST_WAITING:
                    queue.flush(False)

    def flush(self) -> None:
        """Give what was written to the transport now."""
        self.write_buffer.flush()

    def write_half_close(self) -> None:
        """Send a FIN after what was written; reading goes on. Both directions ended closes the connection."""
        transport = self.transport
        if not self._writable or transport is None:
            return
        self.flush()
        self._give_backlog(everything=True)
        self._writable = False
        self._write_half_closed = True
        if self._read_half_closed:
            # Not from inside the call: who feeds this connection from another one may see that one end first.
            self.dispatcher.post(self._flush_and_close)
        elif transport.can_write_eof() and not transport.is_closing():
            transport.write_eof()

    def read_disable(self, disable: bool) -> None:
        """Stop reading, or undo one earlier stop: reading goes on when every stop has been undone."""
        if disable:
            self._read_disable_count += 1
            if self._closing is None and not self.closed:
                self._receive = self._hold
        else:
            self._read_disable_count -= 1
            if self._started and not self._read_disable_count:
                self._choose_receiver()
                self._go_on()

    @property
    def can_hand_over_reading(self) -> bool:
        """Bytes of the peer would reach one filter now, and go nowhere else."""
        ended = self._end_stream_pending or self._read_half_closed
        return self._can_deliver() and not self._paused and not ended and len(self._filters) == 1

    @property
    def is_flushed(self) -> bool:
        """Open for writing, and everything that the transport was given has left it."""
        return self._writable and self.transport is not None and not self.transport.get_write_buffer_size()

    @property
    def unsent(self) -> int:
        """Bytes that were written and have not left."""
        return 0 if self.transport is None else self.transport.get_write_buffer_size() + self._backlog_size

    def hand_over_reading(self, away: bool) -> None:
        """Let somebody else read the socket, or take that back."""
        if self.transport is not None and not self.closed:
            if away:
                self.transport.pause_reading()
            else:
                self.transport.resume_reading()

    def connection_failed(self, error: OSError) -> None:
        """Who reads or writes the socket in the transport's place has got `error` from the kernel."""
        self.connection_lost(error)

    def continue_reading(self, read_filter: ReadFilter) -> None:
        """Go on with the filter after `read_filter`, which had stopped the chain in `on_new_connection`."""
        if not self.closed:
            self._start_filters(self._filters.index(read_filter) + 1)
            self._go_on()

    def pass_on(self, read_filter: ReadFilter, data: bytes, end_stream: bool) -> None:
        """Hand `data` to the filters after `read_filter`: what FilterStatus.CONTINUE from `on_data` means."""
        if not self.closed:
            for later in self._filters[self._filters.index(read_filter) + 1 :]:
                if later.on_data(data, end_stream) is FilterStatus.STOP_ITERATION or self.closed:
                    return

    def close(self, kind: ConnectionCloseType, reason: str = "") -> None:
        """End the connection from this side; `reason` is for the log. A second call can only make it more abrupt."""
        if self.closed:
            return
        if reason:
            self.local_close_reason = reason
        self.flush()
        transport = self.transport
        if transport is None or kind is ConnectionCloseType.NO_FLUSH:
            self._end(ConnectionEvent.LOCAL_CLOSE)
        elif kind is ConnectionCloseType.ABORT_RESET:
            self._reset_on_close(transport)
            self.detected_close_type = DetectedCloseType.LOCAL_RESET
            self._end(ConnectionEvent.LOCAL_CLOSE)
        elif self._closing is None:
            self._start_closing(kind, transport)

    # -- inside

    def _choose_receiver(self) -> None:
        """What `data_received` calls is decided here, so that the usual case costs it no question."""
        if self.closed or self._closing is not None:
            return
        if self._read_disable_count or self._paused or self._stopped_at is not None or not self._filters:
            self._receive = self._hold
        elif len(self._filters) == 1:
            self._receive = self._filters[0].on_data
        else:
            self._receive = self._deliver

    def _start_filters(self, first: int) -> None:
        self._stopped_at = None
        self._choose_receiver()
        for at in range(first, len(self._filters)):
            if self.closed or self._closing is not None:
                return
            if self._filters[at].on_new_connection() is FilterStatus.STOP_ITERATION and at + 1 < len(self._filters):
                self._stopped_at = at
                self._choose_receiver()
                return

    def _deliver(self, data: bytes, end_stream: bool) -> None:
        for read_filter in self._filters:
            if read_filter.on_data(data, end_stream) is FilterStatus.STOP_ITERATION or self.closed:
                return

    def _keep_back(self, data: bytes) -> None:
        if self._backlog is None:
            self._backlog = deque()
        self._backlog.append(data)
        self._backlog_size += len(data)
        if not self.above_high_watermark and self.unsent > self.buffer_limit:
            self._tell_watermark(True)

    def _tell_watermark(self, above: bool) -> None:
        self.above_high_watermark = above
        for callbacks in tuple(self._callbacks):
            if above:
                callbacks.on_above_write_buffer_high_watermark()
            else:
                callbacks.on_below_write_buffer_low_watermark()

    def _give_backlog(self, everything: bool = False) -> None:
        """Give the transport what was kept back, until it is full again or, if nothing follows, `everything`."""
        backlog, transport = self._backlog, self.transport
        while backlog and transport is not None and (everything or not self.transport_full):
            data = backlog.popleft()
            self._backlog_size -= len(data)
            transport.write(data)

    def _hold(self, data: bytes, end_stream: bool) -> None:
        """Keep what was under way when reading was disabled, and have no more; it counts when it is delivered."""
        self.bytes_received -= len(data)
        self._held += data
        self._pause()

    def _leave_unread(self, data: bytes, end_stream: bool) -> None:
        """Bytes for a closing connection: Envoy leaves them in the kernel."""
        self.bytes_received -= len(data)
        self._left_unread += len(data)
        if self._left_unread > MAX_LEFT_UNREAD:
            # Behind this much a FIN is not seen, as it would not be behind a full window.
            self._pause()

    def _pause(self) -> None:
        self._paused = True
        if self.transport is not None:
            self.transport.pause_reading()

    def _go_on(self) -> None:
        """Deliver what was held, not from inside the call that allowed it (`activateFileEvents`)."""
        if self._paused or self._end_stream_pending:
            self.dispatcher.post(self._go_on_now)

    def _go_on_now(self) -> None:
        if not self._can_deliver():
            return
        if self._held:
            held, self._held = self._held, b""
            self.bytes_received += len(held)
            self._deliver(held, False)
            if not self._can_deliver():
                return
        if self._end_stream_pending:
            self._end_stream_pending = False
            self._read_half_closed = True
            self._deliver(b"", True)
            if self._write_half_closed and not self.closed and self._closing is None:
                self._end_after_both_sides()
        elif self._paused and self.transport is not None:
            self._paused = False
            self._choose_receiver()
            self.transport.resume_reading()

    def _can_deliver(self) -> bool:
        return (
            self._started
            and not self.closed
            and self._closing is None
            and not self._read_disable_count
            and self._stopped_at is None
            and bool(self._filters)
        )

    def _flush_and_close(self) -> None:
        self.close(ConnectionCloseType.FLUSH_WRITE)

    def _end_after_both_sides(self) -> None:
        self.flush()
        if self.unsent:
            self._flush_and_close()
        else:
            self._end(ConnectionEvent.REMOTE_CLOSE)

    def _start_closing(self, kind: ConnectionCloseType, transport: asyncio.Transport) -> None:
        self._closing = kind
        self._give_backlog(everything=True)
        self._writable = False
        self._receive = self._leave_unread
        delay = kind is ConnectionCloseType.FLUSH_WRITE_AND_DELAY and self.delayed_close_timeout > 0
        self._unflushed = transport.get_write_buffer_size()
        if not delay and not self._unflushed:
            self._end(ConnectionEvent.LOCAL_CLOSE)
            return
        if self.delayed_close_timeout > 0:
            self._delayed_close_timer = self.dispatcher.create_timer(self._on_delayed_close_timeout)
            self._delayed_close_timer.enable(self.delayed_close_timeout)
        if not delay:
            transport.close()
        elif self._paused:
            # Nobody wants the bytes, but the peer's FIN ends the wait.
            self._paused = False
            transport.resume_reading()

    def _on_delayed_close_timeout(self) -> None:
        left = self.transport.get_write_buffer_size() if self.transport is not None else 0
        if 0 < left < self._unflushed and self._delayed_close_timer is not None:
            self._unflushed = left
            self._delayed_close_timer.enable(self.delayed_close_timeout)
        else:
            self.delayed_close_timed_out = True
            self.local_close_reason = "triggered_delayed_close_timeout"
            self._end(ConnectionEvent.LOCAL_CLOSE)

    @staticmethod
    def _reset_on_close(transport: asyncio.Transport) -> None:
        sock = transport.get_extra_info("socket")
        if sock is not None and sock.family != getattr(socket, "AF_UNIX", None):
            try:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            except OSError:
                pass  # it is gone already

    def _end(self, event: ConnectionEvent) -> None:
        """Tell everybody, once, and let go of the transport."""
        if self.closed:
            return
        self.flush()
        self.closed = True
        self._writable = False
        self._receive = _discard
        if self._delayed_close_timer is not None:
            self._delayed_close_timer.disable()
            self._delayed_close_timer = None
        transport = self.transport
        if transport is not None:
            if event is ConnectionEvent.LOCAL_CLOSE and (self._held or self._left_unread):
                self._reset_on_close(transport)
            transport.abort()
        self._held = b""
        self._backlog, self._backlog_size = None, 0
        callbacks, self._callbacks = self._callbacks, []
        for each in callbacks:
            each.on_event(event)
        self._filters = []
