"""Kubernetes: the hosts are the pods of a Service, or of a label selector, as the API server tells them.

No Envoy counterpart: Envoy needs a control plane for this. The closest is `Upstream::EdsClusterImpl`, and
what an update does to hosts is the same as there: an endpoint that stays keeps its `Host`, and so its connections, its
statistics and what checks and outlier detection know of it. A pod that went away is another matter than one whose
slice did: it is the pod's `uid` that counts, for addresses are given out again. Unlike hosts of EDS, one that is gone
does not stay while active checks find it well: a watch is not the hearsay that Envoy's rule was made for.

    cluster_type:
      name: minienvoy.clusters.kubernetes
      typed_config:
        "@type": type.googleapis.com/xds.type.v3.TypedStruct
        type_url: type.googleapis.com/minienvoy.clusters.Kubernetes
        value: {service: shop/web, port: http}

The fields of `value` are in `discovery/kubernetes/settings.py`, the guide is `docs/kubernetes.md`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

from ... import logger
from ...config.api import struct_to_dict
from ...discovery.kubernetes.api_client import check_installed
from ...discovery.kubernetes.discovery import KubernetesDiscovery
from ...discovery.kubernetes.explained import explain_endpoints
from ...discovery.kubernetes.mapped import FQDN, Assignment, Health, HostKey, MappedEndpoint
from ...discovery.kubernetes.names import ResolvedNames
from ...discovery.kubernetes.settings import KubernetesSettings, from_values
from ...discovery.kubernetes.subscription import Subscription
from ...errors import ConfigError
from ...explain.explanation import Explanation
from ...network.address import Address
from ...network.dns import DnsLookupFamily
from ...record import replace
from ...upstream.cluster import CLUSTERS, Cluster, ClusterContext
from ...upstream.host import NO_LOCALITY, HealthFlag, Host, HostSet, Locality
from ...upstream.http_protocol_options import UpstreamProtocol
from ...upstream.load_balancer import LoadBalancerFactory

if TYPE_CHECKING:
    from ...event.dispatcher import Timer

log = logger.get("upstream")
TYPE: Final = "minienvoy.clusters.Kubernetes"
HOSTS_AT_ONCE: Final = 1000
"""Hosts that are made before others have their turn."""
SINGLETON: Final = "kubernetes"
NODE_VARIABLE: Final = "MINIENVOY_NODE_NAME"
ZONE_VARIABLE: Final = "MINIENVOY_ZONE"
_FLAGS: Final = {
    Health.HEALTHY: 0,
    Health.DRAINING: HealthFlag.EDS_STATUS_DRAINING,
    Health.UNHEALTHY: HealthFlag.FAILED_EDS_HEALTH,
}
_OWN_FLAGS: Final = HealthFlag.EDS_STATUS_DRAINING | HealthFlag.FAILED_EDS_HEALTH
_FAMILIES: Final = {
    "auto": DnsLookupFamily.AUTO,
    "v4": DnsLookupFamily.V4_ONLY,
    "v6": DnsLookupFamily.V6_ONLY,
    "all": DnsLookupFamily.ALL,
}
_H2C: Final = "kubernetes.io/h2c"
_TLS: Final = ("https", "kubernetes.io/wss")


class KubernetesCluster(Cluster):
    __slots__ = (
        "_discovery",
        "_discovery_is_own",
        "_endpoints",
        "_hosts",
        "_locality_weights",
        "_names",
        "_on_initialized",
        "_serial",
        "_timeout",
        "_weighted",
        "settings",
        "subscription",
    )

    default_merge_window = 0.0
    """Updates have been gathered already; and who is about to end must not get requests for another second."""

    def __init__(self, config: Any, settings: KubernetesSettings, path: str, context: ClusterContext) -> None:
        check_installed(path)
        if config.load_assignment.endpoints:
            raise ConfigError("the endpoints of this cluster come from Kubernetes", f"{context.path}.load_assignment")
        self.settings = settings = _placed(settings, context)
        super().__init__(config, context)
        self._weighted = (
            config.common_lb_config.HasField("locality_weighted_lb_config") or "wrr_locality" in self.load_balancer_type
        )
        self._endpoints: Mapping[HostKey, MappedEndpoint] = {}
        self._hosts: dict[HostKey, Host] = {}
        self._locality_weights: dict[int, dict[Locality, int]] = {}
        """Of each priority, if they count: a locality weighs as much as its endpoints do."""
        self._serial = 0
        self._on_initialized: Callable[[], None] | None = None
        self._timeout: Timer = context.dispatcher.create_timer(self._initialized)
        self._names: ResolvedNames | None = None
        if context.dns_resolvers is not None:
            self._names = ResolvedNames(
                context.dispatcher, context.dns_resolvers.shared(), _FAMILIES[settings.family], self._on_names
            )
        self._discovery = shared_discovery(context)
        self._discovery_is_own = context.cluster_manager is None
        self._discovery.announce(settings)
        self.subscription = Subscription(self.name, settings, self._discovery, self._on_assignment)

    def start(self, on_initialized: Callable[[], None]) -> None:
        self._on_initialized = on_initialized
        self.stats.config_update.update_attempt += 1
        if self.settings.initial_fetch_timeout:
            self._timeout.enable(self.settings.initial_fetch_timeout)
        self.subscription.start()

    def stop(self) -> None:
        if not self.stopped:
            super().stop()
            self._on_initialized = None
            self._timeout.disable()
            self.subscription.stop()
            self._discovery.withdraw(self.settings)
            if self._discovery_is_own:
                self._discovery.stop()
            if self._names is not None:
                self._names.stop()

    def explain_endpoints(self, explain: Explanation) -> None:
        explain_endpoints(self.subscription, explain)

    def _load_balancer_factory(self, config: Any, context: ClusterContext) -> tuple[str, LoadBalancerFactory]:
        name, factory = super()._load_balancer_factory(config, context)
        if not self.settings.client_ip_affinity:
            return name, factory
        from .kubernetes_affinity import affinity_factory

        return name, affinity_factory(name, factory, context, self._wants_affinity)

    def _wants_affinity(self) -> bool:
        assignment = self.subscription.assignment
        return assignment is not None and assignment.client_ip_affinity

    # -- updates

    def _on_assignment(self, assignment: Assignment) -> Iterator[None]:
        update = self.stats.config_update
        update.update_success += 1
        names = (
            [each for each in assignment.hosts.values() if each.family == FQDN] if self._has_names(assignment) else []
        )
        if self._names is not None:
            self._names.want({each.address for each in names})
        self._obey_app_protocol(assignment.app_protocol)
        endpoints = self._resolved(assignment.hosts) if names else assignment.hosts
        if endpoints is None:
            return
        changed: Collection[HostKey] | None = assignment.changed
        if changed is None or names or assignment.serial != self._serial + 1:
            changed = _difference(self._endpoints, endpoints)
        self._serial = 0 if names else assignment.serial
        yield from self._apply(endpoints, changed)

    def _has_names(self, assignment: Assignment) -> bool:
        # A Service is of addresses or of names; the first endpoint tells, but for hand-made slices of both kinds.
        if assignment.changed is not None and self._serial:
            return any(assignment.hosts[key].family == FQDN for key in assignment.changed if key in assignment.hosts)
        return any(each.family == FQDN for each in assignment.hosts.values())

    def _on_names(self) -> None:
        if not self.stopped:
            self.subscription.refresh()

    def _apply(self, endpoints: Mapping[HostKey, MappedEndpoint], changed: Collection[HostKey]) -> Iterator[None]:
        """Make hosts what `endpoints` says; `changed` are the keys that were something else before."""
        known, hosts = self._endpoints, self._hosts
        added: dict[int, list[Host]] = {}
        removed: dict[int, list[Host]] = {}
        altered: dict[int, list[Host]] = {}
        count = 0
        for key in changed:
            endpoint, before, host = endpoints.get(key), known.get(key), hosts.get(key)
            if host is not None and before is not None:
                if endpoint is not None and not _is_another(before, endpoint):
                    self._weigh(host, -before.weight)
                    if self._change(host, endpoint):
                        altered.setdefault(host.priority, []).append(host)
                    self._weigh(host, endpoint.weight)
                    continue
                self._weigh(host, -before.weight)
                removed.setdefault(host.priority, []).append(host)
                # What takes its place stands at the end, as `PrioritySet.altered` promises.
                del hosts[key]
            if endpoint is not None:
                host = hosts[key] = self._make(endpoint)
                self._weigh(host, endpoint.weight)
                added.setdefault(endpoint.priority, []).append(host)
                count += 1
                if not count % HOSTS_AT_ONCE:
                    yield
        self._endpoints = endpoints
        touched = added.keys() | removed.keys() | altered.keys()
        listed = self._by_priority(touched)
        for priority in sorted(touched):
            change = tuple(added.get(priority, ())), tuple(removed.get(priority, ()))
            host_set = self._host_set(priority, listed.get(priority, ()))
            self.priority_set.update_hosts(host_set, change, altered.get(priority, ()))
        if not touched:
            self.stats.config_update.update_no_rebuild += 1
        self._initialized()

    def _by_priority(self, touched: set[int]) -> Mapping[int, tuple[Host, ...]]:
        hosts = self._hosts.values()
        if max(touched, default=0) == 0 and len(self.priority_set.host_sets) == 1:
            return {0: tuple(hosts)}
        listed: dict[int, list[Host]] = {}
        for host in hosts:
            listed.setdefault(host.priority, []).append(host)
        return {priority: tuple(each) for priority, each in listed.items()}

    def _resolved(self, hosts: Mapping[HostKey, MappedEndpoint]) -> dict[HostKey, MappedEndpoint] | None:
        """With the addresses of names in their places; None while nothing is known of one, before the first time."""
        made: dict[HostKey, MappedEndpoint] = {}
        for key, endpoint in hosts.items():
            if endpoint.family != FQDN:
                made[key] = endpoint
                continue
            addresses = self._names.addresses(endpoint.address) if self._names is not None else ()
            if addresses is None:
                if self._on_initialized is not None:
                    return None
                addresses = ()
            for address in addresses:
                made[address, endpoint.port] = endpoint._replace(address=address)
        return made

    def _make(self, endpoint: MappedEndpoint) -> Host:
        self.stats.transport_socket.total_match_count += 1
        addresses = tuple(Address(each, endpoint.port) for each in (endpoint.address, *endpoint.additional))
        return Host(
            addresses[0],
            endpoint.hostname,
            weight=endpoint.weight,
            priority=endpoint.priority,
            locality=self._locality(endpoint),
            metadata=endpoint.metadata(),
            health_flags=_FLAGS[endpoint.health] | self.initial_health_flags,
            addresses=addresses,
        )

    def _change(self, host: Host, endpoint: MappedEndpoint) -> bool:
        """Tell the host what is new; whether any of it matters to who chooses among hosts."""
        flags = host.health_flags & ~_OWN_FLAGS | _FLAGS[endpoint.health]
        locality, metadata = self._locality(endpoint), endpoint.metadata()
        before = (host.health_flags, host.weight, host.locality, host.metadata)
        drains = flags & ~host.health_flags & HealthFlag.EDS_STATUS_DRAINING
        host.health_flags, host.weight, host.hostname = flags, endpoint.weight, endpoint.hostname
        host.locality, host.metadata = locality, metadata
        if drains:
            for pool in tuple(host.http_pools.values()):
                pool.drain_connections()
        return before != (flags, endpoint.weight, locality, metadata)

    def _locality(self, endpoint: MappedEndpoint) -> Locality:
        node = endpoint.node if self.settings.sub_zone == "node" else ""
        locality = Locality(self.settings.region, endpoint.zone, node)
        return NO_LOCALITY if locality == NO_LOCALITY else locality

    def _weigh(self, host: Host, weight: int) -> None:
        """The locality of `host` weighs more by so much."""
        if self._weighted:
            weights = self._locality_weights.setdefault(host.priority, {})
            weights[host.locality] = weights.get(host.locality, 0) + weight
            if not weights[host.locality]:
                del weights[host.locality]

    def _host_set(self, priority: int, hosts: tuple[Host, ...]) -> HostSet:
        assignment = self.load_assignment
        return HostSet(
            priority,
            hosts,
            overprovisioning_factor=assignment.overprovisioning_factor,
            weighted_priority_health=assignment.weighted_priority_health,
            locality_weights=dict(self._locality_weights.get(priority, ())),
        )

    def _obey_app_protocol(self, protocol: str) -> None:
        if protocol == _H2C and not _says_protocol(self.config):
            if self.http_options.protocol is not UpstreamProtocol.HTTP2:
                self.http_options = replace(self.http_options, protocol=UpstreamProtocol.HTTP2)
        elif protocol in _TLS and self.transport_socket is None and self.subscription.assignment is None:
            log.warning(
                f"kubernetes: cluster {self.name}: the port speaks {protocol}, but there is no transport_socket"
            )

    def _initialized(self) -> None:
        self._timeout.disable()
        callback, self._on_initialized = self._on_initialized, None
        if callback is not None:
            callback()


def shared_discovery(context: ClusterContext) -> KubernetesDiscovery:
    """The one of the server; a cluster without a cluster manager, as in tests, has its own."""
    if context.cluster_manager is None:
        return KubernetesDiscovery(context.dispatcher, context.random, context.stats)
    singletons = context.cluster_manager.singletons
    discovery: KubernetesDiscovery | None = singletons.get(SINGLETON)
    if discovery is None:
        discovery = singletons[SINGLETON] = KubernetesDiscovery(context.dispatcher, context.random, context.stats)
    return discovery


def _placed(settings: KubernetesSettings, context: ClusterContext) -> KubernetesSettings:
    """Where this proxy is, from the first that says so: the settings, the environment, the bootstrap's node."""
    local = context.local_locality or NO_LOCALITY
    return replace(
        settings,
        region=settings.region or local.region,
        zone=settings.zone or os.environ.get(ZONE_VARIABLE, "") or local.zone,
        node=settings.node or os.environ.get(NODE_VARIABLE, ""),
    )


def _difference(old: Mapping[HostKey, MappedEndpoint], new: Mapping[HostKey, MappedEndpoint]) -> list[HostKey]:
    changed = [key for key in old if key not in new]
    for key, endpoint in new.items():
        before = old.get(key)
        if before is not endpoint and before != endpoint:
            changed.append(key)
    return changed


def _is_another(before: MappedEndpoint, now: MappedEndpoint) -> bool:
    """The address was given to another pod, or it is another host to those who look at priorities."""
    return bool(before.uid and now.uid and before.uid != now.uid) or before.priority != now.priority


def _says_protocol(config: Any) -> bool:
    """The configuration chooses the protocol itself, and is obeyed."""
    return bool(
        config.typed_extension_protocol_options
        or config.HasField("http_protocol_options")
        or config.HasField("http2_protocol_options")
        or config.protocol_selection
    )


@CLUSTERS.register("minienvoy.clusters.kubernetes", TYPE)
def create_kubernetes_cluster(config: Any, typed_config: Any, context: ClusterContext) -> Cluster:
    path = f"{context.path}.cluster_type.typed_config.value"
    return KubernetesCluster(config, from_values(struct_to_dict(typed_config.value), path), path, context)
