"""Which families of addresses this machine has one of its own of, apart from loopback.

Envoy: `DnsResolverImpl::AddrInfoPendingResolution::availableInterfaces`, by `getifaddrs`, for which Python has no word:
on Linux the kernel is asked in other ways, and elsewhere both families count as there.
"""

from __future__ import annotations

import socket
import struct
import sys
from pathlib import Path
from typing import Final

_BOTH: Final = frozenset((socket.AF_INET, socket.AF_INET6))
_GET_ADDRESS: Final = 0x8915
"""`SIOCGIFADDR`"""
_IPV6_ADDRESSES: Final = Path("/proc/net/if_inet6")
_IPV6_LOOPBACK: Final = "1".rjust(32, "0")


def available_families() -> frozenset[socket.AddressFamily]:
    if sys.platform != "linux":
        return _BOTH
    found = set()
    if _has_ipv4():
        found.add(socket.AF_INET)
    if _has_ipv6():
        found.add(socket.AF_INET6)
    return frozenset(found)


def _has_ipv4() -> bool:
    from fcntl import ioctl

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as raw:
        for _, name in socket.if_nameindex():
            try:
                answer = ioctl(raw.fileno(), _GET_ADDRESS, struct.pack("256s", name.encode()[:15]))
            except OSError:
                continue  # it has no address
            if answer[20] != 127:
                return True
    return False


def _has_ipv6() -> bool:
    try:
        lines = _IPV6_ADDRESSES.read_text("ascii").splitlines()
    except OSError:
        return False
    return any(line.partition(" ")[0] != _IPV6_LOOPBACK for line in lines)
