"""The upstream side of a TCP proxy's connection that is a tunnel: a request, CONNECT or POST, and its response.

Envoy: `TcpProxy::HttpConnPool`, `HttpUpstream`; docs "TCP proxy", "Tunneling TCP over HTTP".

    asking       the request is on its way, or waits for a connection; any answer but a success is a failed attempt
    tunnelling   bodies are the client's bytes; END_STREAM is a FIN. HTTP/1 can not end one direction alone: the end of
                 either is the end of the connection
    over         the stream has ended, or was reset
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ....http.codec import Metadata, RequestEncoder, StreamResetReason
from ....http.header_map import HeaderMap, ResponseHeaderMap
from ....http.http1.client_connection import ClientConnection as Http1ClientConnection
from ....network.connection import ConnectionEvent
from ....stream_info import ResponseFlag
from ....upstream.cluster_stats import ClusterTrafficStats
from ....upstream.conn_pool import PoolFailureReason
from ....upstream.http_conn_pool import http_conn_pool
from .tcp_proxy_tunneling_config import TunnelingConfig

if TYPE_CHECKING:
    from ....stream_info import ConnectionInfo, StreamInfo
    from ....upstream.cluster import Cluster
    from ....upstream.codec_client import CodecClient
    from ....upstream.host import Host
    from ....upstream.http_conn_pool import PendingStream
    from .tcp_proxy import TcpProxyFilter

_BROKEN = (StreamResetReason.REMOTE_RESET, StreamResetReason.CONNECT_ERROR)


class HttpUpstream:
    """One attempt, and the tunnel that it becomes.

    Attributes:
        stats: counts for nobody: what goes through the connection is counted by its pool.
    """

    def __init__(self, proxy: TcpProxyFilter, settings: TunnelingConfig, cluster: Cluster, host: Host) -> None:
        self.stats = ClusterTrafficStats()
        self._settings = settings
        self._cluster = cluster
        self._host = host
        self._info = proxy.connection.stream_info
        self._proxy: TcpProxyFilter | None = proxy
        self._downstream = proxy.connection
        self._pending: PendingStream | None = None
        self._client: CodecClient | None = None
        self._encoder: RequestEncoder | None = None
        self._tunnelling = False
        self._response_over = self._request_over = False
        self._bytes_before = (0, 0)
        self._bytes = [0, 0]

    def start(self) -> bool:
        """Ask for a connection; False if it is decided already how that ends."""
        pool = self._host.http_pools.get(0) or http_conn_pool(self._cluster, self._host, self._settings.make_codec)
        if pool is None:
            self._fail(PoolFailureReason.OVERFLOW, "")
            return False
        self._pending = pool.new_stream(self)
        return self._proxy is not None and not self._tunnelling

    def cancel(self) -> None:
        """The client is gone while nobody has answered."""
        self._proxy = None
        pending, self._pending = self._pending, None
        if pending is not None:
            pending.cancel()
        if self._encoder is not None:
            self._info.set_response_flag(ResponseFlag.UPSTREAM_CONNECTION_FAILURE)
            self._info.upstream_host = self._host
        self._reset()

    # -- what the proxy has of a connection

    @property
    def connection(self) -> HttpUpstream:
        return self

    @property
    def info(self) -> ConnectionInfo:
        """Of the connection that it has been given."""
        assert self._client is not None
        return self._client.connection.info

    def write(self, data: bytes) -> None:
        if self._encoder is not None and data:
            self._bytes[1] += len(data)
            self._encoder.encode_data(data, False)

    def write_half_close(self) -> None:
        encoder = self._encoder
        if encoder is not None:
            self._request_over = True
            encoder.encode_data(b"", True)
            self._end_if_over()

    def read_disable(self, disable: bool) -> None:
        traffic = self._cluster.stats.traffic
        if disable:
            traffic.upstream_flow_control_paused_reading_total += 1
        else:
            traffic.upstream_flow_control_resumed_reading_total += 1
        if self._client is not None:
            self._client.read_disable(disable)

    def on_bulk_up(self, size: int) -> None:
        """What is framed can not be spliced."""

    def on_downstream_closed(self, event: ConnectionEvent) -> None:
        self._proxy = None
        self._reset()

    def describe(self, info: StreamInfo) -> None:
        """Tell an access log about this side. As Envoy's meter, it counts what the client sent once more."""
        client = self._client
        if client is not None:
            received, sent = self._bytes_before
            info.upstream_wire_bytes_received = client.connection.bytes_received - received + self._bytes[0]
            info.upstream_wire_bytes_sent = client.connection.bytes_sent - sent + self._bytes[1]

    # -- from the pool

    def on_pool_ready(self, client: CodecClient) -> None:
        self._pending = None
        self._client = client
        connection = client.connection
        self._bytes_before = (connection.bytes_received, connection.bytes_sent)
        client.watermark = self._on_watermark
        encoder = self._encoder = client.new_stream(self)
        if isinstance(encoder, Http1ClientConnection):
            encoder.tunneling = True
        scheme = b"http" if connection.info.ssl is None else b"https"
        encoder.encode_headers(self._settings.request_headers(self._info, scheme), False)

    def on_pool_failure(self, reason: PoolFailureReason, details: str, host: Host | None) -> None:
        self._pending = None
        self._fail(reason, details)

    # -- from the codec

    def on_request_refused(self, name: str) -> None:
        self._reset()
        self._fail(PoolFailureReason.LOCAL_CONNECTION_FAILURE, "")

    def decode_metadata(self, metadata: Metadata) -> None:
        """Nobody here wants to know it."""

    def decode_1xx_headers(self, headers: ResponseHeaderMap) -> None:
        """Not the answer yet."""

    def decode_headers(self, headers: ResponseHeaderMap, end_stream: bool) -> None:
        proxy, status = self._proxy, headers.status
        if proxy is None:
            return
        self._settings.keep_headers(self._info, headers)
        http1 = isinstance(self._encoder, Http1ClientConnection)
        if end_stream or not (200 <= status < 300 if http1 else status == 200):
            self._response_over = end_stream
            self._reset()
            self._fail(PoolFailureReason.REMOTE_CONNECTION_FAILURE, f"tunnel_response:{status}")
            return
        self._tunnelling = True
        proxy.on_tunnel_ready(self, self._host)

    def decode_data(self, data: bytes, end_stream: bool) -> None:
        proxy = self._proxy
        if proxy is None:
            return
        if data:
            self._bytes[0] += len(data)
            proxy.on_tunnel_data(data)
        if end_stream:
            self._on_response_over()

    def decode_trailers(self, trailers: HeaderMap) -> None:
        if self._proxy is not None:
            self._settings.keep_trailers(self._info, trailers)
            self._on_response_over()

    def on_reset_stream(self, reason: StreamResetReason, details: str) -> None:
        proxy = self._proxy
        self._encoder = None
        if reason in _BROKEN:
            self._cluster.stats.traffic.upstream_rq_rx_reset += 1
        if proxy is None:
            return
        if not self._tunnelling:
            self._fail(PoolFailureReason.REMOTE_CONNECTION_FAILURE, "")
            return
        self._proxy = None
        proxy.on_tunnel_closed(reason is StreamResetReason.REMOTE_RESET and not self._response_over)

    # -- inside

    def _on_watermark(self, high: bool) -> None:
        if not self._downstream.closed:
            self._downstream.read_disable(high)

    def _on_response_over(self) -> None:
        self._response_over = True
        self._downstream.write_half_close()
        client, proxy = self._client, self._proxy
        if client is not None and isinstance(self._encoder, Http1ClientConnection):
            # Its connection can not wait for the other direction.
            self._encoder = self._proxy = None
            client.watermark = None
            client.pool.on_stream_complete(client, client.connection.dispatcher.monotonic_time())
            if proxy is not None:
                proxy.on_tunnel_closed(False)
            return
        self._end_if_over()

    def _end_if_over(self) -> None:
        proxy = self._proxy
        if self._response_over and self._request_over and proxy is not None:
            self._proxy = self._encoder = None
            proxy.on_tunnel_closed(False)

    def _reset(self) -> None:
        client, encoder = self._client, self._encoder
        self._encoder = None
        if client is not None and encoder is not None:
            client.watermark = None
            client.reset_stream(StreamResetReason.LOCAL_RESET)

    def _fail(self, reason: PoolFailureReason, details: str) -> None:
        proxy, self._proxy = self._proxy, None
        if proxy is not None:
            proxy.on_pool_failure(reason, details, self._host)
