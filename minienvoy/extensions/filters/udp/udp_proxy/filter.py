"""The UDP proxy at one socket of a listener.

Envoy: `UdpFilters::UdpProxy::UdpProxyFilter`; docs "UDP proxy".
"""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING, Any, Final

from ..... import logger
from .....network.address import Address
from .....network.filter import UDP_LISTENER_FILTERS, FilterStatus, UdpListenerFilterFactory, UdpListenerReadFilter
from .....network.udp_listener import UdpListener, UdpRecvData
from .....stream_info import AccessLogType, ConnectionInfo, StreamInfo
from .cluster_info import ClusterInfo, PerPacketClusterInfo
from .config import TYPE, UdpProxyConfig

if TYPE_CHECKING:
    from .....server.factory_context import FactoryContext
    from .....upstream.cluster import Cluster

METADATA: Final = "udp.proxy.proxy"
"""In the dynamic metadata of the proxy, for its log: what it has passed on."""

log = logger.get("filter")
_SESSION_IDS = count()


class UdpProxyFilter(UdpListenerReadFilter):
    """Keeps the clusters that its datagrams may go to, and writes its own log when it ends."""

    def __init__(self, udp_listener: UdpListener, config: UdpProxyConfig) -> None:
        super().__init__(udp_listener)
        self._config = config
        self._clusters: dict[str, ClusterInfo] = {}
        self._stream_info = self._describe() if config.proxy_access_logs else None
        self._manager = config.context.server.cluster_manager
        for name, cluster in self._manager.clusters().items():
            self._on_cluster_update(name, cluster)
        self._manager.add_update_callback(self._on_cluster_update)

    def on_data(self, datagram: UdpRecvData) -> FilterStatus:
        router = self._config.router
        name = router.only
        if name is None:
            listener = self.udp_listener
            peer = Address.from_sockaddr(listener.raw.family, datagram.peer)
            name = router.route(listener.address_of(datagram.local_host), peer)
        cluster = self._clusters.get(name)
        if cluster is None:
            self._config.stats.downstream_sess_no_route += 1
        else:
            cluster.on_data(datagram)
        return FilterStatus.STOP_ITERATION

    def on_receive_error(self) -> FilterStatus:
        self._config.stats.downstream_sess_rx_errors += 1
        return FilterStatus.STOP_ITERATION

    def close(self) -> None:
        self._manager.remove_update_callback(self._on_cluster_update)
        for cluster in self._clusters.values():
            cluster.close()
        self._clusters.clear()
        if self._stream_info is not None:
            self._log(self._stream_info)

    def _on_cluster_update(self, name: str, cluster: Cluster | None) -> None:
        old = self._clusters.pop(name, None)
        if old is not None:
            log.debug(f"udp proxy: detaching from cluster {name}")
            old.close()
        if cluster is not None and name in self._config.router.clusters:
            log.debug(f"udp proxy: attaching to cluster {name}")
            kind = PerPacketClusterInfo if self._config.per_packet else ClusterInfo
            self._clusters[name] = kind(cluster, self._config, self.udp_listener, _SESSION_IDS.__next__)

    def _describe(self) -> StreamInfo:
        dispatcher = self.udp_listener.dispatcher
        info = StreamInfo()
        info.start_time = dispatcher.wall_time()
        info.start_monotonic = dispatcher.monotonic_time()
        info.connection = ConnectionInfo(None, None)
        return info

    def _log(self, info: StreamInfo) -> None:
        stats = self._config.stats
        info.request_complete_time = self.udp_listener.dispatcher.monotonic_time()
        info.bytes_received, info.bytes_sent = stats.downstream_sess_rx_bytes, stats.downstream_sess_tx_bytes
        info.dynamic_metadata[METADATA] = {
            "bytes_received": stats.downstream_sess_rx_bytes,
            "bytes_sent": stats.downstream_sess_tx_bytes,
            "datagrams_received": stats.downstream_sess_rx_datagrams,
            "datagrams_sent": stats.downstream_sess_tx_datagrams,
            "errors_received": stats.downstream_sess_rx_errors,
            "errors_sent": stats.downstream_sess_tx_errors,
            "idle_timeout": stats.idle_timeout,
            "no_route": stats.downstream_sess_no_route,
            "session_total": stats.downstream_sess_total,
        }
        for access_log in self._config.proxy_access_logs:
            access_log.log(None, None, None, info, AccessLogType.NOT_SET)


@UDP_LISTENER_FILTERS.register("envoy.filters.udp_listener.udp_proxy", TYPE)
def create_udp_proxy_filter(config: Any, context: FactoryContext) -> UdpListenerFilterFactory:
    settings = UdpProxyConfig.from_proto(config, context)
    return lambda udp_listener: UdpProxyFilter(udp_listener, settings)
