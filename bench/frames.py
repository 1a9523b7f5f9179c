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
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from .backend import BODY, RESPONSE, request_size
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
        for _ in range(warm_up):
            await asyncio.to_thread(_exchange, client, request)
        counts = [await _count(client, request, str(package)) for _ in range(repetitions)]
    finally:
        client.close()
    fewest = min(counts, key=lambda count: count.total)
    if not fewest.total:
        raise LookupError(f"no frame of {package} was entered in this thread")
    return fewest


async def _count(client: socket.socket, request: bytes, package: str) -> FrameCount:
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
        await asyncio.to_thread(_exchange, client, request)
    finally:
        sys.setprofile(before)
    return FrameCount(functions.total(), functions)


def _name(frame: FrameType, package: str) -> str:
    code = frame.f_code
    path = code.co_filename.removeprefix(package).lstrip("/")
    return f"{path}:{code.co_firstlineno} {code.co_qualname}"


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


@contextmanager
def upstream(answer: Callable[[bytes], bytes] = lambda request: RESPONSE) -> Iterator[int]:
    """An HTTP/1.1 upstream in threads of its own that answers requests with `answer`; gives its port on 127.0.0.1."""
    connections: list[socket.socket] = []
    threads: list[threading.Thread] = []
    listener = socket.create_server((HOST, 0))

    def serve(connection: socket.socket) -> None:
        pending = b""
        try:
            while received := connection.recv(65536):
                pending += received
                while size := request_size(pending):
                    request, pending = pending[:size], pending[size:]
                    connection.sendall(answer(request))
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
