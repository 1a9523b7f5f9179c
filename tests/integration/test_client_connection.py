"""`ClientConnection` against real sockets, on both event loops."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
import uvloop

from minienvoy.event.dispatcher import Dispatcher
from minienvoy.network.address import Address
from minienvoy.network.client_connection import ClientConnection
from minienvoy.network.connection import ConnectionCallbacks, ConnectionCloseType, ConnectionEvent
from minienvoy.network.filter import FilterStatus, ReadFilter

Body = Callable[[Dispatcher], Coroutine[Any, Any, None]]
Run = Callable[[Body], None]


class Events(ConnectionCallbacks, ReadFilter):
    def __init__(self) -> None:
        self.seen: list[ConnectionEvent] = []
        self.data = b""
        self._changed = asyncio.Event()

    def on_event(self, event: ConnectionEvent) -> None:
        self.seen.append(event)
        self._changed.set()

    def on_data(self, data: bytes, end_stream: bool) -> FilterStatus:
        self.data += data
        self._changed.set()
        return FilterStatus.CONTINUE

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(5):
            while not condition():
                self._changed.clear()
                await self._changed.wait()


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Run:
    def run_on_loop(body: Body) -> None:
        async def main() -> None:
            dispatcher = Dispatcher(asyncio.get_running_loop())
            try:
                await body(dispatcher)
            finally:
                await dispatcher.stop()

        factory = uvloop.new_event_loop if request.param == "uvloop" else asyncio.new_event_loop
        with asyncio.Runner(loop_factory=factory) as runner:
            runner.run(main())

    return run_on_loop


def listening_socket(family: int = socket.AF_INET, address: Any = ("127.0.0.1", 0)) -> socket.socket:
    server = socket.socket(family)
    server.bind(address)
    server.listen()
    return server


def new_connection(dispatcher: Dispatcher, address: Address, **options: Any) -> tuple[ClientConnection, Events]:
    connection = ClientConnection(dispatcher, address, **options)
    events = Events()
    connection.add_callbacks(events)
    connection.add_read_filter(events)
    return connection, events


def test_connects_and_exchanges_bytes(run: Run) -> None:
    async def body(dispatcher: Dispatcher) -> None:
        with listening_socket() as server:
            connection, events = new_connection(dispatcher, Address("127.0.0.1", server.getsockname()[1]))
            connection.connect(5)
            assert events.seen == []
            await events.until(lambda: events.seen == [ConnectionEvent.CONNECTED])
            peer, peer_address = server.accept()
            with peer:
                connection.write(b"ping")
                await asyncio.sleep(0)
                assert await asyncio.to_thread(peer.recv, 100) == b"ping"
                peer.sendall(b"pong")
                await events.until(lambda: events.data == b"pong")
                assert str(connection.info.local_address) == f"127.0.0.1:{peer_address[1]}"
                connection.close(ConnectionCloseType.NO_FLUSH)
                assert events.seen[-1] is ConnectionEvent.LOCAL_CLOSE
                assert await asyncio.to_thread(peer.recv, 100) == b""

    run(body)


def test_connects_to_a_unix_socket(run: Run, tmp_path: Path) -> None:
    async def body(dispatcher: Dispatcher) -> None:
        path = str(tmp_path / "s")
        with listening_socket(socket.AF_UNIX, path) as server:
            connection, events = new_connection(dispatcher, Address.pipe(path))
            connection.connect(5)
            await events.until(lambda: bool(events.seen))
            peer, _ = server.accept()
            peer.sendall(b"hello")
            await events.until(lambda: events.data == b"hello")
            peer.close()
            await events.until(lambda: len(events.seen) == 2)
            assert events.seen == [ConnectionEvent.CONNECTED, ConnectionEvent.REMOTE_CLOSE]

    run(body)


def test_refusal_is_a_remote_close_in_envoys_words(run: Run) -> None:
    async def body(dispatcher: Dispatcher) -> None:
        with socket.socket() as bound:
            bound.bind(("127.0.0.1", 0))
            connection, events = new_connection(dispatcher, Address("127.0.0.1", bound.getsockname()[1]))
            connection.connect(5)
            assert events.seen == []
            await events.until(lambda: bool(events.seen))
            assert events.seen == [ConnectionEvent.REMOTE_CLOSE]
            assert connection.transport_failure_reason == "delayed connect error: Connection refused"
            assert not connection.connect_timed_out

    run(body)


def test_failure_that_is_known_at_once_is_told_later(run: Run, tmp_path: Path) -> None:
    async def body(dispatcher: Dispatcher) -> None:
        path = str(tmp_path / "nobody")
        connection, events = new_connection(dispatcher, Address.pipe(path))
        connection.connect(5)
        assert events.seen == []
        await events.until(lambda: bool(events.seen))
        assert events.seen == [ConnectionEvent.REMOTE_CLOSE]
        assert connection.transport_failure_reason == (
            f"immediate connect error: No such file or directory|remote address:{path}"
        )

    run(body)


def test_peer_that_does_not_answer_is_given_up_after_the_timeout(run: Run) -> None:
    async def body(dispatcher: Dispatcher) -> None:
        with socket.socket() as server:
            server.bind(("127.0.0.1", 0))
            server.listen(0)
            address = Address("127.0.0.1", server.getsockname()[1])
            fillers = [socket.socket() for _ in range(4)]
            for filler in fillers:
                filler.setblocking(False)
                filler.connect_ex(address.sockaddr)
            connection, events = new_connection(dispatcher, address)
            connection.connect(0.05)
            await events.until(lambda: bool(events.seen))
            for filler in fillers:
                filler.close()
            assert events.seen == [ConnectionEvent.LOCAL_CLOSE]
            assert connection.connect_timed_out

    run(body)


def test_connection_closed_while_connecting_hears_of_nothing_else(run: Run) -> None:
    async def body(dispatcher: Dispatcher) -> None:
        with listening_socket() as server:
            connection, events = new_connection(dispatcher, Address("127.0.0.1", server.getsockname()[1]))
            connection.connect(5)
            connection.close(ConnectionCloseType.NO_FLUSH)
            peer, _ = server.accept()
            with peer:
                assert await asyncio.to_thread(peer.recv, 1) == b""
            assert events.seen == [ConnectionEvent.LOCAL_CLOSE]

    run(body)


def test_source_address_is_bound(run: Run) -> None:
    async def body(dispatcher: Dispatcher) -> None:
        with listening_socket() as server:
            connection, events = new_connection(
                dispatcher, Address("127.0.0.1", server.getsockname()[1]), source_address=Address("127.0.0.9", 0)
            )
            connection.connect(5)
            await events.until(lambda: bool(events.seen))
            peer, peer_address = server.accept()
            peer.close()
            assert peer_address[0] == "127.0.0.9"
            assert connection.info.local_address is not None
            assert connection.info.local_address.host == "127.0.0.9"
            await events.until(lambda: len(events.seen) == 2)

    run(body)
