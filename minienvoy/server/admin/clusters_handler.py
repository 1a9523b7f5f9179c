"""`/clusters`: every cluster and every host in it.

Envoy: `Server::ClustersHandler` (`source/server/admin/clusters_handler.cc`), `envoy.admin.v3.Clusters`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from ...stats.params import NameFilter
from ...upstream.host import HealthFlag
from .name_filter import compile_name_filter
from .request import AdminRequest, AdminResponse, json_response, text_response

if TYPE_CHECKING:
    from ...network.address import Address
    from ...upstream.cluster import Cluster
    from ...upstream.host import Host
    from ...upstream.resource_manager import ResourceManager
    from .admin_server import AdminServer

_COUNTERS: Final = ("cx_connect_fail", "cx_total", "rq_error", "rq_success", "rq_timeout", "rq_total")
_GAUGES: Final = ("cx_active", "rq_active", "rq_pending_active")
_HEALTH_FIELDS: Final = (
    (HealthFlag.FAILED_ACTIVE_HC, "failed_active_health_check"),
    (HealthFlag.FAILED_OUTLIER_CHECK, "failed_outlier_check"),
    (HealthFlag.DEGRADED_ACTIVE_HC, "failed_active_degraded_check"),
    (HealthFlag.PENDING_DYNAMIC_REMOVAL, "pending_dynamic_removal"),
    (HealthFlag.PENDING_ACTIVE_HC, "pending_active_hc"),
    (HealthFlag.EXCLUDED_VIA_IMMEDIATE_HC_FAIL, "excluded_via_immediate_hc_fail"),
    (HealthFlag.ACTIVE_HC_TIMEOUT, "active_hc_timeout"),
    (HealthFlag.DEGRADED_OUTLIER_DETECTION, "failed_degraded_outlier_detection"),
)


class ClustersHandler:
    def __init__(self, server: AdminServer) -> None:
        self._server = server

    def handler_clusters(self, request: AdminRequest) -> AdminResponse:
        wanted: NameFilter | None = None
        if pattern := request.query.first("filter"):
            try:
                wanted = compile_name_filter(pattern)
            except ValueError:
                return text_response("Invalid re2 regex", 400)
        # Envoy keeps its clusters in a hash map; ours stand in the order of the configuration.
        clusters = [
            cluster
            for name, cluster in self._server.cluster_manager.clusters().items()
            if wanted is None or wanted(name)
        ]
        if request.query.first("format") == "json":
            statuses = [_cluster_status(cluster) for cluster in clusters]
            return json_response({"cluster_statuses": statuses} if statuses else {})
        return text_response("".join(line for cluster in clusters for line in _cluster_lines(cluster)))


def _cluster_lines(cluster: Cluster) -> list[str]:
    name = cluster.name
    lines = [f"{name}::observability_name::{cluster.observability_name}\n"]
    detector = cluster.health.detector
    if detector is not None:
        for external, prefix in ((True, ""), (False, "local_origin_")):
            average, threshold = detector.success_rates[external]
            lines.append(f"{name}::outlier::{prefix}success_rate_average::{average:g}\n")
            lines.append(f"{name}::outlier::{prefix}success_rate_ejection_threshold::{threshold:g}\n")
    for priority, manager in zip(("default", "high"), cluster.resource_managers, strict=True):
        for limit, value in _limits(manager).items():
            lines.append(f"{name}::{priority}_priority::{limit}::{value}\n")
    lines.append(f"{name}::added_via_api::{str(cluster.added_via_api).lower()}\n")
    for host in cluster.hosts():
        prefix = f"{name}::{host.address.text}::"
        stats = host.stats
        lines.extend(f"{prefix}{stat}::{getattr(stats, stat)}\n" for stat in sorted((*_COUNTERS, *_GAUGES)))
        region, zone, sub_zone = host.locality
        lines.extend(
            (
                f"{prefix}hostname::{host.hostname}\n",
                f"{prefix}health_flags::{_health_flags(host)}\n",
                f"{prefix}weight::{host.weight}\n",
                f"{prefix}region::{region}\n",
                f"{prefix}zone::{zone}\n",
                f"{prefix}sub_zone::{sub_zone}\n",
                f"{prefix}canary::{str(host.canary).lower()}\n",
                f"{prefix}priority::{host.priority}\n",
                f"{prefix}success_rate::{_success_rate(host, 'success_rate'):g}\n",
                f"{prefix}local_origin_success_rate::{_success_rate(host, 'local_origin_success_rate'):g}\n",
            )
        )
    return lines


def _cluster_status(cluster: Cluster) -> dict[str, Any]:
    """`envoy.admin.v3.ClusterStatus`; as in all protobuf JSON, what has its default is left out."""
    default, high = cluster.resource_managers
    # The limits are wrappers, which are shown even if they hold 0.
    thresholds = [_limits(default), {"priority": "HIGH", **_limits(high)}]
    return _without_defaults(
        {
            "name": cluster.name,
            "added_via_api": cluster.added_via_api,
            "success_rate_ejection_threshold": _ejection_threshold(cluster, True),
            "host_statuses": [_host_status(host) for host in cluster.hosts()],
            "local_origin_success_rate_ejection_threshold": _ejection_threshold(cluster, False),
            "circuit_breakers": {"thresholds": thresholds},
            "observability_name": cluster.observability_name,
        }
    )


def _ejection_threshold(cluster: Cluster, external: bool) -> dict[str, Any] | str:
    """`envoy.type.v3.Percent`; empty if there is none."""
    detector = cluster.health.detector
    threshold = -1.0 if detector is None else detector.success_rates[external][1]
    return {"value": threshold} if threshold > 0 else ""


def _host_status(host: Host) -> dict[str, Any]:
    stats = [_simple_metric(name, getattr(host.stats, name), gauge=False) for name in _COUNTERS]
    stats += [_simple_metric(name, getattr(host.stats, name), gauge=True) for name in _GAUGES]
    flags = host.health_flags
    health: dict[str, Any] = {field: True for flag, field in _HEALTH_FIELDS if flags & flag}
    if flags & HealthFlag.FAILED_EDS_HEALTH:
        health["eds_health_status"] = "UNHEALTHY"
    elif flags & HealthFlag.EDS_STATUS_DRAINING:
        health["eds_health_status"] = "DRAINING"
    elif flags & HealthFlag.DEGRADED_EDS_HEALTH:
        health["eds_health_status"] = "DEGRADED"
    else:
        health["eds_health_status"] = "HEALTHY"
    status: dict[str, Any] = {"address": address_json(host.address), "stats": stats, "health_status": health}
    if (rate := _success_rate(host, "success_rate")) >= 0:
        status["success_rate"] = _without_defaults({"value": rate})
    status.update(_without_defaults({"weight": host.weight, "hostname": host.hostname, "priority": host.priority}))
    if (rate := _success_rate(host, "local_origin_success_rate")) >= 0:
        status["local_origin_success_rate"] = _without_defaults({"value": rate})
    region, zone, sub_zone = host.locality
    status["locality"] = _without_defaults({"region": region, "zone": zone, "sub_zone": sub_zone})
    return status


def _simple_metric(name: str, value: int, *, gauge: bool) -> dict[str, str]:
    metric = {"type": "GAUGE"} if gauge else {}
    if value:
        metric["value"] = str(value)  # 64-bit integers are strings in protobuf's JSON
    metric["name"] = name
    return metric


def _internal_json(address: Address) -> dict[str, str]:
    shown = {"server_listener_name": address.internal_listener}
    return {**shown, "endpoint_id": address.endpoint_id} if address.endpoint_id else shown


def address_json(address: Address) -> dict[str, Any]:
    """`envoy.config.core.v3.Address`; `port_value` is in a oneof, so that 0 is shown."""
    if address.is_internal:
        return {"envoy_internal_address": _internal_json(address)}
    if address.path:
        return {"pipe": {"path": address.path}}
    return {"socket_address": {"address": address.host, "port_value": address.port}}


def _limits(manager: ResourceManager) -> dict[str, int]:
    return {
        "max_connections": manager.connections.max,
        "max_pending_requests": manager.pending_requests.max,
        "max_requests": manager.requests.max,
        "max_retries": manager.retries.max,
    }


def _health_flags(host: Host) -> str:
    return "".join(name for flag, name in HealthFlag.NAMES if host.health_flags & flag) or "healthy"


def _success_rate(host: Host, field: str) -> float:
    """Percent as the outlier detector last computed it; -1 if it did not."""
    rate: float = getattr(host.outlier, field, -1.0)
    return rate


def _without_defaults(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value not in (0, "", False, [])}
