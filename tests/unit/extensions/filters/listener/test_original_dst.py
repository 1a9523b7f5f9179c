"""What the kernel says of a redirected socket, as bytes."""

from __future__ import annotations

import socket as kernel
from typing import Any, cast

from minienvoy.extensions.filters.listener.original_dst import OriginalDstFilter, original_dst
from minienvoy.network.address import Address
from minienvoy.network.filter import FilterStatus
from minienvoy.network.socket import ConnectionSocket
from minienvoy.stream_info import ConnectionInfo

LOCAL = Address("127.0.0.1", 15001)
V4 = b"\x02\x00\x1f\x90\x0a\x4d\x00\x01" + bytes(8)
V6 = b"\x0a\x00\x1f\x90" + bytes(4) + kernel.inet_pton(kernel.AF_INET6, "fd77::1") + bytes(4)


class Kernel:
    """A socket of which only the options are of interest: (level, name) to what `getsockopt` gives."""

    def __init__(self, family: int, options: dict[tuple[int, int], Any]) -> None:
        self.family = family
        self._options = options

    def getsockopt(self, level: int, name: int, size: int = 0) -> Any:
        if (level, name) not in self._options:
            raise OSError(2, "No such file or directory")
        return self._options[level, name]


def asked(family: int, options: dict[tuple[int, int], Any]) -> str | None:
    address = original_dst(cast(kernel.socket, Kernel(family, options)), LOCAL)
    return None if address is None else address.text


def test_the_kernel_tells_an_address_of_either_family() -> None:
    assert asked(kernel.AF_INET, {(0, 80): V4}) == "10.77.0.1:8080"
    assert asked(kernel.AF_INET6, {(41, 80): V6}) == "[fd77::1]:8080"


def test_a_transparent_socket_is_itself_where_the_client_wanted_to_go() -> None:
    assert asked(kernel.AF_INET, {(0, 19): 1}) == LOCAL.text
    assert asked(kernel.AF_INET6, {(41, 75): 0}) is None


def test_nothing_is_known_of_other_sockets() -> None:
    assert asked(kernel.AF_INET, {}) is None
    assert asked(kernel.AF_UNIX, {}) is None


def test_the_filter_restores_the_address() -> None:
    raw = cast(kernel.socket, Kernel(kernel.AF_INET, {(0, 80): V4}))
    socket = ConnectionSocket(raw, ConnectionInfo(LOCAL, Address("1.2.3.4", 5)))
    assert OriginalDstFilter().on_accept(socket) is FilterStatus.CONTINUE
    assert (socket.local_address.text, socket.info.local_address_restored) == ("10.77.0.1:8080", True)
    assert socket.info.direct_local_address == LOCAL
