"""`envoy.filters.network.sni_dynamic_forward_proxy`: a connection waits until the host that its server name is of is
looked up.

Envoy: `Extensions::NetworkFilters::SniDynamicForwardProxy::ProxyFilter`; docs "SNI dynamic forward proxy". The cluster
of a dynamic forward proxy, with the same cache, then has the host.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from ....config.fields import honours
from ....explain.explanation import NO_EXPLANATION
from ....network.connection import ConnectionCallbacks, ConnectionCloseType, ConnectionEvent
from ....network.filter import NETWORK_FILTERS, FilterStatus, NetworkFilterFactory, ReadFilter
from ....stream_info import OpaqueState
from ...clusters.dynamic_forward_proxy import DYNAMIC_HOST, DYNAMIC_PORT, UPSTREAM_ADDRESS
from ...common.dns_cache import CachedHost, DnsCache, dns_cache_manager

if TYPE_CHECKING:
    from ....server.factory_context import FactoryContext

TYPE: Final = "envoy.extensions.filters.network.sni_dynamic_forward_proxy.v3.FilterConfig"
DEFAULT_PORT: Final = 443

honours(TYPE, "dns_cache_config", "port_value", "save_upstream_address")


@dataclass(frozen=True, slots=True)
class SniProxyConfig:
    """Of one filter chain."""

    cache: DnsCache
    port: int
    save_address: bool


class SniDynamicForwardProxy(ReadFilter, ConnectionCallbacks):
    """One connection."""

    def __init__(self, config: SniProxyConfig) -> None:
        self._config = config
        self._waits_for: CachedHost | None = None

    def on_new_connection(self) -> FilterStatus:
        connection, config = self.connection, self._config
        stream = connection.stream_info
        name = str(stream.state(DYNAMIC_HOST) or connection.info.requested_server_name)
        if not name:
            return FilterStatus.CONTINUE
        port = int(stream.state(DYNAMIC_PORT) or config.port)
        stream.filter_state[DYNAMIC_PORT] = port
        cache = config.cache
        if not cache.pending_requests.can_create:
            cache.stats.dns_rq_pending_overflow += 1
            return self._refuse("sni_dynamic_forward_proxy_pending_request_overflow")
        host = cache.load(name, port)
        if host is None:
            return self._refuse("dns_cache_overflow")
        if host.resolved:
            self._found(host)
            return FilterStatus.CONTINUE
        cache.pending_requests.current += 1
        self._waits_for = host
        self.connection.add_callbacks(self)
        host.wait(self._on_resolved)
        return FilterStatus.STOP_ITERATION

    def on_data(self, data: bytes, end_stream: bool) -> FilterStatus:
        return FilterStatus.CONTINUE  # there is none before the host is known

    def on_event(self, event: ConnectionEvent) -> None:
        if event is ConnectionEvent.CONNECTED:
            return
        host, self._waits_for = self._waits_for, None
        if host is not None:
            self._config.cache.pending_requests.current -= 1
            host.stop_waiting(self._on_resolved)

    def _on_resolved(self, host: CachedHost) -> None:
        self._waits_for = None
        self._config.cache.pending_requests.current -= 1
        self._found(host)
        self.connection.continue_reading(self)

    def _found(self, host: CachedHost) -> None:
        connection = self.connection
        if not host.addresses:
            return  # the cluster has no host of the name
        if connection.explain is not NO_EXPLANATION:
            connection.explain.decided("host", host.key, f"resolved to {host.addresses[0]}")
        if self._config.save_address:
            connection.stream_info.filter_state[UPSTREAM_ADDRESS] = OpaqueState(host.addresses[0])

    def _refuse(self, reason: str) -> FilterStatus:
        self.connection.close(ConnectionCloseType.NO_FLUSH, reason)
        return FilterStatus.STOP_ITERATION


@NETWORK_FILTERS.register("envoy.filters.network.sni_dynamic_forward_proxy", TYPE)
def create_sni_dynamic_forward_proxy(config: Any, context: FactoryContext) -> NetworkFilterFactory:
    clusters = context.server.cluster_manager
    cache = dns_cache_manager(clusters).get_cache(config.dns_cache_config, clusters.context, "dns_cache_config")
    settings = SniProxyConfig(cache, config.port_value or DEFAULT_PORT, config.save_upstream_address)
    return lambda: SniDynamicForwardProxy(settings)
