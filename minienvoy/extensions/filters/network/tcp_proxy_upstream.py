"""The upstream side of a TCP proxy's connection.

Envoy: `TcpProxy::TcpUpstream`, `TcpProxy::Filter::UpstreamCallbacks`, `TcpProxy::UpstreamDrainManager`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from ....network.connection import (
    Connection,
    ConnectionCallbacks,
    ConnectionCloseType,
    ConnectionEvent,
    DetectedCloseType,
)
from ....network.filter import FilterStatus, ReadFilter

if TYPE_CHECKING:
    from ....event.dispatcher import LazyTimer
    from ....stream_info import StreamInfo
    from ....upstream.cluster import Cluster
    from .tcp_proxy import TcpProxyFilter
    from .tcp_proxy_config import TcpProxyConfig


class Upstream(ReadFilter, ConnectionCallbacks):
    """Passes on what the host sends; when the client is gone, lives until what it had sent has left.

    Attributes:
        stats: the cluster's.
        write: to the host.
    """

    def __init__(
        self,
        proxy: TcpProxyFilter,
        connection: Connection,
        cluster: Cluster,
        config: TcpProxyConfig,
        idle_timer: LazyTimer | None,
    ) -> None:
        self.stats = cluster.stats.traffic
        self.write: Callable[[bytes], None] = connection.write
        self._proxy: TcpProxyFilter | None = proxy
        self._downstream = proxy.connection
        self._write_downstream = proxy.connection.write
        self._proxy_stats = config.stats
        self._idle_timer = idle_timer
        self._idle_timeout = config.idle_timeout
        self._flushing = False
        connection.delayed_close_timeout = config.idle_timeout

    def on_data(self, data: bytes, end_stream: bool) -> FilterStatus:
        size = len(data)
        self.stats.upstream_cx_rx_bytes_total += size
        self._proxy_stats.downstream_cx_tx_bytes_total += size
        self._write_downstream(data)
        if end_stream:
            self._downstream.write_half_close()
        if self._idle_timer is not None:
            self._idle_timer.enable(self._idle_timeout)
        return FilterStatus.STOP_ITERATION

    def on_event(self, event: ConnectionEvent) -> None:
        if event is ConnectionEvent.CONNECTED:
            return
        self._idle_timer = None
        if self._flushing:
            self._proxy_stats.upstream_flush_active -= 1
        proxy, self._proxy = self._proxy, None
        if proxy is not None:
            proxy.on_upstream_closed(self.connection)

    def on_above_write_buffer_high_watermark(self) -> None:
        self.stats.upstream_flow_control_backed_up_total += 1
        if not self._downstream.closed:
            self._proxy_stats.downstream_flow_control_paused_reading_total += 1
            self._downstream.read_disable(True)

    def on_below_write_buffer_low_watermark(self) -> None:
        self.stats.upstream_flow_control_drained_total += 1
        if not self._downstream.closed:
            self._proxy_stats.downstream_flow_control_resumed_reading_total += 1
            self._downstream.read_disable(False)

    def on_downstream_closed(self, event: ConnectionEvent) -> None:
        """The client's connection has ended: so does this one, in the same way."""
        self._proxy = None
        self._idle_timer = None
        connection = self.connection
        if connection.closed:
            return
        if event is ConnectionEvent.LOCAL_CLOSE and not self._downstream.both_sides_half_closed:
            connection.close(ConnectionCloseType.NO_FLUSH)
        elif self._downstream.detected_close_type is DetectedCloseType.REMOTE_RESET:
            connection.close(ConnectionCloseType.ABORT_RESET)
        else:
            connection.close(ConnectionCloseType.FLUSH_WRITE)
            if not connection.closed:
                self._flushing = True
                self._proxy_stats.upstream_flush_total += 1
                self._proxy_stats.upstream_flush_active += 1

    def describe(self, info: StreamInfo) -> None:
        """Tell an access log about this side."""
        info.upstream_wire_bytes_received = self.connection.bytes_received
        info.upstream_wire_bytes_sent = self.connection.bytes_sent
        info.upstream_local_close_reason = self.connection.local_close_reason
