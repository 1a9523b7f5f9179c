"""What one slice, or one pod, comes to.

No Envoy counterpart. The work of the mapping that is done for each endpoint; its results are kept as long as the slice
stays what it is.
"""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import ip_address
from typing import Final, NamedTuple

from .mapped import FQDN, Health, HostKey, MappedEndpoint
from .objects import ZONE_LABEL, Endpoint, EndpointSlice, ObjectKey, Pod, Service, version_number
from .settings import AddressRewrite, KubernetesSettings
from .wanted import Wanted, elsewhere, family_of, health_of, is_address, port_of, port_of_pod, priority_of

MOST_WEIGHT: Final = 128
Hints = list[tuple[tuple[str, ...], tuple[str, ...]]]
"""Of each ready endpoint, the zones and the nodes that it is meant for."""


class Result(NamedTuple):
    """What one slice or pod comes to. `hinted` are the zones, and the nodes, that its ready endpoints are meant for;
    None if one of them has no hint."""

    used: dict[HostKey, MappedEndpoint]
    excluded: tuple[MappedEndpoint, ...]
    ready: int
    app_protocol: str
    hinted_zones: frozenset[str] | None
    hinted_nodes: frozenset[str] | None


class ResultMaker:
    """For one cluster."""

    def __init__(self, settings: KubernetesSettings) -> None:
        self._settings = settings
        self._rewrite = _rewriter(settings.address_rewrite)

    def make(self, source: EndpointSlice | Pod, wanted: Wanted, pods: tuple[Pod | None, ...]) -> Result:
        hints: Hints = []
        if isinstance(source, Pod):
            mapped = self._of_pod(source, wanted)
        else:
            mapped, hints = self._of_slice(source, wanted, pods)
        used: dict[HostKey, MappedEndpoint] = {}
        excluded = []
        for each in mapped:
            if each.excluded:
                excluded.append(each)
                continue
            key = (each.address, each.port)
            other = used.get(key)
            if other is not None and rank(other) >= rank(each):
                excluded.append(duplicate(each, other))
            else:
                if other is not None:
                    excluded.append(duplicate(other, each))
                used[key] = each
        ready = sum(each.health is Health.HEALTHY for each in used.values())
        protocol = next((each.app_protocol for each in mapped if each.app_protocol), "")
        zones = frozenset(name for zones, _ in hints for name in zones) if all(z for z, _ in hints) else None
        nodes = frozenset(name for _, nodes in hints for name in nodes) if all(n for _, n in hints) else None
        return Result(used, tuple(excluded), ready, protocol, zones, nodes)

    def _of_slice(
        self, source: EndpointSlice, wanted: Wanted, pods: tuple[Pod | None, ...]
    ) -> tuple[list[MappedEndpoint], Hints]:
        port, protocol, problem = port_of(source, wanted)
        if not problem and wanted.family and source.address_type not in (wanted.family, FQDN):
            problem = f"family: {source.address_type}, {wanted.family} is wanted"
        version = version_number(source.version) or 0
        service = wanted.service if wanted.service.name else ObjectKey(source.key.namespace, source.service)
        mapped = []
        hints = []
        for at, endpoint in enumerate(source.endpoints):
            # The API says that the addresses of one endpoint are interchangeable: the first is as good as any.
            text = endpoint.addresses[0] if endpoint.addresses else ""
            address, own_port = self._rewrite(text, port) if self._rewrite is not None else (text, port)
            health, condition, excluded = health_of(endpoint, wanted)
            if problem:
                excluded = problem
            elif not text:
                excluded = "address: there is none"
            elif source.address_type != FQDN and not is_address(text, source.address_type):
                excluded = f"address: {text} is none of the type {source.address_type}"
            elif not excluded:
                if health is Health.HEALTHY:
                    hints.append((endpoint.hint_zones, endpoint.hint_nodes))
                excluded = elsewhere(endpoint.node, endpoint, wanted)
            pod = pods[at] if pods else None
            hostname = f"{endpoint.hostname}.{service.name}" if endpoint.hostname and service.name else ""
            mapped.append(
                MappedEndpoint(
                    address,
                    own_port,
                    source.address_type,
                    health,
                    excluded,
                    condition,
                    priority_of(endpoint.zone, endpoint.node, wanted),
                    1 if pod is None else self._weight(pod),
                    endpoint.zone,
                    endpoint.node,
                    hostname or (text if source.address_type == FQDN else ""),
                    endpoint.target,
                    endpoint.uid,
                    service,
                    source.key,
                    version,
                    protocol,
                    () if pod is None else self._labels(pod),
                )
            )
        return mapped, hints

    def _of_pod(self, pod: Pod, wanted: Wanted) -> list[MappedEndpoint]:
        excluded = ""
        if pod.phase in ("Succeeded", "Failed"):
            excluded = f"condition: the pod has {pod.phase.lower()}"
        elif not pod.addresses:
            excluded = "address: the pod has none yet"
        port, problem = port_of_pod(pod, wanted)
        zone = pod.labels.get(ZONE_LABEL, "")
        family = wanted.family or (family_of(pod.addresses[0]) if pod.addresses else "")
        addresses = [each for each in pod.addresses if is_address(each, family)]
        if not excluded and not addresses:
            excluded = f"family: none of {', '.join(pod.addresses)} is {family}"
        text = addresses[0] if addresses else "".join(pod.addresses[:1])
        endpoint = Endpoint(
            (text,), pod.ready and not pod.terminating, pod.ready, pod.terminating, "", pod.node, "",
            pod.key, pod.uid, (), (),
        )  # fmt: skip
        health, condition, not_ready = health_of(endpoint, wanted)
        address, port = self._rewrite(text, port) if self._rewrite is not None else (text, port)
        others = tuple(each for each in pod.addresses if each != text) if self._settings.family == "all" else ()
        return [
            MappedEndpoint(
                address,
                port,
                family,
                health,
                excluded or problem or not_ready or elsewhere(pod.node, endpoint, wanted),
                condition,
                priority_of(zone, pod.node, wanted),
                self._weight(pod),
                zone,
                pod.node,
                pod.hostname,
                pod.key,
                pod.uid,
                ObjectKey("", ""),
                pod.key,
                version_number(pod.version) or 0,
                "",
                self._labels(pod),
                others,
            )
        ]

    def _weight(self, pod: Pod) -> int:
        text = pod.annotations.get(self._settings.weight_annotation, "") if self._settings.weight_annotation else ""
        return min(int(text), MOST_WEIGHT) if text.isascii() and text.isdigit() and int(text) > 0 else 1

    def _labels(self, pod: Pod) -> tuple[tuple[str, str], ...]:
        return tuple((name, pod.labels[name]) for name in self._settings.pod_labels if name in pod.labels)


def external_name(service: Service, port: str | int) -> Result:
    number = port if isinstance(port, int) else next((p.port for p in service.ports if p.name == port), 0)
    excluded = "" if number and service.external_name else "port: an ExternalName needs the number of its port"
    mapped = MappedEndpoint(
        service.external_name,
        number,
        FQDN,
        Health.HEALTHY,
        excluded,
        "ExternalName",
        0,
        1,
        "",
        "",
        service.external_name,
        ObjectKey("", ""),
        "",
        service.key,
        service.key,
        0,
        "",
    )
    if excluded:
        return Result({}, (mapped,), 0, "", None, None)
    return Result({(mapped.address, mapped.port): mapped}, (), 1, "", None, None)


def rank(endpoint: MappedEndpoint) -> tuple[int, int]:
    """Newer before older, then healthier before sicker: an endpoint that moves is in two slices for a moment."""
    return endpoint.version, (Health.UNHEALTHY, Health.DRAINING, Health.HEALTHY).index(endpoint.health)


def duplicate(loser: MappedEndpoint, winner: MappedEndpoint) -> MappedEndpoint:
    return loser._replace(excluded=f"duplicate: {winner.source} tells of it, too")


def _rewriter(rewrites: tuple[AddressRewrite, ...]) -> Callable[[str, int], tuple[str, int]] | None:
    if not rewrites:
        return None

    def rewrite(address: str, port: int) -> tuple[str, int]:
        try:
            parsed = ip_address(address)
        except ValueError:
            return address, port
        for each in rewrites:
            if parsed in each.network:
                return each.host, each.port or port
        return address, port

    return rewrite
