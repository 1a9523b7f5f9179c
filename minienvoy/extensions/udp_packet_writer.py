"""`envoy.udp_packet_writer.*`: how a listener of datagrams sends them.

Envoy: `Network::UdpDefaultWriterFactory`, `Quic::UdpGsoBatchWriterFactory`. The second gives the kernel several at
once, which saves time and nothing else; here each datagram is a batch of its own.
"""

from __future__ import annotations

import socket
from typing import Any, Final

from ..config.fields import honours
from ..network.udp_listener import UDP_PACKET_WRITERS, Ancillary, PeerAddress, UdpPacketWriter, write_datagram
from ..stats.histogram import Histogram
from ..stats.store import CounterValue, GaugeValue, Scope, StatsStruct

_DEFAULT: Final = "envoy.extensions.udp_packet_writer.v3.UdpDefaultWriterFactory"
_GSO: Final = "envoy.extensions.udp_packet_writer.v3.UdpGsoBatchWriterFactory"

honours(_DEFAULT)
honours(_GSO)


class UdpGsoBatchWriterStats(StatsStruct):
    """`listener.ADDRESS.*`."""

    internal_buffer_size: GaugeValue
    pkts_sent_per_batch: Histogram
    total_bytes_sent: CounterValue


@UDP_PACKET_WRITERS.register("envoy.udp_packet_writer.default", _DEFAULT)
def create_default_writer(config: Any, listener_scope: Scope) -> UdpPacketWriter:
    return write_datagram


@UDP_PACKET_WRITERS.register("envoy.udp_packet_writer.gso", _GSO)
def create_gso_batch_writer(config: Any, listener_scope: Scope) -> UdpPacketWriter:
    stats = listener_scope.struct(UdpGsoBatchWriterStats)

    def write(raw: socket.socket, data: bytes, ancillary: Ancillary, peer: PeerAddress) -> None:
        write_datagram(raw, data, ancillary, peer)
        stats.pkts_sent_per_batch.record(1)
        stats.total_bytes_sent += len(data)

    return write
