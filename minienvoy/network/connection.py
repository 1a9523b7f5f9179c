"""A TCP or unix connection, downstream or upstream, and its read filters.

Envoy: `Network::ConnectionImpl`, `Network::FilterManagerImpl`, `Network::ConnectionCallbacks`.

A connection is open, then perhaps *closing* (what was written is flushed, perhaps with a delay so that the peer can read
the answer before the FIN), then closed. The transport beneath may outlive the closed connection by a moment; nothing is
delivered in that time. Which side ended it, and how, is told once, to every callback, by `on_event`.

Flow control: what the transport could not send yet is its write buffer. Above `buffer_limit` bytes the callbacks hear
`on_above_write_buffer_high_watermark`, and whoever feeds the connection answers by a counted `read_disable(True)` of
the source. Nothing here buffers without a bound: reading stops while the reader is disabled.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable
from enum import Enum
from itertools import count
from typing import TYPE_CHECKING, cast

from .filter import FilterStatus, ReadFilter

if TYPE_CHECKING:
    from ..event.dispatcher import Dispatcher, Timer
    from ..stream_info import ConnectionInfo

DEFAULT_BUFFER_LIMIT = 1024 * 1024
"""`per_connection_buffer_limit_bytes` when it is not set."""

next_connection_id = count(1).__next__
"""Numbers the connections of this process, downstream and upstream (`ConnectionImpl::next_global_id_`)."""


class ConnectionEvent(Enum):
    REMOTE_CLOSE = 1
    LOCAL_CLOSE = 2
    CONNECTED = 3


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
    NORMAL = 1
    REMOTE_RESET = 2
    LOCAL_RESET = 3


class ConnectionCallbacks:
    """What a connection tells its users; override what is of interest."""

    def on_event(self, event: ConnectionEvent) -> None: ...

    def on_above_write_buffer_high_watermark(self) -> None: ...

    def on_below_write_buffer_low_watermark(self) -> None: ...


class ByteCounts:
    """Where a connection counts its bytes; the stats structs of listeners' users and clusters look like this."""

    __slots__ = ("rx", "tx")

    def __init__(self) -> None:
        self.rx = 0
        self.tx = 0


class Connection(asyncio.Protocol):
    """Made before its transport: `connection_made` starts it.

    Attributes:
        info: addresses and identity.
        half_close: a FIN from the peer ends only its direction; `on_data(b"", end_stream=True)` tells of it. Otherwise a
            FIN ends the connection, as in Envoy's HTTP.
        bytes_received, bytes_sent: on the wire, so far. Bytes are counted when they are handed to the transport.
    """

    delayed_close_timeout: float = 1.0
    local_close_reason: str = ""
    transport_failure_reason: str = ""
    detected_close_type: DetectedCloseType = DetectedCloseType.NORMAL
    _closing: ConnectionCloseType | None = None
    _delayed_close_timer: Timer | None = None
    _read_disable_count: int = 0
    _above_high_watermark: bool = False
    _write_half_closed: bool = False
    _read_half_closed: bool = False
    _held: list[bytes] | None = None
    _stopped_at: int | None = None

    def __init__(self, dispatcher: Dispatcher, info: ConnectionInfo, buffer_limit: int = DEFAULT_BUFFER_LIMIT) -> None:
        self.dispatcher = dispatcher
        self.info = info
        self.buffer_limit = buffer_limit
        self.half_close = False
        self.transport: asyncio.Transport | None = None
        self.closed = False
        self.bytes_received = 0
        self.bytes_sent = 0
        self.last_round_trip_time: float | None = None
        self._callbacks: list[ConnectionCallbacks] = []
        self._filters: list[ReadFilter] = []
        self._receive: Callable[[bytes, bool], object] = self._hold

    # -- setting up

    def add_callbacks(self, callbacks: ConnectionCallbacks) -> None:
        self._callbacks.append(callbacks)

    def remove_callbacks(self, callbacks: ConnectionCallbacks) -> None:
        if callbacks in self._callbacks:
            self._callbacks.remove(callbacks)

    def add_read_filter(self, read_filter: ReadFilter) -> None:
        read_filter.connection = self
        self._filters.append(read_filter)

    # -- what the event loop calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        if self.closed:
            self.transport.abort()
            return
        self.transport.set_write_buffer_limits(self.buffer_limit, self.buffer_limit // 2)
        if self._read_disable_count:
            self.transport.pause_reading()
        for callbacks in tuple(self._callbacks):
            callbacks.on_event(ConnectionEvent.CONNECTED)
        self._start_filters(0)

    def data_received(self, data: bytes) -> None:
        self.bytes_received += len(data)
        self._receive(data, False)

    def eof_received(self) -> bool:
        """True keeps the transport open for writing."""
        if self.closed:
            return False
        if self._closing is not None or not self.half_close:
            # The peer is done with a connection that has no half-close semantics: Envoy drops it, answered or not.
            self._end(ConnectionEvent.REMOTE_CLOSE)
            return False
        self._read_half_closed = True
        if self._held is None and self._stopped_at is None and not self._read_disable_count:
            self._deliver(b"", True)
        return not self.closed

    def connection_lost(self, exc: Exception | None) -> None:
        if self.closed:
            return
        if isinstance(exc, ConnectionError):
            self.detected_close_type = DetectedCloseType.REMOTE_RESET
        if self._closing is not None:
            self._end(ConnectionEvent.LOCAL_CLOSE)
        else:
            self._end(ConnectionEvent.REMOTE_CLOSE)

    def pause_writing(self) -> None:
        self._above_high_watermark = True
        for callbacks in tuple(self._callbacks):
            callbacks.on_above_write_buffer_high_watermark()

    def resume_writing(self) -> None:
        self._above_high_watermark = False
        for callbacks in tuple(self._callbacks):
            callbacks.on_below_write_buffer_low_watermark()

    # -- what filters, codecs and pools call

    @property
    def above_high_watermark(self) -> bool:
        return self._above_high_watermark

    @property
    def connecting(self) -> bool:
        return self.transport is None and not self.closed

    def write(self, data: bytes) -> None:
        """Queue `data`; it leaves at the end of this turn of the event loop."""
        if self.transport is not None and self._closing is None and not self.closed:
            self.bytes_sent += len(data)
            self.transport.write(data)

    def write_half_close(self) -> None:
        """Send a FIN after what was written; reading goes on. Both directions ended closes the connection."""
        transport = self.transport
        if transport is None or self.closed or self._write_half_closed:
            return
        self._write_half_closed = True
        if self._read_half_closed:
            self.close(ConnectionCloseType.FLUSH_WRITE)
        elif transport.can_write_eof() and not transport.is_closing():
            transport.write_eof()

    def read_disable(self, disable: bool) -> None:
        """Stop reading, or undo one earlier stop: reading goes on when every stop has been undone."""
        if disable:
            self._read_disable_count += 1
            self._receive = self._hold
            if self._read_disable_count == 1 and self.transport is not None and not self.transport.is_closing():
                self.transport.pause_reading()
        else:
            self._read_disable_count -= 1
            if not self._read_disable_count and not self.closed:
                if self._held is not None or self._read_half_closed:
                    self.dispatcher.post(self._release_held)
                elif self.transport is not None and not self.transport.is_closing():
                    self._choose_receiver()
                    self.transport.resume_reading()

    def continue_reading(self, read_filter: ReadFilter) -> None:
        """Go on with the filter after `read_filter`, which had stopped the chain in `on_new_connection`."""
        self._start_filters(self._filters.index(read_filter) + 1)
        if self._stopped_at is None and (self._held is not None or self._read_half_closed):
            self.dispatcher.post(self._release_held)

    def pass_on(self, read_filter: ReadFilter, data: bytes, end_stream: bool) -> None:
        """Hand `data` to the filters after `read_filter`: what FilterStatus.CONTINUE from `on_data` means."""
        for later in self._filters[self._filters.index(read_filter) + 1 :]:
            if later.on_data(data, end_stream) is FilterStatus.STOP_ITERATION:
                return

    def close(self, kind: ConnectionCloseType, reason: str = "") -> None:
        """End the connection from this side; `reason` is for the log. A second call can only make it more abrupt."""
        if self.closed:
            return
        if reason:
            self.local_close_reason = reason
        transport = self.transport
        if transport is None:
            self._end(ConnectionEvent.LOCAL_CLOSE)
            return
        if kind is ConnectionCloseType.ABORT_RESET:
            self._reset_on_close(transport)
            self.detected_close_type = DetectedCloseType.LOCAL_RESET
            self._end(ConnectionEvent.LOCAL_CLOSE)
        elif kind is ConnectionCloseType.NO_FLUSH:
            self._end(ConnectionEvent.LOCAL_CLOSE)
        elif self._closing is None:
            self._closing = kind
            self._choose_receiver()
            if kind is ConnectionCloseType.FLUSH_WRITE_AND_DELAY and self.delayed_close_timeout > 0:
                self._delayed_close_timer = self.dispatcher.create_timer(self._on_delayed_close_timeout)
                self._delayed_close_timer.enable(self.delayed_close_timeout)
            elif transport.get_write_buffer_size() == 0:
                self._end(ConnectionEvent.LOCAL_CLOSE)
            else:
                if self.delayed_close_timeout > 0:
                    # A peer that never reads must not keep the connection for ever.
                    self._delayed_close_timer = self.dispatcher.create_timer(self._on_delayed_close_timeout)
                    self._delayed_close_timer.enable(self.delayed_close_timeout)
                transport.close()

    # -- inside

    def _choose_receiver(self) -> None:
        """What `data_received` calls is decided here, so that the usual case costs it no question."""
        if self.closed or self._closing is not None or not self._filters:
            self._receive = self._ignore
        elif self._read_disable_count or self._held is not None or self._stopped_at is not None:
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

    def _ignore(self, data: bytes, end_stream: bool) -> None:
        """The connection is closed or closing: nobody is there to read."""

    def _hold(self, data: bytes, end_stream: bool) -> None:
        # A transport may deliver what it had read before it was paused: keep it, in order.
        if self._held is None:
            self._held = []
        self._held.append(data)
        if self.transport is not None and not self.transport.is_closing():
            self.transport.pause_reading()

    def _release_held(self) -> None:
        if self.closed or self._closing is not None or self._read_disable_count or self._stopped_at is not None:
            return
        held, self._held = self._held, None
        self._choose_receiver()
        if held is not None:
            self._deliver(b"".join(held), False)
        if self.closed or self._read_disable_count or self._closing is not None:
            return
        if self._read_half_closed:
            self._deliver(b"", True)
        elif self.transport is not None and not self.transport.is_closing():
            self.transport.resume_reading()

    def _on_delayed_close_timeout(self) -> None:
        self._delayed_close_timer = None
        self._end(ConnectionEvent.LOCAL_CLOSE)

    @staticmethod
    def _reset_on_close(transport: asyncio.Transport) -> None:
        sock = transport.get_extra_info("socket")
        if sock is not None:
            try:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            except OSError:
                pass  # a unix socket, or one that is gone already

    def _end(self, event: ConnectionEvent) -> None:
        """Tell everybody, once, and let go of the transport."""
        if self.closed:
            return
        self.closed = True
        self._receive = self._ignore
        if self._delayed_close_timer is not None:
            self._delayed_close_timer.disable()
            self._delayed_close_timer = None
        self._held = None
        if self.transport is not None:
            self.transport.abort()
        callbacks, self._callbacks = self._callbacks, []
        for each in callbacks:
            each.on_event(event)
        self._filters = []
