"""A cluster: where requests can go, how they are spread and how the hosts are spoken to.

Envoy: `Upstream::Cluster`, `ClusterInfo`, `ClusterImplBase`; docs "Cluster manager".

`Cluster` is compiled from `envoy.config.cluster.v3.Cluster` once; requests use its slots only. What kind of discovery
it has is a subclass, found through `CLUSTERS`: by the canonical extension name for the values of `Cluster.type`, by the
type of the configuration for `cluster_type`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final

from ..config.api import type_of, unpack
from ..config.fields import honours
from ..errors import ConfigError
from ..network.address import Address
from ..network.transport_socket import require_raw_buffer
from ..record import record
from ..registry import Registry
from .cluster_stats import ClusterStats
from .duration import duration_of
from .host import Host, HostSet, PrioritySet
from .http_protocol_options import PROTOCOL_OPTIONS, UpstreamHttpProtocolOptions
from .load_assignment import LoadAssignment, plain_metadata
from .load_balancer import LOAD_BALANCERS, LoadBalancer, LoadBalancerFactory, LoadBalancerParams
from .resource_manager import DEFAULT, ResourceManager, resource_managers

if TYPE_CHECKING:
    from ..config.runtime import Loader
    from ..event.dispatcher import Dispatcher
    from ..event.random import RandomGenerator
    from ..network.dns import DnsResolvers
    from ..stats.store import Store

honours(
    "envoy.config.cluster.v3.Cluster",
    "alt_stat_name",
    "circuit_breakers",
    "cluster_type",
    "common_http_protocol_options",
    "common_lb_config",
    "connect_timeout",
    "dns_failure_refresh_rate",
    "dns_jitter",
    "dns_lookup_family",
    "dns_refresh_rate",
    "dns_resolution_config",
    "dns_resolvers",
    "http_protocol_options",
    "load_assignment",
    "load_balancing_policy",
    "max_requests_per_connection",
    "name",
    "per_connection_buffer_limit_bytes",
    "respect_dns_ttl",
    "transport_socket",
    "typed_dns_resolver_config",
    "typed_extension_protocol_options",
    "upstream_bind_config",
    "upstream_connection_options",
    "use_tcp_for_dns_lookups",
    "wait_for_warm_on_init",
    values={
        "connection_pool_per_downstream_connection": (False,),
        "lb_policy": ("ROUND_ROBIN", "LOAD_BALANCING_POLICY_CONFIG"),
        "protocol_selection": ("USE_CONFIGURED_PROTOCOL",),
        "type": ("STATIC", "STRICT_DNS", "LOGICAL_DNS"),
    },
    whole=("metadata",),
)
honours("envoy.config.cluster.v3.Cluster.CustomClusterType", "name", "typed_config")
honours("envoy.config.cluster.v3.Cluster.CommonLbConfig", "healthy_panic_threshold")
honours("envoy.type.v3.Percent", "value")
honours("envoy.config.cluster.v3.Cluster.RefreshRate", "base_interval", "max_interval")
honours("envoy.config.cluster.v3.LoadBalancingPolicy", "policies")
honours("envoy.config.cluster.v3.LoadBalancingPolicy.Policy", "typed_extension_config")
honours("envoy.config.cluster.v3.UpstreamConnectionOptions", "tcp_keepalive")
honours("envoy.config.core.v3.TcpKeepalive", "keepalive_interval", "keepalive_probes", "keepalive_time")
honours("envoy.config.core.v3.BindConfig", "source_address")
honours("envoy.config.core.v3.SocketAddress", "address", "port_value", values={"protocol": ("TCP",)})

DISCOVERY_TYPES: Final = {
    0: "envoy.cluster.static",
    1: "envoy.cluster.strict_dns",
    2: "envoy.cluster.logical_dns",
    3: "envoy.cluster.eds",
    4: "envoy.cluster.original_dst",
}
"""`Cluster.DiscoveryType` to the name of the extension."""

EDS: Final = 3
LB_POLICIES: Final = {0: "envoy.extensions.load_balancing_policies.round_robin.v3.RoundRobin"}
"""`Cluster.LbPolicy` to the type of the configuration of the extension that does the same."""


@record
class ClusterContext:
    """What a factory of clusters may ask for (`Upstream::ClusterFactoryContext`).

    Attributes:
        dns_resolvers: None where no cluster may ask DNS, as in many tests.
        path: of the cluster in the configuration, for errors.
        added_via_api: it came from CDS, not from the bootstrap.
    """

    dispatcher: Dispatcher
    random: RandomGenerator
    stats: Store
    runtime: Loader | None = None
    dns_resolvers: DnsResolvers | None = None
    path: str = ""
    added_via_api: bool = False


@record
class TcpKeepalive:
    """`envoy.config.core.v3.TcpKeepalive`; None leaves a setting to the kernel. Times are seconds."""

    probes: int | None = None
    time: int | None = None
    interval: int | None = None


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
        tcp_keepalive: None if keep-alive probes are not asked for.
        source_address: what upstream connections bind to; None for whatever the kernel takes.
    """

    __slots__ = (
        "added_via_api",
        "code_stats",
        "config",
        "connect_timeout",
        "dispatcher",
        "http_options",
        "load_assignment",
        "load_balancer",
        "load_balancer_type",
        "metadata",
        "name",
        "observability_name",
        "per_connection_buffer_limit",
        "priority_set",
        "random",
        "resource_manager",
        "resource_managers",
        "source_address",
        "stats",
        "stopped",
        "tcp_keepalive",
    )

    def __init__(self, config: Any, context: ClusterContext) -> None:
        self.config = config
        self.name: str = config.name
        self.observability_name: str = config.alt_stat_name or config.name
        self.added_via_api = context.added_via_api
        self.dispatcher = context.dispatcher
        self.stopped = False
        self.connect_timeout = duration_of(config, "connect_timeout", 5.0)
        self.per_connection_buffer_limit: int = (
            config.per_connection_buffer_limit_bytes.value
            if config.HasField("per_connection_buffer_limit_bytes")
            else 1024 * 1024
        )
        self.metadata: Mapping[str, Mapping[str, Any]] = (
            plain_metadata(config.metadata) if config.HasField("metadata") else {}
        )
        self.http_options = _http_options(config, context.path)
        self.tcp_keepalive = _tcp_keepalive(config.upstream_connection_options)
        self.source_address = _source_address(config, context.path)
        if config.HasField("transport_socket"):
            require_raw_buffer(config.transport_socket, f"{context.path}.transport_socket")
        self.load_assignment = LoadAssignment.from_proto(config.load_assignment, f"{context.path}.load_assignment")
        self.load_balancer_type, create_load_balancer = _load_balancer_factory(config, context)
        # Everything that can be wrong has been looked at: from here on there is something to clean up.
        scope = context.stats.scope(f"cluster.{self.observability_name}")
        self.stats = ClusterStats(scope)
        self.code_stats = self.stats.codes
        self.resource_managers: tuple[ResourceManager, ResourceManager] = resource_managers(
            config.circuit_breakers, scope
        )
        self.resource_manager = self.resource_managers[DEFAULT]
        self.random = context.random.stream(f"cluster.{self.name}")
        self.priority_set = PrioritySet()
        self.priority_set.update_hosts(self.load_assignment.host_set(0, ()))
        self.priority_set.add_member_update_callback(self._on_member_update)
        self.load_balancer: LoadBalancer = create_load_balancer(
            LoadBalancerParams(
                self.priority_set,
                self.stats.lb,
                context.random.stream(f"cluster.{self.name}.lb"),
                _healthy_panic_threshold(config.common_lb_config),
            )
        )

    def start(self, on_initialized: Callable[[], None]) -> None:
        """Find the hosts; `on_initialized` is called once, as soon as the cluster can be used (warming)."""
        raise NotImplementedError

    def stop(self) -> None:
        """Stop looking for hosts, close idle connections, forget the statistics. Streams under way may still end."""
        if not self.stopped:
            self.stopped = True
            drain_http_pools(self.hosts())
            self.stats.scope.remove()

    def hosts(self) -> list[Host]:
        """Of all priorities."""
        return self.priority_set.hosts()

    def _on_member_update(self, host_set: HostSet, added: tuple[Host, ...], removed: tuple[Host, ...]) -> None:
        drain_http_pools(removed)
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


def drain_http_pools(hosts: Iterable[Host]) -> None:
    """Nobody chooses these hosts any more: their idle connections close now, busy ones after their last stream."""
    for host in hosts:
        for pool in tuple(host.http_pools.values()):
            pool.drain()


ClusterFactory = Callable[[Any, Any, ClusterContext], Cluster]
CLUSTERS: Registry[ClusterFactory] = Registry("envoy.clusters")
"""(`envoy.config.cluster.v3.Cluster`, the message in `cluster_type.typed_config` or None, context) -> Cluster"""


def create_cluster(config: Any, context: ClusterContext) -> Cluster:
    """Compile one cluster; it does nothing before `start`.

    Raises:
        ConfigError: below `context.path`.
    """
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


def _http_options(config: Any, path: str) -> UpstreamHttpProtocolOptions:
    max_requests: int = config.max_requests_per_connection.value
    options = UpstreamHttpProtocolOptions.from_proto(
        config.common_http_protocol_options, config.http_protocol_options, max_requests
    )
    for name in sorted(config.typed_extension_protocol_options):
        packed = config.typed_extension_protocol_options[name]
        where = f'{path}.typed_extension_protocol_options["{name}"]'
        options = PROTOCOL_OPTIONS.find(type_of(packed, where), where).factory(
            unpack(packed, where, validate=True), max_requests
        )
    return options


def _tcp_keepalive(options: Any) -> TcpKeepalive | None:
    if not options.HasField("tcp_keepalive"):
        return None
    keepalive = options.tcp_keepalive
    return TcpKeepalive(
        *(
            getattr(keepalive, field).value if keepalive.HasField(field) else None
            for field in ("keepalive_probes", "keepalive_time", "keepalive_interval")
        )
    )


def _source_address(config: Any, path: str) -> Address | None:
    if not config.upstream_bind_config.HasField("source_address"):
        return None
    source = config.upstream_bind_config.source_address
    try:
        return Address.ip(source.address, source.port_value)
    except ValueError:
        raise ConfigError(
            f"malformed IP address: {source.address}", f"{path}.upstream_bind_config.source_address.address"
        ) from None


def _healthy_panic_threshold(common: Any) -> int:
    """Percent; Envoy rounds to whole ones."""
    if not common.HasField("healthy_panic_threshold"):
        return 50
    return min(100, int(common.healthy_panic_threshold.value + 0.5))


def _load_balancer_factory(config: Any, context: ClusterContext) -> tuple[str, LoadBalancerFactory]:
    """The first policy that is known, as in Envoy, or what `lb_policy` says."""
    if not config.HasField("load_balancing_policy"):
        policy_type = LB_POLICIES.get(config.lb_policy, "")
        entry = LOAD_BALANCERS.find(policy_type, f"{context.path}.lb_policy")
        return entry.name, entry.factory(None, context)
    path = f"{context.path}.load_balancing_policy.policies"
    names = []
    for policy in config.load_balancing_policy.policies:
        packed = policy.typed_extension_config.typed_config
        names.append(policy.typed_extension_config.name)
        try:
            entry = LOAD_BALANCERS.find(type_of(packed, path))
        except ConfigError:
            continue
        return entry.name, entry.factory(unpack(packed, path, validate=True), context)
    raise ConfigError(
        "cluster: didn't find a registered load balancer factory implementation for cluster: "
        f"'{config.name}' with names from [{', '.join(names)}]",
        path,
    )
