"""Statistics of every host, if a cluster asks for them.

Envoy: `Cluster.track_cluster_stats.per_endpoint_stats`, `Upstream::HostUtility::forEachHostMetric`. They are read from
the hosts when somebody looks: `cluster.NAME.endpoint.<address>.cx_total` and so on, with `_` for the colons of the
address.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from ..config.fields import honours

if TYPE_CHECKING:
    from ..stats.store import Scope
    from .host import PrioritySet

honours("envoy.config.cluster.v3.TrackClusterStats", "per_endpoint_stats")

_COUNTERS: Final = ("cx_connect_fail", "cx_total", "rq_error", "rq_success", "rq_timeout", "rq_total")
_GAUGES: Final = ("cx_active", "rq_active", "rq_pending_active")


def report_endpoints(priority_set: PrioritySet, scope: Scope) -> None:
    """Let `scope`, that of the cluster, report its hosts."""

    def counters() -> Iterable[tuple[str, int]]:
        for host in priority_set.hosts():
            prefix = _prefix(host.address.text)
            for name in _COUNTERS:
                yield prefix + name, getattr(host.stats, name)

    def gauges() -> Iterable[tuple[str, int]]:
        for host in priority_set.hosts():
            prefix = _prefix(host.address.text)
            for name in _GAUGES:
                yield prefix + name, getattr(host.stats, name)
            yield f"{prefix}healthy", int(host.healthy)

    scope.provider(counters)
    scope.provider(gauges, gauges=True)


def _prefix(address: str) -> str:
    return f"endpoint.{address.replace(':', '_')}."
