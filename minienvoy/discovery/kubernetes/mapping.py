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

from collections.abc import Callable, Collection, Generator, Mapping, Sequence
from typing import Final, NamedTuple, cast

from ...record import replace
from .mapped import Assignment, Health, HostKey, MappedEndpoint
from .merging import Merger
from .objects import EndpointSlice, ObjectKey, Pod
from .results import Result, ResultMaker, external_name
from .settings import KubernetesSettings, PodsRef
from .wanted import Found, Wanted, wanted_of

SOURCES_AT_ONCE: Final = 100
"""Slices or pods that are looked at before others have their turn."""

FindPod = Callable[[ObjectKey], "Pod | None"]
_Looked = Generator[None, None, "list[Result]"]


class _Known(NamedTuple):
    """What one slice or pod has come to, and of what that was made."""

    source: EndpointSlice | Pod
    wanted: Wanted
    pods: tuple[Pod | None, ...]
    result: Result


class Mapper:
    """The mapping of one cluster: `map`, or `steps` for who shares a thread with others."""

    def __init__(self, settings: KubernetesSettings) -> None:
        self._settings = settings
        self._maker = ResultMaker(settings)
        self._merger = Merger()
        self._known: dict[tuple[int, str], list[_Known]] = {}
        """Of each ref, as it was looked at, in the order of its sources."""
        self._slices_of: dict[ObjectKey, tuple[ObjectKey, ...]] = {}
        """Where pods are looked at: the slices that tell of a pod."""
        self._wanted: dict[tuple[int, str], Wanted] = {}
        self._stale: frozenset[ObjectKey] | None = None
        self._serial = 0
        self._plain = False

    def map(self, found: Sequence[Found], pods: FindPod | None = None) -> Assignment:
        """All at once."""
        steps = self.steps(found, pods)
        while True:
            try:
                next(steps)
            except StopIteration as end:
                assignment: Assignment = end.value
                return assignment

    def tells_of(self, pod: ObjectKey) -> bool:
        """Whether a slice has told of this pod."""
        return pod in self._slices_of

    def steps(
        self,
        found: Sequence[Found],
        pods: FindPod | None = None,
        changed_pods: Collection[ObjectKey] | None = None,
    ) -> Generator[None, None, Assignment]:
        """Pauses now and then. `pods` finds the pod of an endpoint, where pods are looked at; `changed_pods` are those
        that may not be as they were the last time, all if it is None."""
        self._stale = None if changed_pods is None else self._slices_with(changed_pods)
        notes: list[str] = []
        results: list[Result] = []
        fresh: dict[tuple[int, str], list[_Known]] = {}
        affinity = False
        for at, each in enumerate(found):
            results += yield from self._map_ref(at, each, pods, fresh, notes)
            affinity = affinity or (each.service is not None and each.service.session_affinity == "ClientIP")
        self._known = fresh
        hosts, duplicates, changed = self._merger.merge(results)
        plain = self._settings.family != "all"
        if hosts and not any(result.ready for result in results):
            hosts = _use_draining(hosts, notes)
            plain = False
        if self._settings.family == "all":
            hosts = _join_families(hosts)
        if not (plain and self._plain):
            changed = None
        self._plain = plain
        self._serial += 1
        return Assignment(
            hosts,
            (*[item for result in results for item in result.excluded], *duplicates),
            tuple(notes),
            next((result.app_protocol for result in results if result.app_protocol), ""),
            affinity and self._settings.client_ip_affinity,
            self._serial,
            changed,
        )

    def _map_ref(
        self,
        at: int,
        found: Found,
        pods: FindPod | None,
        fresh: dict[tuple[int, str], list[_Known]],
        notes: list[str],
    ) -> _Looked:
        sources: list[EndpointSlice | Pod] = list(found.pods if isinstance(found.ref, PodsRef) else found.slices)
        if found.service is not None and found.service.type == "ExternalName":
            return [external_name(found.service, found.ref.port)]
        wanted = self._same(at, wanted_of(self._settings, found, sources, notes))
        results = yield from self._look(at, sources, wanted, pods, fresh)
        hints = self._settings.hints == "honour" and not wanted.distribution
        if hints and (by_hints := _apply_hints(results, wanted)):
            wanted = self._same(at, replace(wanted, by_hints=by_hints))
            results = yield from self._look(at, sources, wanted, pods, fresh)
        return results

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
        pods: FindPod | None,
        fresh: dict[tuple[int, str], list[_Known]],
    ) -> _Looked:
        key = (at, wanted.by_hints)
        known: list[_Known | None] = list(self._known.get(key, ()))
        if len(known) != len(sources):
            by_key = {each.source.key: each for each in known if each is not None}
            known = [by_key.pop(source.key, None) for source in sources]
            if pods is not None:
                for gone in by_key.values():
                    self._note_pods(gone.source, None)
        # Of a thousand slices a few are new: this loop must not cost anything.
        stale = () if pods is None else self._stale
        new = [
            index
            for index, (source, before) in enumerate(zip(sources, known, strict=True))
            if before is None
            or before[0] is not source
            or before[1] is not wanted
            or stale is None
            or source.key in stale
        ]
        for done, index in enumerate(new, 1):
            source, before = sources[index], known[index]
            of_pods = () if pods is None else _pods_of(source, pods)
            if before is None or before != (source, wanted, of_pods, before.result):
                known[index] = _Known(source, wanted, of_pods, self._maker.make(source, wanted, of_pods))
                if pods is not None:
                    self._note_pods(None if before is None else before.source, source)
            if not done % SOURCES_AT_ONCE:
                yield
        fresh[key] = looked = cast(list[_Known], known)
        return [each[3] for each in looked]

    def _note_pods(self, before: EndpointSlice | Pod | None, now: EndpointSlice | Pod | None) -> None:
        """Keep `_slices_of` right for a slice that came, changed or went."""
        for source, is_there in ((before, False), (now, True)):
            if isinstance(source, EndpointSlice):
                for endpoint in source.endpoints:
                    others = tuple([each for each in self._slices_of.get(endpoint.target, ()) if each != source.key])
                    if is_there:
                        self._slices_of[endpoint.target] = (*others, source.key)
                    elif others:
                        self._slices_of[endpoint.target] = others
                    else:
                        self._slices_of.pop(endpoint.target, None)

    def _slices_with(self, pods: Collection[ObjectKey]) -> frozenset[ObjectKey]:
        return frozenset(key for pod in pods for key in self._slices_of.get(pod, ()))


def _pods_of(source: EndpointSlice | Pod, pods: FindPod) -> tuple[Pod | None, ...]:
    if isinstance(source, Pod):
        return ()
    return tuple([pods(endpoint.target) for endpoint in source.endpoints])


def _apply_hints(results: Sequence[Result], wanted: Wanted) -> str:
    """`node` or `zone` if hints are to be obeyed; the nearer wins."""
    for kind, here, of in (
        ("node", wanted.node, [result.hinted_nodes for result in results]),
        ("zone", wanted.zone, [result.hinted_zones for result in results]),
    ):
        if here and all(each is not None for each in of) and any(each and here in each for each in of):
            return kind
    return ""


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


def map_endpoints(
    settings: KubernetesSettings, found: Sequence[Found], pods: Mapping[ObjectKey, Pod] | None = None
) -> Assignment:
    """Once, with nothing remembered."""
    return Mapper(settings).map(found, None if pods is None else pods.get)
