"""Statistical cases: many requests, and how many of them each backend was given.

`spread: {requests: 400}` beside `get` or `request` sends that request so often and counts, per backend, what arrived.
What balances at random is compared as a distribution: the counts of the two proxies by a chi-square test that is wrong
once in a million. More keys:

* `connections: n` - the requests take turns on n connections of the client (default 1), one at a time
* `requests_as: [...]` - the requests take turns in this list of messages instead of repeating one
* `shares: {a: 0.7, b: 0.3}` - the counts are compared with these shares rather than with Envoy's counts, and so are
  Envoy's own when they are recorded; a backend that is not listed must get nothing
* `tolerance: 0.02` - instead of the chi-square test: no backend's share may differ by more (0: the counts are equal)
"""

from __future__ import annotations

from collections.abc import Mapping
from math import sqrt
from typing import Any

_Z = 4.75
"""Standard deviations that chance exceeds about once in a million."""


def settings(spec: Mapping[str, Any]) -> dict[str, Any]:
    """What of the case belongs into its answer: how the counts in it are to be compared."""
    return {key: spec[key] for key in ("shares", "tolerance") if key in spec}


def agrees(expected: Mapping[str, Any], actual: Mapping[str, Any]) -> bool:
    """Whether two answers' `spread` are the same distribution, by the bound that stands in them."""
    if {**expected, "counts": None} != {**actual, "counts": None}:
        return False
    shares, tolerance = expected.get("shares"), expected.get("tolerance")
    old, new = dict(expected["counts"]), dict(actual["counts"])
    if sum(old.values()) != sum(new.values()):
        return False
    names = sorted({*old, *new, *(shares or {})})
    total = sum(new.values())
    if shares is not None:
        old = {name: total * shares.get(name, 0.0) / sum(shares.values()) for name in names}
        if any(new.get(name, 0) and not old[name] for name in names):
            return False
    if tolerance is not None:
        return all(abs(old.get(name, 0) - new.get(name, 0)) <= tolerance * total for name in names)
    seen = [(old.get(name, 0), new.get(name, 0)) for name in names]
    # Against exact shares only one of the two sides varies.
    terms = [(a - b) ** 2 / (a if shares is not None else a + b) for a, b in seen if a + b]
    return bool(sum(terms) <= _limit(len(terms) - 1))


def _limit(freedom: int) -> float:
    """The chi-square value that is exceeded once in a million (Wilson and Hilferty)."""
    if freedom < 1:
        return 0.0
    part = 2 / (9 * freedom)
    return float(freedom * (1 - part + _Z * sqrt(part)) ** 3)
