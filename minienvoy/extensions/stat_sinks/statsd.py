"""`envoy.stat_sinks.statsd`: to an address by datagrams, or to a cluster over one TCP connection.

Envoy: `StatsSinks::Statsd::StatsdSinkFactory`, `Common::Statsd::TcpStatsdSink`; statistic `statsd.cx_overflow`. A
connection that ends is made anew with the next flush; one that takes nothing more is closed before too much waits.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from ...config.fields import honours
from ...discovery.subscription import require_node
from ...errors import ConfigError
from ...network.connection import ConnectionCallbacks, ConnectionCloseType, ConnectionEvent
from ...network.filter import FilterStatus, ReadFilter
from ...server.stat_sinks import STAT_SINKS
from ...stats.flush import MetricSnapshot, StatSink
from ...upstream.host_connection import create_connection
from .statsd_lines import StatsdLines
from .udp_statsd import UdpStatsdSink, datagram_address

if TYPE_CHECKING:
    from ...network.client_connection import ClientConnection
    from ...server.server import Server

CONFIG_TYPE: Final = "envoy.config.metrics.v3.StatsdSink"

honours(CONFIG_TYPE, "tcp_cluster_name", "prefix", whole=("address",))

MAX_BUFFERED: Final = 16 * 1024 * 1024
"""Bytes that may wait for the service to take them."""


class TcpStatsdSink(ReadFilter, ConnectionCallbacks):
    wants_samples = True

    def __init__(self, cluster: str, lines: StatsdLines, server: Server) -> None:
        self._cluster = cluster
        self._lines = lines
        self._clusters = server.cluster_manager
        self._overflow = server.stats.scope("statsd").counter("cx_overflow")
        self._connection: ClientConnection | None = None
        self._connected = False
        self._waiting: list[bytes] = []
        """Until there is a connection."""
        self._waiting_size = 0

    def flush(self, snapshot: MetricSnapshot) -> None:
        told = [f"{line}\n" for line in self._lines.of_samples(snapshot)]
        told += (f"{line}\n" for line in self._lines.of(snapshot))
        self._write("".join(told).encode())

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close(ConnectionCloseType.FLUSH_WRITE)

    def on_data(self, data: bytes, end_stream: bool) -> FilterStatus:
        return FilterStatus.STOP_ITERATION

    def on_event(self, event: ConnectionEvent) -> None:
        connection = self._connection
        if event is ConnectionEvent.CONNECTED and connection is not None:
            self._connected = True
            waiting, self._waiting, self._waiting_size = b"".join(self._waiting), [], 0
            connection.write(waiting)
        elif event is not ConnectionEvent.CONNECTED:
            self._connection, self._connected = None, False
            self._waiting, self._waiting_size = [], 0

    def _write(self, data: bytes) -> None:
        connection = self._connection
        if connection is not None and self._buffered(connection) > MAX_BUFFERED:
            self._overflow.inc()
            connection.close(ConnectionCloseType.NO_FLUSH)
            return
        if connection is None:
            connection = self._connect()
            if connection is None:
                return
        if self._connected:
            connection.write(data)
        else:
            self._waiting.append(data)
            self._waiting_size += len(data)

    def _buffered(self, connection: ClientConnection) -> int:
        return self._waiting_size if not self._connected else connection.unsent

    def _connect(self) -> ClientConnection | None:
        cluster = self._clusters.get(self._cluster)
        host = None if cluster is None else cluster.load_balancer.choose_host(None)
        if cluster is None or host is None:
            return None
        connection = self._connection = create_connection(cluster, host)
        connection.add_callbacks(self)
        connection.add_read_filter(self)
        connection.connect(cluster.connect_timeout)
        return connection


@STAT_SINKS.register("envoy.stat_sinks.statsd", CONFIG_TYPE)
def create_statsd_sink(config: Any, server: Server) -> StatSink:
    lines = StatsdLines(config.prefix)
    if config.WhichOneof("statsd_specifier") == "address":
        return UdpStatsdSink(datagram_address(config.address, "address"), lines)
    require_node(server.node, "tcp statsd", "tcp_cluster_name")
    if server.cluster_manager.get(config.tcp_cluster_name) is None:
        raise ConfigError(f"tcp statsd: unknown cluster '{config.tcp_cluster_name}'", "tcp_cluster_name")
    return TcpStatsdSink(config.tcp_cluster_name, lines, server)
