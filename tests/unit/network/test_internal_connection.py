"""Connections to listeners inside this process: who accepts them, and what comes of those nobody does."""

from __future__ import annotations

from typing import Any

from minienvoy.event.simulated import SimulatedDispatcher
from minienvoy.explain.explanation import Explanation
from minienvoy.network.address import Address
from minienvoy.network.client_connection import ClientConnection
from minienvoy.network.internal_connection import CLIENT, InternalListeners, open_internal_connection
from minienvoy.network.socket import ConnectionSocket
from tests.unit.upstream.conftest import NoLoop


def connect(accept: Any) -> tuple[Any, str, ClientConnection]:
    dispatcher = SimulatedDispatcher(NoLoop())
    listeners = dispatcher.internal_listeners = InternalListeners(64 * 1024)
    listeners.find = {"inner": accept}.get
    address = Address.internal("inner", "e1")
    client = ClientConnection(dispatcher, address)
    client.passthrough_metadata = {"tunnel": {"address": "1.2.3.4:80"}}
    return (*open_internal_connection(dispatcher, client, address), client)


def test_an_internal_address_says_its_listener_and_its_endpoint() -> None:
    address = Address.internal("inner", "e1")
    assert (str(address), address.internal_listener, address.endpoint_id) == ("envoy://inner/e1", "inner", "e1")
    assert address.is_internal
    assert not Address.pipe("/tmp/socket").is_internal
    assert not Address("1.2.3.4", 80).is_internal


def test_both_ends_are_one_connection_with_the_addresses_of_the_inside() -> None:
    accepted: list[ConnectionSocket] = []

    def accept(each: ConnectionSocket, explain: Explanation) -> None:
        accepted.append(each)

    raw, reason, client = connect(accept)
    (other,) = accepted
    raw.send(b"hello")
    assert (other.raw.recv(10), reason) == (b"hello", "")
    assert (str(other.remote_address), str(other.local_address)) == (str(CLIENT), "envoy://inner/e1")
    assert other.info.dynamic_metadata == {"tunnel": {"address": "1.2.3.4:80"}}
    assert client.info.local_address == CLIENT
    raw.close()
    other.raw.close()


def test_nobody_accepts() -> None:
    raw, reason, _ = connect(None)
    assert raw is None
    assert reason == "immediate connect error: Invalid argument|remote address:envoy://inner/e1"


def test_who_closes_at_once_was_never_connected_to() -> None:
    raw, reason, _ = connect(lambda accepted, explain: accepted.raw.close())
    assert raw is None
    assert reason == "delayed connect error: Invalid argument"
