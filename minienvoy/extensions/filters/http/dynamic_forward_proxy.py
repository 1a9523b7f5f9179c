"""`envoy.filters.http.dynamic_forward_proxy`: a request waits until its host is looked up.

Envoy: `Extensions::HttpFilters::DynamicForwardProxy::ProxyFilter`; docs "Dynamic forward proxy". Only requests to a
cluster of that kind are concerned. A route may replace the host first.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from ....config.fields import honours
from ....explain.explanation import NO_EXPLANATION
from ....http.filter import HTTP_FILTERS, FilterHeadersStatus, HttpFilterFactory, StreamDecoderFilter
from ....http.header_map import RequestHeaderMap
from ....router.filter_config import ROUTE_FILTER_CONFIGS, most_specific_config
from ....stream_info import OpaqueState, ResponseFlag
from ....upstream.duration import duration_of
from ...clusters.dynamic_forward_proxy import (
    DEFAULT_PORT,
    DYNAMIC_HOST,
    UPSTREAM_ADDRESS,
    DynamicForwardProxyCluster,
)
from ...common.dns_cache import CachedHost, DnsCache, dns_cache_manager

if TYPE_CHECKING:
    from ....event.dispatcher import Timer
    from ....server.factory_context import FactoryContext
    from ....upstream.cluster import Cluster
    from ....upstream.cluster_manager import ClusterManager
    from ...clusters.sub_clusters import SubClusters

NAME: Final = "envoy.filters.http.dynamic_forward_proxy"
_PACKAGE: Final = "envoy.extensions.filters.http.dynamic_forward_proxy.v3"
CONFIG_TYPE: Final = f"{_PACKAGE}.FilterConfig"
ROUTE_TYPE: Final = f"{_PACKAGE}.PerRouteConfig"
honours(
    CONFIG_TYPE,
    "dns_cache_config",
    "save_upstream_address",
    "allow_dynamic_host_from_filter_state",
    "sub_cluster_config",
)
honours(f"{_PACKAGE}.SubClusterConfig", "cluster_init_timeout")
honours(ROUTE_TYPE, "host_rewrite_literal", "host_rewrite_header")


@dataclass(frozen=True, slots=True)
class ProxyFilterConfig:
    """`name` is what routes call the filter; `cache` is None where names are clusters, of which `cluster_init_timeout`
    says how many seconds a request waits for one."""

    clusters: ClusterManager
    cache: DnsCache | None
    cluster_init_timeout: float
    name: str
    save_address: bool
    dynamic_host: bool


@dataclass(frozen=True, slots=True)
class HostRewrite:
    """The host that a route puts in place of the request's: `literal`, or what `header` says; empty for neither."""

    literal: bytes
    header: bytes


class ProxyFilter(StreamDecoderFilter):
    """One stream."""

    def __init__(self, config: ProxyFilterConfig) -> None:
        self._config = config
        self._waits_for: CachedHost | None = None
        self._awaited = ""
        """The sub cluster that is waited for; empty if none is."""
        self._timer: Timer | None = None

    def decode_headers(self, headers: RequestHeaderMap, end_stream: bool) -> FilterHeadersStatus:
        callbacks, config = self.decoder_callbacks, self._config
        cluster_name = getattr(callbacks.route(), "cluster_name", "")
        cluster = config.clusters.get(cluster_name)
        # Envoy goes by the name of the extension, which with a type URL may be any.
        if not isinstance(cluster, DynamicForwardProxyCluster) or not cluster.named_as_such:
            return FilterHeadersStatus.CONTINUE
        self._rewrite_host(headers)
        if cluster.sub_clusters is not None:
            return self._load_sub_cluster(cluster.sub_clusters, headers.authority.decode("latin-1"))
        cache = config.cache
        if cache is None:
            return FilterHeadersStatus.CONTINUE  # the cluster looks the name up itself
        if not cache.pending_requests.can_create:
            cache.stats.dns_rq_pending_overflow += 1
            return self._refuse(
                "Dynamic forward proxy pending request overflow", "dynamic_forward_proxy_pending_request_overflow"
            )
        authority = headers.authority.decode("latin-1")
        if config.dynamic_host:
            named = callbacks.stream_info.state(DYNAMIC_HOST)
            if named is not None:
                authority = named.decode("latin-1") if isinstance(named, bytes) else str(named)
        if not authority:
            callbacks.send_local_reply(400, "Empty host header", "empty_host_header")
            return FilterHeadersStatus.STOP_ITERATION
        host = cache.load(authority, DEFAULT_PORT)
        if host is None:
            return self._refuse("DNS cache overflow", "dns_cache_overflow")
        if host.resolved:
            return self._go_on(host)
        cache.pending_requests.current += 1
        self._waits_for = host
        host.wait(self._on_resolved)
        return FilterHeadersStatus.STOP_ALL_ITERATION_AND_WATERMARK

    def on_destroy(self) -> None:
        self._stop_awaiting()
        host = self._waits_for
        if host is not None:
            self._wait_is_over()
            host.stop_waiting(self._on_resolved)

    def _load_sub_cluster(self, sub_clusters: SubClusters, authority: str) -> FilterHeadersStatus:
        if sub_clusters.touch(authority) is not None:
            return FilterHeadersStatus.CONTINUE
        if not sub_clusters.make(authority):
            return self._refuse("Sub cluster overflow", "sub_cluster_overflow")
        if sub_clusters.find(authority) is not None:
            return FilterHeadersStatus.CONTINUE
        config = self._config
        self._awaited = sub_clusters.name_of(authority)
        config.clusters.add_update_callback(self._on_cluster_update)
        self._timer = config.clusters.context.dispatcher.create_timer(self._on_cluster_timeout)
        self._timer.enable(config.cluster_init_timeout)
        return FilterHeadersStatus.STOP_ALL_ITERATION_AND_WATERMARK

    def _on_cluster_update(self, name: str, cluster: Cluster | None) -> None:
        if name == self._awaited and cluster is not None:
            self._stop_awaiting()
            self.decoder_callbacks.continue_decoding()

    def _on_cluster_timeout(self) -> None:
        self._stop_awaiting()
        self._refuse("Sub cluster warming timeout", "sub_cluster_warming_timeout")

    def _stop_awaiting(self) -> None:
        if self._awaited:
            self._awaited = ""
            self._config.clusters.remove_update_callback(self._on_cluster_update)
            if self._timer is not None:
                self._timer.disable()

    def _wait_is_over(self) -> None:
        self._waits_for = None
        assert self._config.cache is not None
        self._config.cache.pending_requests.current -= 1

    def _on_resolved(self, host: CachedHost) -> None:
        self._wait_is_over()
        if self._go_on(host) is FilterHeadersStatus.CONTINUE:
            self.decoder_callbacks.continue_decoding()

    def _go_on(self, host: CachedHost) -> FilterHeadersStatus:
        info = self.decoder_callbacks.stream_info
        if not host.addresses:
            info.set_response_flag(ResponseFlag.DNS_RESOLUTION_FAILED)
            details = f"dns_resolution_failure{{{host.details}}}".replace(" ", "_")
            return self._refuse("DNS resolution failure", details)
        if self.decoder_callbacks.explain is not NO_EXPLANATION:
            self.decoder_callbacks.explain.decided("host", host.key, f"resolved to {host.addresses[0]}")
        if self._config.save_address:
            info.filter_state[UPSTREAM_ADDRESS] = OpaqueState(host.addresses[0])
        return FilterHeadersStatus.CONTINUE

    def _refuse(self, body: str, details: str) -> FilterHeadersStatus:
        self.decoder_callbacks.send_local_reply(503, body, details)
        return FilterHeadersStatus.STOP_ITERATION

    def _rewrite_host(self, headers: RequestHeaderMap) -> None:
        rewrite: HostRewrite | None = most_specific_config(self.decoder_callbacks, self._config.name)
        if rewrite is None:
            return
        value = headers.get(rewrite.header) if rewrite.header else rewrite.literal
        if value is not None:
            headers.authority = value


@HTTP_FILTERS.register(NAME, CONFIG_TYPE)
def create_dynamic_forward_proxy_filter(config: Any, context: FactoryContext) -> HttpFilterFactory:
    clusters = context.server.cluster_manager
    cache: DnsCache | None = None
    if config.HasField("dns_cache_config"):
        cache = dns_cache_manager(clusters).get_cache(config.dns_cache_config, clusters.context, "dns_cache_config")
    settings = ProxyFilterConfig(
        clusters,
        cache,
        duration_of(config.sub_cluster_config, "cluster_init_timeout", 5.0),
        context.filter_name,
        config.save_upstream_address,
        config.allow_dynamic_host_from_filter_state,
    )
    return lambda: ProxyFilter(settings)


@ROUTE_FILTER_CONFIGS.register(NAME, ROUTE_TYPE)
def create_host_rewrite(config: Any, path: str, server: Any) -> HostRewrite:
    return HostRewrite(config.host_rewrite_literal.encode(), config.host_rewrite_header.lower().encode())
