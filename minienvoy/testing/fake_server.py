"""A listening socket for upstreams in tests, which can refuse connections for a while.

Envoy: `FakeUpstream` in `test/integration/fake_upstream.h`.
"""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING, Self

from .script import Script

if TYPE_CHECKING:
    import ssl


class FakeServer:
    """A listening socket on an ephemeral port of the loopback interface, and its connections."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.tls = tls
        """What makes it speak TLS, as `testing.ca().issue("users.test").server_context()`; None for no TLS."""
        self.script = Script(())
        self.connections = 0
        """How many connections were accepted so far."""
        self._open: set[asyncio.Transport] = set()
        self._drained: asyncio.Future[None] | None = None
        self._server: asyncio.Server | None = None
        self._refusing: socket.socket | None = None
        self._again: asyncio.TimerHandle | None = None
        self._listening: asyncio.Task[None] | None = None
        self._address = ""

    @property
    def address(self) -> str:
        """`127.0.0.1:<port>`, also after the upstream has stopped."""
        return self._address

    def _protocol(self) -> asyncio.Protocol:
        raise NotImplementedError

    async def start(self) -> Self:
        """Listen; as entering the context does."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(self._protocol, "127.0.0.1", 0, ssl=self.tls)
        host, port = self._server.sockets[0].getsockname()[:2]
        self._address = f"{host}:{port}"
        if seconds := self.script.take_refusal():
            self.refuse_for(seconds)
        return self

    async def stop(self) -> None:
        """Stop listening and abort every connection; as leaving the context does."""
        if self._again is not None:
            self._again.cancel()
        if self._listening is not None:
            await self._listening
        refusing, self._refusing = self._refusing, None
        if refusing is not None:
            refusing.close()
        if self._server is not None:
            self._server.close()
            for transport in list(self._open):
                transport.abort()
            if self._open:
                self._drained = asyncio.get_running_loop().create_future()
                await self._drained
            await self._server.wait_closed()
            self._server = None

    def refuse(self) -> None:
        """Nobody listens any more and who is connected is dropped, until `listen`; the port stays ours."""
        server, self._server = self._server, None
        if server is not None:
            port = server.sockets[0].getsockname()[1]
            server.close()
            for transport in list(self._open):
                if not transport.is_closing():
                    transport.abort()
            # One that is bound and does not listen.
            self._refusing = socket.socket()
            self._refusing.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self._refusing.bind(("127.0.0.1", port))

    def refuse_for(self, seconds: float) -> None:
        """`refuse`, and `listen` again so many seconds later; never, if they are infinite."""
        self.refuse()
        if seconds != float("inf"):
            self._again = asyncio.get_running_loop().call_later(seconds, self._listen_again)

    def _listen_again(self) -> None:
        self._listening = asyncio.get_running_loop().create_task(self.listen())

    async def listen(self) -> None:
        """Undo `refuse`."""
        refusing, self._refusing = self._refusing, None
        if refusing is not None:
            loop = asyncio.get_running_loop()
            self._server = await loop.create_server(self._protocol, sock=refusing, ssl=self.tls)

    def opened(self, transport: asyncio.Transport) -> None:
        """A connection was accepted."""
        self.connections += 1
        self._open.add(transport)

    def lost(self, transport: asyncio.Transport) -> None:
        """A connection is gone."""
        self._open.discard(transport)
        if self._drained is not None and not self._open:
            self._drained.set_result(None)
            self._drained = None

    async def __aenter__(self) -> Self:
        return await self.start()

    async def __aexit__(self, *error: object) -> None:
        await self.stop()
