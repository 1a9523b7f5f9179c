"""Shows the datagrams that come in at a listener to its filters.

Envoy: `Server::ActiveRawUdpListener`, `ActiveUdpListenerBase`; docs "UDP listener filters".
"""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

from .. import logger
from ..network.filter import FilterStatus, UdpListenerFilterFactory, UdpListenerReadFilter
from ..network.udp_listener import UdpListener, UdpListenerCallbacks, UdpRecvData
from .listener_stats import UdpListenerStats

if TYPE_CHECKING:
    from .listener import Listener
    from .udp_listener_config import UdpListenerConfig

log = logger.get("conn_handler")


class ActiveUdpListener:
    """A listener at work; what it has in common with `ActiveTcpListener` is all that its owner asks of it.

    Attributes:
        connections: there are none.
    """

    connections = frozenset[UdpRecvData]()

    def __init__(self, listener: Listener, config: UdpListenerConfig) -> None:
        self._dispatcher = listener.server.dispatcher
        self._config = config
        self._stats = listener.scope.scope("udp").struct(UdpListenerStats)
        self._sockets: list[_ActiveSocket] = []
        self._paused = False

    def start(self, sockets: list[socket.socket]) -> None:
        """Take what comes in at bound sockets."""
        for raw in sockets:
            active = _ActiveSocket(self._stats, self._config.filters)
            size, writer = self._config.rx_datagram_size, self._config.writer
            active.listen(UdpListener(self._dispatcher, raw, size, writer, active), self._paused)
            self._sockets.append(active)

    def stop(self) -> None:
        """Take no more, and let the filters end. The sockets stay open for their owner to close."""
        for active in self._sockets:
            active.close(self._paused)
        self._sockets.clear()

    def pause(self, paused: bool) -> None:
        """Leave what comes to the kernel, or take it again."""
        if paused is not self._paused:
            self._paused = paused
            for active in self._sockets:
                active.pause(paused)

    def close_connections(self) -> None:
        """There are none: what filters keep has ended with `stop`."""


class _ActiveSocket(UdpListenerCallbacks):
    """One address of a listener, with filters of its own."""

    _udp_listener: UdpListener

    def __init__(self, stats: UdpListenerStats, factories: tuple[UdpListenerFilterFactory, ...]) -> None:
        self._stats = stats
        self._factories = factories
        self._filters: list[UdpListenerReadFilter] = []

    def listen(self, udp_listener: UdpListener, paused: bool) -> None:
        self._udp_listener = udp_listener
        self._filters = [make(udp_listener) for make in self._factories]
        if not paused:
            udp_listener.enable()

    def pause(self, paused: bool) -> None:
        if paused:
            self._udp_listener.disable()
        else:
            self._udp_listener.enable()

    def close(self, paused: bool) -> None:
        if not paused:
            self._udp_listener.disable()
        for each in self._filters:
            each.close()
        self._filters.clear()

    def on_data(self, datagram: UdpRecvData) -> None:
        for each in self._filters:
            if each.on_data(datagram) is FilterStatus.STOP_ITERATION:
                break

    def on_datagrams_dropped(self, count: int) -> None:
        self._stats.downstream_rx_datagram_dropped += count

    def on_receive_error(self) -> None:
        log.debug(f"reading at {self._udp_listener.local_address} failed")
        for each in self._filters:
            if each.on_receive_error() is FilterStatus.STOP_ITERATION:
                break
