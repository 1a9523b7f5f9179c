"""Earliest deadline first: picks in proportion to weights, spread evenly.

Envoy: `Upstream::EdfScheduler` (the same arithmetic in double precision, so the sequences agree).

Each entry has a deadline; a pick takes the earliest, moves the clock there and gives the entry a new deadline
`1 / weight` later. Entries with one deadline are picked in the order in which they were added.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Generic, TypeVar

Entry = TypeVar("Entry")

_MAX_PICKS = 429_496_729
"""More would cost precision."""
_EPSILON = 1e-13


class EdfScheduler(Generic[Entry]):
    """Over entries whose weights, all above zero, `weight_of` tells; it is asked anew at every pick."""

    __slots__ = ("_current_time", "_order", "_queue", "_weight_of")

    def __init__(self, weight_of: Callable[[Entry], float]) -> None:
        self._weight_of = weight_of
        self._current_time = 0.0
        self._order = 0
        # (deadline, order of insertion, entry): the order is unique, so entries are never compared.
        self._queue: list[tuple[float, int, Entry]] = []

    @classmethod
    def with_picks(
        cls, entries: Sequence[Entry], weight_of: Callable[[Entry], float], picks: int
    ) -> EdfScheduler[Entry]:
        """As if `picks` picks had been made: most of them are computed, only the last few are carried out."""
        scheduler = cls(weight_of)
        picks %= _MAX_PICKS
        # Weights that are multiples of each other give deadlines that should be equal and, in floating point, are not.
        weights = [weight_of(entry) + _EPSILON for entry in entries]
        total = sum(weights)
        done = 0
        for order, (entry, weight) in enumerate(zip(entries, weights, strict=True)):
            own_picks = int(weight * picks / total)
            if own_picks and own_picks / weight >= picks / total:
                own_picks -= 1  # rounding made one too many
            done += own_picks
            scheduler._queue.append(((own_picks + 1) / weight, order, entry))
            scheduler._current_time = max(scheduler._current_time, own_picks / weight)
        heapq.heapify(scheduler._queue)
        scheduler._order = len(entries)
        if entries:
            for _ in range(picks - done):
                scheduler.pick_and_add()
        return scheduler

    def follow(self, gone: Collection[Entry], new: Iterable[Entry]) -> None:
        """Without `gone`, and with `new`; the others keep their deadlines."""
        queue = self._queue
        # A few of thousands: what stands last takes their places, and the heap is mended there and above.
        holes = [place for place, each in enumerate(queue) if each[2] in gone]
        for place in reversed(holes):
            last = queue.pop()
            if place < len(queue):
                queue[place] = last
        to_mend: set[int] = set()
        for place in holes:
            while place < len(queue) and place not in to_mend:
                to_mend.add(place)
                place = max(0, (place - 1) // 2)
        for place in sorted(to_mend, reverse=True):
            _sink(queue, place)
        for entry in new:
            self.add(entry)

    def goes_by(self, weight_of: Callable[[Entry], float]) -> bool:
        """Whether that is what it asks for weights."""
        return self._weight_of == weight_of

    def add(self, entry: Entry) -> None:
        heapq.heappush(self._queue, (self._current_time + 1.0 / self._weight_of(entry), self._order, entry))
        self._order += 1

    def pick_and_add(self) -> Entry | None:
        """The next entry, which goes back into the queue; None if there are no entries."""
        queue = self._queue
        if not queue:
            return None
        deadline, _, entry = queue[0]
        self._current_time = deadline
        heapq.heapreplace(queue, (deadline + 1.0 / self._weight_of(entry), self._order, entry))
        self._order += 1
        return entry


def _sink(heap: list[tuple[float, int, Entry]], place: int) -> None:
    """Exchange what is at `place` with what is below as long as that is less; below, the heap is one."""
    item = heap[place]
    while (below := 2 * place + 1) < len(heap):
        if below + 1 < len(heap) and heap[below + 1][:2] < heap[below][:2]:
            below += 1
        if item[:2] <= heap[below][:2]:
            break
        heap[place] = heap[below]
        place = below
    heap[place] = item
