"""The floor: a proxy that only moves bytes between two uvloop transports.

Nothing in Python can do less per exchange: two reads and two writes. Run as
`python -m bench.peers.uvloop_tcp LISTEN:UPSTREAM ...` (ports on 127.0.0.1).
"""

from __future__ import annotations

import asyncio
import sys
from functools import partial
from typing import cast

import uvloop

HOST = "127.0.0.1"


class Side(asyncio.Protocol):
    """One end of a proxied connection; what it receives goes to its peer's transport."""

    __slots__ = ("early", "ended", "peer", "transport")

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self.peer: Side | None = None
        self.ended = False
        # What arrives before the upstream connection stands; pause_reading() in connection_made would not stop it.
        self.early: list[bytes] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        peer = self.peer
        if peer is None:
            self.early.append(data)
        elif peer.transport is not None:
            peer.transport.write(data)

    def eof_received(self) -> bool:
        self.ended = True
        peer = self.peer
        if peer is None or peer.transport is None or peer.ended:
            # Nobody is left to be half-closed for: the transport closes, and connection_lost closes the peer's.
            return False
        peer.transport.write_eof()
        return True

    def pause_writing(self) -> None:
        if self.peer is not None and self.peer.transport is not None:
            self.peer.transport.pause_reading()

    def resume_writing(self) -> None:
        if self.peer is not None and self.peer.transport is not None:
            self.peer.transport.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        if self.peer is not None and self.peer.transport is not None:
            self.peer.transport.close()
        self.peer = None


class Downstream(Side):
    """The accepted end: opens the upstream connection and joins the two when it stands."""

    __slots__ = ("_connecting", "_upstream_port")

    def __init__(self, upstream_port: int) -> None:
        super().__init__()
        self._upstream_port = upstream_port
        self._connecting: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._connecting = asyncio.get_running_loop().create_task(self._connect())

    async def _connect(self) -> None:
        assert self.transport is not None
        try:
            _, upstream = await asyncio.get_running_loop().create_connection(Side, HOST, self._upstream_port)
        except OSError:
            self.transport.abort()
            return
        if self.transport.is_closing() or upstream.transport is None:
            if upstream.transport is not None:
                upstream.transport.abort()
            return
        self.peer, upstream.peer = upstream, self
        if self.early:
            upstream.transport.write(b"".join(self.early))
            self.early.clear()


async def main(pairs: list[tuple[int, int]]) -> None:
    loop = asyncio.get_running_loop()
    for listen_port, upstream_port in pairs:
        await loop.create_server(partial(Downstream, upstream_port), HOST, listen_port, backlog=4096)
    await loop.create_future()


if __name__ == "__main__":
    uvloop.run(main([(int(a), int(b)) for a, b in (pair.split(":") for pair in sys.argv[1:])]))
