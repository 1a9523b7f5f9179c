"""Time that stands still until a test moves it.

Envoy: `Event::SimulatedTimeSystem` (`test/test_common/simulated_time_system.h`).
"""

from __future__ import annotations

import asyncio

from .dispatcher import TICK, Dispatcher


class SimulatedDispatcher(Dispatcher):
    """Timers that are due in the same tick fire in the order in which they were armed."""

    def __init__(self, loop: asyncio.AbstractEventLoop, wall_time: float = 1_700_000_000.0) -> None:
        super().__init__(loop)
        self._now = 0.0
        self._wall_at_zero = wall_time
        self.monotonic_time = lambda: self._now

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

    async def settle(self, quiet: int = 5, limit: int = 1000) -> None:
        """Let the event loop turn until the sockets of this process have nothing more to say to each other.

        Loopback I/O takes a turn or two of the loop; `quiet` turns with nothing to read in between are taken for
        silence. A peer in another process or thread is not waited for.
        """
        turns = 0
        for _ in range(limit):
            started = self.loop.time()
            await asyncio.sleep(0)
            if turns % 2:
                await asyncio.sleep(0.0005)
            turns = 0 if self.loop.time() - started > 0.05 else turns + 1
            if turns >= quiet * 2:
                return

    def next_deadline(self) -> float | None:
        """Seconds until the next timer can fire; None if none is armed."""
        armed = [tick for tick, bucket in self._buckets.items() if bucket]
        return max(0.0, min(armed) * TICK - self._now) if armed else None

    def _arm(self, tick: int) -> None:
        """Nothing wakes simulated time up but `advance`."""
