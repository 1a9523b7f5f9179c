"""Counts by response code: `upstream_rq_200`, `upstream_rq_2xx`, `upstream_rq_completed` and their variants.

Envoy: `Http::CodeStats` (`source/common/http/codes.cc`).

Envoy bumps six counters for a response. Here one number is bumped, by code, and the counters are computed when somebody
reads them. They exist from when they first happened.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from minienvoy.stats.histogram import Histogram
from minienvoy.stats.store import Scope


class CodeCounts:
    """Responses under one prefix, such as `vhost.NAME.vcluster.NAME.`, by code."""

    __slots__ = ("counts",)

    def __init__(self, scope: Scope) -> None:
        self.counts: dict[int, int] = {}
        scope.provider(self._read, reset=self._reset)

    def charge(self, status: int) -> None:
        try:
            self.counts[status] += 1
        except KeyError:
            self.counts[status] = 1

    def _read(self) -> Iterator[tuple[str, int]]:
        return response_counters(self.counts)

    def _reset(self) -> None:
        self.counts = dict.fromkeys(self.counts, 0)


class CodeStats:
    """Of one cluster; `scope` is `cluster.NAME.`, or that with an `alt_stat_name`."""

    __slots__ = ("_external", "_external_time", "_hidden", "_internal", "_internal_time", "_others", "_scope", "_time")

    def __init__(self, scope: Scope) -> None:
        self._scope = scope
        self._external: dict[int, int] = {}
        self._internal: dict[int, int] = {}
        self._time: Histogram | None = None
        self._external_time: Histogram | None = None
        self._internal_time: Histogram | None = None
        self._others: dict[str, CodeCounts] = {}
        self._hidden: dict[int, int] = {}
        scope.provider(self._read, reset=self._reset)

    def charge_response(self, status: int, internal: bool) -> None:
        """A response went downstream. `internal` is what `x-envoy-internal` says of the request."""
        counts = self._internal if internal else self._external
        try:
            counts[status] += 1
        except KeyError:
            counts[status] = 1

    def hide(self, status: int) -> None:
        """A response that was charged does not count by its code, but where internal and external ones are told apart
        (`exclude_http_code_stats`)."""
        self._hidden[status] = self._hidden.get(status, 0) + 1

    def charge_timing(self, milliseconds: int, internal: bool) -> None:
        """How long the upstream took (`upstream_rq_time`)."""
        split = self._internal_time if internal else self._external_time
        if split is None:
            split = self._new_time(internal)
        split.record(milliseconds)

    def charge_category(self, category: str, status: int) -> None:
        """Also count under `canary`, `retry` or `zone.FROM.TO`."""
        counts = self._others.get(category)
        if counts is None:
            counts = self._others[category] = CodeCounts(self._scope.scope(category))
        counts.charge(status)

    def charge_category_timing(self, category: str, milliseconds: int) -> None:
        self._scope.histogram(f"{category}.upstream_rq_time", "ms").record(milliseconds)

    def _new_time(self, internal: bool) -> Histogram:
        if self._time is None:
            self._time = self._scope.histogram("upstream_rq_time", "ms")
        split = self._scope.histogram(f"{'internal' if internal else 'external'}.upstream_rq_time", "ms")
        split.become_part_of(self._time)
        if internal:
            self._internal_time = split
        else:
            self._external_time = split
        return split

    def _read(self) -> Iterator[tuple[str, int]]:
        total = dict(self._external)
        for status, count in self._internal.items():
            total[status] = total.get(status, 0) + count
        yield from response_counters(total) if not self._hidden else self._shown(total)
        yield from _with_prefix("external.", response_counters(self._external))
        yield from _with_prefix("internal.", response_counters(self._internal))

    def _shown(self, total: dict[int, int]) -> Iterator[tuple[str, int]]:
        """Without those that are hidden; how many there were is told all the same."""
        hidden = self._hidden
        shown = {code: count - hidden.get(code, 0) for code, count in total.items() if count != hidden.get(code)}
        yield from (each for each in response_counters(shown) if each[0] != "upstream_rq_completed")
        yield "upstream_rq_completed", sum(total.values())

    def _reset(self) -> None:
        self._hidden = dict.fromkeys(self._hidden, 0)
        self._external = dict.fromkeys(self._external, 0)
        self._internal = dict.fromkeys(self._internal, 0)


def response_counters(counts: dict[int, int]) -> Iterator[tuple[str, int]]:
    """The counters that so many responses of each code make. Codes outside 100..599 are unknown."""
    if not counts:
        return
    groups: dict[int, int] = {}
    unknown = 0
    for status, count in counts.items():
        group = status // 100
        if 1 <= group <= 5:
            yield f"upstream_rq_{status}", count
            groups[group] = groups.get(group, 0) + count
        else:
            unknown += count
    for group, count in groups.items():
        yield f"upstream_rq_{group}xx", count
    if unknown:
        yield "upstream_rq_unknown", unknown
    yield "upstream_rq_completed", sum(counts.values())


def _with_prefix(prefix: str, counters: Iterable[tuple[str, int]]) -> Iterator[tuple[str, int]]:
    return ((prefix + name, value) for name, value in counters)
