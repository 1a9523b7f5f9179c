"""Regular expressions that are compiled when they are first used.

No Envoy counterpart. Compiling one takes `re` 0.1 to 0.5 ms, which each start would spend for every pattern that a
module holds for the rare case. What each request needs is compiled by `re.compile`, with its module.
"""

from __future__ import annotations

import re
from typing import Any, AnyStr, cast


class _LazyPattern:
    def __init__(self, pattern: str | bytes, flags: int) -> None:
        self._pattern = pattern
        self._flags = flags

    def __getattr__(self, name: str) -> Any:
        found = getattr(re.compile(self._pattern, self._flags), name)
        setattr(self, name, found)  # from now on it is found without coming here
        return found


def lazy_pattern(pattern: AnyStr, flags: int = 0) -> re.Pattern[AnyStr]:
    """As `re.compile`; a pattern that is none is found out by whoever uses it first."""
    return cast("re.Pattern[AnyStr]", _LazyPattern(pattern, flags))
