"""The TCP proxy of a server that has an overload manager: it may take no more data, or make no more connections.

Envoy: the part of `TcpProxy::Filter` that asks `Server::LoadShedPoint`. A server without an overload manager uses the
filter that this one is made from.
"""

from __future__ import annotations

from ....network.connection import ConnectionCloseType
from ....network.filter import FilterStatus
from ....network.overload_state import TCP_PROXY_CONNECT, TCP_PROXY_ON_DATA, OverloadState
from ....stream_info import ResponseFlag
from .tcp_proxy import TcpProxyFilter
from .tcp_proxy_config import TcpProxyConfig


class SheddingTcpProxyFilter(TcpProxyFilter):
    _splices_up = False  # each read is asked about

    def __init__(self, config: TcpProxyConfig, overload: OverloadState) -> None:
        super().__init__(config)
        self._overload = overload

    def on_data(self, data: bytes, end_stream: bool) -> FilterStatus:
        if self._overload.sheds(TCP_PROXY_ON_DATA):
            self._stats.downstream_cx_rx_bytes_total += len(data)
            self._shed(TCP_PROXY_ON_DATA)
            return FilterStatus.STOP_ITERATION
        return super().on_data(data, end_stream)

    def _establish_upstream_connection(self) -> None:
        if self._overload.sheds(TCP_PROXY_CONNECT):
            self._shed(TCP_PROXY_CONNECT)
        else:
            super()._establish_upstream_connection()

    def _shed(self, point: str) -> None:
        self._stats.downstream_cx_overload_close += 1
        self._stream_info.set_response_flag(ResponseFlag.OVERLOAD_MANAGER_TERMINATED)
        self.explain.decided("overload", "refused", f"{point} at {self._overload.values[point] * 100:.0f} %")
        self.connection.close(ConnectionCloseType.NO_FLUSH, "overload_manager")
