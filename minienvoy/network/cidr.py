"""Ranges of IP addresses.

Envoy: `Network::Address::CidrRange`, `Network::Address::IpList`, `Network::LcTrie::LcTrie`.

An address is looked up by its bits: for each prefix length that occurs, longest first, one dict. That is as fast as a
trie for the few prefix lengths that configurations have, and much smaller.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable
from typing import Any, Generic, NamedTuple, TypeVar

from ..config.fields import honours
from ..errors import ConfigError
from .address import Address

honours("envoy.config.core.v3.CidrRange", "address_prefix", "prefix_len")
honours("xds.core.v3.CidrRange", "address_prefix", "prefix_len")

_BITS: dict[int, int] = {socket.AF_INET: 32, socket.AF_INET6: 128}


def ip_bits(family: int, host: str) -> int:
    """The address as a number. Raises OSError unless `host` is an IP address of `family`."""
    return int.from_bytes(socket.inet_pton(family, host.partition("%")[0]), "big")


class CidrRange(NamedTuple):
    """The addresses of `family` whose first `length` bits are those of `bits`; the bits after that are zero."""

    family: int
    bits: int
    length: int

    @classmethod
    def from_proto(cls, config: Any, path: str = "") -> CidrRange:
        """From `envoy.config.core.v3.CidrRange`; too long a prefix is the whole address, as in Envoy.

        Raises:
            ConfigError: at `path`, if the address is not an IP address.
        """
        return cls.parse(config.address_prefix, config.prefix_len.value, path)

    @classmethod
    def parse(cls, host: str, length: int, path: str = "") -> CidrRange:
        """Raises ConfigError at `path` if `host` is not an IP address."""
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            bits = ip_bits(family, host)
        except OSError:
            raise ConfigError(f"malformed IP address: {host}", path) from None
        width = _BITS[family]
        length = min(length, width)
        return cls(family, bits >> (width - length) << (width - length), length)

    def __contains__(self, address: object) -> bool:
        if not isinstance(address, Address) or address.family != self.family:
            return False
        return not (ip_bits(self.family, address.host) ^ self.bits) >> (_BITS[self.family] - self.length)

    def __str__(self) -> str:
        packed = self.bits.to_bytes(_BITS[self.family] // 8, "big")
        return f"{socket.inet_ntop(self.family, packed)}/{self.length}"


EVERYWHERE = (CidrRange(socket.AF_INET, 0, 0), CidrRange(socket.AF_INET6, 0, 0))
"""Every IP address."""

Value = TypeVar("Value")


class CidrMap(Generic[Value]):
    """A value for each range; an address has the value of the narrowest range that it is in."""

    __slots__ = ("_tables",)

    def __init__(self, ranges: Iterable[tuple[CidrRange, Value]]) -> None:
        tables: dict[int, dict[int, dict[int, Value]]] = {socket.AF_INET: {}, socket.AF_INET6: {}}
        for cidr, value in ranges:
            shift = _BITS[cidr.family] - cidr.length
            tables[cidr.family].setdefault(shift, {})[cidr.bits >> shift] = value
        self._tables = {family: sorted(by_shift.items()) for family, by_shift in tables.items()}

    def find(self, address: Address) -> Value | None:
        """The value for `address`; None if it is in no range, or is not an IP address."""
        table = self._tables.get(address.family)
        if not table:
            return None
        bits = ip_bits(address.family, address.host)
        for shift, values in table:
            value = values.get(bits >> shift)
            if value is not None:
                return value
        return None


class CidrSet:
    """The union of some ranges."""

    __slots__ = ("_map", "ranges")

    def __init__(self, ranges: Iterable[CidrRange]) -> None:
        self.ranges = tuple(ranges)
        self._map = CidrMap((cidr, True) for cidr in self.ranges)

    @classmethod
    def from_protos(cls, configs: Iterable[Any], path: str = "") -> CidrSet:
        """From `envoy.config.core.v3.CidrRange` messages; `path` leads errors to them."""
        return cls(CidrRange.from_proto(config, f"{path}[{index}]") for index, config in enumerate(configs))

    def __contains__(self, address: Address) -> bool:
        return self._map.find(address) is not None

    def __bool__(self) -> bool:
        return bool(self.ranges)
