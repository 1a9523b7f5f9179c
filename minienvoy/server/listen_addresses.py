"""Where a listener listens, and with which options.

Envoy: `Server::ListenSocketFactoryImpl`, `ListenerImpl::buildListenSocketOptions`, `validateConfig`; the addresses of
`envoy.config.listener.v3.Listener`.
"""

from __future__ import annotations

from typing import Any, Final

from ..config.fields import honours
from ..errors import ConfigError
from ..network.address import Address
from ..network.listen_socket import ListenSocketSettings
from ..network.resolver import resolve_proto_address
from ..network.socket_option import SocketOption, socket_options_from_proto, tcp_keepalive_options

_UDP: Final = 1
"""`SocketAddress.protocol`"""

honours("envoy.config.listener.v3.Listener", "tcp_keepalive")
honours("envoy.config.listener.v3.AdditionalAddress", "address", "socket_options", "tcp_keepalive")
honours("envoy.config.core.v3.SocketOptionsOverride", "socket_options")
honours("envoy.config.core.v3.SocketOption", "level", "name", "int_value", "buf_value", "state", "description")
honours("envoy.config.core.v3.TcpKeepalive", "keepalive_probes", "keepalive_time", "keepalive_interval")
honours("envoy.config.core.v3.Address", "socket_address", "pipe")
honours("envoy.config.core.v3.SocketAddress", "address", "port_value", "ipv4_compat", "protocol")
honours("envoy.config.core.v3.Pipe", "path", "mode")


def listen_settings(config: Any, path: str) -> list[ListenSocketSettings]:
    """The addresses of a `Listener`, its own first.

    Raises:
        ConfigError: one of them is none, or they are of different kinds.
    """
    shared = {
        "reuse_port": config.enable_reuse_port.value if config.HasField("enable_reuse_port") else True,
        "freebind": config.freebind.value,
        "transparent": config.transparent.value,
        "backlog": config.tcp_backlog_size.value if config.HasField("tcp_backlog_size") else None,
        "fast_open_queue_length": (
            config.tcp_fast_open_queue_length.value if config.HasField("tcp_fast_open_queue_length") else None
        ),
    }
    options = socket_options_from_proto(config.socket_options)
    if config.HasField("tcp_keepalive"):
        options += _keepalive(config.tcp_keepalive)
    found = [_one_address(config.address, f"{path}.address", options, shared)]
    for index, additional in enumerate(config.additional_addresses):
        own = options
        if additional.HasField("socket_options"):
            own = socket_options_from_proto(additional.socket_options.socket_options)
        if additional.HasField("tcp_keepalive"):
            own += _keepalive(additional.tcp_keepalive)
        found.append(_one_address(additional.address, f"{path}.additional_addresses[{index}].address", own, shared))
        if found[-1].datagram is not found[0].datagram:
            raise ConfigError(
                f"listener {config.name}: has different socket type. The listener only support same socket type for "
                "all the addresses.",
                f"{path}.additional_addresses[{index}].address",
            )
    return found


def _keepalive(keepalive: Any) -> tuple[SocketOption, ...]:
    return tcp_keepalive_options(
        *(
            getattr(keepalive, field).value if keepalive.HasField(field) else None
            for field in ("keepalive_probes", "keepalive_time", "keepalive_interval")
        )
    )


def _check_ipv4_compat(address: Address, path: str) -> None:
    """Only what listens everywhere, or on an address that stands for one of IPv4, has IPv4 connections to take."""
    from ipaddress import ip_address

    host = ip_address(address.host)
    if host.version == 6 and (not int(host) or host.ipv4_mapped is not None):
        return
    allowed = "Only IPv6 address '::' or valid IPv4-mapped IPv6 address can set ipv4_compat"
    raise ConfigError(f"{allowed}: {address.text}", path)


def _one_address(
    address: Any, path: str, options: tuple[SocketOption, ...], shared: dict[str, Any]
) -> ListenSocketSettings:
    resolved = resolve_proto_address(address, path)
    if address.socket_address.ipv4_compat:
        _check_ipv4_compat(resolved, path)
    return ListenSocketSettings(
        resolved,
        ipv4_compat=address.socket_address.ipv4_compat,
        mode=address.pipe.mode,
        datagram=address.socket_address.protocol == _UDP,
        options=options,
        **shared,
    )
