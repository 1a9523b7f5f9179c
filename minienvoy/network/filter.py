"""What listener filters and network filters are.

Envoy: `envoy/network/filter.h`, `envoy/network/listener_filter.h`; docs "Listener filters", "Network (L3/L4) filters",
"UDP listener filters".
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import TYPE_CHECKING, Any, Final, Protocol

from ..registry import Registry

if TYPE_CHECKING:
    from .connection import Connection
    from .socket import ConnectionSocket
    from .udp_listener import UdpListener, UdpRecvData


class FilterStatus(Enum):
    CONTINUE = 1
    """Go on to the next filter."""
    STOP_ITERATION = 2
    """Stop here; the filter calls `connection.continue_reading(self)` when it wants the chain to go on."""


class ListenerFilterCallbacks(Protocol):
    """What a listener filter may do to its socket, besides looking at it."""

    def close(self) -> None:
        """Give the socket up."""

    def continue_filter_chain(self, success: bool) -> None:
        """Go on after the filter that had stopped without `max_read_bytes`; False closes the socket."""


class ListenerFilter:
    """Looks at the first bytes of an accepted socket without consuming them (`MSG_PEEK`, as in Envoy)."""

    callbacks: ListenerFilterCallbacks

    max_read_bytes = 0
    """How many bytes it wants to see at most; 0 if it needs none."""

    def on_accept(self, socket: ConnectionSocket) -> FilterStatus:
        """STOP_ITERATION asks for `on_data`."""
        return FilterStatus.CONTINUE

    def on_data(self, socket: ConnectionSocket, peeked: bytes) -> FilterStatus:
        """All bytes that are there so far; STOP_ITERATION asks for more."""
        return FilterStatus.CONTINUE

    def on_close(self) -> None:
        """The socket is gone before the filters were done with it."""


class ReadFilter:
    """Sees what the peer sends; `connection` is set before the first call."""

    connection: Connection

    def initialize_read_filter_callbacks(self) -> None:
        """`connection` is known: count it, and hear of its end, whether or not a filter before this one refuses it."""

    def on_new_connection(self) -> FilterStatus:
        return FilterStatus.CONTINUE

    def on_data(self, data: bytes, end_stream: bool) -> FilterStatus:
        """`end_stream` is only ever True on a connection with half-close semantics."""
        return FilterStatus.CONTINUE


class WriteFilter:
    """Sees what is sent to the peer; these run in reverse order."""

    def on_write(self, data: bytes, end_stream: bool) -> FilterStatus:
        return FilterStatus.CONTINUE


class UdpListenerReadFilter:
    """Sees the datagrams that come in at one socket of a listener, from when that starts until it stops."""

    def __init__(self, udp_listener: UdpListener) -> None:
        self.udp_listener = udp_listener

    def on_data(self, datagram: UdpRecvData) -> FilterStatus:
        return FilterStatus.CONTINUE

    def on_receive_error(self) -> FilterStatus:
        """The kernel has told of an error in place of a datagram."""
        return FilterStatus.CONTINUE

    def close(self) -> None:
        """The listener stops."""


TERMINAL_FILTERS: Final = frozenset(
    {
        "envoy.filters.network.direct_response",
        "envoy.filters.network.echo",
        "envoy.filters.network.http_connection_manager",
        "envoy.filters.network.redis_proxy",
        "envoy.filters.network.tcp_proxy",
    }
)
"""Names of the network filters that must be the last of their chain; no other may be
(`NamedNetworkFilterConfigFactory::isTerminalFilterByProto`)."""
NetworkFilterFactory = Callable[[], ReadFilter]
"""Makes the filter of one connection."""
NETWORK_FILTERS: Registry[Callable[[Any, Any], NetworkFilterFactory]] = Registry("envoy.filters.network")
"""(configuration message, `FactoryContext`) -> NetworkFilterFactory"""
ListenerFilterFactory = Callable[[], ListenerFilter]
LISTENER_FILTERS: Registry[Callable[[Any, Any], ListenerFilterFactory]] = Registry("envoy.filters.listener")
"""(configuration message, `FactoryContext`) -> ListenerFilterFactory"""
UdpListenerFilterFactory = Callable[["UdpListener"], UdpListenerReadFilter]
"""Makes the filter of one socket."""
UDP_LISTENER_FILTERS: Registry[Callable[[Any, Any], UdpListenerFilterFactory]] = Registry("envoy.filters.udp_listener")
"""(configuration message, `FactoryContext`) -> UdpListenerFilterFactory"""
