"""What stands in front of every proxy: keep-alive connections with one exchange under way on each.

A closed loop (`drive`) for throughput and CPU per exchange, an open one (`drive_at_rate`) for latency at a fixed rate,
`download` for bulk and `IdleConnections` for memory. Every HTTP answer is framed by its content-length and must be the
backend's status and body: anything else ends the measurement.
"""

from __future__ import annotations

import asyncio
import selectors
import socket
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count, repeat
from typing import cast

from .backend import BODY, BULK_REQUEST
from .process import HOST, BenchError

GET_ONE_HEADER = b"GET / HTTP/1.1\r\nhost: bench.example\r\n\r\n"
POST_BODY = b"x" * 1024
POST_ONE_KB = b"POST / HTTP/1.1\r\nhost: bench.example\r\ncontent-length: %d\r\n\r\n%b" % (len(POST_BODY), POST_BODY)
ECHO = b"E" * 64

# Besides `host`, ten values that differ in every request: no cache of header lines or of whole heads can hit.
VARIED_GET = (
    b"GET / HTTP/1.1\r\nhost: bench.example\r\n"
    b"user-agent: Mozilla/5.0 (X11; Linux x86_64; rv:%d) Gecko/20100101 Firefox/128.0\r\n"
    b"accept: text/html,application/xhtml+xml;q=0.9,*/*;v=%d\r\n"
    b"accept-language: en-US,en;q=0.5,x-%d\r\n"
    b"referer: https://www.example.com/catalogue/items/%d\r\n"
    b"cookie: session=8f14e45fceea167a5a36dedd4bea2543%d; theme=dark\r\n"
    b"authorization: Bearer eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.%d\r\n"
    b'if-none-match: "33a64df551425fcc55e4d42a148795d9f25f89d4%d"\r\n'
    b"x-tenant: tenant-%d\r\n"
    b"x-session-id: 0c7f4f6e-7d1c-4c57-9a53-%012d\r\n"
    b"x-client-version: 4.12.%d\r\n\r\n"
)

_HIGHEST_REMEMBERED_HEADS = 1024


def varied_gets() -> Iterator[bytes]:
    """GET requests of eleven headers of which no two share a value but `host`."""
    return (VARIED_GET % ((number,) * 10) for number in count(1_000_000))


class Exchanges(asyncio.Protocol):
    """One connection: sends what `request` gives, hands itself to `done` when the answer is complete."""

    __slots__ = ("_buffer", "_write", "closing", "done", "failed", "request", "started_at", "transport")

    def __init__(self, request: Callable[[], bytes], failed: Callable[[str], None]) -> None:
        self.request = request
        self.failed = failed
        self.done: Callable[[Exchanges], None] = lambda _: None
        self.started_at = 0.0
        self.closing = False
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self._write = self.transport.write

    def send(self) -> None:
        self._write(self.request())

    def close(self) -> None:
        self.closing = True
        self.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.closing:
            self.failed(f"the connection was closed in an exchange ({exc or 'end of stream'})")


class EchoExchanges(Exchanges):
    """TCP: what was sent must come back."""

    __slots__ = ()

    def data_received(self, data: bytes) -> None:
        if self._buffer:
            data = self._buffer + data
        if data == ECHO:
            self._buffer = b""
            self.done(self)
        elif ECHO.startswith(data):
            self._buffer = data
        else:
            self.failed(f"not the echo of what was sent: {data[:40]!r}")


class HttpExchanges(Exchanges):
    """HTTP/1.1: the answer is the backend's, framed by content-length."""

    __slots__ = ()

    # Heads seen, complete and right: an answer with such a head is checked by one look-up and one comparison.
    _good_heads: set[bytes] = set()

    def data_received(self, data: bytes) -> None:
        if self._buffer:
            data = self._buffer + data
        head_end = data.find(b"\r\n\r\n") + 4
        if head_end == 3 or len(data) < head_end + len(BODY):
            self._buffer = data
            return
        self._buffer = b""
        head = data[:head_end]
        if head not in self._good_heads and not self._is_good(head):
            self.failed(f"not the expected answer: {head[:200]!r}")
        elif data[head_end:] != BODY:
            self.failed(f"not the expected body: {data[head_end : head_end + 40]!r}")
        else:
            self.done(self)

    def _is_good(self, head: bytes) -> bool:
        lengths = [
            line.partition(b":")[2].strip()
            for line in head.lower().split(b"\r\n")
            if line.startswith(b"content-length:")
        ]
        good = head.startswith(b"HTTP/1.1 200 ") and lengths == [b"%d" % len(BODY)]
        if good and len(self._good_heads) < _HIGHEST_REMEMBERED_HEADS:
            self._good_heads.add(head)
        return good


@dataclass(frozen=True, slots=True)
class Work:
    """What one exchange is."""

    exchanges: type[Exchanges]
    requests: Callable[[], Iterator[bytes]]


GET = Work(HttpExchanges, lambda: repeat(GET_ONE_HEADER))
GET_VARIED = Work(HttpExchanges, varied_gets)
POST = Work(HttpExchanges, lambda: repeat(POST_ONE_KB))
TCP_ECHO = Work(EchoExchanges, lambda: repeat(ECHO))


class Crowd:
    """Connections with the same work, opened together; the first failure of any is raised by whoever waits."""

    def __init__(self) -> None:
        self.connections: list[Exchanges] = []
        self._failure: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def open(self, port: int, work: Work, connections: int) -> None:
        request = work.requests().__next__
        loop = asyncio.get_running_loop()
        try:
            opened = await asyncio.gather(
                *(
                    loop.create_connection(lambda: work.exchanges(request, self._failed), HOST, port)
                    for _ in range(connections)
                )
            )
        except OSError as error:
            raise BenchError(f"cannot connect: {error}") from error
        self.connections.extend(protocol for _, protocol in opened)

    def _failed(self, why: str) -> None:
        if not self._failure.done():
            self._failure.set_exception(BenchError(why))

    async def wait(self, future: asyncio.Future[None], longest: float) -> None:
        """Until `future` is done; `BenchError` when a connection fails or `longest` seconds pass first."""
        await asyncio.wait({future, self._failure}, timeout=longest, return_when=asyncio.FIRST_COMPLETED)
        if self._failure.done():
            self._failure.result()
        if not future.done():
            raise BenchError(f"no answer for {longest:.0f} s")

    async def each_once(self, connections: list[Exchanges], longest: float) -> None:
        """One exchange on each of `connections`, all at the same time."""
        left = len(connections)
        all_done = asyncio.get_running_loop().create_future()

        def done(_: Exchanges) -> None:
            nonlocal left
            left -= 1
            if not left:
                all_done.set_result(None)

        for connection in connections:
            connection.done = done
            connection.send()
        await self.wait(all_done, longest)

    async def close(self) -> None:
        for connection in self.connections:
            connection.close()
        self._failure.cancel()
        await asyncio.sleep(0)


@dataclass(frozen=True, slots=True)
class Driven:
    """A closed loop: exchanges, the seconds they took, and the CPU seconds that the proxy was charged for them."""

    exchanges: int
    seconds: float
    cpu_seconds: float


async def drive(
    port: int, work: Work, cpu: Callable[[], float], *, connections: int, seconds: float, warm_up: float
) -> Driven:
    """Exchanges as fast as they are answered, one at a time on each connection, for `seconds` after `warm_up`.

    The CPU clock is read while nothing is under way, so no exchange is counted in part.
    """
    crowd = Crowd()
    try:
        await crowd.open(port, work, connections)
        await _burst(crowd, warm_up)
        cpu_before, before = cpu(), time.perf_counter()
        exchanges = await _burst(crowd, seconds)
        after = time.perf_counter()
        return Driven(exchanges, after - before, cpu() - cpu_before)
    finally:
        await crowd.close()


async def _burst(crowd: Crowd, seconds: float) -> int:
    """The exchanges that began within `seconds`, all ended."""
    loop = asyncio.get_running_loop()
    all_done = loop.create_future()
    active = len(crowd.connections)
    exchanges = 0
    running = True

    def done(connection: Exchanges) -> None:
        nonlocal active, exchanges
        exchanges += 1
        if running:
            connection.send()
            return
        active -= 1
        if not active and not all_done.done():
            all_done.set_result(None)

    def stop() -> None:
        nonlocal running
        running = False

    for connection in crowd.connections:
        connection.done = done
        connection.send()
    timer = loop.call_later(seconds, stop)
    try:
        await crowd.wait(all_done, seconds + 10)
    finally:
        timer.cancel()
    return exchanges


@dataclass(frozen=True, slots=True)
class Latencies:
    """An open loop: sorted seconds from each request being due to its complete answer; whether the rate was held."""

    seconds: list[float]
    held: bool

    def quantile(self, share: float) -> float:
        return self.seconds[min(int(share * len(self.seconds)), len(self.seconds) - 1)]


async def drive_at_rate(port: int, work: Work, *, connections: int, rate: float, seconds: float) -> Latencies:
    """`rate` requests a second for `seconds`, however slow the answers are.

    Requests fall due in ticks of a millisecond. One that finds no free connection waits, and its wait counts; a tick
    that the load itself is late for does not. The rate is not held when requests still wait for a connection at the
    end, or at any time more than a second's worth.
    """
    crowd = Crowd()
    loop = asyncio.get_running_loop()
    clock = time.perf_counter
    latencies: list[float] = []
    waiting: deque[float] = deque()
    finished = loop.create_future()
    issued = 0

    def begin(connection: Exchanges, due: float) -> None:
        connection.started_at = due
        connection.send()

    def done(connection: Exchanges) -> None:
        latencies.append(clock() - connection.started_at)
        if waiting:
            begin(connection, waiting.popleft())
        else:
            idle.append(connection)

    def tick() -> None:
        nonlocal issued
        now = clock()
        if now >= end or len(waiting) > rate:
            finished.set_result(None)
            return
        for _ in range(int((now - begun) * rate) - issued):
            issued += 1
            if idle:
                begin(idle.popleft(), now)
            else:
                waiting.append(now)
        loop.call_later(0.001, tick)

    try:
        await crowd.open(port, work, connections)
        await crowd.each_once(crowd.connections, longest=10)
        for connection in crowd.connections:
            connection.done = done
        idle = deque(crowd.connections)
        begun = clock()
        end = begun + seconds
        tick()
        await crowd.wait(finished, seconds + 10)
    finally:
        finished.cancel()
        await crowd.close()
    if not latencies:
        raise BenchError("no answer at the fixed rate")
    return Latencies(sorted(latencies), held=not waiting)


class IdleConnections:
    """Keep-alive connections that have had one exchange each and stay open."""

    def __init__(self, port: int, work: Work) -> None:
        self._port = port
        self._work = work
        self._crowd = Crowd()

    async def open(self, connections: int, *, together: int = 50) -> None:
        """Open `connections` more, `together` at a time, with one exchange on each."""
        while connections > 0:
            before = len(self._crowd.connections)
            await self._crowd.open(self._port, self._work, min(together, connections))
            opened = self._crowd.connections[before:]
            await self._crowd.each_once(opened, longest=20)
            connections -= len(opened)

    async def close(self) -> None:
        await self._crowd.close()


def download(port: int, size: int, *, connections: int, timeout: float) -> float:
    """Seconds to receive `size` bytes on each of `connections` connections.

    The bytes are thrown away in the kernel (MSG_TRUNC): the load shares its CPU with the backend and must not be the
    narrow place.
    """
    buffer = bytearray(256 * 1024)
    deadline = time.perf_counter() + timeout
    left = {}
    with selectors.DefaultSelector() as selector:
        try:
            for _ in range(connections):
                connection = socket.create_connection((HOST, port), timeout=5)
                left[connection] = size
                selector.register(connection, selectors.EVENT_READ)
            begun = time.perf_counter()
            for connection in left:
                connection.sendall(BULK_REQUEST.pack(b"B", size))
                connection.setblocking(False)
            while selector.get_map():
                if time.perf_counter() > deadline:
                    raise BenchError(f"bulk: {sum(left.values())} bytes were missing after {timeout:.0f} s")
                for key, _ in selector.select(1):
                    connection = cast("socket.socket", key.fileobj)
                    try:
                        received = connection.recv_into(buffer, len(buffer), socket.MSG_TRUNC)
                    except BlockingIOError:
                        continue
                    left[connection] -= received
                    if not received or left[connection] <= 0:
                        selector.unregister(connection)
            seconds = time.perf_counter() - begun
        except OSError as error:
            raise BenchError(f"bulk: {error}") from error
        finally:
            for connection in left:
                connection.close()
    if any(left.values()):
        raise BenchError(f"bulk: the stream ended {sum(left.values())} bytes early")
    return seconds
