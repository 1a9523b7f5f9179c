"""Tells when sockets of datagrams can be read, and goes on when one of them had an error to tell.

Envoy: `Event::FileEvent` with `FileReadyType::Read`. An event loop does the same, but uvloop forgets a socket at its
first error, and a connected socket of datagrams has one whenever a host is not there. So these are watched by a
selector of their own, and the event loop watches that: it has no errors.
"""

from __future__ import annotations

import asyncio
import selectors
import socket
from collections.abc import Callable


class SocketWatch:
    """There is a selector while there are sockets."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._selector: selectors.BaseSelector | None = None
        self._callbacks: dict[int, Callable[[], None]] = {}

    def add(self, raw: socket.socket, callback: Callable[[], None]) -> None:
        """Call back whenever there is something to read, or an error, until `remove`."""
        selector = self._selector
        if selector is None:
            selector = self._selector = selectors.DefaultSelector()
            self._loop.add_reader(selector, self._on_ready)
        selector.register(raw, selectors.EVENT_READ)
        self._callbacks[raw.fileno()] = callback

    def remove(self, raw: socket.socket) -> None:
        """Before it is closed."""
        selector = self._selector
        assert selector is not None
        selector.unregister(raw)
        del self._callbacks[raw.fileno()]
        if not self._callbacks:
            self._loop.remove_reader(selector)  # type: ignore[arg-type]
            selector.close()
            self._selector = None

    def _on_ready(self) -> None:
        if self._selector is None:
            return
        callbacks = self._callbacks
        for key, _ in self._selector.select(0):
            # Who was called before may have removed it.
            callback = callbacks.get(key.fd)
            if callback is not None:
                callback()
