"""Connections to listeners inside this process.

Envoy: `Extensions::IoSocket::UserSpace::IoHandleImpl`, `Extensions::InternalListener::InternalClientConnectionFactory`.
There two ends of a connection share buffers; here they are a pair of sockets that the kernel knows and nobody else, so
that everything that is done with a connection, TLS and listener filters included, is done with these.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from ..explain.explanation import NO_EXPLANATION, Explanation
from ..stream_info import ConnectionInfo
from .address import Address
from .connection import next_connection_id
from .socket import ConnectionSocket

if TYPE_CHECKING:
    from ..event.dispatcher import Dispatcher
    from .client_connection import ClientConnection

CLIENT: Final = Address.internal("internal_client_address")
"""What the client's end of every such connection is called."""

Accept = Callable[[ConnectionSocket, Explanation], None]


class InternalListeners:
    """Finds listeners by their names (`Network::InternalListenerManager`).

    Attributes:
        buffer_size: bytes that each end keeps for a peer that does not read.
    """

    def __init__(self, buffer_size: int) -> None:
        self.buffer_size = buffer_size
        self.find: Callable[[str], Accept | None] = lambda name: None
        """Put there by who has the listeners."""


def open_internal_connection(
    dispatcher: Dispatcher, client: ClientConnection, address: Address
) -> tuple[socket.socket | None, str]:
    """The client's end of a connection whose other end has been accepted; or None, and why."""
    listeners: InternalListeners | None = dispatcher.internal_listeners
    accept = None if listeners is None else listeners.find(address.internal_listener)
    if listeners is None or accept is None:
        return None, f"immediate connect error: Invalid argument|remote address:{address}"
    try:
        mine, other = socket.socketpair()
    except OSError as error:
        return None, f"immediate connect error: {error.strerror}|remote address:{address}"
    for raw in (mine, other):
        raw.setblocking(False)
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, listeners.buffer_size)
    client.info.local_address = client.info.direct_local_address = CLIENT
    info = ConnectionInfo(address, CLIENT, next_connection_id())
    passed: dict[str, Any] | None = client.passthrough_metadata
    if passed:
        info.dynamic_metadata = dict(passed)
    explain: Explanation = NO_EXPLANATION
    if client.explain is not NO_EXPLANATION:
        explain = Explanation()
        explain.decided("listener", address.internal_listener, "the connection is from inside")
    accept(ConnectionSocket(other, info), explain)
    if other.fileno() < 0:
        # It was closed before it was heard of.
        mine.close()
        return None, "delayed connect error: Invalid argument"
    return mine, ""
