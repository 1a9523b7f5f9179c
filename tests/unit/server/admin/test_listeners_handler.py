from __future__ import annotations

import json

import pytest

from minienvoy.network.address import Address

from .conftest import Listener, recorded


@pytest.fixture
def two_listeners(server):
    server.listener_manager.all = [
        Listener("main", Address("127.0.0.1", 34335)),
        Listener("tcp", Address("127.0.0.1", 35723)),
    ]


@pytest.mark.usefixtures("two_listeners")
def test_listeners_as_text(ask):
    assert ask("/listeners").body.decode() == recorded("listeners.txt")
    assert ask("/listeners?format=foo").body.decode() == recorded("listeners.txt")


@pytest.mark.usefixtures("two_listeners")
def test_listeners_as_json(ask):
    assert ask("/listeners?format=json").body.decode() == recorded("listeners.json")


def test_no_listener_is_an_empty_message(ask):
    assert ask("/listeners").body == b""
    assert ask("/listeners?format=json").body == b"{}\n"


def test_a_listener_with_more_addresses_and_a_pipe(ask, server):
    server.listener_manager.all = [Listener("two", Address("::1", 0), Address.pipe("/tmp/x"))]
    assert ask("/listeners").body == b"two::[::1]:0\ntwo::/tmp/x\n"
    assert json.loads(ask("/listeners?format=json").body) == {
        "listener_statuses": [
            {
                "name": "two",
                "local_address": {"socket_address": {"address": "::1", "port_value": 0}},
                "additional_local_addresses": [{"pipe": {"path": "/tmp/x"}}],
            }
        ]
    }


@pytest.mark.parametrize(
    ("query", "drained"),
    [
        ("", ("ALL", False, False)),
        ("?inboundonly", ("INBOUND_ONLY", False, False)),
        ("?graceful", ("ALL", True, False)),
        ("?graceful&skip_exit", ("ALL", True, True)),
        ("?skip_exit", ("ALL", False, True)),
    ],
)
def test_listeners_are_drained(ask, server, query, drained):
    assert ask(f"/drain_listeners{query}", "POST").body == b"OK\n"
    assert server.listener_manager.drained == [drained]
