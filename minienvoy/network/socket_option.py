"""Options that are set on a socket before it binds, once it is bound, and once it listens.

Envoy: `Network::SocketOptionImpl`, `Network::SocketOptionFactory`; `envoy.config.core.v3.SocketOption`, `TcpKeepalive`.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable
from enum import Enum
from typing import Any

from ..record import record


class SocketState(Enum):
    """When an option is set (`SocketOption.SocketState`)."""

    PREBIND = 0
    BOUND = 1
    LISTENING = 2


@record
class SocketOption:
    """One `setsockopt`. `level` and `name` are the kernel's numbers."""

    level: int
    name: int
    value: int | bytes
    state: SocketState = SocketState.PREBIND


NO_OPTIONS: tuple[SocketOption, ...] = ()


def socket_options_from_proto(options: Iterable[Any]) -> tuple[SocketOption, ...]:
    """From `envoy.config.core.v3.SocketOption` messages."""
    return tuple(
        SocketOption(
            option.level,
            option.name,
            option.buf_value if option.WhichOneof("value") == "buf_value" else option.int_value,
            SocketState(option.state),
        )
        for option in options
    )


def tcp_keepalive_options(
    probes: int | None = None, time: int | None = None, interval: int | None = None
) -> tuple[SocketOption, ...]:
    """What `envoy.config.core.v3.TcpKeepalive` asks for; times in seconds, None leaves the kernel's default."""
    options = [SocketOption(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)]
    for value, name in ((probes, "TCP_KEEPCNT"), (time, "TCP_KEEPIDLE"), (interval, "TCP_KEEPINTVL")):
        if value is not None and hasattr(socket, name):
            options.append(SocketOption(socket.IPPROTO_TCP, getattr(socket, name), value))
    return tuple(options)


def apply_socket_options(raw: socket.socket, options: Iterable[SocketOption], state: SocketState) -> None:
    """Set those options whose time has come.

    Raises:
        OSError: the kernel refused one; its text says which.
    """
    for option in options:
        if option.state is state:
            try:
                raw.setsockopt(option.level, option.name, option.value)
            except OSError as error:
                raise OSError(
                    error.errno,
                    f"Setting option {option.level}/{option.name} on socket failed: {os.strerror(error.errno or 0)}",
                ) from error
