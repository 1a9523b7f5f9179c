"""c-ares in the event loop: its sockets are readers and writers of the loop, its time-outs one timer.

Envoy: the event handling in `Network::DnsResolverImpl` (`onAresSocketStateChange`, `updateAresTimer`).

A channel is never re-initialised: c-ares would do that in a thread of its own, and tell of sockets from there. Whoever
wants a fresh configuration, or a fresh answer, makes a new channel.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import pycares

if TYPE_CHECKING:
    from ....event.dispatcher import Dispatcher

_AI_NOSORT: Final = 1 << 7
"""`ARES_AI_NOSORT`, which pycares does not name: addresses stay in the order of the answer."""
_NO_SOCKET: Final = -1
"""`ARES_SOCKET_BAD`"""


class CaresChannel:
    """`options` are those of `pycares.Channel`.

    Attributes:
        lookups: how many are under way.
    """

    def __init__(self, dispatcher: Dispatcher, options: dict[str, Any]) -> None:
        self.lookups = 0
        self._loop = dispatcher.loop
        self._timer = dispatcher.create_timer(self._on_timeout)
        self._watched: dict[int, tuple[bool, bool]] = {}
        self._closed = False
        self._channel: Any = pycares.Channel(sock_state_cb=self._watch, **options)

    def look_up(self, name: str, family: socket.AddressFamily, callback: Callable[[Any, int], None]) -> None:
        """`callback(result, error)` is called once, perhaps before this returns; `error` is 0 if there is none."""

        def on_result(result: Any, error: int | None) -> None:
            self.lookups -= 1
            callback(result, error or 0)

        self.lookups += 1
        try:
            self._channel.getaddrinfo(name, None, family=family, flags=_AI_NOSORT, callback=on_result)
        except (UnicodeError, pycares.AresError):
            on_result(None, pycares.errno.ARES_EBADNAME)
        self._arm()

    def close(self) -> None:
        """Everything under way ends with `ARES_ECANCELLED`."""
        if self._closed:
            return
        self._channel.cancel()
        # The channel is destroyed by a thread of pycares: nothing of the loop may be left to it.
        self._closed = True
        for fd in tuple(self._watched):
            self._set_watched(fd, False, False)
        self._timer.disable()
        self._channel.close()

    def _watch(self, fd: int, readable: bool, writable: bool) -> None:
        """c-ares wants to hear of a socket, or does not any more."""
        if not self._closed:
            self._set_watched(fd, readable, writable)

    def _set_watched(self, fd: int, readable: bool, writable: bool) -> None:
        read, write = self._watched.pop(fd, (False, False))
        if readable and not read:
            self._loop.add_reader(fd, self._process, fd, _NO_SOCKET)
        elif read and not readable:
            self._loop.remove_reader(fd)
        if writable and not write:
            self._loop.add_writer(fd, self._process, _NO_SOCKET, fd)
        elif write and not writable:
            self._loop.remove_writer(fd)
        if readable or writable:
            self._watched[fd] = (readable, writable)

    def _process(self, read_fd: int, write_fd: int) -> None:
        if not self._closed:
            self._channel.process_fd(read_fd, write_fd)
            self._arm()

    def _on_timeout(self) -> None:
        self._process(_NO_SOCKET, _NO_SOCKET)

    def _arm(self) -> None:
        if self._closed:
            return
        if self.lookups:
            self._timer.enable(float(self._channel.timeout()))
        else:
            self._timer.disable()
