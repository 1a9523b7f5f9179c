"""Faults over simulated time; what Envoy answers is in tests/conformance/scenarios/fault.yaml."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from minienvoy.stream_info import ResponseFlag
from tests.unit.http_bench import GET, OK, Bench

MakeBench = Callable[..., Bench]
ALL = {"percentage": {"numerator": 100}}


def faulty(bench: MakeBench, runtime: dict[str, Any] | None = None, **fault: Any) -> Bench:
    return bench(http_filters={"fault": fault}, runtime=runtime)


def test_a_delayed_request_continues_when_the_delay_is_over(bench: MakeBench) -> None:
    b = faulty(bench, delay={"fixed_delay": "30s", **ALL})
    client = b.client().send(GET)
    b.advance(29.9)
    assert not b.upstreams
    assert b.stat("http.fault.active_faults") == 1
    b.advance(0.2)
    b.upstream.send(OK)
    assert client.received().endswith(b"ok")
    assert b.stats("http.fault.delays_injected", "http.fault.active_faults") == [1, 0]
    assert b.stream.response_flags == ResponseFlag.DELAY_INJECTED
    assert b.explanations.last()["fault"].because == "injected for 30 s"


def test_a_client_that_leaves_during_the_delay_leaves_nothing_behind(bench: MakeBench) -> None:
    b = faulty(bench, delay={"fixed_delay": "30s", **ALL})
    b.client().send(GET).close()
    assert b.stat("http.fault.active_faults") == 0
    b.advance(60)
    assert not b.upstreams


def test_half_of_the_requests_are_aborted(bench: MakeBench) -> None:
    b = faulty(bench, abort={"http_status": 503, "percentage": {"numerator": 50}})
    for _ in range(200):
        client = b.client().send(GET)
        if not client.received():
            b.upstream.send(OK)
    assert 70 < b.stat("http.fault.aborts_injected") < 130


def test_a_body_waits_for_the_delay_and_its_sender_for_the_body(bench: MakeBench) -> None:
    b = bench(http_filters={"fault": {"delay": {"fixed_delay": "1s", **ALL}}}, buffer_limit=1000)
    client = b.client().send(b"POST / HTTP/1.1\r\nhost: a.com\r\ncontent-length: 3000\r\n\r\n" + b"x" * 1500)
    assert not client.reading
    b.advance(1.1)
    assert client.reading
    client.send(b"x" * 1500)
    assert b.upstream.received().endswith(b"x" * 3000)
    b.upstream.send(OK)


def test_a_slow_response_comes_in_portions_of_its_rate(bench: MakeBench) -> None:
    b = faulty(bench, response_rate_limit={"fixed_limit": {"limit_kbps": 1}, **ALL})
    client = b.client().send(GET)
    b.upstream.send(b"HTTP/1.1 200 OK\r\ncontent-length: 1024\r\n\r\n" + b"x" * 1024)
    assert client.received().endswith(b"\r\n\r\n")
    b.advance(0.01)
    assert client.received() == b"x" * 51
    sizes = []
    for _ in range(19):
        b.advance(0.05)
        sizes.append(len(client.received()))
    assert set(sizes) == {51, 52}
    b.advance(0.2)
    assert 51 + sum(sizes) + len(client.received()) == 1024
    assert b.stats("http.fault.response_rl_injected", "http.fault.active_faults") == [1, 0]


def test_a_slow_response_makes_the_upstream_wait(bench: MakeBench) -> None:
    b = bench(
        http_filters={"fault": {"response_rate_limit": {"fixed_limit": {"limit_kbps": 1}, **ALL}}}, buffer_limit=1000
    )
    client = b.client().send(GET)
    upstream = b.upstream
    upstream.send(b"HTTP/1.1 200 OK\r\ncontent-length: 2048\r\n\r\n" + b"x" * 1500)
    assert not upstream.reading
    b.advance(1.2)
    assert upstream.reading
    upstream.send(b"x" * 548)
    b.advance(2)
    assert client.received().endswith(b"x" * 2048)


def test_a_slow_response_whose_client_leaves_stops(bench: MakeBench) -> None:
    b = faulty(bench, response_rate_limit={"fixed_limit": {"limit_kbps": 1}, **ALL})
    client = b.client().send(GET)
    b.upstream.send(b"HTTP/1.1 200 OK\r\ncontent-length: 2048\r\n\r\n" + b"x" * 2048)
    b.advance(0.1)
    client.close()
    assert b.stat("http.fault.active_faults") == 0


@pytest.mark.parametrize(
    ("header", "delayed"),
    [("x-envoy-fault-delay-request: 1000", True), ("x-envoy-fault-delay-request: -1", False), ("x: y", False)],
)
def test_a_header_asks_for_a_delay(bench: MakeBench, header: str, delayed: bool) -> None:
    b = faulty(bench, delay={"header_delay": {}, **ALL})
    b.client().get("/", header)
    assert (not b.upstreams) is delayed
    b.advance(1.1)
    b.upstream.send(OK)
    assert b.stat("http.fault.delays_injected") == delayed


def test_runtime_changes_how_many_are_aborted_while_it_runs(bench: MakeBench) -> None:
    b = faulty(bench, runtime={"fault.http.abort.abort_percent": 100}, abort={"http_status": 503})
    assert b.client().send(GET).received().startswith(b"HTTP/1.1 503")
    b.runtime.modify({"fault.http.abort.abort_percent": "0"})
    assert not b.client().send(GET).received()
    b.upstream.send(OK)
    assert b.stat("http.fault.aborts_injected") == 1
