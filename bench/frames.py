"""Counts the Python frames that one request enters, exactly: CPU noise hides a call per request, this does not.

The proxy runs in the event loop of the caller; client and upstream are blocking sockets in other threads, so the frames
of the loop's thread are the proxy's. Counted is every frame of the package and every frame entered beneath one,
generators and coroutines once for each time that they are resumed. C functions are no frames.
"""

from __future__ import annotations

import asyncio
import socket
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from .backend import BLOCK, BODY, GREETING, PREFACE, RESPONSE, Http2Replies, frame, request_size
from .load import GET_ONE_HEADER
from .process import HOST

PACKAGE = Path(__file__).resolve().parent.parent / "minienvoy"
TIMEOUT = 5.0


@dataclass(frozen=True, slots=True)
class FrameCount:
    """The frames of one request, and how often each function (`path:line name`, path in the package) was entered."""

    total: int
    functions: Counter[str]

    def report(self) -> str:
        """A line for each function, in the order of its first call."""
        return "\n".join(f"{times:4} {function}" for function, times in self.functions.items())


async def frames_per_request(
    port: int, request: bytes = GET_ONE_HEADER, *, package: Path = PACKAGE, warm_up: int = 3, repetitions: int = 5
) -> FrameCount:
    """Frames that the proxy on `port` of this event loop enters for one `request`: the fewest of `repetitions`.

    The fewest, because a timer that happens to fire in between is not the request's. `warm_up` requests open the
    upstream connection and fill what is made on first use. `ConnectionError` when the proxy does not answer 200 with
    the body that `upstream()` sends, `TimeoutError` after five seconds without an answer, `LookupError` when no frame
    of `package` was seen: the proxy runs elsewhere.
    """
    client = await asyncio.to_thread(socket.create_connection, (HOST, port), TIMEOUT)
    try:
        return await _fewest(lambda: _exchange(client, request), package, warm_up, repetitions)
    finally:
        client.close()


async def frames_per_http2_request(
    port: int, streams: int = 1, *, package: Path = PACKAGE, warm_up: int = 3, repetitions: int = 5
) -> FrameCount:
    """As `frames_per_request`, for `streams` GETs that come over HTTP/2 in one piece."""
    client = await asyncio.to_thread(_Http2Client, port)
    try:
        return await _fewest(lambda: client.exchange(streams), package, warm_up, repetitions)
    finally:
        client.close()


async def _fewest(exchange: Callable[[], None], package: Path, warm_up: int, repetitions: int) -> FrameCount:
    for _ in range(warm_up):
        await asyncio.to_thread(exchange)
    counts = [await _count(exchange, str(package)) for _ in range(repetitions)]
    fewest = min(counts, key=lambda count: count.total)
    if not fewest.total:
        raise LookupError(f"no frame of {package} was entered in this thread")
    return fewest


async def _count(exchange: Callable[[], None], package: str) -> FrameCount:
    functions: Counter[str] = Counter()
    inside: set[FrameType] = set()

    def entered(frame: FrameType, event: str, _: object) -> None:
        # Called for this thread only. A frame counts when it is the package's or has one of the package's above it.
        if event == "call":
            if frame.f_code.co_filename.startswith(package) or frame.f_back in inside:
                inside.add(frame)
                functions[_name(frame, package)] += 1
        elif event == "return":
            inside.discard(frame)

    before = sys.getprofile()
    sys.setprofile(entered)
    try:
        await asyncio.to_thread(exchange)
    finally:
        sys.setprofile(before)
    return FrameCount(functions.total(), functions)


def _name(frame: FrameType, package: str) -> str:
    code = frame.f_code
    path = code.co_filename.removeprefix(package).lstrip("/")
    return f"{path}:{code.co_firstlineno} {code.co_qualname}"


class _Http2Client:
    """One connection; of what is answered it looks at the ends of streams only."""

    _block = b"\x82\x86\x84\x01\x05bench\x0f\x2b\x05bench"
    """GET, http, `/`, `:authority: bench` and `user-agent: bench`, none of which goes into a table."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection((HOST, port), TIMEOUT)
        self._next = 1
        self._received = b""
        self._socket.sendall(PREFACE + GREETING)

    def close(self) -> None:
        self._socket.close()

    def exchange(self, streams: int) -> None:
        numbers = range(self._next, self._next + 2 * streams, 2)
        self._next = numbers.stop
        self._socket.sendall(b"".join(frame(1, 5, number.to_bytes(4, "big"), self._block) for number in numbers))
        ended = 0
        while ended < streams:
            received = self._socket.recv(65536)
            if not received:
                raise ConnectionError(f"the proxy closed the connection after {self._received[-80:]!r}")
            self._received += received
            while len(self._received) >= 9 and len(self._received) >= (
                end := 9 + int.from_bytes(self._received[:3], "big")
            ):
                kind, flags = self._received[3], self._received[4]
                body, self._received = self._received[9:end], self._received[end:]
                if kind == 3 or (kind == 1 and body[:1] != BLOCK[:1]):
                    raise ConnectionError(f"not the expected answer: {body!r}")
                ended += kind in (0, 1) and flags & 1


def _exchange(client: socket.socket, request: bytes) -> None:
    client.sendall(request)
    answer = b""
    while not answer.endswith(BODY):
        received = client.recv(65536)
        if not received:
            raise ConnectionError(f"the proxy closed the connection after {answer[:80]!r}")
        answer += received
    if not answer.startswith(b"HTTP/1.1 200 "):
        raise ConnectionError(f"not the expected answer: {answer[:80]!r}")


Replies = Callable[[bytes], bytes]
"""Of one connection: what is sent for what has been received."""


def upstream(answer: Callable[[bytes], bytes] = lambda request: RESPONSE) -> AbstractContextManager[int]:
    """An HTTP/1.1 upstream in threads of its own that answers requests with `answer`; gives its port on 127.0.0.1."""

    def replies() -> Replies:
        pending = b""

        def reply(received: bytes) -> bytes:
            nonlocal pending
            pending += received
            answers = []
            while size := request_size(pending):
                request, pending = pending[:size], pending[size:]
                answers.append(answer(request))
            return b"".join(answers)

        return reply

    return _upstream(replies)


def http2_upstream() -> AbstractContextManager[int]:
    """The same for HTTP/2; its answers are the bench's."""
    return _upstream(lambda: Http2Replies().receive)


@contextmanager
def _upstream(replies: Callable[[], Replies]) -> Iterator[int]:
    connections: list[socket.socket] = []
    threads: list[threading.Thread] = []
    listener = socket.create_server((HOST, 0))

    def serve(connection: socket.socket) -> None:
        reply = replies()
        try:
            while received := connection.recv(65536):
                connection.sendall(reply(received))
        except OSError:
            pass
        finally:
            connection.close()

    def accept() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            connections.append(connection)
            thread = threading.Thread(target=serve, args=(connection,), daemon=True)
            threads.append(thread)
            thread.start()

    acceptor = threading.Thread(target=accept, daemon=True)
    acceptor.start()
    try:
        yield listener.getsockname()[1]
    finally:
        # Shutting down wakes the threads; closing alone would leave them in accept() and recv().
        listener.shutdown(socket.SHUT_RDWR)
        acceptor.join(TIMEOUT)
        listener.close()
        for connection in connections:
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
        for thread in threads:
            thread.join(TIMEOUT)
