"""A balancer that first picks a list of hosts, by priority, health and locality, and then a host of it.

Envoy: `Upstream::ZoneAwareLoadBalancerBase`; docs "Panic threshold", "Zone aware routing", "Locality weighted load
balancing". Where all load goes to one list, which is the usual case, a request does not even draw a number for it.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from ..explain.explanation import NO_EXPLANATION
from .host import Host, HostSet
from .hosts_per_locality import NO_HOSTS, HostsPerLocality
from .load_balancer_base import HostAvailability, LoadBalancerBase, excluded_from
from .locality_lb_config import LocalityLbConfig
from .locality_routing import ZoneRouting, locality_scheduler, zone_routing
from .priority_load import in_panic

if TYPE_CHECKING:
    from .edf_scheduler import EdfScheduler
    from .load_balancer import LoadBalancerContext, LoadBalancerParams

ANYWHERE = -1
"""The index of a locality where it does not matter."""
_DEFAULT = LocalityLbConfig()


class HostsSource:
    """One list of hosts to choose from: those of one availability in one priority, perhaps of one locality.

    It outlives updates, so a policy may keep its place in the list here.

    Attributes:
        hosts: as of the last update.
        locality: an index of `HostsPerLocality`, or `ANYWHERE`.
        index: where a policy that goes around is; any number, taken modulo the number of hosts.
        scheduler: a policy's own; None if all hosts count the same.
        unbuilt: whether a `scheduler` is needed, and which, is to be found out when a host is first picked.
    """

    __slots__ = ("availability", "hosts", "index", "locality", "priority", "scheduler", "unbuilt")

    def __init__(self, priority: int, availability: HostAvailability, locality: int = ANYWHERE, index: int = 0) -> None:
        self.priority = priority
        self.availability = availability
        self.locality = locality
        self.hosts: tuple[Host, ...] = NO_HOSTS
        self.index = index
        self.scheduler: EdfScheduler[Host] | None = None
        self.unbuilt = False


class ZoneAwareLoadBalancerBase(LoadBalancerBase):
    """Policies override `refresh` and `pick`.

    Attributes:
        about: during an update of which it is known what it is about: the hosts that may have left a source, and those
            that may belong to one now.
    """

    __slots__ = (
        "_by_locality",
        "_local",
        "_localities",
        "_locality_schedulers",
        "_only",
        "_seed",
        "_sources",
        "_zone",
        "about",
        "locality_config",
    )

    def __init__(self, params: LoadBalancerParams, locality_config: LocalityLbConfig = _DEFAULT) -> None:
        super().__init__(params)
        self.locality_config = locality_config
        self.about: tuple[frozenset[Host], tuple[Host, ...]] | None = None
        self._seed = self.random.getrandbits(64)
        self._sources: dict[tuple[int, HostAvailability, int], HostsSource] = {}
        self._localities: dict[int, HostsPerLocality] = {}
        """Of each priority, if localities matter."""
        self._locality_schedulers: dict[tuple[int, HostAvailability], EdfScheduler[int] | None] = {}
        self._zone: ZoneRouting | None = None
        self._only: HostsSource | None = None
        """The source of every request, if it is one and is not in panic."""
        self._by_locality: tuple[EdfScheduler[int], dict[int, HostsSource]] | None = None
        """Where it is not one, but those of the localities of one priority, in one availability: which comes next."""
        self._local = params.local_priority_set
        for host_set in self.priority_set.host_sets:
            self._refresh(host_set)
        self._find_only()
        if self._local is not None:
            self._local.add_member_update_callback(self._on_local_update)

    def stop(self) -> None:
        """Nobody chooses here any more: the local cluster, which outlives this, need not tell of its changes."""
        if self._local is not None:
            self._local.remove_member_update_callback(self._on_local_update)
            self._local = None

    # -- for policies

    def refresh(self, source: HostsSource) -> None:
        """`source.hosts` may have changed, or their weights."""

    def belongs(self, host: Host, source: HostsSource) -> bool:
        """Whether a host of the priority of `source` is one of its hosts."""
        if (
            source.locality != ANYWHERE
            and self._localities[source.priority].localities[source.locality] != host.locality
        ):
            return False
        if source.availability is HostAvailability.ALL:
            return True
        return host.healthy if source.availability is HostAvailability.HEALTHY else host.degraded

    def pick(self, source: HostsSource, context: LoadBalancerContext | None, drawn: int) -> Host | None:
        """A host of `source`, which has some; `drawn` is the random number that chose it, if one was drawn, else 0."""
        raise NotImplementedError

    def draw(self) -> int:
        """The random number by which the source is chosen."""
        return self.random.getrandbits(64)

    # -- for requests

    def choose_host(self, context: LoadBalancerContext | None) -> Host | None:
        # The usual case is answered at once: one list, no wish to be told, no second thoughts.
        if context is None or (
            context.explain is NO_EXPLANATION and not context.host_selection_retries and context.retry_priority is None
        ):
            only = self._only
            if only is None and self._by_locality is not None:
                scheduler, sources = self._by_locality
                only = sources.get(scheduler.pick_and_add() or 0)
            if only is not None and only.hosts:
                return self.pick(only, context, 0)
        if context is None:
            return self._choose_once(None)[0]
        host, source = self._choose_once(context)
        rejected: tuple[Host, ...] = ()
        for _ in range(context.host_selection_retries):
            if host is None or not context.should_select_another_host(host):
                break
            rejected += (host,)
            host, source = self._choose_once(context)
        if context.explain is not NO_EXPLANATION:
            self._explain(context, host, source, rejected)
        return host

    def choose_source(self, context: LoadBalancerContext | None, drawn: int) -> HostsSource | None:
        """Where to take a host from; None if panic is to fail (`hostSourceToUse`)."""
        load = self.load_for(context)
        priority, availability = self.choose_priority(drawn, load)
        if self.load.panic[priority]:
            self.stats.lb_healthy_panic += 1
            if self.locality_config.fail_traffic_on_panic:
                return None
            return self._sources[priority, HostAvailability.ALL, ANYWHERE]
        scheduler = self._locality_schedulers.get((priority, availability))
        if scheduler is not None:
            return self._sources.get((priority, availability, scheduler.pick_and_add() or 0))
        if priority == 0 and self._zone is not None and self._routes_by_zone():
            assert self._local is not None
            if in_panic(self._local.host_sets[0], self.params.panic_threshold):
                self.stats.lb_local_cluster_not_ok += 1
                if self.locality_config.fail_traffic_on_panic:
                    return None
            else:
                return self._sources.get((0, availability, self._zone.choose(self.random, self.stats)))
        return self._sources[priority, availability, ANYWHERE]

    # -- inside

    def _choose_once(self, context: LoadBalancerContext | None) -> tuple[Host | None, HostsSource | None]:
        source = self._only
        drawn = 0
        if source is None or (context is not None and context.retry_priority is not None):
            drawn = self.draw()
            source = self.choose_source(context, drawn)
        if source is None or not source.hosts:
            return None, source
        return self.pick(source, context, drawn), source

    def _explain(
        self, context: LoadBalancerContext, host: Host | None, source: HostsSource | None, rejected: tuple[Host, ...]
    ) -> None:
        if host is None or source is None:
            # Whoever asked says that there is no host; here it is said why.
            priority = 0 if source is None else source.priority
            host_set = self.priority_set.host_sets[priority]
            if host_set.hosts:
                why = "panic, in which traffic fails" if source is None else f"no {source.availability.value} hosts"
                context.explain.decided("priority", priority, why, excluded_from(host_set, ()))
            return
        because = f"{source.availability.value} hosts"
        if source.availability is HostAvailability.ALL:
            because = "panic"
        if source.priority or source.availability is not HostAvailability.HEALTHY:
            context.explain.decided("priority", source.priority, because)
        host_set = self.priority_set.host_sets[source.priority]
        where = f" in {'/'.join(host.locality)}" if source.locality != ANYWHERE else ""
        context.explain.decided(
            "host",
            host,
            f"{self.policy} over {len(source.hosts)} of {len(host_set.hosts)} hosts{where}",
            rejected + excluded_from(host_set, source.hosts),
        )

    def _routes_by_zone(self) -> bool:
        percent = self.locality_config.routing_enabled
        if self.params.runtime is not None:
            drawn = self.random.getrandbits(64)
            return self.params.runtime.snapshot.feature_enabled("upstream.zone_routing.enabled", percent, drawn)
        return percent == 100 or self.random.getrandbits(64) % 100 < percent

    def on_update(
        self,
        host_set: HostSet,
        added: tuple[Host, ...],
        removed: tuple[Host, ...],
        altered: Sequence[Host] | None,
    ) -> None:
        while (len(self.priority_set.host_sets) - 1, HostAvailability.ALL, ANYWHERE) not in self._sources:
            self._refresh(self.priority_set.host_sets[self._known_priorities()])
        known = self._localities.get(host_set.priority)
        touched = None
        if altered is not None:
            touched = None if known is None else known.follow(host_set, added, removed, altered)
            if known is None or touched is not None:
                self.about = frozenset((*removed, *altered)), (*added, *altered)
        self._refresh(host_set, touched)
        self.about = None
        self._find_only()

    def _known_priorities(self) -> int:
        return len({priority for priority, _, _ in self._sources})

    def _on_local_update(self, host_set: HostSet, added: tuple[Host, ...], removed: tuple[Host, ...]) -> None:
        self._route_zones(HostsPerLocality(self.priority_set.host_sets[0], self.params.local_locality))
        self._find_only()

    def _refresh(self, host_set: HostSet, touched: Collection[int] | None = None) -> None:
        """`touched` are the localities that are not as they were, if it is known which."""
        priority = host_set.priority
        self._give(priority, HostAvailability.ALL, ANYWHERE, host_set.hosts)
        self._give(priority, HostAvailability.HEALTHY, ANYWHERE, host_set.healthy_hosts)
        self._give(priority, HostAvailability.DEGRADED, ANYWHERE, host_set.degraded_hosts)
        if not self.locality_config.weighted and self._local is None:
            return
        if touched is None:
            self._localities[priority] = HostsPerLocality(host_set, self.params.local_locality)
        localities = self._localities[priority]
        for availability, lists in (
            (HostAvailability.HEALTHY, localities.healthy),
            (HostAvailability.DEGRADED, localities.degraded),
        ):
            for index in range(len(lists)) if touched is None else touched:
                self._give(priority, availability, index, lists[index])
            index = len(lists)
            while self._sources.pop((priority, availability, index), None) is not None:
                index += 1
            if self.locality_config.weighted:
                self._locality_schedulers[priority, availability] = locality_scheduler(
                    localities, lists, host_set.overprovisioning_factor, self._seed
                )
        if priority == 0 and self._local is not None:
            self._route_zones(localities)

    def _route_zones(self, upstream: HostsPerLocality) -> None:
        self.stats.lb_recalculate_zone_structures += 1
        assert self._local is not None
        smallest = self.locality_config.min_cluster_size
        if self.params.runtime is not None:
            smallest = self.params.runtime.snapshot.get_integer("upstream.zone_routing.min_cluster_size", smallest)
        self._zone = zone_routing(
            self.priority_set.host_sets[0],
            upstream,
            HostsPerLocality(self._local.host_sets[0], self.params.local_locality),
            smallest,
            self.locality_config,
            self.stats,
        )

    def _give(self, priority: int, availability: HostAvailability, locality: int, hosts: tuple[Host, ...]) -> None:
        source = self._sources.get((priority, availability, locality))
        if source is None:
            source = HostsSource(priority, availability, locality, self._seed)
            self._sources[priority, availability, locality] = source
        source.hosts = hosts
        self.refresh(source)

    def _find_only(self) -> None:
        """Everything goes to one list if one priority takes all 100 percent, in health."""
        load = self.load
        self._only = self._by_locality = None
        for availability, shares in (
            (HostAvailability.HEALTHY, load.healthy),
            (HostAvailability.DEGRADED, load.degraded),
        ):
            if 100 not in shares:
                continue
            priority = shares.index(100)
            if load.panic[priority]:
                continue
            scheduler = self._locality_schedulers.get((priority, availability))
            if scheduler is not None:
                sources = {
                    locality: source
                    for (of, health, locality), source in self._sources.items()
                    if of == priority and health is availability and locality != ANYWHERE
                }
                self._by_locality = scheduler, sources
            elif not (priority == 0 and self._zone is not None):
                self._only = self._sources[priority, availability, ANYWHERE]
