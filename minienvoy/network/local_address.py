"""The address of this machine, as others see it.

Envoy: `Network::Utility::getLocalAddress`: the first address of the wanted family that is not on the loopback
interface.
"""

from __future__ import annotations

import socket
import struct

_SIOCGIFADDR = 0x8915


def local_address(version: str = "v4") -> str:
    """Without a port; the loopback address if the machine has no other."""
    if version == "v6":
        return _first_v6() or "::1"
    return _first_v4() or "127.0.0.1"


def _first_v4() -> str:
    try:
        import fcntl
    except ImportError:
        return ""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        for _, name in socket.if_nameindex():
            request = struct.pack("256s", name.encode()[:15])
            try:
                answer = fcntl.ioctl(probe.fileno(), _SIOCGIFADDR, request)
            except OSError:
                continue  # the interface has no IPv4 address
            address = socket.inet_ntoa(answer[20:24])
            if not address.startswith("127."):
                return address
    return ""


def _first_v6() -> str:
    try:
        with open("/proc/net/if_inet6", encoding="ascii") as file:  # noqa: PTH123
            lines = file.read().splitlines()
    except OSError:
        return ""
    for line in lines:
        digits = line.split()[0]
        address = socket.inet_ntop(socket.AF_INET6, bytes.fromhex(digits))
        if address != "::1":
            return address
    return ""
