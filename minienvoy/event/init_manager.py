"""Waits for several things that each take their time before something can be used.

Envoy: `Init::ManagerImpl`, `Init::TargetImpl`; docs "Initialization".

    manager = InitManager()
    manager.add(subscription.initialize)        # InitTarget: called with what tells that it is ready
    manager.initialize(listener.on_warmed)      # called once, when all are; also if there is nothing to wait for
"""

from __future__ import annotations

from collections.abc import Callable

InitTarget = Callable[[Callable[[], None]], None]
"""Begins, and calls its argument once when it is ready, which may be at once."""


class InitManager:
    """Attributes:
    initialized: nothing is waited for any more.
    """

    __slots__ = ("_begun", "_on_ready", "_targets", "_waiting", "initialized")

    def __init__(self) -> None:
        self.initialized = False
        self._begun = False
        self._targets: list[InitTarget] = []
        self._waiting = 0
        self._on_ready: Callable[[], None] | None = None

    def add(self, target: InitTarget) -> None:
        """Wait for `target`, too. What comes when all is over is begun, and nobody waits for it."""
        if self._begun:
            self._begin(target)
        else:
            self._targets.append(target)

    def initialize(self, on_ready: Callable[[], None]) -> None:
        """Begin with all of them, in their order."""
        self._begun = True
        self._on_ready = on_ready
        self._waiting += 1
        targets, self._targets = self._targets, []
        for target in targets:
            self._begin(target)
        self._one_less()

    def cancel(self) -> None:
        """Nobody is to be told any more."""
        self._on_ready = None
        self._targets.clear()

    def _begin(self, target: InitTarget) -> None:
        self._waiting += 1
        told = False

        def ready() -> None:
            nonlocal told
            if not told:
                told = True
                self._one_less()

        target(ready)

    def _one_less(self) -> None:
        self._waiting -= 1
        if not self._waiting and not self.initialized:
            self.initialized = True
            on_ready, self._on_ready = self._on_ready, None
            if on_ready is not None:
                on_ready()
