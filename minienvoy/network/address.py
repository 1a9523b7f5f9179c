"""Where a socket is, or a listener inside this process.

Envoy: `Network::Address::Ipv4Instance`, `Ipv6Instance`, `PipeInstance`, `EnvoyInternalInstance`; `Network::Utility`.
"""

from __future__ import annotations

import socket
from typing import Any, Final

_INTERNAL: Final = "envoy://"


class Address:
    """An IP address with a port, the path of a unix socket, or a listener inside. Immutable; equal when its text is.

    Attributes:
        host: the IP address as text, without brackets; empty for a unix socket.
        port: 0-65535; 0 for a unix socket.
        path: of a unix socket (`@name` for an abstract one) or `envoy://listener/endpoint`, else empty.
        text: `1.2.3.4:80`, `[::1]:80` or the path, as Envoy prints it.
        family: `socket.AF_INET`, `AF_INET6` or `AF_UNIX`.
    """

    __slots__ = ("family", "host", "path", "port", "text")

    def __init__(self, host: str, port: int = 0, path: str = "") -> None:
        self.host = host
        self.port = port
        self.path = path
        if path:
            self.family = socket.AF_UNIX
            self.text = path
        elif ":" in host:
            self.family = socket.AF_INET6
            self.text = f"[{host}]:{port}"
        else:
            self.family = socket.AF_INET
            self.text = f"{host}:{port}"

    @classmethod
    def pipe(cls, path: str) -> Address:
        return cls("", 0, path)

    @classmethod
    def ip(cls, host: str, port: int) -> Address:
        """Raises ValueError unless `host` is an IP address."""
        try:
            # One of IPv4 has only one text. For others a module is imported that takes 2 ms of a start.
            socket.inet_pton(socket.AF_INET, host)
        except OSError:
            from ipaddress import ip_address

            host = str(ip_address(host))
        return cls(host, port)

    @classmethod
    def from_sockaddr(cls, family: int, sockaddr: Any) -> Address:
        """From what `accept`, `getsockname` and `getpeername` return; IPv4-mapped addresses become IPv4."""
        if family == socket.AF_UNIX:
            name = sockaddr.decode() if isinstance(sockaddr, bytes) else sockaddr
            return cls("", 0, "@" + name[1:] if name[:1] == "\0" else name or "@")
        host, port = sockaddr[0], sockaddr[1]
        if family == socket.AF_INET6 and host.startswith("::ffff:"):
            from ipaddress import IPv6Address

            mapped = IPv6Address(host).ipv4_mapped
            if mapped is not None:
                host = str(mapped)
        return cls(host, port)

    @classmethod
    def internal(cls, listener: str, endpoint_id: str = "") -> Address:
        """Of the listener of that name inside this process."""
        return cls("", 0, f"{_INTERNAL}{listener}/{endpoint_id}")

    @property
    def is_internal(self) -> bool:
        """It leads to a listener inside this process."""
        return self.path.startswith(_INTERNAL)

    @property
    def internal_listener(self) -> str:
        """The name of that listener."""
        return self.path.removeprefix(_INTERNAL).partition("/")[0]

    @property
    def endpoint_id(self) -> str:
        """What tells endpoints of the same internal listener apart."""
        return self.path.removeprefix(_INTERNAL).partition("/")[2]

    @property
    def sockaddr(self) -> tuple[str, int] | str:
        """What `bind` and `connect` take."""
        if self.path:
            return "\0" + self.path[1:] if self.path[0] == "@" else self.path
        return (self.host, self.port)

    @property
    def is_loopback(self) -> bool:
        """127.0.0.1 or ::1 (`Utility::isLoopbackAddress`); the rest of 127.0.0.0/8 is no loopback to Envoy."""
        return self.host in ("127.0.0.1", "::1")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Address) and self.text == other.text

    def __hash__(self) -> int:
        return hash(self.text)

    def __str__(self) -> str:
        return self.text

    def __repr__(self) -> str:
        return f"Address({self.text!r})"
