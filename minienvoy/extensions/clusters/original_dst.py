"""ORIGINAL_DST: the host is where the client wanted to go, or where a header, metadata or filter state says.

Envoy: `Upstream::OriginalDstCluster`; docs "Service discovery > Original destination". A host comes into being with the
first request to its address, and is forgotten when nobody has wanted it, or is connected to it, for a cleanup interval.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from ...errors import ConfigError
from ...explain.explanation import NO_EXPLANATION
from ...matchers.metadata_key import metadata_key
from ...network.address import Address
from ...upstream.cluster import CLUSTERS, Cluster, ClusterContext
from ...upstream.duration import duration_of
from ...upstream.host import Host, HostSet
from ...upstream.load_balancer import LoadBalancerContext, LoadBalancerFactory, LoadBalancerParams

if TYPE_CHECKING:
    from ...event.dispatcher import Timer

FILTER_STATE: Final = "envoy.network.transport_socket.original_dst_address"
MOST_HOSTS: Final = 65_536
"""A header that strangers may set names the hosts: there is an end to them."""


class OriginalDstLoadBalancer:
    """`header` and `metadata` are where to look, None if nowhere."""

    __slots__ = ("_cluster", "_header", "_metadata", "_port", "_stats")

    def __init__(self, cluster: OriginalDstCluster, config: Any, params: LoadBalancerParams) -> None:
        self._cluster = cluster
        self._stats = params.traffic
        self._header: bytes | None = None
        if config.use_http_header:
            self._header = (config.http_header_name or "x-envoy-original-dst-host").lower().encode()
        self._metadata = metadata_key(config.metadata_key) if config.HasField("metadata_key") else None
        self._port: int | None = None
        if config.HasField("upstream_port_override"):
            self._port = config.upstream_port_override.value

    def choose_host(self, context: LoadBalancerContext | None) -> Host | None:
        if context is None:
            return None
        address, source = self._wanted(context)
        if address is None:
            return None
        if self._port is not None:
            address = Address(address.host, self._port)
        host = self._cluster.host_at(address)
        if context.explain is not NO_EXPLANATION and host is not None:
            context.explain.decided("host", host, f"original destination, by {source}")
        return host

    def _wanted(self, context: LoadBalancerContext) -> tuple[Address | None, str]:
        stream = context.request_stream_info()
        if stream is not None:
            state = stream.state(FILTER_STATE)
            if isinstance(state, Address):
                return state, "filter state"
            if isinstance(state, str | bytes):
                address = self._parsed(state.decode("latin-1") if isinstance(state, bytes) else state)
                if address is not None:
                    return address, "filter state"
            if self._metadata is not None:
                value = self._metadata(stream._dynamic_metadata)
                if isinstance(value, list) and value:
                    value = value[0]
                if isinstance(value, str):
                    address = self._parsed(value)
                    if address is not None:
                        return address, "metadata"
        headers = context.downstream_headers()
        if self._header is not None and headers is not None:
            header = headers.get(self._header)
            address = None if header is None else self._parsed(header.decode("latin-1"))
            if address is not None:
                return address, "header"
        connection = None if stream is None else stream.connection
        if connection is not None and connection.local_address_restored:
            return connection.local_address, "destination of the connection"
        return None, ""

    def _parsed(self, text: str) -> Address | None:
        address = parse_address_and_port(text)
        if address is None and self._stats is not None:
            self._stats.original_dst_host_invalid += 1
        return address


def parse_address_and_port(text: str) -> Address | None:
    """`1.2.3.4:80` or `[::1]:80`; None for anything else."""
    host, separator, port = text.rpartition(":")
    # Blanks and a plus sign are part of a number for `absl::SimpleAtoi`.
    digits = port.strip(" \t").removeprefix("+")
    if not separator or not digits.isascii() or not digits.isdigit() or len(digits) > 20 or int(digits) > 65535:
        return None
    if host.startswith("["):
        host = host[1:-1] if host.endswith("]") and ":" in host else ""
    elif ":" in host:
        return None
    try:
        return Address.ip(host, int(digits))
    except ValueError:
        return None


class OriginalDstCluster(Cluster):
    __slots__ = ("_cleanup_interval", "_hosts", "_timer", "_used")

    def __init__(self, config: Any, context: ClusterContext) -> None:
        _check(config, context.path)
        self._hosts: dict[str, Host] = {}
        self._used: set[Host] = set()
        self._cleanup_interval = duration_of(config, "cleanup_interval", 5.0)
        super().__init__(config, context)
        self._timer: Timer = context.dispatcher.create_timer(self._cleanup)

    def start(self, on_initialized: Callable[[], None]) -> None:
        self._timer.enable(self._cleanup_interval)
        on_initialized()

    def stop(self) -> None:
        super().stop()
        self._timer.disable()

    def host_at(self, address: Address) -> Host | None:
        """The host there, made if it is new; None if there are too many."""
        host = self._hosts.get(address.text)
        if host is None:
            if len(self._hosts) >= MOST_HOSTS:
                return None
            host = self._hosts[address.text] = Host(address, self.name + address.text)
            self.stats.transport_socket.total_match_count += 1
            self.dispatcher.post(self._publish)
        self._used.add(host)
        return host

    def _load_balancer_factory(self, config: Any, context: ClusterContext) -> tuple[str, LoadBalancerFactory]:
        settings = config.original_dst_lb_config
        return (
            "envoy.load_balancing_policies.cluster_provided",
            lambda params: OriginalDstLoadBalancer(self, settings, params),
        )

    def _publish(self) -> None:
        if not self.stopped and len(self._hosts) != len(self.priority_set.host_sets[0].hosts):
            self.priority_set.update_hosts(HostSet(0, tuple(self._hosts.values())))

    def _cleanup(self) -> None:
        stale = [text for text, host in self._hosts.items() if host not in self._used and not host.stats.cx_active]
        self._used.clear()
        if stale:
            for text in stale:
                del self._hosts[text]
            self.priority_set.update_hosts(HostSet(0, tuple(self._hosts.values())))
        self._timer.enable(self._cleanup_interval)


def _check(config: Any, path: str) -> None:
    enum = config.DESCRIPTOR.fields_by_name["lb_policy"].enum_type.values_by_number
    policy = enum[config.lb_policy].name
    if policy != "CLUSTER_PROVIDED":
        raise ConfigError(
            f"cluster: LB policy {policy} is not valid for Cluster type ORIGINAL_DST. Only 'CLUSTER_PROVIDED' is "
            "allowed with cluster type 'ORIGINAL_DST'",
            f"{path}.lb_policy",
        )
    if config.HasField("load_assignment"):
        raise ConfigError("ORIGINAL_DST clusters must have no load assignment configured", f"{path}.load_assignment")
    settings = config.original_dst_lb_config
    if settings.http_header_name and not settings.use_http_header:
        raise ConfigError(
            f"ORIGINAL_DST cluster: invalid config http_header_name={settings.http_header_name} and use_http_header is "
            "false. Set use_http_header to true if http_header_name is desired.",
            f"{path}.original_dst_lb_config.http_header_name",
        )


@CLUSTERS.register("envoy.cluster.original_dst", "envoy.cluster.original_dst")
def create_original_dst_cluster(config: Any, typed_config: Any, context: ClusterContext) -> Cluster:
    return OriginalDstCluster(config, context)
