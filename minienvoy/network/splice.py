"""Bytes from one socket to another without passing through this process.

No Envoy counterpart. Linux's splice(2) moves pages from a socket into a pipe and from the pipe into the other socket,
which costs less CPU than reading and writing, so the TCP proxy uses it once a direction has carried some bulk.

One direction of two connections is taken over: the transport of the source stops reading, and duplicates of both file
descriptors are watched instead. Whatever was written to the destination's transport must have left it before; nobody
else may write to it from then on. A FIN gives the source back to its transport, which then reads it; so does
`give_back`, for who wants to see the bytes after all.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING

from .connection import Connection

if TYPE_CHECKING:
    from ..event.dispatcher import Dispatcher

PIPE_SIZE = 256 * 1024
_F_SETPIPE_SZ = 1031
_FLAGS = getattr(os, "SPLICE_F_MOVE", 0) | getattr(os, "SPLICE_F_NONBLOCK", 0)


class Splice:
    """One direction, from `start` to `stop`."""

    __slots__ = (
        "_blocked",
        "_destination",
        "_destination_fd",
        "_dispatcher",
        "_given_back",
        "_in_pipe",
        "_moved",
        "_pipe",
        "_source",
        "_source_fd",
    )

    def __init__(
        self,
        source: Connection,
        destination: Connection,
        moved: Callable[[int], None],
        blocked: Callable[[bool], None],
    ) -> None:
        """`moved` hears how many bytes were taken from the source, `blocked` whether the destination takes no more."""
        self._dispatcher: Dispatcher = source.dispatcher
        self._source = source
        self._destination = destination
        self._moved = moved
        self._blocked = blocked
        self._pipe: tuple[int, int] | None = None
        self._source_fd = self._destination_fd = -1
        self._in_pipe = 0
        self._given_back: list[Callable[[], None]] = []

    @property
    def running(self) -> bool:
        return self._pipe is not None

    def start(self) -> bool:
        """Take the direction over if that can be done now."""
        source, destination = self._source, self._destination
        if self.running or not hasattr(os, "splice"):
            return False
        destination.flush()
        if not source.can_hand_over_reading or not destination.is_flushed:
            return False
        if source.transport is None or destination.transport is None:
            return False
        if getattr(source.transport, "bad_network", False) or getattr(destination.transport, "bad_network", False):
            return False  # bytes that do not pass through this process can not be made to suffer
        sockets = [each.transport.get_extra_info("socket") for each in (source, destination) if each.transport]
        if len(sockets) != 2 or None in sockets or source.info.ssl or destination.info.ssl:
            return False
        opened: list[int] = []
        try:
            opened += [os.dup(each.fileno()) for each in sockets]
            opened += os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            for fd in opened:
                os.close(fd)
            return False  # out of file descriptors: reading and writing needs none
        self._source_fd, self._destination_fd, *pipe = opened
        self._pipe = (pipe[0], pipe[1])
        self._enlarge(pipe[1])
        source.splices += (self,)
        destination.splices += (self,)
        self._given_back.clear()
        source.hand_over_reading(True)
        self._dispatcher.loop.add_reader(self._source_fd, self._on_readable)
        return True

    def stop(self) -> None:
        """One of the connections has ended, or the source has. What is in the pipe is lost."""
        if self._pipe is None:
            return
        loop = self._dispatcher.loop
        loop.remove_reader(self._source_fd)
        loop.remove_writer(self._destination_fd)
        for fd in (self._source_fd, self._destination_fd, *self._pipe):
            os.close(fd)
        self._pipe = None
        for connection in (self._source, self._destination):
            connection.splices = tuple(each for each in connection.splices if each is not self)

    def give_back(self, then: Callable[[], None]) -> None:
        """Let the transport of the source read again when the pipe is empty, and call `then`."""
        self._given_back.append(then)
        if not self._in_pipe:
            self._finish_giving_back()

    def _finish_giving_back(self) -> None:
        waiting, self._given_back = self._given_back, []
        self.stop()
        self._source.hand_over_reading(False)
        for then in waiting:
            then()

    @staticmethod
    def _enlarge(fd: int) -> None:
        from fcntl import fcntl

        try:
            fcntl(fd, _F_SETPIPE_SZ, PIPE_SIZE)
        except OSError:
            pass  # this user has many pipes: a smaller one does as well

    def _on_readable(self) -> None:
        assert self._pipe is not None
        try:
            size = os.splice(self._source_fd, self._pipe[1], PIPE_SIZE, flags=_FLAGS)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self.stop()
            self._source.connection_failed(error)
            return
        if not size:
            self.stop()
            self._source.hand_over_reading(False)
            return
        self._source.bytes_received += size
        self._in_pipe = size
        self._moved(size)
        if self._pipe is not None and not self._empty_pipe() and self._pipe is not None:
            self._dispatcher.loop.remove_reader(self._source_fd)
            self._dispatcher.loop.add_writer(self._destination_fd, self._on_writable)
            self._blocked(True)

    def _on_writable(self) -> None:
        if self._empty_pipe() and self._pipe is not None:
            self._dispatcher.loop.remove_writer(self._destination_fd)
            self._blocked(False)
            if self._given_back:
                self._finish_giving_back()
            else:
                self._dispatcher.loop.add_reader(self._source_fd, self._on_readable)

    def _empty_pipe(self) -> bool:
        """Move on what is in the pipe; True if nothing is left in it."""
        while self._in_pipe and self._pipe is not None:
            try:
                size = os.splice(self._pipe[0], self._destination_fd, self._in_pipe, flags=_FLAGS)
            except (BlockingIOError, InterruptedError):
                return False
            except OSError as error:
                self.stop()
                self._destination.connection_failed(error)
                return False
            self._in_pipe -= size
            self._destination.bytes_sent += size
        return True
