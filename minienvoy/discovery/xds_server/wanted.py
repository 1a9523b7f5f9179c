"""What clients ask for by name, counted: endpoints are followed while somebody wants them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from typing import Final

from .resources import ENDPOINTS

MAX_NAMES: Final = 10_000
"""Names that one stream may ask for, of each type."""


class Wanted:
    """`on_first` and `on_last` hear of names of endpoints that begin and cease to be wanted."""

    def __init__(self, on_first: Callable[[str], None], on_last: Callable[[str], None]) -> None:
        self._on_first = on_first
        self._on_last = on_last
        self._count: Counter[str] = Counter()

    def add(self, type_url: str, names: Iterable[str]) -> None:
        if type_url == ENDPOINTS:
            for name in names:
                self._count[name] += 1
                if self._count[name] == 1:
                    self._on_first(name)

    def remove(self, type_url: str, names: Iterable[str]) -> None:
        if type_url == ENDPOINTS:
            for name in names:
                self._count[name] -= 1
                if not self._count[name]:
                    del self._count[name]
                    self._on_last(name)
