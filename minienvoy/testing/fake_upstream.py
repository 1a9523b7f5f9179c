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
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Self, cast

if TYPE_CHECKING:
    import ssl

    from .threaded_upstream import ThreadedUpstream

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


@dataclass(frozen=True, slots=True)
class Reply:
    """What to answer.

    Attributes:
        headers: after the status line; `content-length` is added when neither it nor `transfer-encoding` is there.
        raw: bytes to send instead of all that.
        hang: answer nothing and keep the connection.
        close: end the connection after the answer.
        reset: break the connection off after the answer (RST).
        delay: seconds before the answer.
        drip: (bytes, seconds): so many bytes of the answer at once, and so long between them.
    """

    body: bytes = b""
    status: int = 200
    headers: tuple[tuple[str, str], ...] = ()
    raw: bytes | None = None
    hang: bool = False
    close: bool = False
    reset: bool = False
    delay: float = 0.0
    drip: tuple[int, float] | None = None

    def encode(self, head_only: bool = False) -> bytes:
        """The answer as bytes; `head_only` for HEAD."""
        if self.raw is not None:
            return self.raw
        headers = list(self.headers)
        if not {"content-length", "transfer-encoding"} & {name.lower() for name, _ in headers}:
            headers.append(("content-length", str(len(self.body))))
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers)
        head = f"HTTP/1.1 {self.status} {_reason(self.status)}\r\n{lines}\r\n".encode("latin-1")
        return head if head_only else head + self.body


Answer = Reply | bytes | str | int

OK = Reply(b"ok")
RESET = Reply(raw=b"", reset=True)
"""No answer: the connection breaks off."""
BAD_CHUNK = Reply(raw=b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\nnonsense\r\n")


def delayed(seconds: float, answer: Answer = OK) -> Reply:
    """`answer`, but later."""
    return replace(_reply(answer), delay=seconds)


def cut(body: bytes, after: int, reset: bool = False) -> Reply:
    """An answer that ends after so many bytes of its body, with a FIN or with a RST."""
    head = f"HTTP/1.1 200 OK\r\ncontent-length: {len(body)}\r\n\r\n".encode()
    return Reply(raw=head + body[:after], close=True, reset=reset)


def _reply(answer: Answer) -> Reply:
    if isinstance(answer, Reply):
        return answer
    if isinstance(answer, int):
        return Reply(status=answer)
    return Reply(answer.encode() if isinstance(answer, str) else answer)


def _reason(status: int) -> str:
    from http import HTTPStatus

    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Unknown"


class _Upstream:
    """A listening socket on an ephemeral port of the loopback interface, and its connections."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.tls = tls
        """What makes it speak TLS, as `testing.ca().issue("users.test").server_context()`; None for no TLS."""
        self.connections = 0
        """How many connections were accepted so far."""
        self._open: set[asyncio.Transport] = set()
        self._drained: asyncio.Future[None] | None = None
        self._server: asyncio.Server | None = None
        self._refusing: socket.socket | None = None
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
        return self

    async def stop(self) -> None:
        """Stop listening and abort every connection; as leaving the context does."""
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
                transport.abort()
            # One that is bound and does not listen.
            self._refusing = socket.socket()
            self._refusing.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self._refusing.bind(("127.0.0.1", port))

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


class FakeUpstream(_Upstream):
    """An HTTP/1.1 upstream with a script.

    It answers with `answers` in turn, over all connections, and keeps to the last one when they are used up; a `str` or
    `bytes` is a 200 with that body, an `int` a status without one. A path of `paths` (without its query) has answers of
    its own. With `respond`, that function answers instead.
    """

    def __init__(
        self,
        *answers: Answer,
        respond: Callable[[Request], Answer] | None = None,
        paths: Mapping[str, Sequence[Answer]] | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        super().__init__(tls)
        self.requests: list[Request] = []
        """In the order in which they were complete."""
        self._scripts = {"": list(answers) or [Reply()], **{path: list(each) for path, each in (paths or {}).items()}}
        self._asked: Counter[str] = Counter()
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
            return _reply(self._respond(request))
        path = request.path.partition("?")[0]
        if path not in self._scripts:
            path = ""
        self._asked[path] += 1
        script = self._scripts[path]
        return _reply(script[min(self._asked[path], len(script)) - 1])


class _HttpConnection(asyncio.Protocol):
    def __init__(self, upstream: FakeUpstream) -> None:
        self._upstream = upstream
        self._received = b""
        self._later: asyncio.TimerHandle | None = None
        """An answer is under way: the next request waits for it."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none, but does as one does
        self._upstream.opened(self._transport)
        self._number = self._upstream.connections

    def connection_lost(self, error: Exception | None) -> None:
        if self._later is not None:
            self._later.cancel()
        self._upstream.lost(self._transport)

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
            data = reply.encode(head_only=request.method == "HEAD")
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


class FakeTcpUpstream(_Upstream):
    """A TCP upstream that greets, or sends back what it receives, or both; it ends when the other side has ended."""

    def __init__(self, greeting: bytes = b"", echo: bool = True, tls: ssl.SSLContext | None = None) -> None:
        super().__init__(tls)
        self.greeting = greeting
        self.echo = echo
        self.conversations: list[Conversation] = []
        """In the order in which connections were accepted."""

    def _protocol(self) -> asyncio.Protocol:
        return _TcpConnection(self)


class _TcpConnection(asyncio.Protocol):
    def __init__(self, upstream: FakeTcpUpstream) -> None:
        self._upstream = upstream
        self._conversation = Conversation()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none, but does as one does
        self._upstream.opened(self._transport)
        self._upstream.conversations.append(self._conversation)
        if self._upstream.greeting:
            self._transport.write(self._upstream.greeting)

    def connection_lost(self, error: Exception | None) -> None:
        self._upstream.lost(self._transport)

    def data_received(self, data: bytes) -> None:
        self._conversation.data += data
        if self._upstream.echo:
            self._transport.write(data)

    def eof_received(self) -> None:
        self._conversation.ended = True
