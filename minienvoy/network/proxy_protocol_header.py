"""The PROXY protocol's header, which tells an upstream whose connection it has.

Envoy: `source/extensions/common/proxy_protocol/proxy_protocol_header.cc`; haproxy's "The PROXY protocol", 2.1 and 2.2.
"""

from __future__ import annotations

import socket
from typing import Final

from .address import Address

_SIGNATURE: Final = b"\r\n\r\n\0\r\nQUIT\n"
_LOCAL, _PROXY = 0x20, 0x21
_STREAM: Final = {socket.AF_INET: 0x11, socket.AF_INET6: 0x21}


def proxy_protocol_v1(source: Address, destination: Address) -> bytes:
    """A line of text; `UNKNOWN` for what has no addresses in common."""
    family = _family(source, destination)
    if family is None:
        return b"PROXY UNKNOWN\r\n"
    name = "TCP4" if family == socket.AF_INET else "TCP6"
    line = f"PROXY {name} {source.host} {destination.host} {source.port} {destination.port}\r\n"
    return line.encode("ascii")


def proxy_protocol_v2(source: Address, destination: Address) -> bytes:
    """The binary form."""
    family = _family(source, destination)
    if family is None:
        return _SIGNATURE + bytes((_LOCAL, 0, 0, 0))
    addresses = b"".join(
        (
            socket.inet_pton(family, source.host),
            socket.inet_pton(family, destination.host),
            source.port.to_bytes(2, "big"),
            destination.port.to_bytes(2, "big"),
        )
    )
    return _SIGNATURE + bytes((_PROXY, _STREAM[family])) + len(addresses).to_bytes(2, "big") + addresses


def _family(source: Address, destination: Address) -> socket.AddressFamily | None:
    if source.path or destination.path:
        return None
    families = {socket.AF_INET6 if ":" in each.host else socket.AF_INET for each in (source, destination)}
    return families.pop() if len(families) == 1 else None
