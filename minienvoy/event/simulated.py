"""Time that stands still until a test moves it.

Envoy: `Event::SimulatedTimeSystem` (`test/test_common/simulated_time_system.h`).

Sockets are real, and what a timer sets in motion takes some turns of the event loop to come to rest. That it has is not
guessed from a clock: after each turn every socket of this process is looked at, and when nothing has come in, gone out,
opened or closed for `QUIET_TURNS` turns, nobody in this loop has anything more to say.
"""

from __future__ import annotations

import asyncio
import os
import select
import socket
import stat
import sys

from .dispatcher import TICK, Dispatcher
from .write_queue import WriteQueue

QUIET_TURNS = 12
"""Turns of the loop in which a peer may be at work without touching a socket: an `await` takes one."""
MOST_TURNS = 5000
"""A peer that never comes to rest does not hold time up for good."""
LINGER = 1
"""Milliseconds for the kernel to deliver what it has accepted; the loopback interface nearly always has already."""
LINGER_FOR_CONNECT = 100
"""Milliseconds for a socket to connect; uvloop asks a thread before it does."""

_TCP_INFO = socket.TCP_INFO if sys.platform == "linux" else None
_STATE = slice(0, 1)
_BYTES_ACKED_AND_RECEIVED = slice(120, 136)
_NOT_CONNECTED = (b"\x02", b"\x07")  # SYN_SENT, CLOSE

Seen = dict[int, tuple[int, bytes]]


class SimulatedDispatcher(Dispatcher):
    """Timers that are due in the same tick fire in the order in which they were armed."""

    def __init__(self, loop: asyncio.AbstractEventLoop, wall_time: float = 1_700_000_000.0) -> None:
        super().__init__(loop)
        self._now = 0.0
        self._wall_at_zero = wall_time
        self._hopeless: set[int] = set()
        self.monotonic_time = lambda: self._now
        self.write_soon = self.post

    def _create_write_queue(self) -> WriteQueue:
        # There may be no loop that turns: what is written leaves at once.
        return WriteQueue(lambda flush: flush())

    def wall_time(self) -> float:
        return self._wall_at_zero + self._now

    def advance(self, seconds: float) -> None:
        """Move time on, firing what falls due on the way, each at its own instant."""
        end = self._now + seconds
        while self._ticks and self._ticks[0] * TICK <= end + TICK * 1e-6:
            tick = self._ticks[0]
            self._now = max(self._now, min(tick * TICK, end))
            self._fire_until(tick)
        self._now = end

    async def advance_and_settle(self, seconds: float) -> None:
        """As `advance`, and what each timer sets in motion comes to rest before the next one fires."""
        await self.settle()
        end = self._now + seconds
        while (step := self.next_deadline()) is not None and self._now + step <= end + TICK * 1e-6:
            self.advance(min(step, max(0.0, end - self._now)))
            await self.settle()
        self.advance(max(0.0, end - self._now))

    async def settle(self) -> None:
        """Let the event loop turn until the sockets of this process have nothing more to say to each other.

        A peer in another process or thread is not waited for.
        """
        seen = look_at_sockets()
        quiet = 0
        for _ in range(MOST_TURNS):
            await asyncio.sleep(0)
            before, seen = seen, look_at_sockets()
            quiet = quiet + 1 if seen == before else 0
            if quiet >= QUIET_TURNS:
                if not await self._something_comes(seen):
                    return
                quiet = 0

    async def _something_comes(self, seen: Seen) -> bool:
        """Is it only that the kernel, or a thread, has not had its turn yet?"""
        trying = connecting(seen)
        for _ in range(LINGER if trying <= self._hopeless else LINGER_FOR_CONNECT):
            await asyncio.sleep(0.001)
            if look_at_sockets() != seen:
                return True
        self._hopeless = trying
        return False

    async def wait(self, event: asyncio.Event) -> None:
        """Wait for what the world outside decides, such as the answer of a name server; time moves as it does there."""
        while not event.is_set():
            try:
                await asyncio.wait_for(event.wait(), TICK)
            except TimeoutError:
                self.advance(TICK)

    def next_deadline(self) -> float | None:
        """Seconds until the next timer can fire; None if none is armed."""
        armed = [tick for tick, bucket in self._buckets.items() if bucket]
        return max(0.0, min(armed) * TICK - self._now) if armed else None

    def _arm(self, tick: int) -> None:
        """Nothing wakes simulated time up but `advance`."""


def look_at_sockets() -> Seen:
    """Of every socket of this process: what it is ready for, and how much has passed through it."""
    poll = select.poll()
    seen: Seen = {}
    for name in os.listdir("/dev/fd"):  # noqa: PTH208 (names are all that is wanted, and many times)
        try:
            if stat.S_ISSOCK(os.fstat(int(name)).st_mode):
                seen[int(name)] = (0, _passed(int(name)))
                poll.register(int(name), select.POLLIN | select.POLLOUT)
        except OSError:
            continue  # the descriptor of the listing itself, or closed by another thread
    for fd, events in poll.poll(0):
        seen[fd] = (events, seen[fd][1])
    return seen


def connecting(seen: Seen) -> set[int]:
    """The sockets whose connection is still being made, or that were not told to connect yet."""
    return {fd for fd, (_, passed) in seen.items() if passed[_STATE] in _NOT_CONNECTED}


def _passed(fd: int) -> bytes:
    """The state of a TCP connection, and whatever changes when bytes arrive, are taken, or reach the peer."""
    import fcntl
    import termios

    try:
        waiting = fcntl.ioctl(fd, termios.FIONREAD, bytes(4))
    except OSError:  # it listens
        return b""
    if _TCP_INFO is None:
        return b"\0" + waiting
    # Not `socket.socket`, whose making takes longer than everything that is asked here of hundreds of them.
    view = socket.SocketType(socket.AF_INET, socket.SOCK_STREAM, 0, fd)
    try:
        info = view.getsockopt(socket.IPPROTO_TCP, _TCP_INFO, 136)
        return info[_STATE] + waiting + info[_BYTES_ACKED_AND_RECEIVED]
    except OSError:  # not TCP
        return b"\0" + waiting
    finally:
        view.detach()
