"""The requests of a simulation, and what came of them.

No Envoy counterpart: `upstream/` does the balancing, in simulated time. A request takes a host, is under way for a
while, and is over; a host that is `down` and is chosen all the same (in panic) fails it.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from ..config.api import message_class
from ..errors import ConfigError
from ..event.random import RandomGenerator
from ..event.simulated import SimulatedDispatcher
from ..explain.explanation import NO_EXPLANATION, Explanation
from ..stats.store import Store
from ..upstream import xx_hash
from ..upstream.cluster import Cluster, ClusterContext, create_cluster
from ..upstream.host import HealthFlag, Host
from ..upstream.load_balancer import LoadBalancerContextBase
from .timeline import Event, apply, closest


@dataclass(frozen=True, slots=True)
class Settings:
    """`rate` is requests per second, `service_time` seconds, `keys` how many different hash keys there are."""

    requests: int = 10_000
    rate: float = 100.0
    service_time: float = 0.05
    keys: int = 10_000
    seed: int = 1
    criteria: dict[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class Phase:
    """From one event to the next.

    Attributes:
        what: the event it begins with.
        counts: requests by host; the empty name is of those for which there was no host.
        failed: requests that went to a host which was down.
        why_nobody: why there was no host for the first request that had none.
        moved: of the keys of a policy that hashes, the part that has another host than before the event; None where
            the policy does not hash.
        moved_needlessly: of those, the part whose former host is still there and healthy.
    """

    at: float
    what: str
    counts: dict[str, int] = field(default_factory=dict)
    failed: int = 0
    why_nobody: str = ""
    moved: float | None = None
    moved_needlessly: float | None = None

    @property
    def requests(self) -> int:
        return sum(self.counts.values())


class Request(LoadBalancerContextBase):
    __slots__ = ("_criteria", "_key", "explain")

    def __init__(self, key: int, criteria: dict[str, Any]) -> None:
        self._key = key
        self._criteria = criteria
        self.explain = NO_EXPLANATION

    def compute_hash_key(self) -> int | None:
        return self._key

    def metadata_match_criteria(self) -> Any:
        return self._criteria


class _Loop:
    """Nothing runs in simulated time but what `advance` fires."""

    def time(self) -> float:
        return 0.0

    def call_soon(self, *_: Any) -> None:
        raise NotImplementedError


class Simulation:
    """Over `config`, an `envoy.config.cluster.v3.Cluster`.

    Raises:
        ConfigError: the cluster can not be used, or not here.
    """

    def __init__(self, config: Any, settings: Settings) -> None:
        self.settings = settings
        self.dispatcher = SimulatedDispatcher(_Loop())  # type: ignore[arg-type]
        context = ClusterContext(
            self.dispatcher, RandomGenerator(settings.seed), Store(), path=f"cluster {config.name}"
        )
        self.cluster: Cluster = create_cluster(_without_names(config), context)
        self.cluster.start(lambda: None)
        self._keys = [xx_hash.xx_hash64(b"key%d" % number) for number in range(max(1, settings.keys))]
        balancer = self.cluster.load_balancer
        self.policy: str = getattr(balancer, "policy", "") or self.cluster.load_balancer_type.rpartition(".")[2]
        self._hashes = self.policy in ("ring hash", "maglev")

    def run(self, events: Sequence[Event]) -> list[Phase]:
        """All phases, the first from the start."""
        waiting = sorted(events, key=lambda event: event.at)
        phases = [Phase(0.0, "start")]
        under_way: list[tuple[float, int, Host]] = []
        settings = self.settings
        for number in range(settings.requests):
            now = number / settings.rate
            while waiting and waiting[0].at <= now:
                event = waiting.pop(0)
                self._move_to(event.at, under_way)
                phases.append(self._happens(event))
            self._move_to(now, under_way)
            host = self._choose(self._keys[number * 7919 % len(self._keys)])
            phase = phases[-1]
            name = "" if host is None else host.hostname or str(host)
            phase.counts[name] = phase.counts.get(name, 0) + 1
            if host is None:
                phase.why_nobody = phase.why_nobody or self._why_nobody()
                continue
            if host.health_flags & HealthFlag.FAILED_ACTIVE_HC:
                phase.failed += 1
            host.stats.rq_active += 1
            self.cluster.stats.traffic.upstream_rq_active += 1
            heapq.heappush(under_way, (now + settings.service_time, number, host))
        phases.extend(self._happens(event) for event in waiting)
        return phases

    def _choose(self, key: int) -> Host | None:
        return self.cluster.load_balancer.choose_host(Request(key, self.settings.criteria))

    def _why_nobody(self) -> str:
        request = Request(self._keys[0], self.settings.criteria)
        request.explain = explain = Explanation()
        self.cluster.load_balancer.choose_host(request)
        for decision in reversed(explain.decisions):
            if decision.point == "priority":
                return decision.because
        if not self.cluster.hosts():
            return "the cluster has no hosts"
        if self.policy == "subset" and "subset" not in explain:
            return "no subset matches, and nobody is the fallback; say --match key=value"
        return ""

    def _move_to(self, now: float, under_way: list[tuple[float, int, Host]]) -> None:
        while under_way and under_way[0][0] <= now:
            host = heapq.heappop(under_way)[2]
            host.stats.rq_active -= 1
            self.cluster.stats.traffic.upstream_rq_active -= 1
        passed = now - self.dispatcher.monotonic_time()
        if passed > 0:
            self.dispatcher.advance(passed)

    def _happens(self, event: Event) -> Phase:
        before = [self._choose(key) for key in self._keys] if self._hashes else []
        apply(event, self.cluster, self.dispatcher.monotonic_time())
        phase = Phase(event.at, str(event))
        if before:
            after = [self._choose(key) for key in self._keys]
            there = set(self.cluster.hosts())
            moved = [old for old, new in zip(before, after, strict=True) if old is not new]
            needless = [old for old in moved if old in there and old is not None and old.healthy]
            phase.moved = len(moved) / len(before)
            phase.moved_needlessly = len(needless) / len(before)
        return phase


def find_cluster(clusters: Sequence[Any], name: str) -> Any:
    """The cluster of that name; if there is only one, it need not be named.

    Raises:
        ConfigError: there is none.
    """
    names = ", ".join(cluster.name for cluster in clusters)
    if not name:
        if len(clusters) != 1:
            raise ConfigError("which cluster?", remedy=f"--cluster, one of {names}")
        return clusters[0]
    found = [cluster for cluster in clusters if cluster.name == name]
    if not found:
        near = closest(name, [cluster.name for cluster in clusters])
        raise ConfigError(f"there is no cluster '{name}'", remedy=near or f"clusters are {names}")
    return found[0]


def _without_names(config: Any) -> Any:
    """The cluster with an address of its own for every name: nobody is asked.

    Raises:
        ConfigError: it is of a kind whose hosts come with the requests, or from other clusters.
    """
    if not config.HasField("load_assignment"):
        kind = config.cluster_type.name if config.HasField("cluster_type") else ""
        raise ConfigError(
            f"the hosts of cluster '{config.name}' are not in its configuration{f' ({kind})' if kind else ''}",
            remedy="simulate a cluster that has a load_assignment",
        )
    copy = message_class(config.DESCRIPTOR.full_name)()
    copy.CopyFrom(config)
    if copy.HasField("cluster_type"):
        copy.ClearField("cluster_type")
    copy.type = 0
    # An event is in force at once, not when the window in which updates are merged is over.
    copy.common_lb_config.update_merge_window.SetInParent()
    number = 0
    for locality in copy.load_assignment.endpoints:
        for each in locality.lb_endpoints:
            address = each.endpoint.address.socket_address
            if not _is_ip(address.address):
                number += 1
                each.endpoint.hostname = each.endpoint.hostname or address.address
                address.address = f"198.18.{number // 256}.{number % 256}"
    return copy


def _is_ip(text: str) -> bool:
    from ipaddress import ip_address

    try:
        ip_address(text)
    except ValueError:
        return False
    return True
