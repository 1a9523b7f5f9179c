"""`envoy.transport_sockets.upstream_proxy_protocol`: upstreams are told first of all whose connection they have.

Envoy: `Extensions::TransportSockets::ProxyProtocol::UpstreamProxyProtocolSocket`. The header leaves as the connection
comes up; after it comes what the inner transport socket does, TLS for example.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from ... import logger
from ...config.fields import honours
from ...network.proxy_protocol_header import (
    ProxyHeader,
    Tlv,
    compile_pass_through,
    has_common_family,
    proxy_protocol_local,
    proxy_protocol_v1,
    proxy_protocol_v2,
    with_a_place,
)
from ...network.transport_socket import (
    UPSTREAM_TRANSPORT_SOCKETS,
    TransportSocketFactory,
    TransportSocketOptions,
    UpstreamTransportContext,
    create_transport_socket,
)
from ...stats.store import CounterValue, StatsStruct
from ..common.proxy_protocol_tlvs import AddedTlvs

if TYPE_CHECKING:
    from ...network.connection import Connection

log = logger.get("connection")
TYPE: Final = "envoy.extensions.transport_sockets.proxy_protocol.v3.ProxyProtocolUpstreamTransport"
V1, V2 = 0, 1
"""`ProxyProtocolConfig.Version`."""
NO_OPTIONS: Final = TransportSocketOptions()

honours(
    TYPE,
    "config",
    "transport_socket",
    "allow_unspecified_address",
    ignored={"tlv_as_pool_key": "TLVs are part of it in any case"},
)
honours("envoy.config.core.v3.ProxyProtocolConfig", "version", "pass_through_tlvs", "added_tlvs")


class UpstreamProxyProtocolStats(StatsStruct):
    """`cluster.NAME.upstream.proxyprotocol.*`"""

    v2_tlvs_exceed_max_length: CounterValue


class UpstreamProxyProtocolFactory:
    """Of one cluster."""

    wants_proxy_header = True

    def __init__(self, config: Any, inner: TransportSocketFactory | None, stats: Any, path: str) -> None:
        self._inner = inner
        self.secure = inner is not None and inner.secure
        self._version: int = config.config.version
        self._stats = stats
        self._allows_unspecified: bool = config.allow_unspecified_address
        self._added = AddedTlvs(config.config.added_tlvs, f"{path}.config.added_tlvs", once=True)
        passes = config.config.pass_through_tlvs if config.config.HasField("pass_through_tlvs") else None
        self._passes = compile_pass_through(passes)

    def announce(self, connection: Connection) -> None:
        if self._inner is not None:
            self._inner.announce(connection)

    def protocol(self, connection: Connection, options: Any = None) -> asyncio.Protocol:
        options = options or NO_OPTIONS
        inner = connection if self._inner is None else self._inner.protocol(connection, options)
        return HeaderSocket(self, connection, inner, options.proxy_header)

    def header(self, told: ProxyHeader | None, connection: Connection, transport: Any) -> bytes:
        """What leaves first."""
        if told is None and self._version == V2:
            return proxy_protocol_local()
        if told is None:
            info = connection.info
            remote = info.remote_address
            assert remote is not None
            name = transport.get_extra_info("sockname")
            local = info.local_address or type(remote).from_sockaddr(remote.family, name)
            return proxy_protocol_v1(local, remote)
        if self._version == V1:
            return proxy_protocol_v1(told.source, told.destination)
        if self._allows_unspecified and not has_common_family(told.source, told.destination):
            # So it is in Envoy: what was meant to be allowed can not be written, and nobody minds.
            self._stats.v2_tlvs_exceed_max_length += 1
            return b""
        tlvs: list[Tlv] = []
        if self._added:
            tlvs = self._added.of(connection.stream_info)
        tlvs += [tlv for tlv in told.tlvs if self._passes(tlv[0]) and tlv[0] not in self._added.types]
        sent = with_a_place(tlvs)
        if len(sent) < len(tlvs):
            self._stats.v2_tlvs_exceed_max_length += 1
            log.warning(f"TLVs that have no place in a PROXY header to {connection.info.remote_address} are left out")
        return proxy_protocol_v2(told.source, told.destination, sent)


class HeaderSocket(asyncio.Protocol):
    """Writes the header, and steps aside."""

    def __init__(
        self,
        factory: UpstreamProxyProtocolFactory,
        connection: Connection,
        inner: asyncio.Protocol,
        told: ProxyHeader | None,
    ) -> None:
        self._factory = factory
        self._connection = connection
        self._inner = inner
        self._told = told

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport) or hasattr(transport, "write")
        connection = self._connection
        if not connection.closed and (header := self._factory.header(self._told, connection, transport)):
            connection.bytes_sent += len(header)
            transport.write(header)
        transport.set_protocol(self._inner)
        self._inner.connection_made(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._connection.connection_lost(exc)


@UPSTREAM_TRANSPORT_SOCKETS.register("envoy.transport_sockets.upstream_proxy_protocol", TYPE)
def create_upstream_proxy_protocol(
    config: Any, context: UpstreamTransportContext, path: str
) -> UpstreamProxyProtocolFactory:
    inner = create_transport_socket(
        UPSTREAM_TRANSPORT_SOCKETS, config.transport_socket, context, f"{path}.transport_socket"
    )
    stats = context.scope.scope("upstream.proxyprotocol").struct(UpstreamProxyProtocolStats)
    return UpstreamProxyProtocolFactory(config, inner, stats, path)
