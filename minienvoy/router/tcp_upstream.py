"""The upstream side of a CONNECT that ends here: what the tunnel carries goes to a plain TCP connection.

Envoy: `Extensions::Upstreams::Http::Tcp::TcpConnPool` and `TcpUpstream`; docs "HTTP upgrades", "CONNECT support". To
the router it is an HTTP connection whose response is 200 as soon as there is a connection, and whose body is what the
host sends until it has finished.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

from ..config.fields import honours
from ..errors import ConfigError
from ..http.byte_meter import ByteMeter
from ..http.codec import Metadata, StreamResetReason
from ..http.header_map import HeaderMap, RequestHeaderMap, ResponseHeaderMap
from ..network.connection import ConnectionCallbacks, ConnectionCloseType, ConnectionEvent
from ..network.filter import FilterStatus, ReadFilter
from ..network.proxy_protocol_header import proxy_protocol_v1, proxy_protocol_v2
from ..upstream.tcp_conn_pool import PendingConnection, tcp_conn_pool

if TYPE_CHECKING:
    from ..network.address import Address
    from ..network.client_connection import ClientConnection
    from ..network.connection import Connection
    from ..upstream.cluster import Cluster
    from ..upstream.codec_client import CodecClient
    from ..upstream.conn_pool import PoolFailureReason
    from ..upstream.host import Host
    from .upstream_request import UpstreamRequest

_CONFIG = "envoy.config.route.v3.RouteAction.UpgradeConfig.ConnectConfig"
honours(_CONFIG, "proxy_protocol_config", "allow_post")
honours("envoy.config.core.v3.ProxyProtocolConfig", "version")


class ConnectConfig:
    """Attributes:
    methods: of the requests that are tunnels.
    make_header: of the PROXY protocol, from the client's address and the one it has connected to; or None.
    """

    __slots__ = ("make_header", "methods")

    def __init__(self, proto: Any) -> None:
        self.methods = frozenset((b"CONNECT", b"POST") if proto.allow_post else (b"CONNECT",))
        self.make_header: Callable[[Address, Address], bytes] | None = None
        if proto.HasField("proxy_protocol_config"):
            config = proto.proxy_protocol_config
            if config.added_tlvs or config.HasField("pass_through_tlvs"):
                raise ConfigError("TLVs are sent by a cluster's transport socket only", "proxy_protocol_config")
            self.make_header = proxy_protocol_v2 if proto.proxy_protocol_config.version else proxy_protocol_v1


def connect_config(upgrades: Any, path: str) -> ConnectConfig | None:
    """Of a route's `upgrade_configs`; raises ConfigError if an upgrade other than CONNECT has one."""
    found = None
    for at, each in enumerate(upgrades):
        if not each.HasField("connect_config"):
            continue
        if each.upgrade_type.lower() == "connect-udp":
            raise ConfigError(
                "connect_config of CONNECT-UDP is not supported: there are no UDP upstreams", f"{path}[{at}]"
            )
        if each.upgrade_type.lower() != "connect":
            raise ConfigError(f"Non-CONNECT upgrade type {each.upgrade_type} has ConnectConfig", f"{path}[{at}]")
        found = ConnectConfig(each.connect_config)
    return found


class TcpConnPool:
    """Gives an upstream request a TCP connection, as an HTTP connection pool would give it an HTTP connection.

    Made for one attempt. Of the pool of HTTP connections it has what whoever has the connection asks for.
    """

    __slots__ = ("_settings", "cluster", "connection", "host", "max_stream_duration", "upstream")

    def __init__(self, settings: ConnectConfig, cluster: Cluster, host: Host, downstream: Connection) -> None:
        self._settings = settings
        self.connection = downstream
        self.cluster = cluster
        self.host = host
        self.max_stream_duration = cluster.http_options.max_stream_duration

    def new_stream(self, priority: int, upstream: UpstreamRequest) -> PendingConnection | None:
        """Either of its callbacks is called, perhaps at once; what is returned can cancel the wait."""
        self.upstream = upstream
        return tcp_conn_pool(self.cluster, self.host, priority).new_connection(self)

    def on_pool_ready(self, connection: ClientConnection, host: Host) -> None:
        make_header = self._settings.make_header
        header = b""
        info = self.connection.info
        if make_header is not None and info.remote_address is not None and info.local_address is not None:
            header = make_header(info.remote_address, info.local_address)
        # It has everything of a client that an upstream request and the log of a stream ask for.
        self.upstream.on_pool_ready(cast("CodecClient", TcpUpstream(self, connection, header)))

    def on_pool_failure(self, reason: PoolFailureReason, failure_reason: str, host: Host) -> None:
        self.upstream.on_pool_failure(reason, failure_reason, host)

    def on_stream_complete(self, client: TcpUpstream, now: float) -> None:
        """The host has finished: so has the tunnel, and its connection ends by itself if the client has, too."""
        if client.half_closed:
            client.connection.released = True
            client.abandon()
        else:
            client.close()


class TcpUpstream(ReadFilter, ConnectionCallbacks):
    """The connection of one tunnel; client, codec and encoder in one.

    Attributes:
        watermark: who feeds the tunnel, told (True) to stop and (False) to go on.
        half_closed: the client has said all that it will.
    """

    requests = 1
    protocol = None
    bytes_received_before = bytes_sent_before = 0
    half_closed = False

    def __init__(self, pool: TcpConnPool, connection: ClientConnection, header: bytes) -> None:
        self.pool = pool
        self.connection: ClientConnection = connection
        self.codec = self
        self.watermark: Callable[[bool], None] | None = None
        self._header = header
        self._meter = ByteMeter()
        self._decoder: UpstreamRequest | None = None
        self._stats = pool.cluster.stats.traffic
        connection.add_callbacks(self)

    # -- from the upstream request

    def new_stream(self, decoder: UpstreamRequest) -> TcpUpstream:
        self._decoder = decoder
        decoder.take_meter(self._meter)
        return self

    def encode_headers(self, headers: RequestHeaderMap, end_stream: bool) -> None:
        """There is nobody to tell them; but now that there is a connection the client may begin."""
        self.encode_data(self._header, end_stream)
        decoder = self._decoder
        if decoder is not None:
            decoder.decode_headers(ResponseHeaderMap(200), False)
        if self._decoder is not None:
            self.connection.add_read_filter(self)

    def encode_data(self, data: bytes, end_stream: bool) -> None:
        connection = self.connection
        if connection.closed:
            return
        if data:
            self._stats.upstream_cx_tx_bytes_total += len(data)
            self._meter.wire_sent += len(data)
            connection.write(data)
        if end_stream:
            self.half_closed = True
            connection.write_half_close()

    def encode_trailers(self, trailers: HeaderMap) -> None:
        self.encode_data(b"", True)

    def encode_metadata(self, metadata: Metadata) -> None:
        """TCP has no place for it."""

    def abandon(self) -> UpstreamRequest | None:
        decoder, self._decoder = self._decoder, None
        return decoder

    def reset_stream(self, reason: StreamResetReason) -> None:
        self.close()

    def close(self) -> None:
        self._decoder = None
        self.connection.close(ConnectionCloseType.NO_FLUSH)

    # -- from the connection

    def on_data(self, data: bytes, end_stream: bool) -> FilterStatus:
        self._stats.upstream_cx_rx_bytes_total += len(data)
        self._meter.wire_received += len(data)
        if self._decoder is not None:
            self._decoder.decode_data(data, end_stream)
        return FilterStatus.STOP_ITERATION

    def on_event(self, event: ConnectionEvent) -> None:
        if event is ConnectionEvent.CONNECTED:
            return
        decoder = self.abandon()
        if decoder is not None:
            decoder.on_reset_stream(StreamResetReason.CONNECTION_TERMINATION, "")

    def on_above_write_buffer_high_watermark(self) -> None:
        self._stats.upstream_flow_control_backed_up_total += 1
        if self.watermark is not None:
            self.watermark(True)

    def on_below_write_buffer_low_watermark(self) -> None:
        self._stats.upstream_flow_control_drained_total += 1
        if self.watermark is not None:
            self.watermark(False)
