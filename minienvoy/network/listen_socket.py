"""Sockets that listen.

Envoy: `Network::TcpListenSocket`, `UdpListenSocket`, `UdsListenSocket`, `Server::ListenSocketFactoryImpl`;
`envoy.config.listener.v3.Listener` for the settings.
"""

from __future__ import annotations

import os
import socket
import stat
import sys

from ..errors import ConfigError
from ..record import record
from .address import Address
from .socket_option import NO_OPTIONS, SocketOption, SocketState, apply_socket_options

# Linux's numbers, which the socket module does not have.
_IP_FREEBIND, _IPV6_FREEBIND = 15, 78
_IP_TRANSPARENT, _IPV6_TRANSPARENT = 19, 75


@record
class ListenSocketSettings:
    """One address of a listener.

    Attributes:
        address: port 0 asks for any free port.
        ipv4_compat: an IPv6 socket also takes IPv4 connections.
        mode: permissions of a unix socket; 0 leaves the process's umask in charge.
        datagram: it takes datagrams, not connections.
        backlog: connections that may wait to be accepted; None for the kernel's limit.
        fast_open_queue_length: of TCP fast open; None leaves the kernel's default, 0 turns it off.
    """

    address: Address
    ipv4_compat: bool = False
    mode: int = 0
    reuse_port: bool = True
    freebind: bool = False
    transparent: bool = False
    datagram: bool = False
    backlog: int | None = None
    fast_open_queue_length: int | None = None
    options: tuple[SocketOption, ...] = NO_OPTIONS


def bind_listen_socket(settings: ListenSocketSettings, path: str = "") -> socket.socket:
    """A bound, non-blocking socket, which does not listen yet.

    Raises:
        ConfigError: at `path`, in Envoy's words, if the kernel refuses.
    """
    address = settings.address
    raw = socket.socket(address.family, socket.SOCK_DGRAM if settings.datagram else socket.SOCK_STREAM)
    try:
        raw.setblocking(False)
        if address.path:
            _make_way_for(address)
        else:
            _prepare(raw, settings, path)
        _apply(raw, settings, SocketState.PREBIND, path)
        try:
            raw.bind(address.sockaddr)
            if settings.mode and address.path:
                os.chmod(address.path, settings.mode)  # noqa: PTH101 (importing pathlib costs 5 ms)
        except OSError as error:
            raise ConfigError(f"cannot bind '{address}': {os.strerror(error.errno or 0)}", path) from error
        _apply(raw, settings, SocketState.BOUND, path)
    except BaseException:
        raw.close()
        raise
    return raw


def listen(raw: socket.socket, settings: ListenSocketSettings, path: str = "") -> None:
    """Let connections in; datagrams have been coming since the socket was bound.

    Raises:
        ConfigError: at `path`, if the kernel refuses, for example because another process of the same port listens.
    """
    if settings.datagram:
        _apply(raw, settings, SocketState.LISTENING, path)
        return
    try:
        if settings.fast_open_queue_length is not None and hasattr(socket, "TCP_FASTOPEN"):
            raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_FASTOPEN, settings.fast_open_queue_length)
        raw.listen(socket.SOMAXCONN if settings.backlog is None else settings.backlog)
    except OSError as error:
        reason = os.strerror(error.errno or 0)
        raise ConfigError(f"cannot listen() errno={error.errno}: {reason} on {settings.address}", path) from error
    _apply(raw, settings, SocketState.LISTENING, path)


def bound_address(raw: socket.socket) -> Address:
    """Where `raw` is bound, with the port that the kernel chose."""
    return Address.from_sockaddr(raw.family, raw.getsockname())


def _apply(raw: socket.socket, settings: ListenSocketSettings, state: SocketState, path: str) -> None:
    try:
        apply_socket_options(raw, settings.options, state)
    except OSError as error:
        raise ConfigError("ListenSocket: Setting socket options failed", path, remedy=str(error.strerror)) from error


def _prepare(raw: socket.socket, settings: ListenSocketSettings, path: str) -> None:
    ipv6 = settings.address.family == socket.AF_INET6
    try:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if ipv6:
            raw.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, not settings.ipv4_compat)
        if settings.reuse_port and hasattr(socket, "SO_REUSEPORT"):
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        for wanted, ipv4_name, ipv6_name in (
            (settings.freebind, _IP_FREEBIND, _IPV6_FREEBIND),
            (settings.transparent, _IP_TRANSPARENT, _IPV6_TRANSPARENT),
        ):
            if not wanted:
                continue
            if sys.platform != "linux":
                raise OSError(0, "freebind and transparent are known to Linux only")
            if ipv6:
                raw.setsockopt(socket.IPPROTO_IPV6, ipv6_name, 1)
            else:
                raw.setsockopt(socket.IPPROTO_IP, ipv4_name, 1)
    except OSError as error:
        raise ConfigError("ListenSocket: Setting socket options failed", path, remedy=str(error.strerror)) from error


def _make_way_for(address: Address) -> None:
    """Remove the socket that an earlier process left at the path; never anything that is not a socket."""
    if address.path.startswith("@"):
        return
    try:
        if stat.S_ISSOCK(os.lstat(address.path).st_mode):
            os.unlink(address.path)  # noqa: PTH108
    except OSError:
        return  # nothing there, or not ours to remove: binding will tell
