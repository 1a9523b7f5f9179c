"""A TCP connection that remembers everything: what arrived, how it ended and when.

Both the client's connections and those that the proxy opens to a scripted backend are `Wire`s. Nothing is interpreted
here; `messages.py` makes HTTP out of the bytes.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
from collections.abc import Callable

from . import tls


class Wire(asyncio.Protocol):
    """One end of a connection.

    Attributes:
        received: every byte that arrived, in order.
        ended: None while the peer may still send, "closed" after its FIN, "reset" after its RST.
        last: when a byte was last sent or received, in the event loop's seconds.
        agreed: what TLS agreed on, at the server's end; empty without TLS.
        on_bytes: called whenever bytes have arrived, to react at once.
        we_ended: this side closed or reset the connection, and the peer had not before.
    """

    def __init__(self, on_connect: Callable[[Wire], None] | None = None) -> None:
        self.received = bytearray()
        self.read_position = 0
        self.ended: str | None = None
        self.ended_at = 0.0
        self._clock = asyncio.get_running_loop().time
        self.last = self._clock()
        self.last_sent = self.last
        self.we_ended = False
        self.transport: asyncio.Transport | None = None
        self.agreed = ""
        self.local_port = 0
        self.peer_port = 0
        self.on_bytes: Callable[[], None] | None = None
        self._on_connect = on_connect
        self._tls: ssl.SSLObject | None = None
        self._waiting: list[asyncio.Future[None]] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        raw = transport.get_extra_info("socket")
        if raw is not None and raw.family != socket.AF_UNIX:
            # asyncio does so only for sockets that name their protocol; a second small write must not wait for an ACK.
            raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        session = self._tls = transport.get_extra_info("ssl_object")
        if session is not None and session.server_side:
            self.agreed = tls.agreed(session)
        local, peer = transport.get_extra_info("sockname"), transport.get_extra_info("peername")
        if isinstance(local, tuple):
            self.local_port, self.peer_port = local[1], peer[1]
        if self._on_connect is not None:
            self._on_connect(self)

    def data_received(self, data: bytes) -> None:
        self.received += data
        self.last = self._clock()
        if self.on_bytes is not None:
            self.on_bytes()
        self._wake()

    def eof_received(self) -> bool:
        self._end("closed")
        # Our direction stays open, where it can: a half-close is one of the things we test.
        return self._tls is None

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.we_ended:
            alert = isinstance(exc, ssl.SSLError) and exc.reason
            self._end(f"alert {exc.reason}" if alert else "reset" if exc is not None else "closed")
        self._wake()

    def _end(self, how: str) -> None:
        if self.ended is None or (self.ended == "closed" and how != "closed"):
            if self.ended is None:
                self.ended_at = self._clock()
            self.ended = how
        self._wake()

    def send(self, data: bytes) -> None:
        assert self.transport is not None
        self.last = self.last_sent = self._clock()
        if not self.transport.is_closing():
            self.transport.write(data)

    def half_close(self) -> None:
        assert self.transport is not None
        self.last = self.last_sent = self._clock()
        if not self.transport.is_closing() and self.transport.can_write_eof():
            self.transport.write_eof()

    def close(self) -> None:
        self.we_ended = self.ended is None
        if self.transport is not None:
            self.transport.close()

    def abandon(self) -> None:
        """Give the connection up, whatever is still to be sent."""
        if self.transport is not None:
            self.transport.abort()

    def reset(self) -> None:
        """End the connection with an RST."""
        assert self.transport is not None
        self.we_ended = self.ended is None
        raw: socket.socket | None = self.transport.get_extra_info("socket")
        if raw is not None and not self.transport.is_closing():
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.transport.abort()

    def pause(self) -> None:
        """Read nothing more: the peer meets a full window."""
        assert self.transport is not None
        self.transport.pause_reading()

    def resume(self) -> None:
        assert self.transport is not None
        self.transport.resume_reading()

    async def until(self, condition: Callable[[], bool], patience: float) -> bool:
        """Wait until `condition()` holds, at most `patience` seconds; True if it came to hold."""
        deadline = self._clock() + patience
        while not condition():
            left = deadline - self._clock()
            if left <= 0:
                return False
            changed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append(changed)
            try:
                await asyncio.wait_for(changed, left)
            except TimeoutError:
                return condition()
            finally:
                if changed in self._waiting:
                    self._waiting.remove(changed)
        return True

    def _wake(self) -> None:
        """Something has changed: whoever waits looks again, be it one or several."""
        waiting, self._waiting = self._waiting, []
        for changed in waiting:
            if not changed.done():
                changed.set_result(None)
