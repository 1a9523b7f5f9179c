"""What most balancers share: which priority a request goes to, which of its hosts may be used, and panic.

Envoy: `Upstream::LoadBalancerBase`, `ZoneAwareLoadBalancerBase`; docs "Priority levels", "Panic threshold",
"Degraded endpoints".

Each priority has a health: its healthy hosts in percent, times the overprovisioning factor (140 %), at most 100; and
likewise for degraded hosts. 100 percent of load are given out, first to the healthy hosts of P0, P1, ... as far as
their health goes, then to the degraded hosts in the same order. If all health together is below 100, a priority with
fewer usable hosts than the panic threshold is in panic: what comes to it goes to all its hosts. If every priority is
in panic, load follows the number of hosts.

All of that is computed when hosts change. A request draws a number and looks the priority up; where all load goes to
one place, which is the usual case, it does not even draw.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

from ..explain.explanation import NO_EXPLANATION
from .host import Host, HostSet

if TYPE_CHECKING:
    from .load_balancer import LoadBalancerContext, LoadBalancerParams


class HostAvailability(Enum):
    HEALTHY = "healthy"
    DEGRADED = "degraded"
    ALL = "all"


class HostsSource:
    """One list of hosts to choose from: those of one availability in one priority.

    It outlives updates, so a policy may keep its place in the list here.

    Attributes:
        hosts: as of the last update.
        index: where a policy that goes around is; any number, taken modulo the number of hosts.
        panic: choosing from here is counted as panic.
    """

    __slots__ = ("availability", "hosts", "index", "panic", "priority", "scheduler")

    def __init__(self, priority: int, availability: HostAvailability, index: int = 0) -> None:
        self.priority = priority
        self.availability = availability
        self.hosts: tuple[Host, ...] = ()
        self.index = index
        self.panic = availability is HostAvailability.ALL
        self.scheduler: object = None


class PriorityLoad:
    """How 100 percent are spread: one number per priority for its healthy and for its degraded hosts."""

    __slots__ = ("degraded", "healthy", "panic")

    def __init__(self, healthy: list[int], degraded: list[int], panic: list[bool]) -> None:
        self.healthy = healthy
        self.degraded = degraded
        self.panic = panic


def priority_load(host_sets: list[HostSet], healthy_panic_threshold: int) -> PriorityLoad:
    """Spread 100 percent of load over `host_sets`, in Envoy's integer arithmetic."""
    health = [_availability(host_set, host_set.healthy_hosts) for host_set in host_sets]
    degraded_health = [_availability(host_set, host_set.degraded_hosts) for host_set in host_sets]
    total = min(100, sum(health) + sum(degraded_health))
    healthy_load = [0] * len(host_sets)
    degraded_load = [0] * len(host_sets)
    panic = [False] * len(host_sets)
    if total:
        left = _distribute(healthy_load, health, 100, total)
        left = _distribute(degraded_load, degraded_health, left, total)
        # What is left now is what rounding lost: it goes to the first that can take it.
        first = next((priority for priority, percent in enumerate(health) if percent), None)
        if first is not None:
            healthy_load[first] += left
        else:
            degraded_load[next(priority for priority, percent in enumerate(degraded_health) if percent)] += left
    elif healthy_panic_threshold == 0:
        healthy_load[0] = 100  # nobody is there to take it, and panic is off
        return PriorityLoad(healthy_load, degraded_load, panic)
    if total < 100:
        panic = [_in_panic(host_set, healthy_panic_threshold) for host_set in host_sets]
    if all(panic):
        healthy_load = _load_in_total_panic(host_sets)
        degraded_load = [0] * len(host_sets)
    return PriorityLoad(healthy_load, degraded_load, panic)


def _availability(host_set: HostSet, usable: tuple[Host, ...]) -> int:
    """Percent of the hosts that count, times the overprovisioning factor, at most 100."""
    if host_set.weighted_priority_health:
        total = sum(host.weight for host in host_set.hosts) - sum(host.weight for host in host_set.excluded_hosts)
        part = sum(host.weight for host in usable)
    else:
        total = len(host_set.hosts) - len(host_set.excluded_hosts)
        part = len(usable)
    return min(100, int(host_set.overprovisioning_factor * part / total)) if total > 0 else 0


def _distribute(load: list[int], health: list[int], left: int, total: int) -> int:
    for priority, percent in enumerate(health):
        load[priority] = min(left, percent * 100 // total)
        left -= load[priority]
    return left


def _in_panic(host_set: HostSet, threshold: int) -> bool:
    count = len(host_set.hosts) - len(host_set.excluded_hosts)
    usable = len(host_set.healthy_hosts) + len(host_set.degraded_hosts)
    return (100.0 * usable / count if count > 0 else 0.0) < threshold


def _load_in_total_panic(host_sets: list[HostSet]) -> list[int]:
    counts = [len(host_set.hosts) for host_set in host_sets]
    total = sum(counts)
    if not total:
        return [100, *[0] * (len(host_sets) - 1)]
    load = [100 * count // total for count in counts]
    load[next(priority for priority, count in enumerate(counts) if count)] += 100 - sum(load)
    return load


class LoadBalancerBase:
    """A balancer that first picks a `HostsSource`, then a host of it; policies override `refresh` and `pick`."""

    __slots__ = ("_only", "_sources", "_table", "healthy_panic_threshold", "priority_set", "random", "stats")

    policy = ""
    """For explanations, e.g. `round robin`."""

    def __init__(self, params: LoadBalancerParams) -> None:
        self.priority_set = params.priority_set
        self.stats = params.stats
        self.random = params.random
        self.healthy_panic_threshold = params.healthy_panic_threshold
        self._sources: dict[tuple[int, HostAvailability], HostsSource] = {}
        self._table: list[tuple[int, HostsSource]] = []
        """(percent up to which a drawn number from 1 to 100 means this source, the source)"""
        self._only: HostsSource | None = None
        """The source of every request, if it is one and is not in panic."""
        for host_set in self.priority_set.host_sets:
            self._refresh_sources(host_set)
        self._spread()
        self.priority_set.add_member_update_callback(self._on_member_update)

    # -- for policies

    def new_source(self, priority: int, availability: HostAvailability) -> HostsSource:
        return HostsSource(priority, availability)

    def refresh(self, source: HostsSource) -> None:
        """`source.hosts` may have changed, or their weights."""

    def pick(self, source: HostsSource, context: LoadBalancerContext | None) -> Host | None:
        """A host of `source`; None if it has none."""
        raise NotImplementedError

    # -- for requests

    def choose_host(self, context: LoadBalancerContext | None) -> Host | None:
        source = self._only or self.choose_source()
        host = self.pick(source, context)
        if context is None or host is None:
            return host
        explain = context.explain
        rejected: tuple[Host, ...] = ()
        for _ in range(context.host_selection_retries):
            if not context.should_select_another_host(host):
                break
            rejected += (host,)
            source = self._only or self.choose_source()
            again = self.pick(source, context)
            if again is None:
                return None
            host = again
        if explain is not NO_EXPLANATION:
            if source.priority or source.availability is not HostAvailability.HEALTHY:
                because = "panic" if source.panic else f"{source.availability.value} hosts"
                explain.decided("priority", source.priority, because)
            explain.decided("host", host, self.policy, rejected)
        return host

    def choose_source(self) -> HostsSource:
        """Draw the priority and the availability (`LoadBalancerBase::choosePriority`)."""
        drawn = self.random.getrandbits(64) % 100 + 1
        source = next(source for percent, source in self._table if drawn <= percent)
        if source.panic:
            self.stats.lb_healthy_panic += 1
        return source

    # -- inside

    def _on_member_update(self, host_set: HostSet, added: tuple[Host, ...], removed: tuple[Host, ...]) -> None:
        while len(self._sources) < 3 * len(self.priority_set.host_sets):
            self._refresh_sources(self.priority_set.host_sets[len(self._sources) // 3])
        self._refresh_sources(host_set)
        self._spread()

    def _refresh_sources(self, host_set: HostSet) -> None:
        for availability, hosts in (
            (HostAvailability.ALL, host_set.hosts),
            (HostAvailability.HEALTHY, host_set.healthy_hosts),
            (HostAvailability.DEGRADED, host_set.degraded_hosts),
        ):
            source = self._sources.get((host_set.priority, availability))
            if source is None:
                source = self.new_source(host_set.priority, availability)
                self._sources[host_set.priority, availability] = source
            source.hosts = hosts
            self.refresh(source)

    def _spread(self) -> None:
        load = priority_load(self.priority_set.host_sets, self.healthy_panic_threshold)
        table = []
        percent = 0
        for availability, shares in (
            (HostAvailability.HEALTHY, load.healthy),
            (HostAvailability.DEGRADED, load.degraded),
        ):
            for priority, share in enumerate(shares):
                if share:
                    percent += share
                    kind = HostAvailability.ALL if load.panic[priority] else availability
                    table.append((percent, self._sources[priority, kind]))
        self._table = table
        source = table[0][1]
        self._only = source if len(table) == 1 and source.hosts and not source.panic else None
