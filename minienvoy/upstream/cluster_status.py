"""What the admin's `/clusters` shows, as text and as JSON.

Envoy: `Server::ClustersHandler`, `envoy.admin.v3.Clusters`; docs "Administration interface > GET /clusters".
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from .cluster import Cluster
from .host import HealthFlag, Host
from .resource_manager import PRIORITY_NAMES, ResourceManager

_LIMITS = (
    ("max_connections", "connections"),
    ("max_pending_requests", "pending_requests"),
    ("max_requests", "requests"),
    ("max_retries", "retries"),
)
_HOST_STATS = (
    "cx_active",
    "cx_connect_fail",
    "cx_total",
    "rq_active",
    "rq_error",
    "rq_pending_active",
    "rq_success",
    "rq_timeout",
    "rq_total",
)
_COUNTERS = ("cx_connect_fail", "cx_total", "rq_error", "rq_success", "rq_timeout", "rq_total")
_GAUGES = ("cx_active", "rq_active", "rq_pending_active")
_HEALTH_FIELDS = (
    (HealthFlag.FAILED_ACTIVE_HC, "failed_active_health_check"),
    (HealthFlag.FAILED_OUTLIER_CHECK, "failed_outlier_check"),
    (HealthFlag.DEGRADED_ACTIVE_HC, "failed_active_degraded_check"),
    (HealthFlag.PENDING_DYNAMIC_REMOVAL, "pending_dynamic_removal"),
    (HealthFlag.PENDING_ACTIVE_HC, "pending_active_hc"),
    (HealthFlag.EXCLUDED_VIA_IMMEDIATE_HC_FAIL, "excluded_via_immediate_hc_fail"),
    (HealthFlag.ACTIVE_HC_TIMEOUT, "active_hc_timeout"),
)


def clusters_text(clusters: Iterable[Cluster]) -> str:
    """One line for each fact, `cluster::fact` or `cluster::address::fact`."""
    return "".join(f"{row}\n" for cluster in clusters for row in cluster_rows(cluster))


def cluster_rows(cluster: Cluster) -> Iterator[str]:
    """The lines of one cluster, without line ends."""
    name = cluster.name
    yield f"{name}::observability_name::{cluster.observability_name}"
    for priority, manager in zip(PRIORITY_NAMES, cluster.resource_managers, strict=True):
        for limit, resource in _LIMITS:
            yield f"{name}::{priority}_priority::{limit}::{getattr(manager, resource).max}"
    yield f"{name}::added_via_api::{_bool(cluster.added_via_api)}"
    for host in cluster.hosts():
        prefix = f"{name}::{host.address.text}::"
        for stat in _HOST_STATS:
            yield f"{prefix}{stat}::{getattr(host.stats, stat)}"
        yield f"{prefix}hostname::{host.hostname}"
        yield f"{prefix}health_flags::{health_flags_text(host)}"
        yield f"{prefix}weight::{host.weight}"
        yield f"{prefix}region::{host.locality.region}"
        yield f"{prefix}zone::{host.locality.zone}"
        yield f"{prefix}sub_zone::{host.locality.sub_zone}"
        yield f"{prefix}canary::{_bool(host.canary)}"
        yield f"{prefix}priority::{host.priority}"
        yield f"{prefix}success_rate::-1"
        yield f"{prefix}local_origin_success_rate::-1"


def clusters_json(clusters: Iterable[Cluster]) -> dict[str, Any]:
    """`envoy.admin.v3.Clusters` as the JSON of a proto: fields in their order, those with default values left out."""
    statuses = [cluster_status(cluster) for cluster in clusters]
    return {"cluster_statuses": statuses} if statuses else {}


def cluster_status(cluster: Cluster) -> dict[str, Any]:
    """`envoy.admin.v3.ClusterStatus`."""
    status: dict[str, Any] = {"name": cluster.name}
    if cluster.added_via_api:
        status["added_via_api"] = True
    hosts = [_host_status(host) for host in cluster.hosts()]
    if hosts:
        status["host_statuses"] = hosts
    status["circuit_breakers"] = {
        "thresholds": [
            _thresholds(manager, {} if name == "default" else {"priority": name.upper()})
            for name, manager in zip(PRIORITY_NAMES, cluster.resource_managers, strict=True)
        ]
    }
    status["observability_name"] = cluster.observability_name
    return status


def health_flags_text(host: Host) -> str:
    """Every flag that is set, or `healthy`."""
    return "".join(text for flag, text in HealthFlag.NAMES if host.health_flags & flag) or "healthy"


def _thresholds(manager: ResourceManager, status: dict[str, Any]) -> dict[str, Any]:
    for limit, resource in _LIMITS:
        status[limit] = getattr(manager, resource).max
    return status


def _host_status(host: Host) -> dict[str, Any]:
    address: dict[str, Any]
    if host.address.is_internal:
        address = {"envoy_internal_address": {"server_listener_name": host.address.internal_listener}}
        if host.address.endpoint_id:
            address["envoy_internal_address"]["endpoint_id"] = host.address.endpoint_id
    elif host.address.path:
        address = {"pipe": {"path": host.address.path}}
    else:
        # The port is in a oneof: it is shown even if it is 0.
        address = {"socket_address": {"address": host.address.host, "port_value": host.address.port}}
    stats = [_stat({}, host, name) for name in _COUNTERS] + [_stat({"type": "GAUGE"}, host, name) for name in _GAUGES]
    health: dict[str, Any] = {field: True for flag, field in _HEALTH_FIELDS if host.health_flags & flag}
    health["eds_health_status"] = _eds_health_status(host)
    status: dict[str, Any] = {"address": address, "stats": stats, "health_status": health, "weight": host.weight}
    if host.hostname:
        status["hostname"] = host.hostname
    if host.priority:
        status["priority"] = host.priority
    status["locality"] = {name: value for name, value in host.locality._asdict().items() if value}
    return status


def _stat(status: dict[str, Any], host: Host, name: str) -> dict[str, Any]:
    """`envoy.admin.v3.SimpleMetric`; 64-bit numbers are strings in JSON."""
    value = getattr(host.stats, name)
    if value:
        status["value"] = str(value)
    status["name"] = name
    return status


def _eds_health_status(host: Host) -> str:
    if host.health_flags & HealthFlag.FAILED_EDS_HEALTH:
        return "UNHEALTHY"
    if host.health_flags & HealthFlag.EDS_STATUS_DRAINING:
        return "DRAINING"
    return "DEGRADED" if host.health_flags & HealthFlag.DEGRADED_EDS_HEALTH else "HEALTHY"


def _bool(value: bool) -> str:
    return "true" if value else "false"
