"""Whose requests are internal ones.

Envoy: `Http::DefaultInternalAddressConfig`, `HttpConnectionManagerConfig`'s own; docs "internal_address_config".
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from ....config.fields import honours
from ....network.address import Address
from ....network.cidr import CidrRange

honours(
    "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager.InternalAddressConfig",
    "unix_sockets",
    "cidr_ranges",
)

PRIVATE_NETWORKS: Final = tuple(
    CidrRange.parse(host, length)
    for host, length in (
        ("10.0.0.0", 8),
        ("172.16.0.0", 12),
        ("192.168.0.0", 16),
        ("127.0.0.1", 32),
        ("fd00::", 8),
        ("::1", 128),
    )
)


def internal_address(config: Any, path: str) -> Callable[[str], bool]:
    """Without ranges of its own, an `internal_address_config` means the private networks (RFC 1918, RFC 4193)."""
    told = tuple(CidrRange.from_proto(each, f"{path}.cidr_ranges[{at}]") for at, each in enumerate(config.cidr_ranges))
    networks = told or PRIVATE_NETWORKS
    unix = config.unix_sockets

    def is_internal(host: str) -> bool:
        if not host:
            return bool(unix)
        address = Address(host, 0)
        return any(address in network for network in networks)

    return is_internal
