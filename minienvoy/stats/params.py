"""The query of `/stats`.

Envoy: `Server::StatsParams`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from ..record import record

NameFilter = Callable[[str], object]

FORMATS = ("html", "active-html", "json", "prometheus", "text")
TYPES = ("All", "Counters", "Gauges", "Histograms", "TextReadouts")
BUCKET_MODES = {
    "": "",
    "none": "",
    "summary": "",
    "cumulative": "cumulative",
    "disjoint": "disjoint",
    "detailed": "detailed",
    "prometheusnative": "cumulative",
}


class StatsParamsError(Exception):
    """The answer is 400 with this text."""


@record
class StatsParams:
    """What to print, and how."""

    format: str = "text"
    used_only: bool = False
    type: str = "All"
    filter: NameFilter | None = None
    """Says whether a name is wanted."""
    histogram_buckets: str = ""
    """Empty for quantiles, else cumulative, disjoint or detailed."""
    histogram_summary: bool = False
    """Prometheus: quantiles instead of buckets."""
    text_readouts: bool = False
    """Prometheus: text readouts as gauges."""
    hidden_only: bool = False

    def wants(self, name: str, used: bool) -> bool:
        return (used or not self.used_only) and (self.filter is None or bool(self.filter(name)))


def compile_filter(pattern: str) -> NameFilter:
    """Matches anywhere in the name. Raises ValueError with what is wrong with the regex."""
    try:
        return re.compile(pattern).search
    except (re.error, RecursionError, OverflowError) as error:
        raise ValueError(str(error)) from None


def parse_stats_params(
    query: Mapping[str, str], make_filter: Callable[[str], NameFilter] = compile_filter
) -> StatsParams:
    """Reads a decoded query, of each name the first value. Raises StatsParamsError."""
    name_filter = None
    if pattern := query.get("filter", ""):
        try:
            name_filter = make_filter(pattern)
        except ValueError as error:
            raise StatsParamsError(f"Invalid re2 regex: {error}") from None
    buckets = query.get("histogram_buckets", "")
    if buckets not in BUCKET_MODES:
        raise StatsParamsError(
            "usage: /stats?histogram_buckets=(cumulative|disjoint|detailed|summary|prometheusnative)\n"
        )
    stats_type = query.get("type", "") or "All"
    if stats_type not in TYPES:
        raise StatsParamsError("invalid &type= param")
    hidden = query.get("hidden", "")
    if hidden not in ("", "include", "only", "exclude"):
        raise StatsParamsError("usage: /stats?hidden=(include|only|exclude)\n\n")
    output = query.get("format", "") or "text"
    if output not in FORMATS:
        raise StatsParamsError("usage: /stats?format=(html|active-html|json|prometheus|text)\n\n")
    return StatsParams(
        format=output,
        used_only="usedonly" in query,
        type=stats_type,
        filter=name_filter,
        histogram_buckets=BUCKET_MODES[buckets],
        histogram_summary=buckets == "summary",
        text_readouts="text_readouts" in query,
        hidden_only=hidden == "only",
    )
