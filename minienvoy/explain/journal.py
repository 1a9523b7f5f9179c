"""What happened to hosts, beside the explanations of streams: ejections and health transitions.

No Envoy counterpart (its event logs are files, and off by default); `Proxy.explain.journal` and the admin's
`/minienvoy/explain?journal=N` read it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import NamedTuple

from .explanation import Decision


class JournalEntry(NamedTuple):
    """`time` is monotonic seconds of the server's clock, which a test may move."""

    time: float
    cluster: str
    decision: Decision

    def __str__(self) -> str:
        return f"{self.time:.3f} s: {self.cluster}: {self.decision}"


class Journal:
    """A ring of the newest `capacity` entries, oldest first."""

    def __init__(self, capacity: int = 1000) -> None:
        self._ring: deque[JournalEntry] = deque(maxlen=capacity)

    def record(self, time: float, cluster: str, point: str, chose: object, because: str) -> None:
        """`point` is `ejection` or `health`; `chose` is the host and what became of it."""
        self._ring.append(JournalEntry(time, cluster, Decision(point, chose, because)))

    def all(self, point: str, cluster: str = "") -> list[JournalEntry]:
        """The entries of one point, of one cluster or of all."""
        return [
            each for each in self._ring if each.decision.point == point and (not cluster or each.cluster == cluster)
        ]

    def last(self, count: int) -> list[JournalEntry]:
        """The newest `count` entries, oldest of them first."""
        return list(self._ring)[-count:] if count else []

    def clear(self) -> None:
        self._ring.clear()

    def __iter__(self) -> Iterator[JournalEntry]:
        return iter(self._ring)

    def __len__(self) -> int:
        return len(self._ring)
