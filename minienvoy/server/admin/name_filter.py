"""Regular expressions in queries: RE2's, so that none can keep the server busy.

Envoy: `Regex::Utility::parseRegex` as `StatsParams` and the handlers use it.
"""

from __future__ import annotations

from typing import Any

from ...errors import ConfigError
from ...matchers.regex import compile_pattern
from ...stats.params import NameFilter


def compile_name_filter(pattern: str) -> NameFilter:
    """Says whether `pattern` matches anywhere in a name.

    Raises:
        ValueError: in RE2's words.
    """
    search = _compile(pattern).search
    return lambda name: search(name.encode()) is not None


def compile_full_name_filter(pattern: str) -> NameFilter:
    """Says whether `pattern` matches the whole name.

    Raises:
        ValueError: in RE2's words.
    """
    full_match = _compile(pattern).fullmatch
    return lambda name: full_match(name.encode()) is not None


def _compile(pattern: str) -> Any:
    try:
        return compile_pattern(pattern)
    except ConfigError as error:
        raise ValueError(error.problem) from None
