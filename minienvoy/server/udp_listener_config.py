"""What a listener of datagrams does with them.

Envoy: `Server::ListenerImpl::buildUdpListenerFactory`, `UdpListenerConfigImpl`;
`envoy.config.listener.v3.UdpListenerConfig`. Not implemented: QUIC.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..config.extension import create_extension, create_extensions, find_extension
from ..errors import ConfigError
from ..network.filter import UDP_LISTENER_FILTERS, UdpListenerFilterFactory
from ..network.udp_listener import UDP_PACKET_WRITERS, UdpPacketWriter, rx_datagram_size, write_datagram
from ..record import record

if TYPE_CHECKING:
    from .factory_context import FactoryContext


@record
class UdpListenerConfig:
    """Attributes:
    rx_datagram_size: bytes that a datagram may have.
    """

    filters: tuple[UdpListenerFilterFactory, ...]
    rx_datagram_size: int
    writer: UdpPacketWriter

    @classmethod
    def from_proto(cls, config: Any, address: str, context: FactoryContext, path: str) -> UdpListenerConfig:
        """From a `Listener` whose address is one for datagrams.

        Raises:
            ConfigError: it has filter chains, or filters that know nothing of datagrams.
        """
        if config.filter_chains or config.HasField("default_filter_chain"):
            # Envoy counts the default one as none.
            raise ConfigError(
                f"error adding listener '{address}': {len(config.filter_chains)} filter chain(s) specified for "
                "connection-less UDP listener.",
                path,
            )
        concurrency = context.server.options.concurrency
        if config.HasField("enable_reuse_port") and not config.enable_reuse_port.value and concurrency > 1:
            raise ConfigError(
                "Listening on UDP when concurrency is > 1 without the SO_REUSEPORT socket option results in unstable "
                "packet proxying. Configure the reuse_port listener option or set concurrency = 1.",
                path,
            )
        udp = config.udp_listener_config
        writer: UdpPacketWriter = write_datagram
        if udp.HasField("udp_packet_packet_writer_config"):
            where = f"{path}.udp_listener_config.udp_packet_packet_writer_config"
            entry = find_extension(UDP_PACKET_WRITERS, udp.udp_packet_packet_writer_config, where)
            writer = create_extension(entry, udp.udp_packet_packet_writer_config, where, context.listener_scope)
        filters = create_extensions(UDP_LISTENER_FILTERS, config.listener_filters, f"{path}.listener_filters", context)
        return cls(tuple(filters), rx_datagram_size(udp.downstream_socket_config, False), writer)
