"""Resources that are gone when they are not sent again in time.

Envoy: `Config::TtlManager`; docs "xDS protocol > TTL".
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..event.dispatcher import Dispatcher


class TtlManager:
    """The names of resources, and when each is over."""

    __slots__ = ("_dispatcher", "_on_expired", "_timer", "_until")

    def __init__(self, dispatcher: Dispatcher, on_expired: Callable[[Sequence[str]], None]) -> None:
        """`on_expired` is told the names that are over, together."""
        self._dispatcher = dispatcher
        self._on_expired = on_expired
        self._until: dict[str, float] = {}
        self._timer = dispatcher.create_timer(self._on_timer)

    def add(self, name: str, ttl: float) -> None:
        """It is over in `ttl` seconds, whatever was said before."""
        self._until[name] = self._dispatcher.monotonic_time() + ttl
        self._arm()

    def clear(self, name: str) -> None:
        """It lasts."""
        if self._until.pop(name, None) is not None:
            self._arm()

    def stop(self) -> None:
        self._until.clear()
        self._timer.disable()

    def _arm(self) -> None:
        if not self._until:
            self._timer.disable()
            return
        first = min(self._until.values())
        if self._timer.deadline != first:
            self._timer.enable(max(0.0, first - self._dispatcher.monotonic_time()))

    def _on_timer(self) -> None:
        now = self._dispatcher.monotonic_time()
        expired = [name for name, until in self._until.items() if until <= now + 1e-9]
        for name in expired:
            del self._until[name]
        self._arm()
        if expired:
            self._on_expired(expired)
