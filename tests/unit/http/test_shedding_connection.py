"""Load that is shed; Envoy's side of it is in tests/conformance/scenarios/overload_shedding.yaml."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from minienvoy.network import overload_state
from minienvoy.network.overload_state import LOAD_SHED_POINTS, OverloadState
from minienvoy.stream_info import ResponseFlag
from tests.unit.http_bench import GET, OK, Bench

MakeBench = Callable[..., Bench]


class Pressure(OverloadState):
    """All points at once can be turned on and off; `shed` is what was shed."""

    def __init__(self) -> None:
        super().__init__(lambda: 0.5, {})
        self.shed: list[str] = []
        self.on_shed = self.shed.append


@pytest.fixture
def pressure() -> Pressure:
    return Pressure()


def test_nothing_is_asked_of_a_server_that_has_room(bench: MakeBench, pressure: Pressure) -> None:
    b = bench(overload=pressure)
    client = b.client().send(GET)
    b.upstream.send(OK)
    assert client.received().startswith(b"HTTP/1.1 200 ")
    assert pressure.shed == []


def test_no_codec_is_made(bench: MakeBench, pressure: Pressure) -> None:
    b = bench(overload=pressure)
    pressure.values[overload_state.CREATING_CODEC] = 1.0
    client = b.client().send(GET)
    b.advance(1.1)
    assert client.received() == b""
    assert client.gone
    assert b.stats("http.downstream_rq_overload_close", "http.downstream_rq_total") == [1, 0]


def test_what_was_sent_is_not_even_read(bench: MakeBench, pressure: Pressure) -> None:
    b = bench(overload=pressure)
    client = b.client().send(GET)
    b.upstream.send(OK)
    client.received()
    pressure.values[overload_state.HTTP1_ABORT_DISPATCH] = 1.0
    assert client.send(GET).received().startswith(b"HTTP/1.1 500 ")
    assert b.stream.response_code_details == "overload"
    assert b.stream.response_flags == ResponseFlag.DOWNSTREAM_PROTOCOL_ERROR
    assert b.stats("http.downstream_rq_overload_close", "http.downstream_cx_protocol_error") == [1, 0]
    b.advance(1.1)
    assert client.gone


def test_a_connection_is_told_to_end(bench: MakeBench, pressure: Pressure) -> None:
    b = bench(overload=pressure)
    pressure.values[overload_state.GO_AWAY] = 1.0
    client = b.client().send(GET)
    b.upstream.send(OK)
    assert b"connection: close" in client.received()
    b.advance(5.1)
    b.advance(1.1)
    assert client.gone


def test_a_connection_ends_with_what_is_under_way(bench: MakeBench, pressure: Pressure) -> None:
    b = bench(overload=pressure)
    client = b.client().send(b"POST / HTTP/1.1\r\nhost: a.com\r\ncontent-length: 3\r\n\r\n")
    pressure.values[overload_state.GO_AWAY_AND_CLOSE] = 1.0
    client.send(b"abc")
    assert (b.stream.response_code_details, b.stream.response_flags) == ("forced_goaway", 0)
    assert b.upstream.closed
    assert b.stat("http.downstream_cx_destroy_active_rq") == 1
    b.advance(1.1)
    assert client.gone
    assert client.received() == b""


def test_the_router_answers_for_who_would_be_asked(bench: MakeBench, pressure: Pressure) -> None:
    b = bench(overload=pressure)
    pressure.values[overload_state.FILTER_CHECK] = 1.0
    assert b.client().send(GET).received().startswith(b"HTTP/1.1 503 ")
    assert b.upstreams == []
    assert b.stat("http.rq_overload_local_reply") == 1
    decision = b.explanations.last()["overload"]
    assert decision.because == "envoy.load_shed_points.http_downstream_filter_check at 100 %"


def test_a_pool_makes_no_connection_but_goes_on_with_those_it_has(bench: MakeBench, pressure: Pressure) -> None:
    b = bench(overload=pressure)
    client = b.client().send(GET)
    b.upstream.send(OK)
    client.received()
    pressure.values[overload_state.NEW_CONNECTION] = 1.0
    client.send(GET)
    refused = b.client().send(GET)
    assert b"x-envoy-overloaded: true" in refused.received()
    assert b.stream.response_flags == ResponseFlag.UPSTREAM_OVERFLOW
    assert b.stats("cluster.upstream_rq_cancelled", "cluster.upstream_cx_total") == [1, 1]
    assert b.stat("cluster.upstream_rq_pending_active") == 0
    b.upstream.send(OK)
    assert client.received().startswith(b"HTTP/1.1 200 ")


def test_half_the_pressure_sheds_half_of_it(bench: MakeBench) -> None:
    draws = iter([0.2, 0.7])
    state = OverloadState(lambda: next(draws), {})
    b = bench(overload=state)
    state.values[overload_state.FILTER_CHECK] = 0.5
    assert b.client().send(GET).received().startswith(b"HTTP/1.1 503 ")
    client = b.client().send(GET)
    b.upstream.send(OK)
    assert client.received().startswith(b"HTTP/1.1 200 ")


def test_every_point_is_known_once() -> None:
    assert len(set(LOAD_SHED_POINTS)) == len(LOAD_SHED_POINTS) == 12
