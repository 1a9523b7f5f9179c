"""Finds the routes that a path can be for, among thousands, without asking each.

Envoy has no counterpart: it asks the routes of a virtual host in order, and so does `RouteConfig` for the first
`config.SCANNED` of them. For those that come after them this narrows down who is asked: routes whose path is a literal
(`prefix`, `path`, `path_separated_prefix`) that the request's path begins with, and routes that have no literal. Who is
left is asked in the same order and the same way, so the answer is the same.

The literals stand sorted. All literals that a path begins with are then found from one of them: whatever sorts between
a literal and a path that begins with it begins with that literal, too. So each of them is the path's predecessor in the
order, or a literal that this predecessor begins with; `parents` leads from each literal to the longest shorter one.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from heapq import merge
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .route_entry import RouteEntry


class RouteIndex:
    """Of the routes of one virtual host."""

    __slots__ = ("_folded", "_no_literal", "_routes", "_sensitive")

    def __init__(self, routes: Sequence[RouteEntry]) -> None:
        self._routes = routes
        sensitive: dict[bytes, list[int]] = {}
        folded: dict[bytes, list[int]] = {}
        self._no_literal: list[int] = []
        for number, route in enumerate(routes):
            literal = route.match.prefix
            if literal is None:
                self._no_literal.append(number)
            elif route.match.case_sensitive:
                sensitive.setdefault(literal, []).append(number)
            else:
                folded.setdefault(literal.lower(), []).append(number)
        self._sensitive = _Literals(sensitive)
        self._folded = _Literals(folded) if folded else None

    def candidates(self, path: bytes) -> Iterable[RouteEntry]:
        """In order, every route that `path` (without query) fits; and some that it does not fit."""
        numbers = self._sensitive.of(path)
        if self._folded is not None:
            numbers += self._folded.of(path.lower())
        if self._no_literal:
            numbers.append(self._no_literal)
        # The first that fits ends the search: those behind it need not be put in order.
        in_order: Iterable[int] = merge(*numbers) if len(numbers) > 1 else numbers[0] if numbers else ()
        return map(self._routes.__getitem__, in_order)


class _Literals:
    """Literal -> the numbers of its routes, for all literals that a path begins with."""

    __slots__ = ("_numbers", "_parents", "_sorted")

    def __init__(self, routes: dict[bytes, list[int]]) -> None:
        self._sorted = sorted(routes)
        self._numbers = [routes[literal] for literal in self._sorted]
        self._parents: list[int] = []
        above: list[int] = []
        for at, literal in enumerate(self._sorted):
            while above and not literal.startswith(self._sorted[above[-1]]):
                above.pop()
            self._parents.append(above[-1] if above else -1)
            above.append(at)

    def of(self, path: bytes) -> list[list[int]]:
        literals, parents = self._sorted, self._parents
        at = bisect_right(literals, path) - 1
        while at >= 0 and not path.startswith(literals[at]):
            at = parents[at]
        found = []
        while at >= 0:
            found.append(self._numbers[at])
            at = parents[at]
        return found
