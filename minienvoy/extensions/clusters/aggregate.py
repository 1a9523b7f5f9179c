"""Aggregate: a cluster that consists of others, which are tried in order like priorities.

Envoy: `Extensions::Clusters::Aggregate::Cluster`, `AggregateClusterLoadBalancer`; docs "Aggregate Cluster". All
priorities of all its clusters stand in one line; load is spread over them as over the priorities of one cluster, and
the balancer of the cluster that is hit chooses a host of the priority that was hit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from ...config.fields import honours
from ...errors import ConfigError
from ...explain.explanation import NO_EXPLANATION
from ...record import replace
from ...upstream.cluster import CLUSTERS, Cluster, ClusterContext
from ...upstream.host import Host, HostSet, PrioritySet
from ...upstream.load_balancer import (
    LoadBalancerContext,
    LoadBalancerContextBase,
    LoadBalancerFactory,
    LoadBalancerParams,
    OverrideHost,
    PriorityOf,
)
from ...upstream.load_balancer_base import HostAvailability, LoadBalancerBase
from ...upstream.priority_load import PriorityLoad
from .cluster_provided_lb import require_cluster_provided

if TYPE_CHECKING:
    from ...http.header_map import RequestHeaderMap
    from ...stream_info import StreamInfo

TYPE = "envoy.extensions.clusters.aggregate.v3.ClusterConfig"
honours(TYPE, "clusters")


class OnlyPriority:
    """All load to one priority, in one health."""

    __slots__ = ("_availability", "_priority")

    def __init__(self, priority: int, availability: HostAvailability) -> None:
        self._priority = priority
        self._availability = availability

    def determine_priority_load(
        self, host_sets: Sequence[HostSet], load: PriorityLoad, priority_of: PriorityOf
    ) -> PriorityLoad:
        none, full = [0] * len(host_sets), [0] * len(host_sets)
        full[self._priority] = 100
        if self._availability is HostAvailability.DEGRADED:
            return PriorityLoad(none, full, load.panic)
        return PriorityLoad(full, none, load.panic)


class AggregateContext:
    """A request as the balancer of one of the clusters sees it: its priority is chosen already."""

    __slots__ = ("_wrapped", "explain", "host_selection_retries", "retry_priority")

    def __init__(self, wrapped: LoadBalancerContext, only: OnlyPriority) -> None:
        self._wrapped = wrapped
        self.explain = wrapped.explain
        self.host_selection_retries = wrapped.host_selection_retries
        self.retry_priority: Any = only

    def compute_hash_key(self) -> int | None:
        return self._wrapped.compute_hash_key()

    def should_select_another_host(self, host: Host) -> bool:
        return self._wrapped.should_select_another_host(host)

    def metadata_match_criteria(self) -> Any:
        return self._wrapped.metadata_match_criteria()

    def override_host(self) -> OverrideHost | None:
        return self._wrapped.override_host()

    def downstream_headers(self) -> RequestHeaderMap | None:
        return self._wrapped.downstream_headers()

    def request_stream_info(self) -> StreamInfo | None:
        return self._wrapped.request_stream_info()

    def add_set_cookie(self, value: bytes) -> None:
        self._wrapped.add_set_cookie(value)


class AggregateLoadBalancer(LoadBalancerBase):
    """`places` says of each priority in line which cluster's it is, and which there."""

    __slots__ = ("places",)

    def __init__(self, params: LoadBalancerParams) -> None:
        self.places: list[tuple[Cluster, int]] = []
        # The line of priorities is not that of the aggregate itself, which has no hosts.
        line = PrioritySet()
        line.update_hosts(HostSet(0, ()))
        super().__init__(replace(params, priority_set=line))

    def line_up(self, clusters: list[Cluster]) -> None:
        """Put the priorities of these clusters in line; those without hosts are left out."""
        self.places = []
        sets: list[HostSet] = []
        for cluster in clusters:
            for host_set in cluster.priority_set.host_sets:
                if host_set.hosts:
                    self.places.append((cluster, host_set.priority))
                    sets.append(_at(len(sets), host_set))
        for priority in range(max(len(sets), len(self.priority_set.host_sets))):
            self.priority_set.update_hosts(sets[priority] if priority < len(sets) else HostSet(priority, ()))

    def priority_of(self, host: Host) -> int | None:
        place = (host.cluster, host.priority)
        return self.places.index(place) if place in self.places else None

    def choose_host(self, context: LoadBalancerContext | None) -> Host | None:
        if not self.places:
            return None
        priority, availability = self.choose_priority(self.random.getrandbits(64), self.load_for(context))
        if priority >= len(self.places):
            return None
        cluster, there = self.places[priority]
        wrapped = context if context is not None else LoadBalancerContextBase()
        if wrapped.explain is not NO_EXPLANATION:
            wrapped.explain.decided("cluster", cluster.name, f"priority {priority} of the aggregate")
        return cluster.load_balancer.choose_host(AggregateContext(wrapped, OnlyPriority(there, availability)))


def _at(priority: int, host_set: HostSet) -> HostSet:
    return HostSet(
        priority,
        host_set.hosts,
        overprovisioning_factor=host_set.overprovisioning_factor,
        weighted_priority_health=host_set.weighted_priority_health,
    )


class AggregateCluster(Cluster):
    __slots__ = ("_manager", "_members", "_started", "_watched")

    load_balancer: AggregateLoadBalancer

    def __init__(self, config: Any, typed_config: Any, context: ClusterContext) -> None:
        require_cluster_provided(config, context, "AGGREGATE")
        if context.cluster_manager is None:
            raise ConfigError("there are no other clusters here", context.path)
        self._manager = context.cluster_manager
        self._members: tuple[str, ...] = tuple(typed_config.clusters)
        self._watched: list[PrioritySet] = []
        self._started = False
        super().__init__(config, context)

    def start(self, on_initialized: Callable[[], None]) -> None:
        self._started = True
        self._manager.add_update_callback(self._on_cluster_update)
        self._refresh()
        on_initialized()

    def stop(self) -> None:
        super().stop()
        if self._started:
            self._started = False
            self._manager.remove_update_callback(self._on_cluster_update)
        for priority_set in self._watched:
            priority_set.remove_member_update_callback(self._on_hosts_changed)
        self._watched = []

    def _load_balancer_factory(self, config: Any, context: ClusterContext) -> tuple[str, LoadBalancerFactory]:
        return "envoy.load_balancing_policies.cluster_provided", AggregateLoadBalancer

    def _on_cluster_update(self, name: str, cluster: Cluster | None) -> None:
        if name in self._members and not self.stopped:
            self._refresh()

    def _on_hosts_changed(self, host_set: HostSet, added: tuple[Host, ...], removed: tuple[Host, ...]) -> None:
        self._refresh()

    def _refresh(self) -> None:
        clusters = [found for name in self._members if (found := self._manager.get(name)) is not None]
        for cluster in clusters:
            if cluster is not self and all(cluster.priority_set is not each for each in self._watched):
                cluster.priority_set.add_member_update_callback(self._on_hosts_changed)
                self._watched.append(cluster.priority_set)
        self.load_balancer.line_up([cluster for cluster in clusters if cluster is not self])


@CLUSTERS.register("envoy.clusters.aggregate", TYPE)
def create_aggregate_cluster(config: Any, typed_config: Any, context: ClusterContext) -> Cluster:
    return AggregateCluster(config, typed_config, context)
