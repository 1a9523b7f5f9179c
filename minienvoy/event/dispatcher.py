"""Timers, the two clocks and tasks, over an asyncio loop.

Envoy: `Event::Dispatcher`, `Event::Timer`, `Event::TimeSystem`. Nothing else in minienvoy reads a clock, sleeps or
makes a task (ruff's TID251 proves it); `event/simulated.py` is the same thing over time that a test moves.

Timers are coarse: a deadline falls into a bucket of `TICK` seconds, and arming or disarming one is an insert into or a
removal from that bucket. Nearly every timer of a proxy is disarmed before it fires, and a loop timer costs 1-4 us.
A timer never fires early, and at most one tick late.

A bucket whose timers are all disarmed stays until its tick comes, which for an idle timeout of an hour is long: where
connections come and go there would be a hundred of them for each second. So they are swept out as their number doubles.
"""

from __future__ import annotations

import asyncio
import heapq
import time
from collections.abc import Callable, Coroutine
from math import ceil, inf
from typing import Any, Protocol, TypeVar

from .socket_watch import SocketWatch
from .write_queue import WriteQueue

TICK = 0.01
_FEWEST_TO_SWEEP = 512
_TURNS_TO_CLOSE = 3
"""asyncio takes one to tell the protocol and close the socket; a transport that is still being made takes two more."""


Result = TypeVar("Result")


class Cancellable(Protocol):
    def cancel(self) -> object: ...


class Timer:
    """A deadline that can be armed again and again.

    Attributes:
        deadline: monotonic seconds; infinity while it is not armed.
    """

    __slots__ = ("_bucket", "_callback", "_dispatcher", "deadline")

    def __init__(self, dispatcher: Dispatcher, callback: Callable[[], None]) -> None:
        self._dispatcher = dispatcher
        self._callback = callback
        self._bucket: dict[Timer, None] | None = None
        self.deadline = inf

    @property
    def enabled(self) -> bool:
        return self._bucket is not None

    def enable(self, delay: float) -> None:
        """Fire `delay` seconds from now; an earlier deadline is forgotten."""
        dispatcher = self._dispatcher
        self.deadline = deadline = dispatcher.monotonic_time() + delay
        if self._bucket is not None:
            del self._bucket[self]
        tick = ceil(deadline / TICK - 1e-6)
        bucket = dispatcher._buckets.get(tick)
        if bucket is None:
            bucket = dispatcher._new_bucket(tick)
        bucket[self] = None
        self._bucket = bucket

    def disable(self) -> None:
        """Do not fire. Disabling a timer that is not armed is fine."""
        if self._bucket is not None:
            del self._bucket[self]
            self._bucket = None
            self.deadline = inf


class LazyTimer:
    """A deadline that is pushed back far more often than it is reached, such as an idle timeout.

    `enable` and `disable` only write an attribute; the timer below is looked at when the oldest deadline comes.
    `close` must be called when the owner goes away, or the owner lives until that deadline.
    """

    __slots__ = ("_callback", "_deadline", "_dispatcher", "_timer")

    def __init__(self, dispatcher: Dispatcher, callback: Callable[[], None]) -> None:
        self._dispatcher = dispatcher
        self._callback = callback
        self._deadline = 0.0
        self._timer: Timer | None = None

    def enable(self, delay: float) -> None:
        """Fire `delay` seconds from now; an earlier deadline is forgotten."""
        self._deadline = deadline = self._dispatcher.monotonic_time() + delay
        timer = self._timer
        if timer is None:
            timer = self._timer = Timer(self._dispatcher, self._look)
            timer.enable(delay)
        elif timer.deadline > deadline:
            timer.enable(delay)

    def disable(self) -> None:
        self._deadline = 0.0

    def close(self) -> None:
        self._deadline = 0.0
        if self._timer is not None:
            self._timer.disable()

    def _look(self) -> None:
        deadline = self._deadline
        if not deadline or self._timer is None:
            return
        left = deadline - self._dispatcher.monotonic_time()
        if left > TICK * 1e-6:  # less is the rounding of the timer's own deadline
            self._timer.enable(left)
        else:
            self._deadline = 0.0
            self._callback()


class Dispatcher:
    """What the rest of minienvoy knows of time and of the event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.monotonic_time: Callable[[], float] = loop.time
        """Seconds from an arbitrary start."""
        self.dial: Callable[[Any], None] | None = None
        """Takes every connection that is to be opened, in place of the network (`dry_run`)."""
        self.internal_listeners: Any = None
        """Connects to listeners inside this process (`network.internal_connection`); None: there are none."""
        self.toxics: Any = None
        """Hears of every connection to a host that is to be opened, to make it a bad one (`upstream/faults.py`)."""
        self._buckets: dict[int, dict[Timer, None]] = {}
        self._ticks: list[int] = []
        self._sweep_at = _FEWEST_TO_SWEEP
        self._wake_up: Cancellable | None = None
        self._wake_up_tick = 0
        self._fired = -1
        self._tasks: set[asyncio.Task[Any]] = set()
        self.datagrams = SocketWatch(loop)
        """Watches sockets of datagrams."""
        self.write_queue = self._create_write_queue()
        """Of all connections of this loop."""
        self.write_soon: Callable[[Callable[[], None]], None] = self.write_queue.write_soon
        """Calls back at the end of this turn, to write what has come together."""

    def wall_time(self) -> float:
        """Seconds since the epoch."""
        return time.time()

    def create_timer(self, callback: Callable[[], None]) -> Timer:
        return Timer(self, callback)

    def create_lazy_timer(self, callback: Callable[[], None]) -> LazyTimer:
        return LazyTimer(self, callback)

    def post(self, callback: Callable[[], None]) -> None:
        """Call back after what is going on now (`Dispatcher::post`)."""
        self.loop.call_soon(callback)

    def create_task(self, coroutine: Coroutine[Any, Any, Any], name: str) -> asyncio.Task[Any]:
        """Run `coroutine` beside everything else; `stop` cancels it if it is still running by then."""
        task = self.loop.create_task(coroutine, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def sleep(self, seconds: float) -> None:
        """Wait as a task; callbacks use a `Timer`."""
        done: asyncio.Future[None] = self.loop.create_future()
        timer = self.create_timer(lambda: None if done.done() else done.set_result(None))
        timer.enable(seconds)
        try:
            await done
        finally:
            timer.disable()

    async def pause(self) -> None:
        """Let everybody else have a turn; for a task that has a lot to do."""
        await asyncio.sleep(0)

    async def in_thread(self, function: Callable[[], Result]) -> Result:
        """What `function` comes to, in another thread: for what takes long and can not be done in pieces."""
        return await self.loop.run_in_executor(None, function)

    async def stop(self) -> None:
        """Forget every timer and end every task that `create_task` made; return when the loop is done with what was
        closed: it tells of a lost connection, and closes the socket, some turns after it was asked to."""
        # Whoever has been given a socket learns of it first: a task that is cancelled before its first step loses it.
        await asyncio.sleep(0)
        me = asyncio.current_task()
        tasks = [task for task in self._tasks if task is not me]
        for task in tasks:
            task.cancel()
        try:
            await asyncio.gather(*tasks, return_exceptions=True)
            for _ in range(_TURNS_TO_CLOSE):
                await asyncio.sleep(0)
        finally:
            # Last, for whoever hears of an end may arm a timer.
            if self._wake_up is not None:
                self._wake_up.cancel()
                self._wake_up = None
            for bucket in self._buckets.values():
                for timer in bucket:
                    timer._bucket = None
                    timer.deadline = inf
            self._buckets.clear()
            self._ticks.clear()

    def _create_write_queue(self) -> WriteQueue:
        return WriteQueue(self.loop.call_soon)

    def _new_bucket(self, tick: int) -> dict[Timer, None]:
        if tick <= self._fired:
            # Armed from a callback of this very tick: a timer that re-arms itself at once must not starve the loop.
            tick = self._fired + 1
            if tick in self._buckets:
                return self._buckets[tick]
        if len(self._buckets) >= self._sweep_at:
            self._sweep()
        bucket = self._buckets[tick] = {}
        heapq.heappush(self._ticks, tick)
        if self._wake_up is None or tick < self._wake_up_tick:
            self._arm(tick)
        return bucket

    def _sweep(self) -> None:
        """Forget the buckets that are empty; in place, for whoever fires timers holds both."""
        buckets, ticks = self._buckets, self._ticks
        for tick in [tick for tick, bucket in buckets.items() if not bucket]:
            del buckets[tick]
        ticks[:] = sorted(buckets)
        self._sweep_at = max(_FEWEST_TO_SWEEP, 2 * len(buckets))

    def _arm(self, tick: int) -> None:
        if self._wake_up is not None:
            self._wake_up.cancel()
        self._wake_up_tick = tick
        self._wake_up = self.loop.call_at(tick * TICK, self._fire_due)

    def _fire_due(self) -> None:
        self._wake_up = None
        self._fire_until(int(self.monotonic_time() / TICK + 1e-6))
        ticks = self._ticks
        while ticks and not self._buckets[ticks[0]]:
            del self._buckets[heapq.heappop(ticks)]
        # A callback may have armed a timer, and so the wake-up, for later than what waits already.
        if ticks and (self._wake_up is None or ticks[0] < self._wake_up_tick):
            self._arm(ticks[0])

    def _fire_until(self, now: int) -> None:
        ticks = self._ticks
        while ticks and ticks[0] <= now:
            self._fired = tick = heapq.heappop(ticks)
            bucket = self._buckets.pop(tick)
            while bucket:
                timer = next(iter(bucket))
                del bucket[timer]
                timer._bucket = None
                timer.deadline = inf
                timer._callback()
