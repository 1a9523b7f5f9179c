"""A host with several addresses, on real sockets."""

from __future__ import annotations

import asyncio
import socket

import pytest

from minienvoy.event.dispatcher import Dispatcher
from minienvoy.network.address import Address
from minienvoy.network.connection import ConnectionCallbacks, ConnectionCloseType, ConnectionEvent
from minienvoy.network.happy_eyeballs import HappyEyeballsConnection


class Events(ConnectionCallbacks):
    def __init__(self) -> None:
        self.events: asyncio.Queue[ConnectionEvent] = asyncio.Queue()

    def on_event(self, event: ConnectionEvent) -> None:
        self.events.put_nowait(event)


def address_of(raw: socket.socket) -> Address:
    return Address("127.0.0.1", raw.getsockname()[1])


@pytest.mark.parametrize("listening", [0, 1, 2])
def test_the_first_address_that_answers_is_used(listening: int) -> None:
    async def main() -> None:
        dispatcher = Dispatcher(asyncio.get_running_loop())
        raws = [socket.socket() for _ in range(3)]
        for raw in raws:
            raw.bind(("127.0.0.1", 0))
        raws[listening].listen()
        addresses = [address_of(raw) for raw in raws]
        more: list[int] = []
        connection = HappyEyeballsConnection(addresses, lambda: more.append(1), dispatcher, addresses[0])
        events = Events()
        connection.add_callbacks(events)
        connection.connect(5.0)
        assert await asyncio.wait_for(events.events.get(), 5) is ConnectionEvent.CONNECTED
        assert len(more) == listening
        assert connection.info.remote_address == addresses[listening]
        connection.close(ConnectionCloseType.NO_FLUSH)
        await dispatcher.stop()
        for raw in raws:
            raw.close()

    asyncio.run(main())


def test_when_every_address_refuses_the_last_word_is_told() -> None:
    async def main() -> None:
        dispatcher = Dispatcher(asyncio.get_running_loop())
        raws = [socket.socket() for _ in range(2)]
        for raw in raws:
            raw.bind(("127.0.0.1", 0))
        addresses = [address_of(raw) for raw in raws]
        connection = HappyEyeballsConnection(addresses, lambda: None, dispatcher, addresses[0])
        events = Events()
        connection.add_callbacks(events)
        connection.connect(5.0)
        assert await asyncio.wait_for(events.events.get(), 5) is ConnectionEvent.REMOTE_CLOSE
        assert connection.transport_failure_reason == "delayed connect error: Connection refused"
        await dispatcher.stop()
        for raw in raws:
            raw.close()

    asyncio.run(main())


def test_a_connection_that_is_given_up_leaves_no_socket() -> None:
    async def main() -> None:
        dispatcher = Dispatcher(asyncio.get_running_loop())
        with socket.create_server(("127.0.0.1", 0)) as server:
            addresses = [address_of(server)] * 2
            connection = HappyEyeballsConnection(addresses, lambda: None, dispatcher, addresses[0])
            connection.connect(5.0)
            connection.close(ConnectionCloseType.NO_FLUSH)
            assert connection.closed
            await dispatcher.stop()

    asyncio.run(main())
