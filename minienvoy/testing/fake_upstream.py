"""Upstreams that do as they are told and remember what they were asked.

Envoy: `FakeUpstream` in `test/integration/fake_upstream.h`. They are small on purpose: no library stands between the
bytes that arrive and what a test sees, and an answer can be wrong in any way that bytes can.

    async with FakeUpstream("hello") as upstream:
        ...                                         # "127.0.0.1:41234" is upstream.address
    assert upstream.requests[0].path == "/users"
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from .fake_server import FakeServer
from .script import BAD_CHUNK, OK, REFUSE, RESET, Answer, Refused, Reply, Script, bytes_of, cut, delayed, reply_of

if TYPE_CHECKING:
    import ssl

    from .threaded_upstream import ThreadedUpstream

__all__ = [
    "BAD_CHUNK",
    "OK",
    "REFUSE",
    "RESET",
    "Answer",
    "Conversation",
    "FakeTcpUpstream",
    "FakeUpstream",
    "Refused",
    "Reply",
    "Request",
    "cut",
    "delayed",
]

_LARGEST_HEAD = 256 * 1024
_LARGEST_BODY = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Request:
    """What arrived, as it arrived."""

    method: str
    path: str
    version: str
    headers: list[tuple[str, str]]
    """In the order and the case of the wire."""
    body: bytes
    connection: int
    """Which connection it came on, from 1."""

    def __getitem__(self, name: str) -> str:
        """The first header of this name, whatever its case; KeyError if there is none."""
        for given, value in self.headers:
            if given.lower() == name.lower():
                return value
        raise KeyError(name)

    def __contains__(self, name: str) -> bool:
        return any(given.lower() == name.lower() for given, _ in self.headers)


class FakeUpstream(FakeServer):
    """An HTTP/1.1 upstream with a script.

    It answers with `answers` in turn, over all connections, and keeps to the last one when they are used up; a `str` or
    `bytes` is a 200 with that body, an `int` a status without one; at `REFUSE` nobody listens for a while. A path of
    `paths` (without its query) has answers of its own. With `respond`, that function answers instead.
    """

    def __init__(
        self,
        *answers: Answer | Refused,
        respond: Callable[[Request], Answer] | None = None,
        paths: Mapping[str, Sequence[Answer]] | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        super().__init__(tls)
        self.requests: list[Request] = []
        """In the order in which they were complete."""
        self.script = Script(answers)
        self._scripts = {path: Script(each) for path, each in (paths or {}).items()}
        self._respond = respond
        self._waiting: list[tuple[int, asyncio.Future[None]]] = []

    def _protocol(self) -> asyncio.Protocol:
        return _HttpConnection(self)

    def in_thread(self) -> ThreadedUpstream:
        """This upstream for a test that does not await: `with FakeUpstream("hello").in_thread() as upstream:`."""
        from .threaded_upstream import ThreadedUpstream

        return ThreadedUpstream(self)

    async def wait_for_requests(self, count: int = 1) -> list[Request]:
        """Wait until that many requests have arrived since the start; all of them."""
        if len(self.requests) < count:
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append((count, waiter))
            await waiter
        return self.requests

    def answer(self, request: Request) -> Reply:
        """Remember `request`; what to answer it with."""
        self.requests.append(request)
        for count, waiter in self._waiting:
            if count <= len(self.requests) and not waiter.done():
                waiter.set_result(None)
        if self._respond is not None:
            return reply_of(self._respond(request))
        path = request.path.partition("?")[0]
        return reply_of(self._scripts.get(path, self.script).take())


class _Connection(asyncio.Protocol):
    """Gives answers, one after the other."""

    def __init__(self, upstream: FakeServer) -> None:
        self._server = upstream
        self._later: asyncio.TimerHandle | None = None
        """An answer is under way: the next one waits for it."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none, but does as one does
        self._server.opened(self._transport)
        self._number = self._server.connections

    def connection_lost(self, error: Exception | None) -> None:
        if self._later is not None:
            self._later.cancel()
        self._server.lost(self._transport)

    def _give(self, data: bytes, reply: Reply) -> None:
        if reply.delay or reply.drip:
            self._wait(reply.delay, data, reply)
        else:
            self._transport.write(data)
            self._end(reply)

    def _wait(self, seconds: float, data: bytes, reply: Reply) -> None:
        self._later = asyncio.get_running_loop().call_later(seconds, self._go_on, data, reply)

    def _go_on(self, data: bytes, reply: Reply) -> None:
        size, pause = reply.drip or (len(data), 0.0)
        self._transport.write(data[:size])
        if len(data) > size:
            self._wait(pause, data[size:], reply)
            return
        self._later = None
        self._end(reply)
        self._serve()

    def _end(self, reply: Reply) -> None:
        if reply.reset:
            raw = self._transport.get_extra_info("socket")
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self._transport.abort()
        elif reply.close:
            self._transport.close()
        if seconds := self._server.script.take_refusal():
            self._transport.close()
            self._server.refuse_for(seconds)

    def _serve(self) -> None:
        """Answer what has come meanwhile."""
        raise NotImplementedError


class _HttpConnection(_Connection):
    def __init__(self, upstream: FakeUpstream) -> None:
        super().__init__(upstream)
        self._upstream = upstream
        self._received = b""

    def data_received(self, data: bytes) -> None:
        self._received += data
        self._serve()

    def _serve(self) -> None:
        while self._later is None and not self._transport.is_closing():
            try:
                parsed = _parse(self._received, self._number)
            except ValueError as error:
                self._transport.write(Reply(str(error).encode(), 400, close=True).encode())
                self._transport.close()
                return
            if parsed is None:
                return
            request, self._received = parsed
            reply = self._upstream.answer(request)
            if reply.hang:
                return
            self._give(reply.encode(head_only=request.method == "HEAD"), reply)


def _parse(data: bytes, connection: int) -> tuple[Request, bytes] | None:
    """The first request of `data` and what follows it; None while it is incomplete."""
    head, end, rest = data.partition(b"\r\n\r\n")
    if not end:
        if len(data) > _LARGEST_HEAD:
            raise ValueError("the head is too long")
        return None
    first, *lines = head.decode("latin-1").split("\r\n")
    words = first.split(" ")
    if len(words) != 3:
        raise ValueError(f"not a request line: {first!r}")
    headers: list[tuple[str, str]] = []
    length, chunked = 0, False
    for line in lines:
        name, _, value = line.partition(":")
        headers.append((name, value.strip()))
        if name.lower() == "content-length":
            length = int(value)
        elif name.lower() == "transfer-encoding":
            chunked = value.strip().lower() == "chunked"
    if max(length, len(rest)) > _LARGEST_BODY:
        raise ValueError("the body is too long")
    if chunked:
        unchunked = _unchunk(rest)
        if unchunked is None:
            return None
        body, rest = unchunked
    elif len(rest) < length:
        return None
    else:
        body, rest = rest[:length], rest[length:]
    return Request(words[0], words[1], words[2], headers, body, connection), rest


def _unchunk(data: bytes) -> tuple[bytes, bytes] | None:
    body = b""
    while True:
        line, end, data = data.partition(b"\r\n")
        if not end:
            return None
        size = int(line.partition(b";")[0], 16)
        if size == 0:
            while True:  # trailers, up to an empty line
                line, end, data = data.partition(b"\r\n")
                if not end:
                    return None
                if not line:
                    return body, data
        if len(data) < size + 2:
            return None
        body += data[:size]
        data = data[size + 2 :]


@dataclass(slots=True)
class Conversation:
    """What one connection of a `FakeTcpUpstream` received so far.

    Attributes:
        ended: whether the other side has sent its FIN.
    """

    data: bytes = b""
    ended: bool = False


class FakeTcpUpstream(FakeServer):
    """A TCP upstream that greets, or sends back what it receives, or both; it ends when the other side has ended.

    With `answers` it has a script as `FakeUpstream` has one: what one read brings is answered with the next step, over
    all connections.
    """

    def __init__(
        self,
        greeting: bytes = b"",
        echo: bool = True,
        answers: Sequence[Answer | Refused] = (),
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """
        Raises:
            ValueError: an answer is a status.
        """
        super().__init__(tls)
        self.greeting = greeting
        self.echo = echo and not answers
        self.scripted = bool(answers)
        self.script = Script([each if isinstance(each, Refused) else bytes_of(each) for each in answers])
        self.conversations: list[Conversation] = []
        """In the order in which connections were accepted."""

    def _protocol(self) -> asyncio.Protocol:
        return _TcpConnection(self)


class _TcpConnection(_Connection):
    def __init__(self, upstream: FakeTcpUpstream) -> None:
        super().__init__(upstream)
        self._upstream = upstream
        self._conversation = Conversation()
        self._unanswered = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._upstream.conversations.append(self._conversation)
        if self._upstream.greeting:
            self._transport.write(self._upstream.greeting)

    def data_received(self, data: bytes) -> None:
        self._conversation.data += data
        if self._upstream.scripted:
            self._unanswered += 1
            self._serve()
        elif self._upstream.echo:
            self._transport.write(data)

    def _serve(self) -> None:
        while self._unanswered and self._later is None and not self._transport.is_closing():
            self._unanswered -= 1
            reply = bytes_of(self._upstream.script.take())
            if reply.hang:
                self._unanswered = 0
                return
            self._give(reply.raw or b"", reply)

    def eof_received(self) -> None:
        self._conversation.ended = True
