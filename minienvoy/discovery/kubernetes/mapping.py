"""From slices, Services and pods to the hosts of a cluster, and for every endpoint that is none the reason.

No Envoy counterpart: this is what a control plane for Envoy does. A pure function of its arguments; what it remembers
(`Mapper`) are only results that it would come to again: a change of one slice of a thousand costs that slice.

Each endpoint is looked at by these questions, and the first that it fails is its reason:

1. Has it an address, and of the family that is wanted?
2. Has its slice the port? A number is that of the Service, and leads to a name; the name is looked up in each slice
   by itself, for slices may map one name to different numbers. The Service's number is never where a pod listens.
3. Is the port TCP?
4. Is it ready (`ready`)? On its way out and still serving it drains; otherwise it is not used.
5. Does the Service's `internalTrafficPolicy` want the same node only? Do hints send it to other zones or nodes?
   Hints count only if every ready endpoint has one and one of them is for here, as in kube-proxy.
6. Is the same address and port known already? The newer source wins, and at the same age the healthier endpoint.

If nothing is ready, what drains is used after all (kube-proxy's rule). `trafficDistribution` becomes priorities: the
same zone (or node) first, everything else after it, and how much fails over is for Envoy's overprovisioning to say.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from ipaddress import ip_address
from typing import Final, NamedTuple

from .mapped import FQDN, Assignment, Health, HostKey, MappedEndpoint
from .objects import Endpoint, EndpointSlice, ObjectKey, Pod, Service
from .settings import AddressRewrite, KubernetesSettings, PodsRef
from .wanted import Found, Wanted, elsewhere, family_of, health_of, port_of, port_of_pod, priority_of, wanted_of

MOST_WEIGHT: Final = 128


class _Result(NamedTuple):
    """What one slice or pod comes to. `hinted` are the zones, and the nodes, that its ready endpoints are meant for;
    None if one of them has no hint."""

    used: dict[HostKey, MappedEndpoint]
    excluded: tuple[MappedEndpoint, ...]
    ready: int
    app_protocol: str
    hinted_zones: frozenset[str] | None
    hinted_nodes: frozenset[str] | None


class Mapper:
    """`map` for one cluster."""

    def __init__(self, settings: KubernetesSettings) -> None:
        self._settings = settings
        self._results: dict[object, tuple[object, Wanted, tuple[Pod | None, ...], _Result]] = {}
        self._wanted: dict[tuple[int, str], Wanted] = {}
        self._rewrite = _rewriter(settings.address_rewrite)

    def map(self, found: Sequence[Found], pods: Callable[[ObjectKey], Pod | None] | None = None) -> Assignment:
        """`pods` finds the pod of an endpoint, where pods are looked at."""
        notes: list[str] = []
        results: list[_Result] = []
        fresh: dict[object, tuple[object, Wanted, tuple[Pod | None, ...], _Result]] = {}
        affinity = False
        for at, each in enumerate(found):
            own, remarks = self._map_ref(at, each, pods, fresh)
            results += own
            notes += remarks
            affinity = affinity or (each.service is not None and each.service.session_affinity == "ClientIP")
        self._results = fresh
        hosts, duplicates = _merge(results)
        if not any(result.ready for result in results) and hosts:
            hosts = _use_draining(hosts, notes)
        if self._settings.family == "all":
            hosts = _join_families(hosts)
        excluded = [item for result in results for item in result.excluded]
        protocol = next((result.app_protocol for result in results if result.app_protocol), "")
        return Assignment(
            hosts, (*excluded, *duplicates), tuple(notes), protocol, affinity and self._settings.client_ip_affinity
        )

    def _map_ref(
        self,
        at: int,
        found: Found,
        pods: Callable[[ObjectKey], Pod | None] | None,
        fresh: dict[object, tuple[object, Wanted, tuple[Pod | None, ...], _Result]],
    ) -> tuple[list[_Result], list[str]]:
        notes: list[str] = []
        sources: list[EndpointSlice | Pod] = list(found.pods if isinstance(found.ref, PodsRef) else found.slices)
        wanted = self._same(at, wanted_of(self._settings, found, sources, notes))
        if found.service is not None and found.service.type == "ExternalName":
            return [_external_name(found.service, found.ref.port)], notes
        results = self._look(at, sources, wanted, pods, fresh)
        hints = self._settings.hints == "honour" and not wanted.distribution
        if hints and (by_hints := _apply_hints(results, wanted)):
            changes = {name: getattr(wanted, name) for name in Wanted.__record_fields__}  # type: ignore[attr-defined]
            wanted = self._same(at, Wanted(**{**changes, "by_hints": by_hints}))
            results = self._look(at, sources, wanted, pods, fresh)
        return results, notes

    def _same(self, at: int, wanted: Wanted) -> Wanted:
        """The equal one of the last time, so that results are found by identity."""
        key = (at, wanted.by_hints)
        if self._wanted.get(key) != wanted:
            self._wanted[key] = wanted
        return self._wanted[key]

    def _look(
        self,
        at: int,
        sources: list[EndpointSlice | Pod],
        wanted: Wanted,
        pods: Callable[[ObjectKey], Pod | None] | None,
        fresh: dict[object, tuple[object, Wanted, tuple[Pod | None, ...], _Result]],
    ) -> list[_Result]:
        results = []
        known = self._results
        for source in sources:
            key = (at, wanted.by_hints, source.key)
            of_pods: tuple[Pod | None, ...] = ()
            if pods is not None and isinstance(source, EndpointSlice):
                of_pods = tuple([pods(endpoint.target) for endpoint in source.endpoints])
            before = known.get(key)
            if (
                before is None
                or before[0] is not source
                or before[1] is not wanted
                or any(a is not b for a, b in zip(before[2], of_pods, strict=True))
            ):
                before = (source, wanted, of_pods, self._result(source, wanted, of_pods))
            fresh[key] = before
            results.append(before[3])
        return results

    def _result(self, source: EndpointSlice | Pod, wanted: Wanted, pods: tuple[Pod | None, ...]) -> _Result:
        hints: list[tuple[tuple[str, ...], tuple[str, ...]]] = []
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
            if other is not None and _rank(other) >= _rank(each):
                excluded.append(_duplicate(each, other))
            else:
                if other is not None:
                    excluded.append(_duplicate(other, each))
                used[key] = each
        ready = sum(each.health is Health.HEALTHY for each in used.values())
        protocol = next((each.app_protocol for each in mapped if each.app_protocol), "")
        zones = frozenset(name for zones, _ in hints for name in zones) if all(z for z, _ in hints) else None
        nodes = frozenset(name for _, nodes in hints for name in nodes) if all(n for _, n in hints) else None
        return _Result(used, tuple(excluded), ready, protocol, zones, nodes)

    def _of_slice(
        self, source: EndpointSlice, wanted: Wanted, pods: tuple[Pod | None, ...]
    ) -> tuple[list[MappedEndpoint], list[tuple[tuple[str, ...], tuple[str, ...]]]]:
        port, protocol, problem = port_of(source, wanted)
        if not problem and wanted.family and source.address_type not in (wanted.family, FQDN):
            problem = f"family: {source.address_type}, {wanted.family} is wanted"
        version = int(source.version) if source.version.isdigit() else 0
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
            elif not address:
                excluded = "address: there is none"
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
        family = wanted.family or (family_of(pod.addresses[0]) if pod.addresses else "")
        addresses = [each for each in pod.addresses if family_of(each) == family]
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
                priority_of("", pod.node, wanted),
                self._weight(pod),
                pod.labels.get("topology.kubernetes.io/zone", ""),
                pod.node,
                pod.hostname,
                pod.key,
                pod.uid,
                ObjectKey("", ""),
                pod.key,
                int(pod.version) if pod.version.isdigit() else 0,
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


def _apply_hints(results: Sequence[_Result], wanted: Wanted) -> str:
    """`node` or `zone` if hints are to be obeyed; the nearer wins."""
    for kind, here, of in (
        ("node", wanted.node, [result.hinted_nodes for result in results]),
        ("zone", wanted.zone, [result.hinted_zones for result in results]),
    ):
        if here and all(each is not None for each in of) and any(each and here in each for each in of):
            return kind
    return ""


def _external_name(service: Service, port: str | int) -> _Result:
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
        return _Result({}, (mapped,), 0, "", None, None)
    return _Result({(mapped.address, mapped.port): mapped}, (), 1, "", None, None)


def _merge(results: Sequence[_Result]) -> tuple[dict[HostKey, MappedEndpoint], list[MappedEndpoint]]:
    hosts: dict[HostKey, MappedEndpoint] = {}
    duplicates: list[MappedEndpoint] = []
    for result in results:
        if hosts.keys().isdisjoint(result.used):
            hosts.update(result.used)
            continue
        for key, each in result.used.items():
            other = hosts.get(key)
            if other is None:
                hosts[key] = each
            elif _rank(each) > _rank(other):
                hosts[key] = each
                duplicates.append(_duplicate(other, each))
            else:
                duplicates.append(_duplicate(each, other))
    return hosts, duplicates


def _rank(endpoint: MappedEndpoint) -> tuple[int, int]:
    """Newer before older, then healthier before sicker: an endpoint that moves is in two slices for a moment."""
    return endpoint.version, (Health.UNHEALTHY, Health.DRAINING, Health.HEALTHY).index(endpoint.health)


def _duplicate(loser: MappedEndpoint, winner: MappedEndpoint) -> MappedEndpoint:
    return loser._replace(excluded=f"duplicate: {winner.source} tells of it, too")


def _use_draining(hosts: dict[HostKey, MappedEndpoint], notes: list[str]) -> dict[HostKey, MappedEndpoint]:
    if not any(each.health is Health.DRAINING for each in hosts.values()):
        return hosts
    notes.append("nothing is ready: endpoints that terminate and still serve are used")
    return {
        key: each._replace(health=Health.HEALTHY) if each.health is Health.DRAINING else each
        for key, each in hosts.items()
    }


def _join_families(hosts: dict[HostKey, MappedEndpoint]) -> dict[HostKey, MappedEndpoint]:
    """One host for each pod, with its addresses of all families."""
    of_pod: dict[tuple[str, int], HostKey] = {}
    joined: dict[HostKey, MappedEndpoint] = {}
    for key, each in hosts.items():
        first = of_pod.setdefault((each.uid, each.port), key) if each.uid else key
        if first is key:
            joined[key] = each
        else:
            main = joined[first]
            joined[first] = main._replace(additional=(*main.additional, each.address))
    return joined


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


def map_endpoints(
    settings: KubernetesSettings, found: Sequence[Found], pods: Mapping[ObjectKey, Pod] | None = None
) -> Assignment:
    """Once, with nothing remembered."""
    return Mapper(settings).map(found, None if pods is None else pods.get)
