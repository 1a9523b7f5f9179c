"""A bad network between a connection and its transport.

No Envoy counterpart. To the connection it is the transport, to the transport it is the protocol: it can be put between
two that are at work, and nobody who has no use for it pays for it.
"""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING, Any, Final, cast

from .connection import Connection
from .ssl_transport import SslTransport
from .toxic import DOWNSTREAM, UPSTREAM, Chain, Item, Mark, Toxic

if TYPE_CHECKING:
    from ..event.random import RandomStream

_MOST_UNDER_WAY: Final = 1024 * 1024
"""Bytes on their way to us above which no more are read."""


class ToxicLink(asyncio.Protocol, asyncio.Transport):
    """Made for a connection that has a transport."""

    bad_network = True
    """Bytes have to come through here."""

    def __init__(self, connection: Connection, random: RandomStream) -> None:
        transport = connection.transport
        assert transport is not None
        self._connection = connection
        self._upper: Any = connection
        """Who is told what comes: the connection, or its TLS session, whose records suffer as bytes do."""
        if isinstance(transport, SslTransport):
            self._upper = transport.socket
            transport = transport.raw
        self._transport: asyncio.Transport = transport
        self._random = random
        self._to_us = Chain(connection.dispatcher, random, self._deliver)
        self._to_host = Chain(connection.dispatcher, random, self._send_on)
        self._drawn: dict[str, float] = {}
        self._arrived: list[Item] = []
        """What the network is done with, and the connection does not want to read yet."""
        self._reader_paused = not transport.is_reading()
        self._read_less = False
        self._gone = self._told = self._ended = False
        self._transport_full = self._full = connection.transport_full
        self._high = connection.buffer_limit or sys.maxsize
        self._low = self._high // 2
        transport.set_protocol(self)
        if self._upper is not connection:
            cast(SslTransport, connection.transport).go_through(self)
            return
        connection.change_transport(self)

    def set_toxics(self, toxics: list[Toxic]) -> None:
        """Those of both directions, in their order; whether this connection has one is drawn once."""
        if self._told or self._ended:
            return
        drawn = self._drawn
        self._drawn = {each.name: drawn.get(each.name, -1.0) for each in toxics}
        for name, share in self._drawn.items():
            if share < 0.0:
                self._drawn[name] = self._random.random()
        mine = [each for each in toxics if self._drawn[each.name] < each.toxicity]
        self._to_us.change([each for each in mine if each.stream == DOWNSTREAM])
        self._to_host.change([each for each in mine if each.stream == UPSTREAM])

    # -- from the transport

    def data_received(self, data: bytes) -> None:
        if not self._ended:
            self._to_us.take(bytes(data))
            self._pace_reading()

    def eof_received(self) -> bool:
        if not self._ended:
            self._to_us.take(Mark.END)
        return not self._ended

    def connection_lost(self, exc: Exception | None) -> None:
        self._gone = True
        if self._ended or exc is not None:
            self._tell_lost(exc)
        else:
            self._to_us.take(Mark.LOST)

    def pause_writing(self) -> None:
        self._transport_full = True
        self._pace_writing()

    def resume_writing(self) -> None:
        self._transport_full = False
        self._pace_writing()

    # -- from the connection

    def write(self, data: Any) -> None:
        if not self._ended:
            self._to_host.take(bytes(data))
            self._pace_writing()

    def write_eof(self) -> None:
        if not self._ended:
            self._to_host.take(Mark.END)

    def can_write_eof(self) -> bool:
        return not self._gone and self._transport.can_write_eof()

    def close(self) -> None:
        if not self._ended:
            self._to_host.take(Mark.CLOSE)

    def abort(self) -> None:
        if self._told:
            return
        slow = self._to_host.has("slow_close")
        self._end()
        if self._gone:
            self._connection.dispatcher.post(lambda: self._tell_lost(None))
        elif slow is None:
            self._transport.abort()
        else:
            self._connection.dispatcher.create_task(self._linger(slow["delay"] / 1000.0), "slow_close")
            self._connection.dispatcher.post(lambda: self._tell_lost(None))

    def is_closing(self) -> bool:
        return self._ended or self._gone or self._transport.is_closing()

    def is_reading(self) -> bool:
        return not self._reader_paused

    def pause_reading(self) -> None:
        self._reader_paused = True
        if not self._gone:
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        self._reader_paused = False
        self._connection.dispatcher.post(self._deliver_arrived)
        if not self._gone and not self._read_less:
            self._transport.resume_reading()

    def get_write_buffer_size(self) -> int:
        return self._to_host.buffered + (0 if self._gone else self._transport.get_write_buffer_size())

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self._high = sys.maxsize if high is None else high
        self._low = self._high // 2 if low is None else low
        self._transport.set_write_buffer_limits(high, low)

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self._transport.get_extra_info(name, default)

    # -- inside

    def _send_on(self, item: Item) -> None:
        """The network is done with it: to the host."""
        if self._gone or self._ended:
            return
        if isinstance(item, bytes):
            self._transport.write(item)
            self._pace_writing()
        elif item is Mark.END:
            if self._transport.can_write_eof() and not self._transport.is_closing():
                self._transport.write_eof()
        elif item is Mark.CLOSE and self._connection._closing is not None:
            self._end()
            self._transport.close()
        else:
            self._cut(item)

    def _deliver(self, item: Item) -> None:
        """The network is done with it: to the connection, when that reads."""
        if not self._ended:
            self._arrived.append(item)
            self._deliver_arrived()

    def _deliver_arrived(self) -> None:
        connection = self._upper
        while self._arrived and not self._told and not self._ended:
            item = self._arrived[0]
            if self._reader_paused and isinstance(item, bytes):
                break
            del self._arrived[0]
            if isinstance(item, bytes):
                connection.data_received(item)
            elif item is Mark.END:
                if not connection.eof_received():
                    self.close()
            elif item is Mark.LOST:
                self._tell_lost(None)
            else:
                self._cut(item)
        self._pace_reading()

    def _cut(self, how: Item) -> None:
        """A toxic ends the connection, to both sides."""
        if how is Mark.RESET:
            Connection._reset_on_close(self._transport)
            self._end()
            self._transport.abort()
            self._tell_lost(ConnectionResetError())
            return
        self._end()
        self._transport.close()
        self._upper.eof_received()
        self._tell_lost(None)

    def _tell_lost(self, exc: Exception | None) -> None:
        if not self._told:
            self._told = True
            self._end()
            self._upper.connection_lost(exc)

    def _end(self) -> None:
        self._ended = True
        self._arrived.clear()
        self._to_us.stop()
        self._to_host.stop()

    async def _linger(self, seconds: float) -> None:
        try:
            await self._connection.dispatcher.sleep(seconds)
        finally:
            self._transport.abort()

    def _pace_reading(self) -> None:
        if self._gone or self._ended:
            return
        under_way = self._to_us.buffered + sum(len(each) for each in self._arrived if isinstance(each, bytes))
        if not self._read_less and under_way > _MOST_UNDER_WAY:
            self._read_less = True
            self._transport.pause_reading()
        elif self._read_less and under_way <= _MOST_UNDER_WAY // 2:
            self._read_less = False
            if not self._reader_paused:
                self._transport.resume_reading()

    def _pace_writing(self) -> None:
        waiting = self._to_host.buffered
        full = self._transport_full or waiting > (self._low if self._full else self._high)
        if full != self._full and not self._told:
            self._full = full
            (self._upper.pause_writing if full else self._upper.resume_writing)()


def link_of(connection: Connection) -> ToxicLink | None:
    """The bad network of a connection; None if it has none."""
    transport = connection.transport
    if isinstance(transport, SslTransport):
        transport = transport.raw
    return transport if isinstance(transport, ToxicLink) else None
