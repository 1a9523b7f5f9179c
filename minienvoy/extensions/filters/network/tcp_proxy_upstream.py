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
from ....network.splice import Splice

if TYPE_CHECKING:
    from ....event.dispatcher import LazyTimer
    from ....stream_info import StreamInfo
    from ....upstream.cluster import Cluster
    from .tcp_proxy import TcpProxyFilter
    from .tcp_proxy_config import TcpProxyConfig

BULK_CHUNK = 64 * 1024
"""Bytes read at once that make a transfer look like bulk."""
BULK = 1024 * 1024
"""Bytes in such chunks after which a direction is spliced."""


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
        self._bulk_down = self._bulk_up = 0
        self._splice_down = Splice(connection, proxy.connection, self._count_down, self._block_down)
        self._splice_up = Splice(proxy.connection, connection, self._count_up, self._block_up)
        connection.delayed_close_timeout = config.idle_timeout

    def on_data(self, data: bytes, end_stream: bool) -> FilterStatus:
        size = len(data)
        self.stats.upstream_cx_rx_bytes_total += size
        self._proxy_stats.downstream_cx_tx_bytes_total += size
        self._write_downstream(data)
        if end_stream:
            self._downstream.write_half_close()
        elif size >= BULK_CHUNK:
            self._bulk_down += size
            if self._bulk_down >= BULK:
                # Not before what has just been written is in the kernel.
                self.connection.dispatcher.post(self._start_splice_down)
        if self._idle_timer is not None:
            self._idle_timer.enable(self._idle_timeout)
        return FilterStatus.STOP_ITERATION

    def on_event(self, event: ConnectionEvent) -> None:
        if event is ConnectionEvent.CONNECTED:
            return
        self._let_go()
        if self._flushing:
            self._proxy_stats.upstream_flush_active -= 1
        proxy, self._proxy = self._proxy, None
        if proxy is not None:
            proxy.on_upstream_closed(self.connection)

    def on_above_write_buffer_high_watermark(self) -> None:
        if not self._downstream.closed:
            self._block_up(True)
            self._downstream.read_disable(True)

    def on_below_write_buffer_low_watermark(self) -> None:
        if not self._downstream.closed:
            self._block_up(False)
            self._downstream.read_disable(False)

    def on_downstream_closed(self, event: ConnectionEvent) -> None:
        """The client's connection has ended: so does this one, in the same way."""
        self._proxy = None
        self._let_go()
        connection = self.connection
        if connection.closed:
            return
        if event is ConnectionEvent.LOCAL_CLOSE and not self._downstream.both_sides_half_closed:
            connection.close(ConnectionCloseType.NO_FLUSH, self._downstream.local_close_reason)
        elif self._downstream.detected_close_type is DetectedCloseType.REMOTE_RESET:
            connection.close(ConnectionCloseType.ABORT_RESET)
        else:
            connection.close(ConnectionCloseType.FLUSH_WRITE)
            if not connection.closed:
                self._flushing = True
                self._proxy_stats.upstream_flush_total += 1
                self._proxy_stats.upstream_flush_active += 1

    def on_bulk_up(self, size: int) -> None:
        """A large chunk has gone upstream."""
        self._bulk_up += size
        if self._bulk_up >= BULK:
            self.connection.dispatcher.post(self._start_splice_up)

    def _start_splice_down(self) -> None:
        if self._proxy is not None and not self._downstream.closed:
            self._splice_down.start()

    def _start_splice_up(self) -> None:
        if self._proxy is not None and not self._downstream.closed:
            self._splice_up.start()

    def _count_down(self, size: int) -> None:
        self.stats.upstream_cx_rx_bytes_total += size
        self._proxy_stats.downstream_cx_tx_bytes_total += size
        if self._idle_timer is not None:
            self._idle_timer.enable(self._idle_timeout)

    def _count_up(self, size: int) -> None:
        self._proxy_stats.downstream_cx_rx_bytes_total += size
        self.stats.upstream_cx_tx_bytes_total += size
        if self._idle_timer is not None:
            self._idle_timer.enable(self._idle_timeout)

    def _block_down(self, blocked: bool) -> None:
        if blocked:
            self.stats.upstream_flow_control_paused_reading_total += 1
        else:
            self.stats.upstream_flow_control_resumed_reading_total += 1

    def _block_up(self, blocked: bool) -> None:
        if blocked:
            self.stats.upstream_flow_control_backed_up_total += 1
            self._proxy_stats.downstream_flow_control_paused_reading_total += 1
        else:
            self.stats.upstream_flow_control_drained_total += 1
            self._proxy_stats.downstream_flow_control_resumed_reading_total += 1

    def _let_go(self) -> None:
        self._idle_timer = None
        self._splice_down.stop()
        self._splice_up.stop()

    def describe(self, info: StreamInfo) -> None:
        """Tell an access log about this side."""
        info.upstream_wire_bytes_received = self.connection.bytes_received
        info.upstream_wire_bytes_sent = self.connection.bytes_sent
        info.upstream_local_close_reason = self.connection.local_close_reason
        if self.connection.detected_close_type is DetectedCloseType.REMOTE_RESET:
            info.upstream_detected_close_type = DetectedCloseType.REMOTE_RESET.value
