"""An accepted socket while listener filters look at it.

Envoy: `Server::ActiveTcpSocket`, `Network::ListenerFilterBufferImpl`; docs "Listener filters".

Nothing is read from the socket, only peeked at, so that whoever takes it next sees every byte. A socket with unread
bytes is always readable; so that looking again waits for *more*, the kernel is asked to call only from that many bytes
on.
"""

from __future__ import annotations

import select
import socket
from typing import TYPE_CHECKING

from ..explain.explanation import Explanation
from ..network.filter import FilterStatus, ListenerFilter
from ..network.socket import ConnectionSocket

if TYPE_CHECKING:
    from ..event.dispatcher import Timer
    from .active_tcp_listener import ActiveTcpListener

LOOK_AGAIN = 0.05
"""Seconds before looking again where the kernel can not be asked to wait for more (unix sockets, a FIN after bytes)."""


class ActiveTcpSocket:
    """Runs the filters in order; ends in a connection or in a closed socket.

    With `hands_off` it is the connection of another listener if that has the address it was going to.
    """

    def __init__(
        self, active_listener: ActiveTcpListener, accepted: ConnectionSocket, explain: Explanation, hands_off: bool
    ) -> None:
        self._hands_off = hands_off
        self.active_listener = active_listener
        self.accepted = accepted
        self.explain = explain
        self._filters: list[ListenerFilter] = [make() for make in active_listener.listener.listener_filters]
        self._at = 0
        self._seen = -1
        self._watching = False
        self._timer: Timer | None = None
        self._look_again: Timer | None = None

    def start(self) -> None:
        active_listener = self.active_listener
        active_listener.sockets.add(self)
        active_listener.stats.downstream_pre_cx_active += 1
        if active_listener.listener.listener_filters_timeout > 0:
            self._timer = active_listener.dispatcher.create_timer(self._on_timeout)
            self._timer.enable(active_listener.listener.listener_filters_timeout)
        self._run(0)

    def close(self) -> None:
        """Give the socket up."""
        if self not in self.active_listener.sockets:
            return
        self._leave()
        for each in self._filters:
            each.on_close()
        self.accepted.raw.close()

    def continue_filter_chain(self, success: bool) -> None:
        """For a filter that stopped without wanting bytes (`ListenerFilterCallbacks::continueFilterChain`)."""
        if self not in self.active_listener.sockets:
            return
        if success:
            self._run(self._at + 1)
        else:
            self.active_listener.stats.downstream_listener_filter_error += 1
            self.close()

    def _run(self, first: int) -> None:
        for at in range(first, len(self._filters)):
            self._at = at
            self._filters[at].callbacks = self
            if self._filters[at].on_accept(self.accepted) is FilterStatus.STOP_ITERATION:
                if self not in self.active_listener.sockets:
                    return
                if self._filters[at].max_read_bytes:
                    self._seen = -1
                    self._watch()
                return
        self._done()

    def _done(self) -> None:
        self._leave()
        accepted, find = self.accepted, self.active_listener.listener.find_listener
        if self._hands_off and accepted.info.local_address_restored and find is not None:
            other = find(accepted.local_address)
            if other is not None:
                other.take(accepted, self.explain)
                return
        self.active_listener.new_connection(accepted, self.explain)

    def _leave(self) -> None:
        self._unwatch()
        for timer in (self._timer, self._look_again):
            if timer is not None:
                timer.disable()
        self._wait_for(1)
        self.active_listener.sockets.discard(self)
        self.active_listener.stats.downstream_pre_cx_active -= 1

    def _on_readable(self) -> None:
        wanted = self._filters[self._at].max_read_bytes
        try:
            peeked = self.accepted.raw.recv(wanted, socket.MSG_PEEK)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            peeked = b""
        if not peeked or (len(peeked) == self._seen and _peer_has_ended(self.accepted.raw)):
            self.active_listener.stats.downstream_listener_filter_remote_close += 1
            self.close()
            return
        if len(peeked) == self._seen:
            self._pause()
            return
        self._seen = len(peeked)
        if self._filters[self._at].on_data(self.accepted, peeked) is FilterStatus.STOP_ITERATION:
            self._wait_for(min(len(peeked) + 1, wanted))
        elif self in self.active_listener.sockets:
            self._unwatch()
            self._wait_for(1)
            self._run(self._at + 1)

    def _wait_for(self, size: int) -> None:
        try:
            self.accepted.raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, size)
        except OSError:
            pass  # then the pause between two looks bounds the work

    def _pause(self) -> None:
        self._unwatch()
        if self._look_again is None:
            self._look_again = self.active_listener.dispatcher.create_timer(self._watch)
        self._look_again.enable(LOOK_AGAIN)

    def _watch(self) -> None:
        self._watching = True
        self.active_listener.dispatcher.loop.add_reader(self.accepted.raw, self._on_readable)

    def _unwatch(self) -> None:
        if self._watching:
            self._watching = False
            self.active_listener.dispatcher.loop.remove_reader(self.accepted.raw)

    def _on_timeout(self) -> None:
        self.active_listener.stats.downstream_pre_cx_timeout += 1
        if self.active_listener.listener.continue_on_listener_filters_timeout:
            self._done()
        else:
            self.close()


def _peer_has_ended(raw: socket.socket) -> bool:
    """Nothing will come behind what is there. Only where that can be seen without reading (Linux); elsewhere such a
    socket has the time that a listener gives to all."""
    if not hasattr(select, "POLLRDHUP"):
        return False
    poll = select.poll()
    poll.register(raw, select.POLLRDHUP)
    return bool(poll.poll(0))
