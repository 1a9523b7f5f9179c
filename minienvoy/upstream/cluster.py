"""A cluster: where requests can go, how they are spread and how the hosts are spoken to.

Envoy: `Upstream::Cluster`, `ClusterImplBase`; docs "Cluster manager".

`Cluster` is compiled from `envoy.config.cluster.v3.Cluster` once; requests use its slots only. What kind of discovery
it has is a subclass, found through `CLUSTERS`: by the canonical extension name for the values of `Cluster.type`, by the
type of the configuration for `cluster_type`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final

from ..config.api import type_of, unpack
from ..errors import ConfigError
from ..explain.explanation import NO_EXPLANATION, Explanation
from ..network.transport_socket import (
    UPSTREAM_TRANSPORT_SOCKETS,
    TransportSocketFactory,
    UpstreamTransportContext,
    create_transport_socket,
)
from ..record import record, replace
from ..registry import Registry
from .cluster_health import ClusterHealth
from .cluster_info import EDS, happy_eyeballs, healthy_panic_threshold, http_options, tcp_keepalive
from .cluster_stats import ClusterManagerStats, ClusterStats
from .duration import duration_of
from .endpoint_stats import report_endpoints
from .host import HealthFlag, Host, HostSet, Locality, PrioritySet
from .load_assignment import LoadAssignment, plain_metadata
from .load_balancer import LoadBalancer, LoadBalancerContext, LoadBalancerFactory, LoadBalancerParams, stop_balancer
from .load_balancer_policy import cluster_policy
from .override_host import OverrideHostStatus
from .resource_manager import DEFAULT, ResourceManager, resource_managers
from .update_merge import DEFAULT_WINDOW, UpdateMerger

if TYPE_CHECKING:
    from ..access_log.file import AccessLogManager
    from ..config.runtime import Loader
    from ..event.dispatcher import Dispatcher
    from ..event.random import RandomGenerator
    from ..explain.journal import Journal
    from ..http.filter_manager import FilterChain
    from ..matchers.value import MetadataMatcher
    from ..network.dns import DnsResolvers
    from ..network.overload_state import OverloadState
    from ..stats.store import Scope, Store
    from .cluster_manager import ClusterManager
    from .local_address_selector import LocalAddressSelector
    from .outlier_event_logger import OutlierEventLogger
    from .transport_socket_matcher import TransportSocketMatcher

DISCOVERY_TYPES: Final = {
    0: "envoy.cluster.static",
    1: "envoy.cluster.strict_dns",
    2: "envoy.cluster.logical_dns",
    3: "envoy.cluster.eds",
    4: "envoy.cluster.original_dst",
}
"""`Cluster.DiscoveryType` to the name of the extension."""


@record
class ClusterContext:
    """What a factory of clusters may ask for (`Upstream::ClusterFactoryContext`).

    Attributes:
        dns_resolvers: None where no cluster may ask DNS, as in many tests.
        path: of the cluster in the configuration, for errors; so is `cluster_name`.
        added_via_api: it came from CDS, not from the bootstrap.
        cluster_manager: for clusters that consist of others; None in tests that have none.
        local_priority_set: the hosts of the cluster that this server is a member of, for zone aware routing.
        local_locality: where this server is; None if that is not told.
        bind_config: the cluster manager's `BindConfig`, or None.
        access_logs: files for events; None where nothing is written, as in many tests.
        secrets: a `SecretManager`; None where there is none, as in many tests.
        overload: what the overload manager has decided; None if there is none.
        journal: where ejections and health transitions are noted; None when explaining is off.
        http2_codec: that connections speak HTTP/2 with: `native`, or `h2` for the reference codec.
        sources: the server, for the formats of headers; None where there is none, as in many tests.
    """

    dispatcher: Dispatcher
    random: RandomGenerator
    stats: Store
    runtime: Loader | None = None
    dns_resolvers: DnsResolvers | None = None
    path: str = ""
    cluster_name: str = ""
    added_via_api: bool = False
    cluster_manager: ClusterManager | None = None
    local_priority_set: PrioritySet | None = None
    local_locality: Locality | None = None
    bind_config: Any = None
    access_logs: AccessLogManager | None = None
    outlier_event_logger: OutlierEventLogger | None = None
    journal: Journal | None = None
    cluster_manager_stats: ClusterManagerStats | None = None
    secrets: Any = None
    overload: OverloadState | None = None
    http2_codec: str = "native"
    sources: Any = None


AwaitHost = Callable[[LoadBalancerContext, Callable[[str], None]], "Callable[[], None] | str | None"]
"""Looks for the host of a request, and calls when it is known, with why there is none or with an empty text. Returns
what stops it; why there is none, if that is known already; None if there is nothing to look for."""


class Cluster:
    """What is common to every kind of discovery.

    Attributes:
        name: as routes say it.
        observability_name: for statistics; `alt_stat_name` if that is set.
        connect_timeout: seconds.
        per_connection_buffer_limit: bytes.
        resource_managers: circuit breakers of the default and the high routing priority; the first is also
            `resource_manager`.
        stats: `stats.traffic`, `stats.lb`, ...; `code_stats` counts responses.
        http_pools: the set of its HTTP connection pools; it belongs to their module.
        health: active checks and outlier detection.
        updates: what passes changes of `priority_set` on to the load balancer.
        transport_socket: makes connections more than plain, unless a match of `transport_socket_matches` does.
        tcp_keepalive: None if keep-alive probes are not asked for.
        local_address_selector: where upstream connections come from; None for wherever the kernel likes.
        happy_eyeballs: in which order the addresses of a host are tried (`sorted_addresses`).
        wants_proxy_header: upstreams are told whose connection they have, so that not everybody can have the same.
        pool_per_downstream_connection: upstream connections are not shared between downstream connections.
        preconnect_ratio: connections that a pool has for each stream, at least one.
        predictive_preconnect_ratio: connections that all clusters together have for each stream; 0 for no matter.
        siblings: all clusters, itself included.
        drop_overload: which requests are dropped before a host is chosen; None if none are.
        route_policies: what it says over the routes to it, or None.
        upstream_filters: what its requests go through; None if there is nothing.
        has_say: there is one of these three, or another name for statistics.
        overload: what the overload manager has decided; None if there is none.
        orca_load_report: takes what a host tells of its load (host, report); None if nobody wants to know.
    """

    __slots__ = (
        "_close_on_host_set_change",
        "_override_host_status",
        "_preconnect_metadata",
        "_transport_context",
        "added_via_api",
        "code_stats",
        "config",
        "connect_timeout",
        "dispatcher",
        "drop_overload",
        "happy_eyeballs",
        "has_say",
        "health",
        "http2_codec",
        "http_options",
        "http_pools",
        "load_assignment",
        "load_balancer",
        "load_balancer_type",
        "local_address_selector",
        "metadata",
        "name",
        "observability_name",
        "orca_load_report",
        "overload",
        "per_connection_buffer_limit",
        "pool_per_downstream_connection",
        "preconnect_ratio",
        "predictive_preconnect_ratio",
        "priority_set",
        "random",
        "resource_manager",
        "resource_managers",
        "route_policies",
        "siblings",
        "stats",
        "stopped",
        "tcp_keepalive",
        "transport_socket",
        "transport_socket_matcher",
        "updates",
        "upstream_filters",
        "wants_proxy_header",
    )

    resolves_names = False
    """Whether its hosts come from the answers of name servers."""

    def __init__(self, config: Any, context: ClusterContext) -> None:
        self.config = config
        self.name: str = config.name
        self.observability_name: str = config.alt_stat_name or config.name
        self.added_via_api = context.added_via_api
        self.dispatcher = context.dispatcher
        self.http2_codec = context.http2_codec
        self.stopped = False
        self.overload = context.overload
        self.http_pools: Any = None
        self.connect_timeout = duration_of(config, "connect_timeout", 5.0)
        self.per_connection_buffer_limit: int = (
            config.per_connection_buffer_limit_bytes.value
            if config.HasField("per_connection_buffer_limit_bytes")
            else 1024 * 1024
        )
        self.metadata: Mapping[str, Mapping[str, Any]] = (
            plain_metadata(config.metadata) if config.HasField("metadata") else {}
        )
        self.http_options = http_options(config, context.path)
        policies = self.http_options.route_policies
        self.route_policies = None if policies is None else policies(context)
        self.tcp_keepalive = tcp_keepalive(config.upstream_connection_options)
        self.local_address_selector: LocalAddressSelector | None = None
        if config.HasField("upstream_bind_config") or context.bind_config is not None:
            from .local_address_selector import local_address_selector

            self.local_address_selector = local_address_selector(config, context.bind_config, context.path)
        self.happy_eyeballs = happy_eyeballs(config.upstream_connection_options)
        self.pool_per_downstream_connection: bool = config.connection_pool_per_downstream_connection
        policy = config.preconnect_policy
        self.preconnect_ratio = (
            policy.per_upstream_preconnect_ratio.value if policy.HasField("per_upstream_preconnect_ratio") else 1.0
        )
        self.predictive_preconnect_ratio: float = policy.predictive_preconnect_ratio.value
        self._preconnect_metadata: MetadataMatcher | None = None
        if policy.HasField("preconnect_enabled_metadata"):
            from ..matchers.value import MetadataMatcher

            where = f"{context.path}.preconnect_policy.preconnect_enabled_metadata"
            self._preconnect_metadata = MetadataMatcher.from_proto(policy.preconnect_enabled_metadata, where)
        manager = context.cluster_manager
        self.siblings: Callable[[], Iterable[Cluster]] = lambda: (
            (self,) if manager is None else manager.clusters().values()
        )
        self.load_assignment = LoadAssignment.from_proto(config.load_assignment, f"{context.path}.load_assignment")
        self.load_balancer_type, create_load_balancer = self._load_balancer_factory(config, context)
        validate_endpoints = getattr(create_load_balancer, "validate_endpoints", None)
        if validate_endpoints is not None:
            validate_endpoints(self.load_assignment, f"{context.path}.load_assignment")
        common = config.common_lb_config
        self._close_on_host_set_change: bool = common.close_connections_on_host_set_change
        self._override_host_status = OverrideHostStatus.from_proto(common)
        # Everything that can be wrong has been looked at: from here on there is something to clean up.
        scope = context.stats.scope(f"cluster.{self.observability_name}")
        self.transport_socket: TransportSocketFactory | None = None
        self.transport_socket_matcher: TransportSocketMatcher | None = None
        self._transport_context = UpstreamTransportContext(scope, context.secrets)
        try:
            self._create_transport_sockets(config, self._transport_context, context.path)
            filters = self.http_options.http_filters
            self.upstream_filters: FilterChain | None = None if filters is None else filters(context, scope)
        except ConfigError:
            self._destroy(scope)
            raise
        self.stats = ClusterStats(scope)
        self.code_stats = self.stats.codes
        self.resource_managers: tuple[ResourceManager, ResourceManager] = resource_managers(
            config.circuit_breakers, scope, context.runtime, self.name, self.dispatcher.monotonic_time
        )
        self.resource_manager = self.resource_managers[DEFAULT]
        self.random = context.random.stream(f"cluster.{self.name}")
        self.priority_set = PrioritySet()
        self.priority_set.update_hosts(self.load_assignment.host_set(0, ()))
        self.priority_set.add_member_update_callback(self._on_member_update)
        if config.track_cluster_stats.per_endpoint_stats:
            report_endpoints(self.priority_set, scope, self.observability_name)
        self.drop_overload = self.load_assignment.drop_overload(context.random.stream(f"cluster.{self.name}.drop"))
        renamed = self.observability_name != self.name
        said = (self.drop_overload, self.route_policies, self.upstream_filters)
        self.has_say = renamed or any(each is not None for each in said)
        self.updates = UpdateMerger(
            self.priority_set,
            self.dispatcher,
            duration_of(config.common_lb_config, "update_merge_window", self.default_merge_window),
            context.cluster_manager_stats,
        )
        self.load_balancer: LoadBalancer = create_load_balancer(
            LoadBalancerParams(
                self.updates.target,
                self.stats.lb,
                context.random.stream(f"cluster.{self.name}.lb"),
                healthy_panic_threshold(common),
                context.dispatcher,
                context.runtime,
                context.local_priority_set,
                context.local_locality,
                scope,
                self.stats.traffic,
            )
        )
        self.orca_load_report = getattr(self.load_balancer, "on_orca_load_report", None)
        if self.predictive_preconnect_ratio > 1.0 and getattr(self.load_balancer, "peekable", False):
            from .preconnect import PeekingLoadBalancer

            self.load_balancer = PeekingLoadBalancer(self.load_balancer, self.updates.target)
        try:
            self.health = ClusterHealth(self, config, context)
        except ConfigError:
            self._destroy(scope)
            raise

    def _destroy(self, scope: Scope) -> None:
        self._transport_context.init_manager.cancel()
        for callback in self._transport_context.on_destroy:
            # As in Envoy, a turn later: connections may still have it, and whoever removes it has more to say first.
            self.dispatcher.post(callback)
        scope.remove()

    def _create_transport_sockets(self, config: Any, context: UpstreamTransportContext, path: str) -> None:
        if config.HasField("transport_socket"):
            self.transport_socket = create_transport_socket(
                UPSTREAM_TRANSPORT_SOCKETS, config.transport_socket, context, f"{path}.transport_socket"
            )
        if config.transport_socket_matches:
            from .transport_socket_matcher import TransportSocketMatcher

            self.transport_socket_matcher = TransportSocketMatcher(
                config.transport_socket_matches, context, f"{path}.transport_socket_matches"
            )
        matcher = self.transport_socket_matcher
        factories = [self.transport_socket, *(() if matcher is None else matcher.factories)]
        self.wants_proxy_header = any(each is not None and each.wants_proxy_header for each in factories)
        if self.http_options.negotiates:
            matcher = self.transport_socket_matcher
            if self.transport_socket is None or (matcher is not None and matcher.may_be_plain):
                raise ConfigError(
                    f"ALPN configured for cluster {self.name} which has a non-ALPN transport socket"
                    + (" matcher" if self.transport_socket is not None else ""),
                    path,
                )

    def transport_socket_of(self, host: Host) -> TransportSocketFactory | None:
        """What makes connections to `host` more than plain; None if they are plain."""
        if self.transport_socket_matcher is not None:
            match = self.transport_socket_matcher.find(host)
            if match is not None:
                return match.factory
        return self.transport_socket

    @property
    def initial_health_flags(self) -> int:
        """Of a new host that will be checked."""
        return self.health.initial_flags

    def initialize(self, on_initialized: Callable[[], None]) -> None:
        """Find the hosts and check them; `on_initialized` is called once, when the cluster can be used (warming)."""
        if self.health.detector is not None:
            self.health.detector.start()

        def on_checked() -> None:
            self.updates.active = True
            on_initialized()

        # Secrets come after hosts, and before anybody is connected to.
        targets = self._transport_context.init_manager
        self.start(lambda: targets.initialize(lambda: self.health.start(on_checked)))

    default_merge_window: float = DEFAULT_WINDOW
    """Seconds in which changes of health are merged, unless the configuration says it."""

    await_host: AwaitHost | None = None
    """Only of kinds whose hosts take time to be found; asked when the balancer has none."""

    def start(self, on_initialized: Callable[[], None]) -> None:
        """Find the hosts; `on_initialized` is called once, as soon as they are known."""
        raise NotImplementedError

    def stop(self) -> None:
        """Stop looking for hosts, close idle connections, forget the statistics. Streams under way may still end."""
        if not self.stopped:
            self.stopped = True
            stop_balancer(self.load_balancer)
            self.health.stop()
            self.updates.stop()
            drain_pools(self.hosts())
            self._destroy(self.stats.scope)

    def may_preconnect(self, host: Host) -> bool:
        """Whether the host may have connections before they are needed."""
        return self._preconnect_metadata is None or self._preconnect_metadata.matches(host.metadata)

    def choose_host(self, context: LoadBalancerContext) -> Host | None:
        """For a request that may ask for a certain host; others ask `load_balancer` at once."""
        override = context.override_host()
        if override is not None:
            host = self._override_host_status.select(self.priority_set, override)
            if host is not None:
                if context.explain is not NO_EXPLANATION:
                    context.explain.decided("host", host, "the request asks for it")
                return host
            if override.strict:
                return None
        return self.load_balancer.choose_host(context)

    def _load_balancer_factory(self, config: Any, context: ClusterContext) -> tuple[str, LoadBalancerFactory]:
        """The name of the policy and its factory; a kind of cluster may bring its own."""
        return cluster_policy(config, context)

    def explain_endpoints(self, explain: Explanation) -> None:
        """Say what discovery knows of endpoints that are no hosts, where it knows more than the hosts."""

    def hosts(self) -> list[Host]:
        """Of all priorities."""
        return self.priority_set.hosts()

    def keep_while_well(self, leaving: Iterable[Host]) -> tuple[Host, ...]:
        """Those of the hosts that discovery does not know any more which stay, because checks find them well."""
        checker = self.health.checker
        if checker is None or self.config.ignore_health_on_host_removal:
            return ()
        staying = tuple(
            host
            for host in leaving
            if host in checker.sessions
            and not host.health_flags & (HealthFlag.FAILED_ACTIVE_HC | HealthFlag.FAILED_EDS_HEALTH)
        )
        for host in staying:
            host.health_flags |= HealthFlag.PENDING_DYNAMIC_REMOVAL
        return staying

    def remove_host(self, host: Host) -> None:
        """It had left already, but was kept by `keep_while_well`, and now it has failed."""
        old = self.priority_set.host_sets[host.priority].hosts
        hosts = tuple(each for each in old if each is not host)
        self.priority_set.update_hosts(self.load_assignment.host_set(host.priority, hosts))

    def _on_member_update(self, host_set: HostSet, added: tuple[Host, ...], removed: tuple[Host, ...]) -> None:
        matcher = self.transport_socket_matcher
        for host in added:
            host.cluster = self
            match = None if matcher is None else matcher.find(host)
            if match is not None:
                # Who made the host has counted it for the cluster's own transport socket.
                self.stats.transport_socket.total_match_count -= 1
                match.stats.total_match_count += 1
        drain_pools(self.hosts() if self._close_on_host_set_change and (added or removed) else ())
        drain_pools(removed)
        endpoint = self.stats.endpoint
        if added or removed:
            endpoint.membership_change += 1
        host_sets = self.priority_set.host_sets
        endpoint.membership_total = sum(len(each.hosts) for each in host_sets)
        endpoint.membership_healthy = sum(len(each.healthy_hosts) for each in host_sets)
        endpoint.membership_degraded = sum(len(each.degraded_hosts) for each in host_sets)
        endpoint.membership_excluded = sum(len(each.excluded_hosts) for each in host_sets)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r})"


def drain_pools(hosts: Iterable[Host]) -> None:
    """Nobody chooses these hosts any more: their idle connections close now, busy ones after their last stream."""
    for host in hosts:
        for pool in (*host.http_pools.values(), *host.tcp_pools.values()):
            pool.drain()


ClusterFactory = Callable[[Any, Any, ClusterContext], Cluster]
CLUSTERS: Registry[ClusterFactory] = Registry("envoy.clusters")
"""(`envoy.config.cluster.v3.Cluster`, the message in `cluster_type.typed_config` or None, context) -> Cluster"""


def create_cluster(config: Any, context: ClusterContext) -> Cluster:
    """Compile one cluster; it does nothing before `start`.

    Raises:
        ConfigError: below `context.path`.
    """
    context = replace(context, cluster_name=config.name)
    if not config.HasField("cluster_type"):
        if config.type == EDS and not config.eds_cluster_config.HasField("eds_config"):
            raise ConfigError(
                "cannot create an EDS cluster without an EDS config", f"{context.path}.eds_cluster_config"
            )
        entry = CLUSTERS.find(DISCOVERY_TYPES.get(config.type, str(config.type)), f"{context.path}.type")
        return entry.factory(config, None, context)
    path = f"{context.path}.cluster_type.typed_config"
    entry = CLUSTERS.find(type_of(config.cluster_type.typed_config, path), path, config.cluster_type.name)
    return entry.factory(config, unpack(config.cluster_type.typed_config, path, validate=True), context)
