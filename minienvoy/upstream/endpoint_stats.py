"""Statistics of every host, if a cluster asks for them.

Envoy: `Cluster.track_cluster_stats.per_endpoint_stats`, `Upstream::HostUtility::forEachHostMetric`. They are read from
the hosts when somebody looks: `cluster.NAME.endpoint.<address>.cx_total` and so on, with `_` for the colons of the
address, or `cluster.NAME.endpoint.<observability_name>.cx_total`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from ..config.fields import honours
from ..stats.store import HostMetric, Sample

if TYPE_CHECKING:
    from ..stats.store import Scope
    from .host import PrioritySet

honours("envoy.config.cluster.v3.TrackClusterStats", "per_endpoint_stats")

_COUNTERS: Final = ("cx_connect_fail", "cx_total", "rq_error", "rq_success", "rq_timeout", "rq_total")
_GAUGES: Final = ("cx_active", "rq_active", "rq_pending_active")


def report_endpoints(priority_set: PrioritySet, scope: Scope, cluster_name: str) -> None:
    """Let `scope`, that of the cluster, report its hosts; `cluster_name` is the one for statistics."""

    def metrics() -> Iterable[HostMetric]:
        for host in priority_set.hosts():
            prefix = f"{scope.prefix}endpoint.{host.observability_name or host.address.text.replace(':', '_')}."
            tags = [
                ("envoy.cluster_name", cluster_name),
                ("envoy.endpoint_address", host.observability_name or host.address.text),
            ]
            if host.hostname:
                tags.append(("envoy.endpoint_hostname", host.hostname))
            values = [(name, getattr(host.stats, name)) for name in (*_COUNTERS, *_GAUGES)]
            values.append(("healthy", int(host.healthy)))
            for at, (name, value) in enumerate(values):
                # All of them count as used, as in Envoy.
                yield HostMetric(
                    Sample(prefix + name, value, True), at >= len(_COUNTERS), f"cluster.endpoint.{name}", tuple(tags)
                )

    scope.host_metrics(metrics)
