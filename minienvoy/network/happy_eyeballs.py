"""A connection to a host that has several addresses: the first that answers is used.

Envoy: `Network::HappyEyeballsConnectionImpl`, `HappyEyeballsConnectionProvider`, `MultiConnectionBaseImpl`; docs "Happy
Eyeballs Support"; RFC 8305. The addresses are tried in turn, families alternating. The next one is tried when the one
before has failed, or after 300 milliseconds beside it.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from .address import Address
from .client_connection import ClientConnection, connect_error
from .connection import ConnectionEvent

if TYPE_CHECKING:
    from ..event.dispatcher import Timer

NEXT_ATTEMPT: Final = 0.3
"""Seconds (RFC 8305: "Connection Attempt Delay")."""


def sorted_addresses(addresses: Sequence[Address], first_family: int | None = None, count: int = 1) -> list[Address]:
    """Alternating: `count` of the first family, one of the other, and so on.

    The first family is that of the first address, unless there is an address of `first_family`.
    """
    family = addresses[0].family
    if first_family is not None and any(each.family == first_family for each in addresses):
        family = socket.AddressFamily(first_family)
    first = [each for each in addresses if each.family == family]
    others = [each for each in addresses if each.family != family]
    found: list[Address] = []
    while first or others:
        found += first[:count]
        first = first[count:]
        found += others[:1]
        others = others[1:]
    return found


class HappyEyeballsConnection(ClientConnection):
    """`on_another` is called for each address after the first that is tried."""

    def __init__(self, addresses: Sequence[Address], on_another: Callable[[], None], *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._addresses = list(addresses)
        self._on_another = on_another
        self._attempts: dict[socket.socket, Address] = {}
        self._next_timer: Timer | None = None

    def connect(self, timeout: float = 0.0) -> None:
        self.connect_start_time = self.dispatcher.monotonic_time()
        if self.dispatcher.dial is not None:
            self.dispatcher.dial(self)
            return
        if timeout > 0:
            self._connect_timer = self.dispatcher.create_timer(self._on_connect_timeout)
            self._connect_timer.enable(timeout)
        self._next_timer = self.dispatcher.create_timer(self._try_next)
        self._try_next(first=True)

    def _try_next(self, first: bool = False) -> None:
        if not first:
            self._on_another()
        address = self._address = self._addresses.pop(0)
        raw, error, reason = self._begin(address)
        if raw is not None:
            self._attempts[raw] = address
            if error:
                self.dispatcher.loop.add_writer(raw, partial(self._on_progress, raw))
            else:
                self.dispatcher.post(partial(self._on_progress, raw))
            if self._addresses and self._next_timer is not None:
                self._next_timer.enable(NEXT_ATTEMPT)
        else:
            self.dispatcher.post(partial(self._on_failure, reason))

    def _on_progress(self, raw: socket.socket) -> None:
        address = self._attempts.pop(raw, None)
        if address is None:
            return
        self.dispatcher.loop.remove_writer(raw)
        error = raw.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if error:
            raw.close()
            self._on_failure(connect_error(error))
            return
        self._address = self.info.remote_address = self.info.direct_remote_address = address
        self._stop_attempts()
        self._adopt(raw)

    def _on_failure(self, reason: str) -> None:
        if self.closed:
            return
        if self._addresses:
            self._try_next()
        elif not self._attempts:
            self._fail(reason)

    def _stop_attempts(self) -> None:
        if self._next_timer is not None:
            self._next_timer.disable()
            self._next_timer = None
        attempts, self._attempts = self._attempts, {}
        for raw in attempts:
            self.dispatcher.loop.remove_writer(raw)
            raw.close()

    def _end(self, event: ConnectionEvent) -> None:
        self._stop_attempts()
        super()._end(event)
