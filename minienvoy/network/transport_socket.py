"""What a connection does with its bytes before they go over the wire, as a listener or a cluster asks for it.

Envoy: `Network::TransportSocketFactory`, `DownstreamTransportSocketFactory`, `UpstreamTransportSocketFactory`;
`envoy.config.core.v3.TransportSocket`. A connection without a factory is plain.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, Protocol

from ..config.api import type_of, unpack
from ..config.fields import honours, unsupported
from ..errors import ConfigError
from ..event.init_manager import InitManager, InitTarget
from ..record import record
from ..registry import Registry

if TYPE_CHECKING:
    import asyncio

    from .connection import Connection

RAW_BUFFER: Final = "envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer"
honours("envoy.config.core.v3.TransportSocket", "name", "typed_config")


class TransportSocketFactory(Protocol):
    """Made from the configuration, once."""

    wants_proxy_header: bool
    """Whose connection it is for is told to the upstream: those of different clients are not shared."""
    secure: bool
    """Who is at the other end is known, and nobody else can read (`implementsSecureTransport`)."""

    def protocol(self, connection: Connection, options: Any = None) -> asyncio.Protocol:
        """What stands between the transport of `connection` and it; it calls the connection's `connection_made` when
        both ends are ready. `options` is what the request wants that the connection is for."""

    def announce(self, connection: Connection) -> None:
        """Tell a connection that is not open yet what it will be."""


MakeTransportSocket = Callable[[Any, Any, str], "TransportSocketFactory | None"]
DOWNSTREAM_TRANSPORT_SOCKETS: Registry[MakeTransportSocket] = Registry("envoy.transport_sockets.downstream")
"""(configuration message, `FactoryContext`, its path) -> factory; None for plain connections"""
UPSTREAM_TRANSPORT_SOCKETS: Registry[MakeTransportSocket] = Registry("envoy.transport_sockets.upstream")
"""(configuration message, `UpstreamTransportContext`, its path) -> factory; None for plain connections"""


def create_transport_socket(
    registry: Registry[MakeTransportSocket], config: Any, context: Any, path: str
) -> TransportSocketFactory | None:
    """From an `envoy.config.core.v3.TransportSocket` at `path`.

    Raises:
        ConfigError: nobody takes it, or it can not be had.
    """
    where = f"{path}.typed_config"
    if not config.typed_config.type_url:
        raise ConfigError(
            f"Didn't find a registered implementation for '{config.name}' with type URL: ''",
            path,
            remedy="a transport socket needs a typed_config",
        )
    entry = registry.find(type_of(config.typed_config, where), where, config.name)
    message = unpack(config.typed_config, where, validate=True)
    # With `--unsupported warn`, too: a check that is left out would let somebody in.
    for item in unsupported(message, where):
        raise ConfigError(item.reason, item.path)
    return entry.factory(message, context, where)


@record
class TransportSocketOptions:
    """What a request, or the host that was chosen, wants of the connection that is made for it
    (`Network::TransportSocketOptions`). Connections of different options are not shared.

    Attributes:
        server_name_override: the SNI, instead of the configured one.
        verify_san_override: one of these must be in the peer's certificate, too.
        host_name: of the host, for `auto_host_sni`.
        proxy_header: whose connection it is made for (`proxy_protocol_header.ProxyHeader`); None if nobody's.
        alpn_fallback: what the connection will speak; offered if the configuration offers nothing.
        alpn_override: offered instead of what the configuration offers; empty for that.
    """

    server_name_override: str = ""
    verify_san_override: tuple[str, ...] = ()
    host_name: str = ""
    alpn_fallback: tuple[str, ...] = ()
    alpn_override: tuple[str, ...] = ()
    proxy_header: Any = None

    @property
    def key(self) -> tuple[Any, ...]:
        """Those with the same share connections: names in letters of the other case are the same."""
        names = tuple(map(str.lower, self.verify_san_override))
        return (
            self.server_name_override.lower(),
            names,
            self.host_name,
            self.alpn_fallback,
            self.alpn_override,
            self.proxy_header,
        )


class UpstreamTransportContext:
    """What a factory for a cluster's connections may ask for.

    Attributes:
        scope: the statistics of the cluster.
        secrets: a `discovery.secret_manager.SecretManager`; None where there is none, as in many tests.
        init_manager: what the cluster waits for before it is used.
        on_destroy: called when the cluster is gone.
    """

    def __init__(self, scope: Any, secrets: Any = None) -> None:
        self.scope = scope
        self.secrets = secrets
        self.init_manager = InitManager()
        self.on_destroy: list[Callable[[], None]] = []

    def wait_for(self, target: InitTarget) -> None:
        """Let the cluster be used only when `target` is ready."""
        self.init_manager.add(target)
