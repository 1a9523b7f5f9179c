"""EDS: the endpoints come from a source that is told apart from the cluster.

Envoy: `Upstream::EdsClusterImpl`; docs "Service discovery > Endpoint discovery service (EDS)". The source is a file, a
control plane, or a Kubernetes API server (`kubernetes_eds`).

An endpoint that stays keeps its `Host`, and so its connections, its statistics and what checks and outlier detection
know of it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from ...config.fields import honours
from ...discovery.subscription import DecodedResource, require_node
from ...discovery.subscription_factory import SubscriptionFactory
from ...errors import ConfigError
from ...network.address import Address
from ...stats.histogram import Histogram
from ...stats.store import CounterValue, GaugeValue, StatsStruct
from ...upstream.cluster import CLUSTERS, Cluster, ClusterContext
from ...upstream.cluster_info import is_kubernetes_source
from ...upstream.host import HealthFlag, Host
from ...upstream.load_assignment import EndpointSettings, LoadAssignment, LocalityEndpoints, resolve_address

CLUSTER_LOAD_ASSIGNMENT: Final = "envoy.config.endpoint.v3.ClusterLoadAssignment"
_OWN_FLAGS: Final = HealthFlag.FAILED_EDS_HEALTH | HealthFlag.DEGRADED_EDS_HEALTH | HealthFlag.EDS_STATUS_DRAINING

honours("envoy.config.cluster.v3.Cluster.EdsClusterConfig", "eds_config", "service_name")


class EdsStats(StatsStruct):
    """`cluster.NAME.*`: what only a cluster with a subscription counts."""

    init_fetch_timeout: CounterValue
    update_rejected: CounterValue
    update_time: GaugeValue
    update_duration: Histogram


class EdsCluster(Cluster):
    """The endpoints of a `ClusterLoadAssignment` that a file or a control plane has."""

    __slots__ = ("_assigned", "_hosts", "_name", "_on_initialized", "_subscription")

    def __init__(self, config: Any, context: ClusterContext) -> None:
        eds = config.eds_cluster_config
        path = f"{context.path}.eds_cluster_config.eds_config"
        subscriptions: SubscriptionFactory | None = getattr(context.sources, "subscriptions", None)
        if subscriptions is None:
            raise ConfigError("there is no server that could ask for endpoints", path)
        subscriptions.check(eds.eds_config, path)
        require_node(context.sources.node, "eds", path)
        super().__init__(config, context)
        self._name: str = eds.service_name or config.name
        self._hosts: dict[Address, Host] = {}
        self._assigned = False
        self._on_initialized: Callable[[], None] | None = None
        self._subscription = subscriptions.subscribe(
            eds.eds_config,
            path,
            CLUSTER_LOAD_ASSIGNMENT,
            self,
            self.stats.scope,
            self.stats.scope.struct(EdsStats),
            self.stats.config_update,
        )

    def start(self, on_initialized: Callable[[], None]) -> None:
        self._on_initialized = on_initialized
        self._subscription.start((self._name,))

    def stop(self) -> None:
        if not self.stopped:
            self._on_initialized = None
            self._subscription.stop()
            super().stop()

    def on_config_update_failed(self) -> None:
        # The cluster can be used without hosts, too.
        self._initialized()

    def _initialized(self) -> None:
        callback, self._on_initialized = self._on_initialized, None
        if callback is not None:
            callback()

    def on_delta_config_update(self, added: Sequence[DecodedResource], removed: Sequence[str], version: str) -> None:
        # An assignment that is gone is not one without endpoints: those that are known stay.
        self.on_config_update([each.message for each in added], version)

    def on_config_update(self, resources: Sequence[Any], version: str) -> None:
        update = self.stats.config_update
        if not resources:
            update.update_empty += 1
            self._initialized()
            return
        if len(resources) > 1:
            raise ConfigError(f"Unexpected EDS resource length: {len(resources)}")
        (proto,) = resources
        if proto.cluster_name != self._name:
            raise ConfigError(f"Unexpected EDS cluster (expecting {self._name}): {proto.cluster_name}")
        assignment = LoadAssignment.from_proto(proto, "resources[0]")
        if not self._apply(assignment):
            update.update_no_rebuild += 1
        self._initialized()

    def _apply(self, assignment: LoadAssignment) -> bool:
        """Whether anything is different now.

        Raises:
            ConfigError: an address that is none; nothing has changed then.
        """
        wanted: dict[Address, tuple[LocalityEndpoints, EndpointSettings, tuple[Address, ...]]] = {}
        for locality in assignment.localities:
            for endpoint in locality.endpoints:
                addresses = _addresses(endpoint)
                # Of two with one address the first counts.
                wanted.setdefault(addresses[0], (locality, endpoint, addresses))
        before = self.load_assignment
        self.load_assignment = assignment
        changed: set[int] = set()
        hosts: dict[Address, Host] = {}
        for address, (locality, endpoint, addresses) in wanted.items():
            host = self._hosts.get(address)
            if host is None or host.priority != locality.priority or host.addresses != addresses:
                self.stats.transport_socket.total_match_count += 1
                made = endpoint.host_at(
                    addresses, endpoint.hostname, locality.priority, locality.locality, self.initial_health_flags
                )
                changed.add(locality.priority)
                if host is not None:
                    changed.add(host.priority)
                hosts[address] = made
            else:
                if _change(host, locality, endpoint):
                    changed.add(host.priority)
                hosts[address] = host
        leaving = [host for address, host in self._hosts.items() if hosts.get(address) is not host]
        for host in self.keep_while_well(each for each in leaving if each.address not in hosts):
            hosts[host.address] = host
        changed |= {host.priority for host in leaving if hosts.get(host.address) is not host}
        if before != assignment or not self._assigned:
            changed |= {locality.priority for locality in (*before.localities, *assignment.localities)}
        self._hosts, self._assigned = hosts, True
        self.stats.endpoint.max_host_weight = max((host.weight for host in hosts.values()), default=1)
        listed: dict[int, list[Host]] = {}
        for host in hosts.values():
            listed.setdefault(host.priority, []).append(host)
        for priority in sorted(changed):
            self.priority_set.update_hosts(assignment.host_set(priority, tuple(listed.get(priority, ()))))
        return bool(changed)


def _addresses(endpoint: EndpointSettings) -> tuple[Address, ...]:
    path = endpoint.config_path
    return (
        resolve_address(endpoint.target, endpoint.port, endpoint.path, path),
        *(resolve_address(target, port, "", path) for target, port in endpoint.additional_targets),
    )


def _change(host: Host, locality: LocalityEndpoints, endpoint: EndpointSettings) -> bool:
    """Tell a host that stays what is new; whether any of it matters to who chooses among hosts."""
    kept = host.health_flags & ~(_OWN_FLAGS | HealthFlag.PENDING_DYNAMIC_REMOVAL)
    now = (kept | endpoint.health_flags, endpoint.weight, locality.locality, endpoint.metadata)
    if now == (host.health_flags, host.weight, host.locality, host.metadata):
        return False
    host.health_flags, host.weight, host.locality, host.metadata = now
    return True


@CLUSTERS.register("envoy.cluster.eds", "envoy.cluster.eds")
def create_eds_cluster(config: Any, typed_config: Any, context: ClusterContext) -> Cluster:
    if is_kubernetes_source(config.eds_cluster_config.eds_config):
        from .kubernetes_eds import create_cluster_of_kubernetes

        return create_cluster_of_kubernetes(config, context)
    return EdsCluster(config, context)
