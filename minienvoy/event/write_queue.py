"""Writes that leave together, when the events of this turn of the event loop have been handled.

Envoy: `Network::ConnectionImpl::write` does not write to the socket either; it activates the write event of its file,
which comes after the events that are being handled.

A write whose reader sleeps has to wake it up, and then costs the kernel several times as much. Where each message is
written between other work its reader has gone back to sleep before the next one comes; written in a row, only the first
finds it asleep. And what is written to one connection in several pieces leaves in one.

A codec that collects what it has to say until the end of the turn is a *writer*: it is called first, so that what it
writes leaves with the rest. In a turn of its own it would cost the loop another look at all of its files.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

MOST_BYTES: Final = 16 * 1024
"""What is written in larger pieces leaves at once: waiting would gain little, and take memory."""
MOST_CHUNKS: Final = 64
MOST_WAITING: Final = 64
"""Connections: with as many, they have waited for long enough (2 ms or so), and nothing is gained by more."""


def lose(data: bytes) -> None:
    """What is written to a connection without a transport."""


class WriteBuffer:
    """What one connection has still to give to its transport.

    Attributes:
        chunks: in their order, up to `MOST_CHUNKS`; it is in the queue if there are any.
        send: takes them.
    """

    __slots__ = ("chunks", "send")

    def __init__(self) -> None:
        self.chunks: list[bytes] = []
        self.send: Callable[[bytes], None] = lose

    def flush(self) -> None:
        """Do not wait for the end of the turn."""
        chunks = self.chunks
        if chunks:
            data = chunks[0] if len(chunks) == 1 else b"".join(chunks)
            chunks.clear()
            self.send(data)


_NOTHING: Final = WriteBuffer()
"""Waits in the place of what a writer is going to write."""


class WriteQueue:
    """Of one event loop. Whoever puts the first buffer into `waiting` has `flush` called soon, the last one calls it.

    Attributes:
        call_soon: calls back when the events of this turn have been handled.
    """

    __slots__ = ("_writers", "call_soon", "waiting")

    def __init__(self, call_soon: Callable[[Callable[[], None]], object]) -> None:
        self.call_soon = call_soon
        self.waiting: list[WriteBuffer] = []
        self._writers: list[Callable[[], None]] = []

    def write_soon(self, writer: Callable[[], None]) -> None:
        """Have `writer` called when the events of this turn have been handled; what it writes leaves then."""
        self._writers.append(writer)
        if not self.waiting:
            self.waiting.append(_NOTHING)
            self.call_soon(self.flush)

    def flush(self, turn_is_over: bool = True) -> None:
        """Give all transports what waits; before the turn is over, writers go on collecting."""
        if turn_is_over and self._writers:
            self._call_writers()
        waiting, self.waiting = self.waiting, []
        flushed = 0
        try:
            for buffer in waiting:
                flushed += 1
                chunks = buffer.chunks
                if chunks:
                    data = chunks[0] if len(chunks) == 1 else b"".join(chunks)
                    chunks.clear()
                    send = buffer.send
                    send(data)
        finally:
            if flushed < len(waiting):
                # A transport that raises must not keep the others from their turn.
                self.waiting += waiting[flushed:]
                self.call_soon(self.flush)

    def _call_writers(self) -> None:
        writers, self._writers = self._writers, []
        if not self.waiting:
            self.waiting.append(_NOTHING)
        called = 0
        try:
            for writer in writers:
                called += 1
                writer()
        except BaseException:
            # One that raises must not keep the others from their turn.
            self._writers = writers[called:] + self._writers
            self.call_soon(self.flush)
            raise
        if self._writers:
            self.call_soon(self.flush)
