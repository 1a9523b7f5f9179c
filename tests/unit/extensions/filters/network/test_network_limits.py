"""Limits on connections over simulated time; what Envoy does is in tests/conformance/scenarios/network_limits.yaml."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, cast

import pytest

from minienvoy.config.loader import load_dict
from minienvoy.config.runtime import Loader
from minienvoy.event.simulated import SimulatedDispatcher
from minienvoy.explain.explanation import Explanation
from minienvoy.extensions.filters.network.connection_limit import create_connection_limit_filter
from minienvoy.extensions.filters.network.echo import EchoFilter
from minienvoy.extensions.filters.network.local_ratelimit import create_local_rate_limit_filter
from minienvoy.network.address import Address
from minienvoy.network.connection import Connection
from minienvoy.network.filter import ReadFilter
from minienvoy.server.factory_context import FactoryContext, ServerContext
from minienvoy.stats.store import Store
from minienvoy.stream_info import ConnectionInfo
from tests.unit.http_bench import FakeTransport, Turns

LIMIT = "envoy.extensions.filters.network.connection_limit.v3.ConnectionLimit"
RATE = "envoy.extensions.filters.network.local_ratelimit.v3.LocalRateLimit"


class Listener:
    """Makes connections with a filter and an echo behind it."""

    def __init__(self) -> None:
        self.turns = Turns()
        self.dispatcher = SimulatedDispatcher(cast(asyncio.AbstractEventLoop, self.turns))
        self.store = Store()
        server = ServerContext()
        server.dispatcher = self.dispatcher
        server.runtime = Loader()
        self.context = FactoryContext(server, self.store.scope(""), self.store.scope("listener"), lambda: False)

    def filter(self, create: Any, kind: str, **fields: Any) -> Callable[[], ReadFilter]:
        made: Callable[[], ReadFilter] = create(load_dict({"stat_prefix": "x", **fields}, kind).message, self.context)
        return made

    def connect(self, make: Callable[[], ReadFilter]) -> tuple[Connection, FakeTransport]:
        connection = Connection(self.dispatcher, ConnectionInfo(Address("127.0.0.1", 1), Address("127.0.0.1", 2)))
        connection.explain = Explanation()
        connection.add_read_filter(make())
        connection.add_read_filter(EchoFilter())
        transport = FakeTransport(self.turns)
        transport.connection = connection
        connection.connection_made(cast(asyncio.Transport, transport))
        return connection, transport


@pytest.fixture
def listener() -> Listener:
    return Listener()


def test_a_connection_too_many_is_closed_and_explained(listener: Listener) -> None:
    make = listener.filter(create_connection_limit_filter, LIMIT, max_connections=1)
    first, _ = listener.connect(make)
    second, _ = listener.connect(make)
    assert (first.closed, second.closed) == (False, True)
    assert second.local_close_reason == "over_connection_limit"
    assert second.explain["rate_limit"].because == "x: 1 of 1 connections"
    assert listener.store.value("connection_limit.x.limited_connections") == 1
    assert listener.store.value("connection_limit.x.active_connections") == 1
    first.eof_received()
    third, _ = listener.connect(make)
    assert not third.closed


def test_a_refused_connection_waits_and_is_not_served(listener: Listener) -> None:
    make = listener.filter(create_connection_limit_filter, LIMIT, max_connections=1, delay="10s")
    listener.connect(make)
    second, transport = listener.connect(make)
    second.data_received(b"hello")
    listener.dispatcher.advance(9.9)
    assert not second.closed
    assert transport.sent == []
    listener.dispatcher.advance(0.2)
    assert second.closed


def test_a_refused_connection_that_goes_by_itself_leaves_no_timer(listener: Listener) -> None:
    make = listener.filter(create_connection_limit_filter, LIMIT, max_connections=1, delay="10s")
    listener.connect(make)
    second, _ = listener.connect(make)
    second.connection_lost(None)
    assert listener.dispatcher.next_deadline() is None
    assert listener.store.value("connection_limit.x.active_connections") == 1


def test_connections_cost_a_token_each(listener: Listener) -> None:
    bucket = {"max_tokens": 1, "fill_interval": "60s"}
    make = listener.filter(create_local_rate_limit_filter, RATE, token_bucket=bucket)
    assert [listener.connect(make)[0].closed for _ in range(2)] == [False, True]
    listener.dispatcher.advance(60)
    assert [listener.connect(make)[0].closed for _ in range(2)] == [False, True]
    assert listener.store.value("local_rate_limit.x.rate_limited") == 2


def test_filters_with_one_key_and_one_bucket_share_it(listener: Listener) -> None:
    bucket = {"max_tokens": 1, "fill_interval": "60s"}
    one, two = (
        listener.filter(create_local_rate_limit_filter, RATE, token_bucket=bucket, share_key="a") for _ in range(2)
    )
    other = listener.filter(create_local_rate_limit_filter, RATE, token_bucket=bucket, share_key="b")
    assert [listener.connect(make)[0].closed for make in (one, two, other)] == [False, True, False]
