"""An assignment as the message that EDS sends.

Envoy: `envoy.config.endpoint.v3.ClusterLoadAssignment`. For whoever serves endpoints to others; clusters here take the
assignment itself.
"""

from __future__ import annotations

from typing import Any, Final

from ...config.api import message_class
from .mapped import Assignment, Health, MappedEndpoint

TYPE: Final = "envoy.config.endpoint.v3.ClusterLoadAssignment"
_STATUS: Final = {Health.HEALTHY: 1, Health.UNHEALTHY: 2, Health.DRAINING: 3}
"""`envoy.config.core.v3.HealthStatus`."""


def cluster_load_assignment(name: str, assignment: Assignment, *, region: str = "", sub_zones: bool = True) -> Any:
    """The hosts of `assignment` under the name of the resource; a locality weighs as much as its endpoints.

    Endpoints that are names are left out: a client of EDS takes addresses only.
    """
    message = message_class(TYPE)(cluster_name=name)
    localities: dict[tuple[int, str, str], list[MappedEndpoint]] = {}
    for endpoint in assignment.hosts.values():
        if endpoint.family in ("IPv4", "IPv6"):
            node = endpoint.node if sub_zones else ""
            localities.setdefault((endpoint.priority, endpoint.zone, node), []).append(endpoint)
    for (priority, zone, node), endpoints in sorted(localities.items()):
        added = message.endpoints.add(priority=priority)
        added.locality.region, added.locality.zone, added.locality.sub_zone = region, zone, node
        added.load_balancing_weight.value = sum(each.weight for each in endpoints)
        for each in endpoints:
            _add(added.lb_endpoints.add(), each)
    return message


def _add(message: Any, endpoint: MappedEndpoint) -> None:
    message.health_status = _STATUS[endpoint.health]
    message.load_balancing_weight.value = endpoint.weight
    message.endpoint.hostname = endpoint.hostname
    _set(message.endpoint.address.socket_address, endpoint.address, endpoint.port)
    for address in endpoint.additional:
        _set(message.endpoint.additional_addresses.add().address.socket_address, address, endpoint.port)
    for namespace, values in endpoint.metadata().items():
        message.metadata.filter_metadata[namespace].update(values)


def _set(address: Any, host: str, port: int) -> None:
    address.address, address.port_value = host, port
