"""How the endpoints of one Service, selector or set of pods are to be looked at, and the questions each must pass.

No Envoy counterpart. `wanted_of` turns the settings and what the Service says into a `Wanted`; the other functions put
an endpoint's port, condition and place beside it. The order of the questions is in `mapping`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from socket import AF_INET, AF_INET6, inet_pton
from typing import Final, NamedTuple

from ...record import record
from .mapped import Health
from .objects import ZONE_LABEL, Endpoint, EndpointSlice, ObjectKey, Pod, Service
from .settings import KubernetesSettings, Ref, ServiceRef

ANY_NAME: Final = None


class Found(NamedTuple):
    """What is known of one ref. `service` is None if it does not exist, or nobody looks at it (`service_known`)."""

    ref: Ref
    slices: Iterable[EndpointSlice] = ()
    service: Service | None = None
    service_known: bool = False
    pods: Iterable[Pod] = ()


@record
class Wanted:
    """How the endpoints of one ref are to be looked at; equal ones give equal results.

    Attributes:
        port_name: of the slice's port; None if any name will do.
        port_number: of the slice's port; 0 if any number will do.
        portless: the number to use where a slice has no ports at all (headless, without ports); 0 for none.
        app_protocol: what the Service says that the port speaks; None if it does not matter.
        problem: why no endpoint can be used at all; empty if that is not so.
        by_hints: `zone` or `node` if endpoints that are meant for elsewhere are not used.
        distribution: priorities by `zone` or `node`; empty for none.
    """

    service: ObjectKey
    port_name: str | None
    port_number: int
    portless: int
    problem: str
    family: str
    headless: bool
    app_protocol: str | None
    keep_not_ready: bool
    local_only: bool
    by_hints: str
    distribution: str
    zone: str
    node: str


def wanted_of(
    settings: KubernetesSettings, found: Found, sources: Sequence[EndpointSlice | Pod], notes: list[str]
) -> Wanted:
    ref, service = found.ref, found.service
    name, number, portless, problem = _resolve_port(found)
    if isinstance(ref, ServiceRef) and found.service_known and service is None:
        notes.append(f"there is no Service {ref.key}")
    zone = settings.zone or _zone_of(settings.node, sources)
    distribution = _distribution(settings, service, zone, notes)
    local_only = (
        settings.internal_traffic_policy == "service"
        and service is not None
        and service.internal_traffic_policy == "Local"
    )
    if local_only and not settings.node:
        notes.append("internalTrafficPolicy Local is not obeyed: it is not known on which node this proxy runs")
        local_only = False
    return Wanted(
        ref.key if isinstance(ref, ServiceRef) else ObjectKey("", ""),
        name,
        number,
        portless,
        problem,
        _wanted_family(settings.family, service, sources),
        service is not None and service.headless,
        None if settings.app_protocol == "ignore" else _service_protocol(found),
        settings.include_not_ready == "unhealthy",
        local_only,
        "",
        distribution,
        zone,
        settings.node,
    )


def _resolve_port(found: Found) -> tuple[str | None, int, int, str]:
    """(the name of the port in slices, its number there, the number for slices without ports, what is wrong)"""
    ref, service = found.ref, found.service
    if isinstance(ref.port, str):
        return ref.port, 0, 0, ""
    if not isinstance(ref, ServiceRef):
        return ANY_NAME, ref.port, ref.port, ""
    if service is None:
        return "", 0, 0, f"port: {ref.port} is unknown, for the Service is not there to name it"
    if not service.ports and service.headless:
        return ANY_NAME, ref.port, ref.port, ""
    for port in service.ports:
        if port.port == ref.port and port.protocol == "TCP":
            return port.name, 0, 0, ""
    others = ", ".join(f"{each.port}/{each.protocol}" for each in service.ports) or "none"
    return "", 0, 0, f"port: the Service has no TCP port {ref.port}, it has {others}"


def port_of(source: EndpointSlice, wanted: Wanted) -> tuple[int, str, str]:
    """(port, its application protocol, why there is none)"""
    if wanted.problem:
        return 0, "", wanted.problem
    if not source.ports:
        if wanted.portless:
            return wanted.portless, wanted.app_protocol or "", ""
        told = "null" if source.ports is None else "none"
        return 0, "", f'port: "{wanted.port_name}" is not in the slice (ports: {told})'
    why = ""
    for port in source.ports:
        if wanted.port_name is not None and port.name != wanted.port_name:
            continue
        if wanted.port_number and port.port != wanted.port_number:
            continue
        if port.protocol != "TCP":
            why = f'port: "{port.name}" is {port.protocol}'
        elif not port.port:
            why = f'port: "{port.name}" has no number'
        else:
            protocol = "" if wanted.app_protocol is None else port.app_protocol or wanted.app_protocol
            return port.port, protocol, ""
    if why:
        return 0, "", why
    told = ", ".join(f"{each.name}:{each.port}" for each in source.ports)
    asked = wanted.port_number if wanted.port_name is None else f'"{wanted.port_name}"'
    return 0, "", f"port: {asked} is not in the slice (ports: {told})"


def port_of_pod(pod: Pod, wanted: Wanted) -> tuple[int, str]:
    if wanted.port_number:
        return wanted.port_number, ""
    for port in pod.ports:
        if port.name == wanted.port_name and port.protocol == "TCP" and port.port:
            return port.port, ""
    told = ", ".join(f"{each.name}:{each.port}/{each.protocol}" for each in pod.ports) or "none"
    return 0, f'port: "{wanted.port_name}" is none of the TCP ports of the containers ({told})'


def health_of(endpoint: Endpoint, wanted: Wanted) -> tuple[Health, str, str]:
    """(health, the conditions in words, why it is not used)"""
    if endpoint.ready:
        return Health.HEALTHY, "ready", ""
    if endpoint.terminating and endpoint.serving:
        return Health.DRAINING, "terminating, serving", ""
    condition = "terminating, not serving" if endpoint.terminating else "not ready"
    if endpoint.serving and not endpoint.terminating:
        condition = "not ready, serving"
    return Health.UNHEALTHY, condition, "" if wanted.keep_not_ready else f"condition: {condition}"


def elsewhere(node: str, endpoint: Endpoint, wanted: Wanted) -> str:
    if wanted.local_only and node != wanted.node:
        return f"node: internalTrafficPolicy is Local, it is on {node or 'no node'} and not on {wanted.node}"
    if wanted.by_hints == "zone" and wanted.zone not in endpoint.hint_zones:
        return f"zone: hints give it to {', '.join(endpoint.hint_zones) or 'nobody'}, this is {wanted.zone}"
    if wanted.by_hints == "node" and wanted.node not in endpoint.hint_nodes:
        return f"node: hints give it to {', '.join(endpoint.hint_nodes) or 'nobody'}, this is {wanted.node}"
    return ""


def priority_of(zone: str, node: str, wanted: Wanted) -> int:
    if not wanted.distribution:
        return 0
    if wanted.distribution == "node":
        if node == wanted.node:
            return 0
        return 1 if zone and zone == wanted.zone else 2
    return 0 if zone and zone == wanted.zone else 1


def _distribution(settings: KubernetesSettings, service: Service | None, zone: str, notes: list[str]) -> str:
    wanted = settings.traffic_distribution
    if wanted == "service":
        wanted = service.traffic_distribution if service is not None else ""
    if wanted == "PreferSameNode" and settings.node:
        return "node"
    if wanted in ("PreferSameNode", "PreferSameZone", "PreferClose"):
        if zone:
            return "zone"
        notes.append(f"trafficDistribution {wanted} is not obeyed: it is not known where this proxy runs")
    elif wanted not in ("", "ignore"):
        notes.append(f"trafficDistribution {wanted} is not known here")
    return ""


def _zone_of(node: str, sources: Sequence[EndpointSlice | Pod]) -> str:
    """Who knows its node may learn its zone from an endpoint, or a pod, on the same node."""
    if node:
        for source in sources:
            if isinstance(source, Pod):
                if source.node == node and source.labels.get(ZONE_LABEL):
                    return source.labels[ZONE_LABEL]
                continue
            for endpoint in source.endpoints:
                if endpoint.node == node and endpoint.zone:
                    return endpoint.zone
    return ""


def _wanted_family(setting: str, service: Service | None, sources: Sequence[EndpointSlice | Pod]) -> str:
    """The address type of the slices; empty for every one."""
    if setting in ("v4", "v6"):
        return "IPv4" if setting == "v4" else "IPv6"
    if setting == "all":
        return ""
    if service is not None and service.families:
        return service.families[0]
    types = {source.address_type for source in sources if isinstance(source, EndpointSlice)}
    return "IPv4" if "IPv4" in types else "IPv6" if "IPv6" in types else ""


def _service_protocol(found: Found) -> str:
    if found.service is not None:
        for port in found.service.ports:
            if port.protocol == "TCP" and found.ref.port in (port.port, port.name):
                return port.app_protocol
    return ""


def family_of(address: str) -> str:
    return "IPv6" if ":" in address else "IPv4"


def is_address(text: str, family: str) -> bool:
    """Whether it is an IP address of the family `IPv4` or `IPv6`."""
    try:
        inet_pton(AF_INET6 if family == "IPv6" else AF_INET, text)
    except (OSError, ValueError):
        return False
    return True
