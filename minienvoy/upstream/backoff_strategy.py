"""How long to wait before trying again.

Envoy: `BackOffStrategy`, `JitteredExponentialBackOffStrategy`, `JitteredLowerBoundBackOffStrategy`,
`FixedBackOffStrategy` (`source/common/common/`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from ..event.random import RandomStream


class BackOffStrategy(Protocol):
    def next_back_off(self) -> float:
        """Seconds."""

    def reset(self) -> None:
        """It worked: begin from the beginning next time."""


class JitteredExponentialBackOffStrategy:
    """Anything between zero and an interval that doubles each time, from `base` up to `maximum` seconds."""

    __slots__ = ("_base", "_maximum", "_next", "_random")

    def __init__(self, base: float, maximum: float, random: RandomStream) -> None:
        self._base = base
        self._maximum = maximum
        self._random = random
        self._next = base

    def next_back_off(self) -> float:
        interval = self._next
        self._next = min(interval * 2, self._maximum)
        return self._random.random() * interval

    def reset(self) -> None:
        self._next = self._base


class FixedBackOffStrategy:
    """Always the same seconds."""

    __slots__ = ("_interval",)

    def __init__(self, interval: float) -> None:
        self._interval = interval

    def next_back_off(self) -> float:
        return self._interval

    def reset(self) -> None:
        """There is nothing to begin again."""


class JitteredLowerBoundBackOffStrategy:
    """At least `minimum` seconds, and up to half as much again: who was told a time must not come before it."""

    __slots__ = ("_minimum", "_random")

    def __init__(self, minimum: float, random: RandomStream) -> None:
        self._minimum = minimum
        self._random = random

    def next_back_off(self) -> float:
        return self._minimum * (1.0 + self._random.random() / 2)

    def reset(self) -> None:
        """There is nothing to begin again."""
