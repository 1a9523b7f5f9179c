"""statsd by datagrams: plain names, or tags as DogStatsD and Graphite have them.

Envoy: `Common::Statsd::UdpStatsdSink`; `envoy.stat_sinks.statsd` with an `address`, `envoy.stat_sinks.dog_statsd`,
`envoy.stat_sinks.graphite_statsd`. A datagram that the system does not take at once is lost, as datagrams are.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final

from ...config.fields import honours
from ...errors import ConfigError
from ...network.address import Address
from ...server.stat_sinks import STAT_SINKS, tag_producer
from ...stats.flush import MetricSnapshot
from .statsd_lines import DOG_STATSD, GRAPHITE, StatsdLines, TagFormat

if TYPE_CHECKING:
    from ...server.server import Server

DOG_STATSD_TYPE: Final = "envoy.config.metrics.v3.DogStatsdSink"
GRAPHITE_TYPE: Final = "envoy.extensions.stat_sinks.graphite_statsd.v3.GraphiteStatsdSink"

for _type in (DOG_STATSD_TYPE, GRAPHITE_TYPE):
    honours(_type, "prefix", "max_bytes_per_datagram", whole=("address",))


class UdpStatsdSink:
    """`max_bytes` of lines are put into one datagram; 0: each has one of its own."""

    wants_samples = True

    def __init__(self, address: Address, lines: StatsdLines, max_bytes: int = 0) -> None:
        self._address = address
        self._lines = lines
        self._max_bytes = max_bytes
        self._socket: socket.socket | None = None

    def flush(self, snapshot: MetricSnapshot) -> None:
        # Envoy puts the values of histograms into datagrams of their own.
        for line in self._lines.of_samples(snapshot):
            self._send(line.encode())
        for datagram in self._packed(self._lines.of(snapshot)):
            self._send(datagram)

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _packed(self, lines: Iterable[str]) -> Iterable[bytes]:
        waiting = b""
        for line in lines:
            data = line.encode()
            if len(data) >= self._max_bytes:
                yield data
            elif len(waiting) + len(data) + 1 > self._max_bytes:
                if waiting:
                    yield waiting
                waiting = data
            else:
                waiting = waiting + b"\n" + data if waiting else data
        if waiting:
            yield waiting

    def _send(self, datagram: bytes) -> None:
        sending = self._socket
        try:
            if sending is None:
                sending = self._socket = socket.socket(self._address.family, socket.SOCK_DGRAM)
                sending.setblocking(False)
            sending.sendto(datagram, self._address.sockaddr)
        except OSError:
            # Nobody is there, or the system is busy: the next flush tells more.
            return


def datagram_address(proto: Any, path: str) -> Address:
    """Raises ConfigError: it is no IP address with a port."""
    if proto.WhichOneof("address") != "socket_address":
        raise ConfigError("statistics are sent to an IP address and a port", path)
    where = proto.socket_address
    if where.protocol != 1 and where.protocol != 0:
        raise ConfigError("statistics are sent over UDP", f"{path}.socket_address.protocol")
    try:
        return Address.ip(where.address, where.port_value)
    except ValueError:
        problem = f"malformed IP address: {where.address}. Consider setting resolver_name or setting cluster type to"
        raise ConfigError(f"{problem} 'STRICT_DNS' or 'LOGICAL_DNS'", f"{path}.socket_address.address") from None


def _tagged(config: Any, server: Server, tag_format: TagFormat) -> UdpStatsdSink:
    lines = StatsdLines(config.prefix, tag_producer(server), tag_format)
    return UdpStatsdSink(datagram_address(config.address, "address"), lines, config.max_bytes_per_datagram.value)


@STAT_SINKS.register("envoy.stat_sinks.dog_statsd", DOG_STATSD_TYPE)
def create_dog_statsd_sink(config: Any, server: Server) -> UdpStatsdSink:
    return _tagged(config, server, DOG_STATSD)


@STAT_SINKS.register("envoy.stat_sinks.graphite_statsd", GRAPHITE_TYPE)
def create_graphite_statsd_sink(config: Any, server: Server) -> UdpStatsdSink:
    return _tagged(config, server, GRAPHITE)
