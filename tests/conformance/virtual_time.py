"""An event loop in which time passes only when nothing else can happen.

The clients, the scripted upstreams and minienvoy itself run in this one loop, so whatever any of them is about to do is
a callback that is ready or a socket that is. When there is neither, all of them wait for time to pass, and the clock
jumps to the next timer: a pause of one second is exactly one second, however busy the machine, and nobody waits for it.

What is left to the kernel (a segment that is still on its way through the loopback interface, a connection that is
being made) gets a moment of real time before each jump. Whether there is anything of the kind is seen by looking at the
sockets (`minienvoy.event.simulated`): while nothing has passed through any of them since the last jump, there is not.
"""

from __future__ import annotations

import asyncio
import selectors
import socket
import struct
import sys
import time
from collections.abc import Callable, Coroutine, Iterable
from typing import Any, TypeVar

from minienvoy.event.dispatcher import Dispatcher
from minienvoy.event.simulated import connecting, look_at_sockets

T = TypeVar("T")

LINGER = 0.002
"""Real seconds for the kernel to deliver what it was given; it nearly always has before `send` returns."""
LINGER_IN_FLIGHT = 0.2
"""The same where it is known that it has not: the kernel's own thread waits for its turn on a busy machine."""
LINGER_FOR_CONNECT = 0.1
STUCK = 30.0
"""Real seconds without a timer, an event or a thread at work, after which nothing will ever happen."""


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """`time()` is virtual and begins at 1000."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.threads_at_work = 0
        super().__init__(_JumpingSelector(self))

    def time(self) -> float:
        return self.now

    def run_in_executor(self, executor: Any, func: Callable[..., T], *args: Any) -> asyncio.Future[T]:  # type: ignore[override]
        self.threads_at_work += 1

        def done(_: asyncio.Future[T]) -> None:
            self.threads_at_work -= 1

        future = super().run_in_executor(executor, func, *args)
        future.add_done_callback(done)
        return future


class _JumpingSelector(selectors.DefaultSelector):
    """Where the loop would sleep until its next timer, the clock is moved there instead."""

    def __init__(self, loop: VirtualTimeLoop) -> None:
        super().__init__()
        self._loop = loop
        self._seen: object = None
        self._hopeless: set[int] = set()

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if ready or (timeout is not None and timeout <= 0):
            return ready
        if self._loop.threads_at_work:
            return super().select(0.05)
        if timeout is None:
            ready = super().select(STUCK)
            if not ready:
                raise RuntimeError("everything waits for something that will never happen: no timer, no event")
            return ready
        ready = self._what_the_kernel_still_has()
        if not ready:
            self._loop.now += timeout
        return ready

    def _what_the_kernel_still_has(self) -> list[tuple[selectors.SelectorKey, int]]:
        seen = look_at_sockets()
        while seen != self._seen:
            self._seen = seen
            trying = connecting(seen)
            if ready := super().select(LINGER if trying <= self._hopeless else LINGER_FOR_CONNECT):
                return ready
            self._hopeless = trying
            if something_in_flight(seen) and (ready := super().select(LINGER_IN_FLIGHT)):
                return ready
            seen = look_at_sockets()
        return super().select(0)


_TCP_INFO = socket.TCP_INFO if sys.platform == "linux" else None
_HAS_SENT_FIN = (4, 9, 11)  # FIN_WAIT1, LAST_ACK, CLOSING


def something_in_flight(descriptors: Iterable[int]) -> bool:
    """Whether one of these sockets has sent bytes (or its FIN) that another of them has not received yet."""
    sent, received = {}, {}
    for descriptor in descriptors:
        if _TCP_INFO is None:
            return False
        try:
            view = socket.socket(fileno=descriptor)
        except OSError:
            continue
        try:
            info = view.getsockopt(socket.IPPROTO_TCP, _TCP_INFO, 216)
            (arrived,), (out, again) = struct.unpack_from("Q", info, 128), struct.unpack_from("QQ", info, 200)
            here, there = view.getsockname(), view.getpeername()
            sent[here, there] = out - again + (info[0] in _HAS_SENT_FIN)
            received[there, here] = arrived
        except (OSError, struct.error):
            continue  # it listens, or is not TCP, or the kernel is too old to tell
        finally:
            view.detach()
    return any(count > received.get(ends, count) for ends, count in sent.items())


class VirtualDispatcher(Dispatcher):
    """Both clocks are the loop's; it is now when the proxy is made."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop)
        self._wall_at_zero = time.time() - loop.time()

    def wall_time(self) -> float:
        return self._wall_at_zero + self.loop.time()


def run(main: Coroutine[Any, Any, T]) -> T:
    """As `asyncio.run`, in virtual time."""
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        return runner.run(main)
