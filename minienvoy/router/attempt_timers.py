"""The clocks of one attempt.

Envoy: `UpstreamRequest::setupPerTryTimeout`, `resetPerTryIdleTimer`, `onStreamMaxDurationReached`. Most attempts have
none of them.
"""

from __future__ import annotations

from collections.abc import Callable

from ..event.dispatcher import Dispatcher, Timer


class AttemptTimers:
    """Timers that end with the attempt; one of them, the idle timer, starts again whenever something comes."""

    __slots__ = ("_dispatcher", "_idle", "_idle_timeout", "_limit", "_timers")

    def __init__(self, dispatcher: Dispatcher) -> None:
        self._dispatcher = dispatcher
        self._timers: list[Timer] = []
        self._idle: Timer | None = None
        self._limit: Timer | None = None
        self._idle_timeout = 0.0

    def start(self, seconds: float, callback: Callable[[], None]) -> Timer:
        timer = self._dispatcher.create_timer(callback)
        timer.enable(seconds)
        self._timers.append(timer)
        return timer

    def limit(self, seconds: float, callback: Callable[[], None]) -> None:
        """What it carries may take so long, whatever it is."""
        self._limit = self.start(seconds, callback)

    def start_idle(self, seconds: float, callback: Callable[[], None]) -> None:
        self._idle = self.start(seconds, callback)
        self._idle_timeout = seconds

    def touch(self) -> None:
        """Something has come from the upstream."""
        if self._idle is not None:
            self._idle.enable(self._idle_timeout)

    def stop_waiting(self) -> None:
        """The answer that was waited for is there, and what follows it has only its limit."""
        limit = self._limit
        for timer in self._timers:
            if timer is not limit:
                timer.disable()
        self._timers = [] if limit is None else [limit]
        self._idle = None

    def stop(self) -> None:
        self._idle = None
        for timer in self._timers:
            timer.disable()
        self._timers.clear()
