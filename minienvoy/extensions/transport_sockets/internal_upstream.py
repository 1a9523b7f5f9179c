"""`envoy.transport_sockets.internal_upstream`: tells a listener inside this process what is known of the upstream.

Envoy: `Extensions::TransportSockets::InternalUpstream::InternalSocket`, `InternalSocketFactory`. Metadata of the host
or of its cluster become dynamic metadata of the connection that the listener accepts.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from ...config.fields import honours
from ...errors import ConfigError
from ...network.client_connection import ClientConnection
from ...network.transport_socket import (
    UPSTREAM_TRANSPORT_SOCKETS,
    TransportSocketFactory,
    UpstreamTransportContext,
    create_transport_socket,
)

if TYPE_CHECKING:
    from ...network.connection import Connection
    from ...upstream.host import Host

TYPE: Final = "envoy.extensions.transport_sockets.internal_upstream.v3.InternalUpstreamTransport"

honours(TYPE, "passthrough_metadata", "transport_socket")
honours(f"{TYPE}.MetadataValueSource", "kind", "name")
honours("envoy.type.metadata.v3.MetadataKind", "cluster", "host", "request", "route")
for _kind in ("Cluster", "Host", "Request", "Route"):
    honours(f"envoy.type.metadata.v3.MetadataKind.{_kind}")


class InternalUpstreamFactory:
    """Of one cluster."""

    def __init__(self, sources: tuple[tuple[str, str], ...], inner: TransportSocketFactory | None) -> None:
        """`sources` are kinds (`host`, `cluster`) and names."""
        self._sources = sources
        self._inner = inner
        self.secure = inner is not None and inner.secure
        self.wants_proxy_header = inner is not None and inner.wants_proxy_header

    def announce(self, connection: Connection) -> None:
        if self._inner is not None:
            self._inner.announce(connection)

    def introduce(self, connection: ClientConnection, host: Host) -> None:
        """Whose connection it will be."""
        cluster = host.cluster
        found: dict[str, Any] = {}
        for kind, name in self._sources:
            metadata = host.metadata if kind == "host" else {} if cluster is None else cluster.metadata
            if name in metadata:
                found[name] = metadata[name]
        connection.passthrough_metadata = found

    def protocol(self, connection: Connection, options: Any = None) -> asyncio.Protocol:
        return connection if self._inner is None else self._inner.protocol(connection, options)


@UPSTREAM_TRANSPORT_SOCKETS.register("envoy.transport_sockets.internal_upstream", TYPE)
def create_internal_upstream(config: Any, context: UpstreamTransportContext, path: str) -> InternalUpstreamFactory:
    sources = []
    for at, source in enumerate(config.passthrough_metadata):
        kind = source.kind.WhichOneof("kind")
        if kind not in ("host", "cluster"):
            shown = f"{kind} {{ }}" if kind else ""
            raise ConfigError(f"metadata type is not supported: {shown}", f"{path}.passthrough_metadata[{at}].kind")
        sources.append((kind, source.name))
    inner = create_transport_socket(
        UPSTREAM_TRANSPORT_SOCKETS, config.transport_socket, context, f"{path}.transport_socket"
    )
    return InternalUpstreamFactory(tuple(sources), inner)
