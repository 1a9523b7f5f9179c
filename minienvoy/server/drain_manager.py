"""Gets rid of connections without breaking them.

Envoy: `Server::DrainManagerImpl`; docs "Draining", `--drain-time-s`, `--drain-strategy`.

While a server or one listener drains, each response asks `drain_close` whether its connection should be closed. Under
the gradual strategy the answer is yes with a probability that grows from 0 to 1 over the first half of the drain time,
in steps of a second, so that clients do not all come back at once.

A connection on which nothing is asked is asked to end, too, some time after two thirds of the drain time: early enough
for its own drain timeout to be over before the drain time is. Where that is too long for it, and for a connection that
has come later than that, nothing happens.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from math import ceil
from typing import TYPE_CHECKING

from ..network.drain_decision import DrainState

if TYPE_CHECKING:
    from ..event.dispatcher import Dispatcher, Timer
    from ..event.random import RandomStream


class DrainStrategy(Enum):
    """`--drain-strategy`."""

    GRADUAL = "gradual"
    IMMEDIATE = "immediate"


class DrainManager:
    """One for the server, and one below it for each listener.

    Args:
        drain_time: seconds, `--drain-time-s`; 0 closes at once.
        health_check_failed: has `/healthcheck/fail` been asked for? A manager that may heed it closes every connection.
        parent: drains when its parent does.
        state: shared by all managers of a server, told that something drains.
    """

    __slots__ = (
        "_deadline",
        "_dispatcher",
        "_health_check_failed",
        "_parent",
        "_random",
        "_state",
        "_strategy",
        "_timer",
        "drain_time",
        "draining",
    )

    def __init__(
        self,
        dispatcher: Dispatcher,
        random: RandomStream,
        drain_time: float = 600.0,
        strategy: DrainStrategy = DrainStrategy.GRADUAL,
        *,
        health_check_failed: Callable[[], bool] | None = None,
        parent: DrainManager | None = None,
        state: DrainState | None = None,
    ) -> None:
        self._dispatcher = dispatcher
        self._random = random
        self.drain_time = drain_time
        self._strategy = strategy
        self._health_check_failed = health_check_failed
        self._parent = parent
        self._state = state or DrainState()
        self._deadline = 0.0
        self._timer: Timer | None = None
        self.draining = False

    def create_child(self, *, modify_only: bool = False) -> DrainManager:
        """For a listener; `modify_only` is its `drain_type: MODIFY_ONLY`, which does not heed failed health checks."""
        return DrainManager(
            self._dispatcher,
            self._random,
            self.drain_time,
            self._strategy,
            health_check_failed=None if modify_only else self._health_check_failed,
            parent=self,
            state=self._state,
        )

    def drain_close(self) -> bool:
        """Should a connection that has just answered be closed?"""
        if self._health_check_failed is not None and self._health_check_failed():
            return True
        if self._parent is not None and self._parent.ramp():
            return True
        return self.ramp()

    def ramp(self) -> bool:
        """The answer as far as this manager's own drain sequence goes."""
        if not self.draining:
            return False
        left = self._deadline - self._dispatcher.monotonic_time()
        if self._strategy is DrainStrategy.IMMEDIATE or left <= 0:
            return True
        return int(self.drain_time - left) > int(self._random.random() * ceil(self.drain_time / 2))

    def drain_delay(self, drain_timeout: float) -> float | None:
        """Seconds until a connection that takes `drain_timeout` to end is asked to, whatever is asked on it.

        Drawn for each; None for never.
        """
        for manager in (self, self._parent):
            if manager is not None and manager.draining:
                left = manager._deadline - self._dispatcher.monotonic_time()
                first, last = left - manager.drain_time / 3, left - drain_timeout
                if 0 <= first < last:
                    return first + self._random.random() * (last - first)
        return None

    def start_drain_sequence(self, on_drained: Callable[[], None]) -> bool:
        """Begin; `on_drained` is called after the drain time. False, and nothing else, if it has begun already."""
        if self.draining:
            return False
        self.draining = True
        self._deadline = self._dispatcher.monotonic_time() + self.drain_time
        self._state.begin()
        self._timer = self._dispatcher.create_timer(on_drained)
        self._timer.enable(self.drain_time)
        return True

    def stop(self) -> None:
        """Never call `on_drained`."""
        if self._timer is not None:
            self._timer.disable()
