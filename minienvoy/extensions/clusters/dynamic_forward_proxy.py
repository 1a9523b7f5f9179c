"""Dynamic forward proxy: the hosts are the names that requests ask for.

Envoy: `Extensions::Clusters::DynamicForwardProxy::Cluster`; docs "Dynamic forward proxy". The HTTP filter of that name
looks a name up before the request comes here, or, without the filter, the cluster does; it has a host for each name of
the cache that both share. With `sub_clusters_config` it has a cluster for each name instead (`sub_clusters`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from ...config.fields import honours
from ...errors import ConfigError
from ...explain.explanation import NO_EXPLANATION
from ...upstream.cluster import CLUSTERS, Cluster, ClusterContext
from ...upstream.host import Host, HostSet
from ...upstream.load_balancer import LoadBalancerContext, LoadBalancerFactory, LoadBalancerParams
from ..common.dns_cache import CachedHost, DnsCache, dns_cache_manager, host_key
from .cluster_provided_lb import require_cluster_provided
from .sub_clusters import SubClusters

TYPE: Final = "envoy.extensions.clusters.dynamic_forward_proxy.v3.ClusterConfig"
honours(
    TYPE,
    "dns_cache_config",
    "sub_clusters_config",
    "allow_insecure_cluster_options",
    values={"allow_coalesced_connections": (False,)},
)
CLUSTER_TYPE_NAME: Final = "envoy.clusters.dynamic_forward_proxy"
DYNAMIC_HOST: Final = "envoy.upstream.dynamic_host"
DYNAMIC_PORT: Final = "envoy.upstream.dynamic_port"
UPSTREAM_ADDRESS: Final = "envoy.stream.upstream_address"
DEFAULT_PORT: Final = 80
SECURE_PORT: Final = 443


def wanted_authority(context: LoadBalancerContext) -> str:
    """The name that a request asks for: filter state's, its `host` header, or the server name of its connection."""
    stream = context.request_stream_info()
    named = None if stream is None else stream.state(DYNAMIC_HOST)
    if named is not None:
        return named.decode("latin-1") if isinstance(named, bytes) else str(named)
    headers = context.downstream_headers()
    if headers is None:
        return stream.connection.requested_server_name if stream is not None else ""
    host = headers.get(b"host")
    return host.decode("latin-1") if host is not None else ""


def wanted_port(context: LoadBalancerContext) -> int:
    """Where the name has none: filter state's."""
    stream = context.request_stream_info()
    port = None if stream is None else stream.state(DYNAMIC_PORT)
    return DEFAULT_PORT if port is None else int(port)


class DynamicForwardProxyLoadBalancer:
    __slots__ = ("_cluster",)

    def __init__(self, cluster: DynamicForwardProxyCluster) -> None:
        self._cluster = cluster

    def choose_host(self, context: LoadBalancerContext | None) -> Host | None:
        authority = wanted_authority(context) if context is not None else ""
        if not authority or context is None:
            return None
        sub_clusters = self._cluster.sub_clusters
        if sub_clusters is not None:
            found = sub_clusters.find(authority)
            return None if found is None else found.load_balancer.choose_host(context)
        host = self._cluster.host_for(host_key(authority, wanted_port(context)))
        if host is not None and context.explain is not NO_EXPLANATION:
            context.explain.decided("host", host, f"the address of {authority}")
        return host


class DynamicForwardProxyCluster(Cluster):
    """Attributes:
    cache: the names, where each is a host.
    named_as_such: its extension has the name that the HTTP filter looks for.
    sub_clusters: where each is a cluster; None where `cache` is.
    """

    __slots__ = ("_hosts", "cache", "named_as_such", "sub_clusters")

    resolves_names = True

    def __init__(self, config: Any, typed_config: Any, context: ClusterContext) -> None:
        require_cluster_provided(config, context, "dynamic forward proxy")
        if context.cluster_manager is None or context.dns_resolvers is None:
            raise ConfigError("there is no DNS resolver here", context.path)
        path = f"{context.path}.cluster_type.typed_config.dns_cache_config"
        self._hosts: dict[str, Host] = {}
        secured = _checking_names(config)
        super().__init__(secured, context)
        self.config = config
        self.named_as_such = config.cluster_type.name == CLUSTER_TYPE_NAME
        options = self.http_options
        if not (options.sni_header and options.auto_san_validation) and not typed_config.allow_insecure_cluster_options:
            raise ConfigError(
                "dynamic_forward_proxy cluster must have auto_sni and auto_san_validation true unless "
                "allow_insecure_cluster_options is set.",
                context.path,
            )
        self.cache: DnsCache | None = None
        self.sub_clusters: SubClusters | None = None
        if typed_config.HasField("sub_clusters_config"):
            secure = self.transport_socket is not None and self.transport_socket.secure
            self.sub_clusters = SubClusters(
                secured,
                typed_config.sub_clusters_config,
                context.cluster_manager,
                context.dispatcher,
                SECURE_PORT if secure else DEFAULT_PORT,
            )
        else:
            self.cache = dns_cache_manager(context.cluster_manager).get_cache(
                typed_config.dns_cache_config, context, path
            )

    def start(self, on_initialized: Callable[[], None]) -> None:
        if self.cache is not None:
            self.cache.add_user(self)
        if self.sub_clusters is not None:
            self.sub_clusters.start()
        on_initialized()

    def stop(self) -> None:
        super().stop()
        if self.cache is not None:
            self.cache.remove_user(self)
        if self.sub_clusters is not None:
            self.sub_clusters.stop()

    def host_for(self, key: str) -> Host | None:
        cached = None if self.cache is None else self.cache.get(key)
        if cached is None:
            return None
        cached.touch()
        return self._hosts.get(key)

    def await_host(
        self, context: LoadBalancerContext, on_host: Callable[[str], None]
    ) -> Callable[[], None] | str | None:
        """Look the request's name up: the HTTP filter, which would have done so, is not there."""
        authority = wanted_authority(context)
        if not authority or self.cache is None:
            return None
        cached = self.cache.load(authority, wanted_port(context))
        if cached is None:
            return "dns_cache_overflow"
        first, cached.awaited = not cached.awaited, True
        if cached.resolved and (not first or context.downstream_headers() is None):
            return _failure(cached)

        def on_resolved(host: CachedHost) -> None:
            on_host("" if host.addresses else _failure(host))

        if cached.resolved:
            # The filter knows already; in Envoy the cluster's own look-up is another one.
            return cached.tell_soon(on_resolved)
        cached.wait(on_resolved)
        return lambda: cached.stop_waiting(on_resolved)

    def on_dns_host_add_or_update(self, host: CachedHost) -> None:
        known = self._hosts.get(host.key)
        if known is not None:
            # It stays the same host, at another place; connections that are there stay where they are.
            known.address, known.addresses = host.addresses[0], host.addresses
            return
        self._hosts[host.key] = Host(host.addresses[0], host.key, addresses=host.addresses)
        self.stats.transport_socket.total_match_count += 1
        self._publish()

    def on_dns_host_remove(self, host: CachedHost) -> None:
        if self._hosts.pop(host.key, None) is not None:
            self._publish()

    def _load_balancer_factory(self, config: Any, context: ClusterContext) -> tuple[str, LoadBalancerFactory]:
        def create(params: LoadBalancerParams) -> DynamicForwardProxyLoadBalancer:
            return DynamicForwardProxyLoadBalancer(self)

        return "envoy.load_balancing_policies.cluster_provided", create

    def _publish(self) -> None:
        self.priority_set.update_hosts(HostSet(0, tuple(self._hosts.values()), locality_weights={}))


def _checking_names(config: Any) -> Any:
    """With TLS, a certificate has to be of the name that was asked for, unless the cluster says what it has to be."""
    if config.HasField("upstream_http_protocol_options") or config.typed_extension_protocol_options:
        return config
    secured = type(config)()
    secured.CopyFrom(config)
    secured.upstream_http_protocol_options.auto_sni = True
    secured.upstream_http_protocol_options.auto_san_validation = True
    return secured


def _failure(host: CachedHost) -> str:
    return f"dns_resolution_failure{{{host.details}}}".replace(" ", "_")


@CLUSTERS.register(CLUSTER_TYPE_NAME, TYPE)
def create_dynamic_forward_proxy_cluster(config: Any, typed_config: Any, context: ClusterContext) -> Cluster:
    return DynamicForwardProxyCluster(config, typed_config, context)
