"""From an `Address` message to an `Address`.

Envoy: `Network::Address::resolveProtoAddress` (`source/common/network/resolver_impl.cc`).
"""

from __future__ import annotations

from typing import Any

from ..errors import ConfigError
from .address import Address

_UNIX_PATH_MAX = 108


def resolve_proto_address(address: Any, path: str) -> Address:
    """From `envoy.config.core.v3.Address`; names are not looked up, as in Envoy.

    Raises:
        ConfigError: at `path`, if that is not the address of a socket.
    """
    kind = address.WhichOneof("address")
    if kind == "socket_address":
        return resolve_proto_socket_address(address.socket_address, f"{path}.socket_address")
    if kind == "pipe":
        return _pipe(address.pipe, f"{path}.pipe")
    raise ConfigError(f"Failed to resolve address:{kind or ''}", path)


def resolve_proto_socket_address(address: Any, path: str) -> Address:
    """From `envoy.config.core.v3.SocketAddress`.

    Raises:
        ConfigError: at `path`, if it is not an IP address with a numeric port.
    """
    if address.resolver_name:
        raise ConfigError(f"Unknown address resolver: {address.resolver_name}", f"{path}.resolver_name")
    if address.WhichOneof("port_specifier") == "named_port":
        raise ConfigError("IP resolver can't handle port specifier type 4", f"{path}.named_port")
    try:
        return Address.ip(address.address, address.port_value)
    except ValueError:
        raise ConfigError(
            f"malformed IP address: {address.address}",
            f"{path}.address",
            remedy="names are only resolved in STRICT_DNS and LOGICAL_DNS clusters",
        ) from None


def _pipe(pipe: Any, path: str) -> Address:
    if len(pipe.path.encode()) > _UNIX_PATH_MAX - 1:
        raise ConfigError(
            f'Path "{pipe.path}" exceeds maximum UNIX domain socket path size of {_UNIX_PATH_MAX}.', f"{path}.path"
        )
    if pipe.path.startswith("@") and pipe.mode:
        raise ConfigError("Cannot set mode for Abstract AF_UNIX sockets", f"{path}.mode")
    return Address.pipe(pipe.path)
