"""`envoy.transport_sockets.starttls`: plain at first, TLS from when somebody says so.

Envoy: `Extensions::TransportSockets::StartTls::StartTlsSocket`. Who says so is a network filter that understands the
protocol, as Envoy's `postgres_proxy` does, by `Connection::startSecureTransport`; here `StartTlsSocket.start_secure`,
which such a filter finds in `Connection.start_tls`. Bytes go through untouched until then.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from ...config.fields import honours
from ...network.transport_socket import (
    DOWNSTREAM_TRANSPORT_SOCKETS,
    UPSTREAM_TRANSPORT_SOCKETS,
    TransportSocketFactory,
)
from .tls.downstream import create_downstream_tls
from .tls.upstream import create_upstream_tls

if TYPE_CHECKING:
    from ...network.connection import Connection

_TYPE: Final = "envoy.extensions.transport_sockets.starttls.v3"

_NOTHING: Final = "a raw buffer has no settings"
honours(f"{_TYPE}.StartTlsConfig", "tls_socket_config", ignored={"cleartext_socket_config": _NOTHING})
honours(f"{_TYPE}.UpstreamStartTlsConfig", "tls_socket_config", ignored={"cleartext_socket_config": _NOTHING})


class StartTlsFactory:
    """Of one filter chain, or of one cluster."""

    secure = False
    wants_proxy_header = False

    def __init__(self, tls: TransportSocketFactory | None) -> None:
        assert tls is not None  # plain is what it is without it
        self._tls = tls

    def announce(self, connection: Connection) -> None:
        """It is a plain connection as yet."""

    def protocol(self, connection: Connection, options: Any = None) -> asyncio.Protocol:
        return StartTlsSocket(self._tls, connection, options)


class StartTlsSocket(asyncio.Protocol):
    """Gives the transport to the connection, and later to TLS."""

    def __init__(self, tls: TransportSocketFactory, connection: Connection, options: Any) -> None:
        self._tls = tls
        self._connection = connection
        self._options = options
        self._transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        connection = self._connection
        connection.start_tls = self.start_secure
        transport.set_protocol(connection)
        connection.connection_made(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._connection.connection_lost(exc)

    def start_secure(self) -> bool:
        """TLS from the next byte on; False if it has begun already, or the connection is closed."""
        connection, transport = self._connection, self._transport
        if connection.closed or transport is None:
            return False
        self._transport = None
        self._tls.announce(connection)
        secured = self._tls.protocol(connection, self._options)
        connection.pause_for_tls()
        transport.set_protocol(secured)
        secured.connection_made(transport)
        return True


@DOWNSTREAM_TRANSPORT_SOCKETS.register("envoy.transport_sockets.starttls", f"{_TYPE}.StartTlsConfig")
def create_downstream_starttls(config: Any, context: Any, path: str) -> StartTlsFactory:
    return StartTlsFactory(create_downstream_tls(config.tls_socket_config, context, f"{path}.tls_socket_config"))


@UPSTREAM_TRANSPORT_SOCKETS.register("envoy.transport_sockets.starttls", f"{_TYPE}.UpstreamStartTlsConfig")
def create_upstream_starttls(config: Any, context: Any, path: str) -> StartTlsFactory:
    return StartTlsFactory(create_upstream_tls(config.tls_socket_config, context, f"{path}.tls_socket_config"))
