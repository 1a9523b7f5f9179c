"""What a virtual host counts for itself: virtual clusters, and routes with a `stat_prefix`.

Envoy: `Router::VirtualHostImpl::VirtualClusterEntry`, `CatchAllVirtualCluster`, `RouteStatsContextImpl`; docs "Virtual
cluster", "Virtual host statistics". A request belongs to the first virtual cluster that matches it, or to `other`; a
virtual host without virtual clusters has no `other` either, and asks nobody.
"""

from __future__ import annotations

from typing import Any, Final, Protocol

from ..config.fields import honours
from ..http.code_stats import CodeCounts, CodeStats
from ..http.header_map import RequestHeaderMap
from ..matchers.header import HeaderMatcher
from ..stats.histogram import Histogram
from ..stats.store import CounterValue, Scope, StatsStruct, Store

honours("envoy.config.route.v3.VirtualCluster", "name", "headers")

OTHER: Final = "other"


class VirtualClusterStats(StatsStruct):
    """`vhost.NAME.vcluster.NAME.` and `vhost.NAME.route.STAT_PREFIX.`"""

    upstream_rq_retry: CounterValue
    upstream_rq_retry_limit_exceeded: CounterValue
    upstream_rq_retry_overflow: CounterValue
    upstream_rq_retry_success: CounterValue
    upstream_rq_timeout: CounterValue
    upstream_rq_total: CounterValue


class RequestTally(Protocol):
    """Somebody, besides the cluster, who counts a request."""

    stats: VirtualClusterStats

    def charge_response(self, status: int, internal: bool) -> None: ...
    def charge_canary(self, status: int) -> None: ...
    def charge_timing(self, milliseconds: int, internal: bool) -> None: ...


class RequestCounters:
    """Of one virtual cluster, or of one route. Counters of response codes exist from when they first happened."""

    __slots__ = ("_codes", "_scope", "_time", "stats")

    def __init__(self, scope: Scope) -> None:
        self._scope = scope
        self._time: Histogram | None = None
        self._codes = CodeCounts(scope)
        self.stats = scope.struct(VirtualClusterStats)

    def charge_response(self, status: int, internal: bool) -> None:
        self._codes.charge(status)

    def charge_canary(self, status: int) -> None:
        """Only clusters tell canaries from others."""

    def charge_timing(self, milliseconds: int, internal: bool) -> None:
        if self._time is None:
            self._time = self._scope.histogram("upstream_rq_time", "ms")
        self._time.record(milliseconds)


class AltStatName:
    """What `x-envoy-upstream-alt-stat-name` of a request asks for: its cluster's counters once more, by that name."""

    __slots__ = ("_codes", "charge_response", "charge_timing", "stats")

    def __init__(self, codes: CodeStats) -> None:
        self._codes = codes
        self.stats = VirtualClusterStats()
        self.charge_response = codes.charge_response
        self.charge_timing = codes.charge_timing

    def charge_canary(self, status: int) -> None:
        self._codes.charge_category("canary", status)

    def hide(self, status: int) -> None:
        """What was charged does not count by its code."""
        self._codes.hide(status)


class VirtualClusters:
    """Of one virtual host, in the order of the configuration."""

    __slots__ = ("_entries", "_other")

    def __init__(self, protos: Any, path: str, virtual_host: str, store: Store) -> None:
        """Raises ConfigError below `path`."""
        prefix = f"vhost.{virtual_host}.vcluster."
        self._entries = tuple(
            (
                each.name,
                tuple(
                    HeaderMatcher.from_proto(header, f"{path}[{index}].headers[{at}]")
                    for at, header in enumerate(each.headers)
                ),
                RequestCounters(Scope(store, f"{prefix}{each.name}.")),
            )
            for index, each in enumerate(protos)
        )
        self._other = RequestCounters(Scope(store, f"{prefix}{OTHER}."))

    def find(self, headers: RequestHeaderMap) -> tuple[str | None, RequestCounters]:
        """(name, counters); what belongs to no virtual cluster has no name, although it is counted as `other`."""
        for name, matchers, counters in self._entries:
            if all(matcher.matches(headers) for matcher in matchers):
                return name, counters
        return None, self._other


def route_counters(stat_prefix: str, virtual_host: str, store: Store) -> RequestCounters:
    """Of a route that wants to be counted by itself."""
    return RequestCounters(Scope(store, f"vhost.{virtual_host}.route.{stat_prefix}."))
