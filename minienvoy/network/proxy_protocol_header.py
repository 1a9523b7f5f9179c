"""The PROXY protocol's header, which tells an upstream whose connection it has.

Envoy: `source/extensions/common/proxy_protocol/proxy_protocol_header.cc`; haproxy's "The PROXY protocol", 2.1 and 2.2.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable
from typing import Any, Final

from ..config.fields import honours
from ..record import record
from ..stream_info import ConnectionInfo
from .address import Address

_INCLUDE_ALL: Final = 0
_SIGNATURE: Final = b"\r\n\r\n\0\r\nQUIT\n"
_LOCAL, _PROXY = 0x20, 0x21
_MOST, _LARGEST_ADDRESSES = 0xFFFF, 36
Tlv = tuple[int, bytes]
"""(type, value)"""
_STREAM: Final = {socket.AF_INET: 0x11, socket.AF_INET6: 0x21}


honours("envoy.config.core.v3.ProxyProtocolPassThroughTLVs", "match_type", "tlv_type")


@record
class ProxyHeader:
    """Whose connection it is: `Network::ProxyProtocolData`.

    Attributes:
        tlvs: (type, value) of what is passed on, in order.
    """

    source: Address
    destination: Address
    tlvs: tuple[Tlv, ...] = ()


def compile_pass_through(config: Any) -> Callable[[int], bool]:
    """Whether a type of TLV is passed on, by a `ProxyProtocolPassThroughTLVs`, or by None: no type is."""
    if config is None:
        return lambda kind: False
    if config.match_type == _INCLUDE_ALL:
        return lambda kind: True
    return frozenset(config.tlv_type).__contains__


def header_of(info: ConnectionInfo) -> ProxyHeader | None:
    """What is told of a downstream connection; what it has told itself comes first."""
    if info.proxy_header is not None:
        told: ProxyHeader = info.proxy_header
        return told
    if info.remote_address is None or info.local_address is None:
        return None
    return ProxyHeader(info.remote_address, info.local_address)


def proxy_protocol_v1(source: Address, destination: Address) -> bytes:
    """A line of text; `UNKNOWN` for what has no addresses in common."""
    family = _family(source, destination)
    if family is None:
        return b"PROXY UNKNOWN\r\n"
    name = "TCP4" if family == socket.AF_INET else "TCP6"
    line = f"PROXY {name} {source.host} {destination.host} {source.port} {destination.port}\r\n"
    return line.encode("ascii")


def proxy_protocol_local() -> bytes:
    """Version 2, of a connection that is nobody else's."""
    return _SIGNATURE + bytes((_LOCAL, 0, 0, 0))


def has_common_family(source: Address, destination: Address) -> bool:
    """Both are IP addresses, and of one version."""
    return _family(source, destination) is not None


def with_a_place(tlvs: Iterable[Tlv]) -> list[Tlv]:
    """Those that a header of version 2 has a place for, whatever addresses are in it."""
    size, found = _LARGEST_ADDRESSES, []
    for kind, value in tlvs:
        if size + 3 + len(value) <= _MOST:
            size += 3 + len(value)
            found.append((kind, value))
    return found


def proxy_protocol_v2(source: Address, destination: Address, tlvs: Iterable[Tlv] = ()) -> bytes:
    """The binary form.

    Raises:
        OverflowError: the TLVs have no place in it.
    """
    family = _family(source, destination)
    if family is None:
        return proxy_protocol_local()
    addresses = b"".join(
        (
            socket.inet_pton(family, source.host),
            socket.inet_pton(family, destination.host),
            source.port.to_bytes(2, "big"),
            destination.port.to_bytes(2, "big"),
        )
    )
    rest = addresses + b"".join(bytes((kind,)) + _size(value) + value for kind, value in tlvs)
    return _SIGNATURE + bytes((_PROXY, _STREAM[family])) + _size(rest) + rest


def _size(value: bytes) -> bytes:
    return len(value).to_bytes(2, "big")


def _family(source: Address, destination: Address) -> socket.AddressFamily | None:
    if source.path or destination.path:
        return None
    families = {socket.AF_INET6 if ":" in each.host else socket.AF_INET for each in (source, destination)}
    return families.pop() if len(families) == 1 else None
