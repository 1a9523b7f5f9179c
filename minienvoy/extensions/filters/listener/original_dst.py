"""`envoy.filters.listener.original_dst`: where a connection was going before iptables redirected it.

Envoy: `Extensions::ListenerFilters::OriginalDst::OriginalDstFilter`, `Network::Utility::getOriginalDst`; docs "Original
destination". The kernel remembers (`SO_ORIGINAL_DST`), also where the destination is its own; a socket that was never
translated has none, unless it is transparent (TPROXY): then its own address is where the client wanted to go.
"""

from __future__ import annotations

import socket as kernel
import struct
from typing import Any, Final

from ....config.fields import honours
from ....network.address import Address
from ....network.filter import LISTENER_FILTERS, FilterStatus, ListenerFilter, ListenerFilterFactory
from ....network.socket import ConnectionSocket
from ....server.factory_context import FactoryContext

TYPE: Final = "envoy.extensions.filters.listener.original_dst.v3.OriginalDst"
SO_ORIGINAL_DST: Final = 80
"""Of both levels (`linux/netfilter_ipv4.h`, `linux/netfilter_ipv6/ip6_tables.h`)."""
_LEVELS: Final = {kernel.AF_INET: (kernel.IPPROTO_IP, 16, 19), kernel.AF_INET6: (kernel.IPPROTO_IPV6, 28, 75)}
"""Family to (level, size of an address, the option that says the socket is transparent)."""

honours(TYPE)


def original_dst(raw: kernel.socket, local: Address) -> Address | None:
    """Where the client of an accepted socket wanted to go; None if the kernel does not know."""
    if raw.family not in _LEVELS:
        return None
    level, size, transparent = _LEVELS[raw.family]
    try:
        found = raw.getsockopt(level, SO_ORIGINAL_DST, size)
    except OSError:
        pass
    else:
        return _from_sockaddr(raw.family, found)
    try:
        return local if raw.getsockopt(level, transparent) else None
    except OSError:
        return None


def _from_sockaddr(family: int, data: bytes) -> Address:
    """From a `sockaddr_in` or `sockaddr_in6`."""
    (port,) = struct.unpack_from("!H", data, 2)
    host = data[4:8] if family == kernel.AF_INET else data[8:24]
    return Address.from_sockaddr(family, (kernel.inet_ntop(family, host), port))


class OriginalDstFilter(ListenerFilter):
    """One socket."""

    def on_accept(self, socket: ConnectionSocket) -> FilterStatus:
        address = original_dst(socket.raw, socket.local_address)
        if address is not None:
            socket.info.local_address = address
            socket.info.local_address_restored = True
        return FilterStatus.CONTINUE


@LISTENER_FILTERS.register("envoy.filters.listener.original_dst", TYPE)
def create_original_dst_filter(config: Any, context: FactoryContext) -> ListenerFilterFactory:
    return OriginalDstFilter
