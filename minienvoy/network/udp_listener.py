"""Sockets of datagrams: how what has come is taken, and how the answer finds its way back.

Envoy: `Network::UdpListenerImpl`, `UdpDefaultWriter`, `Utility::readPacketsFromSocket`;
`envoy.config.core.v3.UdpSocketConfig`.

A datagram that is longer than `max_rx_datagram_size` is dropped and counted. With generic receive offload
(`prefer_gro`) Envoy's buffer has room for any, whatever that size is, and so here.
"""

from __future__ import annotations

import socket
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from ..registry import Registry
from .address import Address

if TYPE_CHECKING:
    from ..event.dispatcher import Dispatcher

LONGEST: Final = 65536
"""Bytes of a buffer that every datagram fits into."""
_DEFAULT_SIZE: Final = 1500
_AT_ONCE: Final = 64
"""Datagrams that are taken from one socket before others have their turn."""

# Linux's numbers, which the socket module does not have.
_SO_RXQ_OVFL, _IP_PKTINFO = 40, 8
_ANCILLARY_SPACE: Final = 128

PeerAddress = tuple[Any, ...] | str
"""What the kernel calls a peer: `recvmsg` gives it, `sendto` takes it."""


Ancillary = list[tuple[int, int, bytes]]
"""What the kernel says besides, or is told: level, kind and value of each."""


class UdpRecvData(NamedTuple):
    """A datagram from downstream.

    Attributes:
        peer: who has sent it.
        local_host: the IP address that it was sent to.
    """

    data: bytes
    peer: PeerAddress
    local_host: str


def rx_datagram_size(config: Any, prefers_gro: bool) -> int:
    """Bytes that a datagram may have, by a `UdpSocketConfig`; `prefers_gro` is what holds where that says nothing."""
    if config.HasField("prefer_gro"):
        prefers_gro = config.prefer_gro.value
    if prefers_gro and sys.platform == "linux":
        return LONGEST
    return config.max_rx_datagram_size.value if config.HasField("max_rx_datagram_size") else _DEFAULT_SIZE


Take = Callable[[bytes, Ancillary, bool, PeerAddress], None]
"""(the bytes, what the kernel says besides, whether there were more bytes than there was room, who has sent them)"""


def read_datagrams(raw: socket.socket, size: int, ancillary: int, take: Take) -> OSError | None:
    """Give what has come at a socket to `take`, up to so many that others are not kept waiting.

    The socket may be closed meanwhile. An error of the kernel's ends it and is returned; the next call goes on.
    """
    receive = raw.recvmsg
    for _ in range(_AT_ONCE):
        try:
            data, more, flags, peer = receive(size, ancillary)
        except (BlockingIOError, InterruptedError):
            return None
        except OSError as error:
            return None if raw.fileno() < 0 else error
        take(data, more, bool(flags & socket.MSG_TRUNC), peer)
    return None


UdpPacketWriter = Callable[[socket.socket, bytes, Ancillary, PeerAddress], None]
"""(the socket, the bytes, what the kernel is told besides, who is to have them); raises OSError
(`Network::UdpPacketWriter`)"""
UDP_PACKET_WRITERS: Registry[Callable[[Any, Any], UdpPacketWriter]] = Registry("envoy.udp_packet_writer")
"""(configuration message, scope of the listener's statistics) -> UdpPacketWriter"""


def write_datagram(raw: socket.socket, data: bytes, ancillary: Ancillary, peer: PeerAddress) -> None:
    """Send it at once (`UdpDefaultWriter`)."""
    if ancillary:
        raw.sendmsg((data,), ancillary, 0, peer)
    else:
        raw.sendto(data, peer)


class UdpListenerCallbacks:
    """Who hears of what comes in at a `UdpListener` (`Network::UdpListenerCallbacks`)."""

    def on_data(self, datagram: UdpRecvData) -> None:
        raise NotImplementedError

    def on_datagrams_dropped(self, count: int) -> None:
        """They were too long, or the kernel had no room for them."""
        raise NotImplementedError

    def on_receive_error(self) -> None:
        raise NotImplementedError


class UdpListener:
    """A bound socket that datagrams come in at, and are sent from.

    Attributes:
        raw: belongs to somebody else, who closes it.
        local_address: where it is bound, which may be any address of this machine.
    """

    def __init__(
        self,
        dispatcher: Dispatcher,
        raw: socket.socket,
        size: int,
        write: UdpPacketWriter,
        callbacks: UdpListenerCallbacks,
    ) -> None:
        self.dispatcher = dispatcher
        self.raw = raw
        self.local_address = Address.from_sockaddr(raw.family, raw.getsockname())
        self._size = size
        self._write = write
        self._callbacks = callbacks
        self._dropped = 0
        self._pack: Callable[[str], tuple[int, int, bytes]] | None = None
        if self.local_address.host in ("0.0.0.0", "::"):
            self._ask_for_local_address()
        if sys.platform == "linux":
            raw.setsockopt(socket.SOL_SOCKET, _SO_RXQ_OVFL, 1)

    def enable(self) -> None:
        self.dispatcher.datagrams.add(self.raw, self._on_readable)

    def disable(self) -> None:
        """Leave what comes to the kernel."""
        self.dispatcher.datagrams.remove(self.raw)

    def address_of(self, local_host: str) -> Address:
        """Where a datagram was sent to."""
        return Address(local_host, self.local_address.port)

    def send(self, data: bytes, local_host: str, peer: PeerAddress) -> bool:
        """Send a datagram from the address that the peer has sent its own to; False if the kernel does not take it."""
        try:
            self._write(self.raw, data, [] if self._pack is None else [self._pack(local_host)], peer)
        except OSError:
            return False
        return True

    def _ask_for_local_address(self) -> None:
        """Which of this machine's addresses a datagram was sent to; where the kernel does not tell, it is "any"."""
        if self.raw.family == socket.AF_INET6:
            self.raw.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
            self._pack = _pack_ipv6
        elif sys.platform == "linux":
            self.raw.setsockopt(socket.IPPROTO_IP, _IP_PKTINFO, 1)
            self._pack = _pack_ipv4

    def _on_readable(self) -> None:
        error = read_datagrams(self.raw, self._size, _ANCILLARY_SPACE, self._take)
        if error is not None:
            self._callbacks.on_receive_error()

    def _take(self, data: bytes, ancillary: Ancillary, truncated: bool, peer: PeerAddress) -> None:
        local_host = self.local_address.host
        for level, kind, value in ancillary:
            if level == socket.SOL_SOCKET and kind == _SO_RXQ_OVFL:
                dropped = int.from_bytes(value[:4], sys.byteorder)
                self._callbacks.on_datagrams_dropped((dropped - self._dropped) & 0xFFFFFFFF)
                self._dropped = dropped
            elif level == socket.IPPROTO_IP and kind == _IP_PKTINFO:
                local_host = socket.inet_ntop(socket.AF_INET, value[8:12])
            elif level == socket.IPPROTO_IPV6 and kind == socket.IPV6_PKTINFO:
                local_host = socket.inet_ntop(socket.AF_INET6, value[:16])
        if truncated:
            self._callbacks.on_datagrams_dropped(1)
        else:
            self._callbacks.on_data(UdpRecvData(data, peer, local_host))


def _pack_ipv4(host: str) -> tuple[int, int, bytes]:
    return socket.IPPROTO_IP, _IP_PKTINFO, bytes(4) + socket.inet_aton(host) + bytes(4)


def _pack_ipv6(host: str) -> tuple[int, int, bytes]:
    return socket.IPPROTO_IPV6, socket.IPV6_PKTINFO, socket.inet_pton(socket.AF_INET6, host) + bytes(4)
