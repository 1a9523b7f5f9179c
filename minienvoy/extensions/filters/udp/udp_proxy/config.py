"""The settings of the UDP proxy, and what it counts.

Envoy: `UdpProxyFilterConfigImpl`, `HashPolicyImpl`; `envoy.extensions.filters.udp.udp_proxy.v3.UdpProxyConfig`. Not
implemented: session filters, tunneling, the client's own address towards the upstream (`use_original_src_ip`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from .....config.fields import honours
from .....network.udp_listener import rx_datagram_size
from .....record import record
from .....stats.store import CounterValue, GaugeValue, StatsStruct
from .....upstream import xx_hash
from .router import Router

if TYPE_CHECKING:
    from .....access_log.access_log import AccessLog
    from .....network.address import Address
    from .....server.factory_context import FactoryContext

TYPE: Final = "envoy.extensions.filters.udp.udp_proxy.v3.UdpProxyConfig"
_DEFAULT_IDLE_TIMEOUT: Final = 60.0

honours(
    TYPE,
    "stat_prefix",
    "cluster",
    "matcher",
    "idle_timeout",
    "hash_policies",
    "upstream_socket_config",
    "use_per_packet_load_balancing",
    "access_log",
    "proxy_access_log",
    "access_log_options",
    values={"use_original_src_ip": (False,)},
)
honours(f"{TYPE}.HashPolicy", "source_ip", "key")
honours(
    f"{TYPE}.UdpAccessLogOptions",
    "access_log_flush_interval",
    ignored={"flush_access_log_on_tunnel_connected": "there are no tunnels"},
)


class UdpProxyStats(StatsStruct):
    """`udp.PREFIX.*`."""

    USED_WITH = {"downstream_sess_active": "downstream_sess_total"}

    downstream_sess_active: GaugeValue
    downstream_sess_no_route: CounterValue
    downstream_sess_rx_bytes: CounterValue
    downstream_sess_rx_datagrams: CounterValue
    downstream_sess_rx_errors: CounterValue
    downstream_sess_total: CounterValue
    downstream_sess_tx_bytes: CounterValue
    downstream_sess_tx_datagrams: CounterValue
    downstream_sess_tx_errors: CounterValue
    idle_timeout: CounterValue
    session_filter_config_missing: CounterValue


HashMethod = Callable[["Address"], int]
"""Takes the client's address; 0 to 2**64 - 1."""


@record
class UdpProxyConfig:
    """Shared by the sockets of one listener. Times are seconds.

    Attributes:
        idle_timeout: after which a session ends that nothing has passed through.
        hash_method: what balancers that hash go by; None if nothing is told.
        rx_datagram_size: bytes that an answer may have.
        per_packet: each datagram goes to a host of its own.
        flush_interval: after which the log tells of a session that goes on; 0 for never.
    """

    context: FactoryContext
    stats: UdpProxyStats
    router: Router
    idle_timeout: float
    hash_method: HashMethod | None
    rx_datagram_size: int
    per_packet: bool
    session_access_logs: tuple[AccessLog, ...]
    proxy_access_logs: tuple[AccessLog, ...]
    flush_interval: float

    @classmethod
    def from_proto(cls, config: Any, context: FactoryContext) -> UdpProxyConfig:
        """From the filter's configuration message.

        Raises:
            ConfigError: a matcher or an access log that can not be used.
        """
        options = config.access_log_options
        return cls(
            context,
            context.scope.scope(f"udp.{config.stat_prefix}").struct(UdpProxyStats),
            Router(config, context.server),
            config.idle_timeout.ToTimedelta().total_seconds()
            if config.HasField("idle_timeout")
            else _DEFAULT_IDLE_TIMEOUT,
            _hash_method(config.hash_policies),
            rx_datagram_size(config.upstream_socket_config, True),
            config.use_per_packet_load_balancing,
            _access_logs(config.access_log, context, "access_log"),
            _access_logs(config.proxy_access_log, context, "proxy_access_log"),
            options.access_log_flush_interval.ToTimedelta().total_seconds(),
        )


def _hash_method(policies: Any) -> HashMethod | None:
    """The API lets only one policy in."""
    if not policies:
        return None
    if policies[0].WhichOneof("policy_specifier") == "key":
        value = xx_hash.xx_hash64(policies[0].key.encode())
        return lambda peer: value
    return lambda peer: xx_hash.xx_hash64(peer.host.encode())


def _access_logs(configs: Any, context: FactoryContext, path: str) -> tuple[AccessLog, ...]:
    if not configs:
        return ()
    from .....access_log.access_log import create_access_logs

    return create_access_logs(configs, context, path)
