"""What a TCP proxy is told, and what it counts.

Envoy: `TcpProxy::Config`, `Config::SharedConfig`, `ALL_TCP_PROXY_STATS`;
`envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import accumulate
from typing import TYPE_CHECKING, Any, Final

from ....config.fields import declared_in, honours
from ....errors import ConfigError
from ....record import record
from ....stats.store import CounterValue, GaugeValue, StatsStruct
from ....upstream.load_assignment import plain_metadata

if TYPE_CHECKING:
    from ....access_log.access_log import AccessLog
    from ....event.random import RandomStream
    from ....server.factory_context import FactoryContext
    from ....stream_info import StreamInfo
    from ...common.proxy_protocol_tlvs import TlvsOfTcpProxy
    from .tcp_proxy_tunneling_config import TunnelingConfig

TYPE: Final = "envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy"
DEFAULT_IDLE_TIMEOUT: Final = 3600.0

honours(
    TYPE,
    "stat_prefix",
    "cluster",
    "weighted_clusters",
    "idle_timeout",
    "access_log",
    "access_log_options",
    "access_log_flush_interval",
    "flush_access_log_on_connected",
    "hash_policy",
    "max_connect_attempts",
    "backoff_options",
    "max_downstream_connection_duration",
    "max_downstream_connection_duration_jitter_percentage",
    "max_early_data_bytes",
    "tunneling_config",
    "proxy_protocol_tlvs",
    "proxy_protocol_tlv_merge_policy",
    values={"upstream_connect_mode": ("IMMEDIATE", "ON_DOWNSTREAM_DATA")},
    whole=("metadata_match",),
)
declared_in("minienvoy.extensions.filters.network.tcp_proxy_tunneling_config", f"{TYPE}.TunnelingConfig")
declared_in("minienvoy.extensions.common.proxy_protocol_tlvs", "envoy.config.core.v3.TlvEntry")
honours(f"{TYPE}.WeightedCluster", "clusters")
honours(f"{TYPE}.WeightedCluster.ClusterWeight", "name", "weight", whole=("metadata_match",))
honours(
    f"{TYPE}.TcpAccessLogOptions",
    "access_log_flush_interval",
    "flush_access_log_on_connected",
    "flush_access_log_on_start",
)
honours("envoy.config.core.v3.BackoffStrategy", "base_interval", "max_interval")
honours("envoy.type.v3.HashPolicy", "source_ip", "filter_state")
honours("envoy.type.v3.HashPolicy.SourceIp")
honours("envoy.type.v3.HashPolicy.FilterState", "key")
honours("envoy.type.v3.Percent", "value")

Metadata = Mapping[str, Mapping[str, Any]]


class TcpProxyStats(StatsStruct):
    """`tcp.<stat_prefix>.*`."""

    USED_WITH = {
        "downstream_cx_rx_bytes_buffered": "downstream_cx_total",
    }

    downstream_cx_drain_close: CounterValue
    downstream_cx_no_route: CounterValue
    downstream_cx_overload_close: CounterValue
    downstream_cx_rx_bytes_buffered: GaugeValue
    downstream_cx_rx_bytes_total: CounterValue
    downstream_cx_total: CounterValue
    downstream_cx_tx_bytes_buffered: GaugeValue
    downstream_cx_tx_bytes_total: CounterValue
    downstream_flow_control_paused_reading_total: CounterValue
    downstream_flow_control_resumed_reading_total: CounterValue
    early_data_received_count_total: CounterValue
    idle_timeout: CounterValue
    max_downstream_connection_duration: CounterValue
    route_delayed_total: CounterValue
    upstream_flush_active: GaugeValue
    upstream_flush_total: CounterValue


@record
class TcpRoute:
    """A cluster that connections may go to, and which of its hosts."""

    cluster_name: str
    metadata_match: Metadata


@record
class TcpProxyConfig:
    """Shared by the connections of one filter chain. Times are seconds; 0 is no limit.

    Attributes:
        routes: (sum of the weights up to this one, route); one for `cluster`.
        max_duration_jitter: percent of the duration that is added at most, at random.
        backoff: (base, maximum) interval between connect attempts; None tries again at once.
        hash_method: what balancers that hash go by; None if nothing is told.
        max_early_data: bytes; None connects upstream before the client has sent anything.
        tunneling: how the upstream is asked for a tunnel; None if it is connected to.
        proxy_tlvs: what upstreams are told in their PROXY header besides; None for nothing.
        connect_on_data: connect when the client has sent something (`upstream_connect_mode`).
    """

    context: FactoryContext
    stats: TcpProxyStats
    random: RandomStream
    routes: tuple[tuple[int, TcpRoute], ...]
    access_logs: tuple[AccessLog, ...]
    idle_timeout: float
    max_duration: float
    max_duration_jitter: float
    max_connect_attempts: int
    backoff: tuple[float, float] | None
    flush_on_connected: bool
    flush_on_start: bool
    flush_interval: float
    connect_on_data: bool
    max_early_data: int
    hash_method: Callable[[StreamInfo], int | None] | None = None
    tunneling: TunnelingConfig | None = None
    proxy_tlvs: TlvsOfTcpProxy | None = None

    @classmethod
    def from_proto(cls, config: Any, context: FactoryContext) -> TcpProxyConfig:
        """From the filter's configuration message.

        Raises:
            ConfigError: the weights of the clusters are all zero, or fields contradict each other.
        """
        options = config.access_log_options
        flush_interval = options if options.HasField("access_log_flush_interval") else config
        max_duration = seconds(config, "max_downstream_connection_duration")
        return cls(
            context,
            context.scope.scope(f"tcp.{config.stat_prefix}").struct(TcpProxyStats),
            context.server.random.stream(f"tcp.{config.stat_prefix}"),
            _routes(config),
            _access_logs(config.access_log, context),
            seconds(config, "idle_timeout", DEFAULT_IDLE_TIMEOUT),
            max_duration,
            config.max_downstream_connection_duration_jitter_percentage.value,
            config.max_connect_attempts.value if config.HasField("max_connect_attempts") else 1,
            _backoff(config),
            config.flush_access_log_on_connected or options.flush_access_log_on_connected,
            options.flush_access_log_on_start,
            seconds(flush_interval, "access_log_flush_interval"),
            _connects_on_data(config),
            config.max_early_data_bytes.value,
            _hash_method(config.hash_policy),
            _tunneling(config, context),
            _proxy_tlvs(config, context),
        )

    def pick_route(self) -> TcpRoute:
        """The cluster for a new connection (`Config::getRouteFromEntries`)."""
        routes = self.routes
        if len(routes) == 1:
            return routes[0][1]
        draw = self.random.randrange(routes[-1][0])
        return next(route for end, route in routes if draw < end)


def seconds(message: Any, field: str, default: float = 0.0) -> float:
    """A duration field; `default` where it is not set."""
    if not message.HasField(field):
        return default
    value: float = getattr(message, field).ToTimedelta().total_seconds()
    return value


def _routes(config: Any) -> tuple[tuple[int, TcpRoute], ...]:
    shared: Metadata = plain_metadata(config.metadata_match) if config.HasField("metadata_match") else {}
    if config.WhichOneof("cluster_specifier") == "cluster":
        return ((1, TcpRoute(config.cluster, shared)),)
    clusters = config.weighted_clusters.clusters
    ends = list(accumulate(each.weight for each in clusters))
    if ends[-1] > 2**32 - 1:
        raise ConfigError(
            "The sum of weights of all upstream clusters exceeds 4294967295", "weighted_clusters.clusters"
        )
    return tuple((end, TcpRoute(each.name, _merged(shared, each))) for end, each in zip(ends, clusters, strict=True))


def _merged(shared: Metadata, cluster: Any) -> Metadata:
    """The cluster's own criteria win over those of the whole proxy."""
    if not cluster.HasField("metadata_match"):
        return shared
    own = plain_metadata(cluster.metadata_match)
    return {name: {**shared.get(name, {}), **own.get(name, {})} for name in (*shared, *own)}


def _hash_method(policies: Any) -> Callable[[StreamInfo], int | None] | None:
    """The API lets only one policy in."""
    if not policies:
        return None
    from ....router.hash_policy import hash_of_filter_state, hash_of_source_ip

    policy = policies[0]
    if policy.WhichOneof("policy_specifier") == "source_ip":
        return hash_of_source_ip
    key = policy.filter_state.key
    return lambda info: hash_of_filter_state(info, key)


def _backoff(config: Any) -> tuple[float, float] | None:
    if not config.HasField("backoff_options"):
        return None
    base = seconds(config.backoff_options, "base_interval")
    longest = seconds(config.backoff_options, "max_interval", base * 10)
    if longest < base:
        raise ConfigError(
            "max_backoff_interval must be greater or equal to base_backoff_interval", "backoff_options.max_interval"
        )
    return (base, longest)


def _connects_on_data(config: Any) -> bool:
    if config.upstream_connect_mode == 0:
        return False
    if not config.HasField("max_early_data_bytes"):
        raise ConfigError(
            "max_early_data_bytes must be set when upstream_connect_mode is not IMMEDIATE", "max_early_data_bytes"
        )
    return True


def _proxy_tlvs(config: Any, context: FactoryContext) -> TlvsOfTcpProxy | None:
    if not config.proxy_protocol_tlvs:
        return None
    from ...common.proxy_protocol_tlvs import AddedTlvs, TlvsOfTcpProxy

    added = AddedTlvs(config.proxy_protocol_tlvs, "proxy_protocol_tlvs", context.server)
    return TlvsOfTcpProxy(added, config.proxy_protocol_tlv_merge_policy)


def _access_logs(configs: Any, context: FactoryContext) -> tuple[AccessLog, ...]:
    if not configs:
        return ()
    from ....access_log.access_log import create_access_logs

    return tuple(create_access_logs(configs, context))


def _tunneling(config: Any, context: FactoryContext) -> TunnelingConfig | None:
    if not config.HasField("tunneling_config"):
        return None
    from .tcp_proxy_tunneling_config import TunnelingConfig

    return TunnelingConfig.from_proto(config.tunneling_config, config.stat_prefix, context)
