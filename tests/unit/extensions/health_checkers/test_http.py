"""HTTP health checks over connections that only remember; what Envoy does is in tests/conformance/scenarios."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from minienvoy.extensions.health_checkers.http import HttpHealthCheckClient
from minienvoy.upstream.host import HealthFlag
from tests.unit.http_bench import GET, OK, Bench

MakeBench = Callable[..., Bench]
EMPTY = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"


def checked(bench: MakeBench, *, cluster: dict[str, Any] | None = None, **check: Any) -> Bench:
    """A cluster whose first check is on its way."""
    http = {"path": "/hc", **check.pop("http", {})}
    check = {
        "timeout": "1s",
        "interval": "10s",
        "no_traffic_interval": "10s",
        "initial_jitter": "0.001s",
        "unhealthy_threshold": 2,
        "healthy_threshold": 1,
        "http_health_check": http,
        **check,
    }
    b = bench(cluster={"health_checks": [check], **(cluster or {})})
    b.advance(0.02)
    return b


def healthy(b: Bench) -> bool:
    return b.cluster.hosts()[0].healthy


def test_the_request_is_envoys(bench: MakeBench) -> None:
    b = checked(bench)
    assert b.upstream.received() == b"GET /hc HTTP/1.1\r\nhost: a\r\nuser-agent: Envoy/HC\r\n\r\n"
    assert not healthy(b)
    b.upstream.send(EMPTY)
    assert healthy(b)


def test_the_connection_is_used_again(bench: MakeBench) -> None:
    b = checked(bench)
    b.upstream.send(EMPTY)
    b.upstream.received()
    b.advance(10.02)
    assert b.upstream.received().startswith(b"GET /hc ")
    assert len(b.upstreams) == 1


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
        b"HTTP/1.0 200 OK\r\ncontent-length: 0\r\n\r\n",
    ],
)
def test_a_connection_that_is_to_be_closed_is_closed(bench: MakeBench, answer: bytes) -> None:
    b = checked(bench)
    b.upstream.send(answer)
    assert healthy(b)
    assert b.upstream.closed
    b.advance(10.02)
    assert len(b.upstreams) == 2


def test_a_connection_that_is_not_reused_is_closed_after_the_answer(bench: MakeBench) -> None:
    b = checked(bench, reuse_connection=False)
    b.upstream.send(EMPTY)
    assert b.upstream.closed


def test_a_connection_that_is_idle_too_long_is_closed(bench: MakeBench) -> None:
    b = checked(bench, cluster={"common_http_protocol_options": {"idle_timeout": "3s"}})
    b.upstream.send(EMPTY)
    b.advance(3.02)
    assert b.upstream.closed
    assert b.stat("cluster.upstream_cx_idle_timeout") == 1
    b.advance(7)
    assert len(b.upstreams) == 2
    assert b.stat("cluster.health_check.failure") == 0


def test_the_end_of_an_idle_connection_means_nothing(bench: MakeBench) -> None:
    b = checked(bench)
    b.upstream.send(EMPTY)
    b.upstream.close()
    assert healthy(b)
    b.advance(10.02)
    assert len(b.upstreams) == 2


def test_an_answer_may_come_in_pieces(bench: MakeBench) -> None:
    b = checked(bench, http={"receive": [{"text": "6f6b"}]})
    for byte in OK:
        b.upstream.send(bytes([byte]))
    assert healthy(b)


def test_an_answer_may_end_with_its_connection(bench: MakeBench) -> None:
    b = checked(bench)
    b.upstream.send(b"HTTP/1.1 200 OK\r\n\r\nhello")
    assert not healthy(b)
    b.upstream.close()
    assert healthy(b)


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhe",
        b"HTTP/1.1 200 OK\r\n",
        b"",
    ],
)
def test_an_answer_that_is_cut_short_is_a_network_failure(bench: MakeBench, answer: bytes) -> None:
    b = checked(bench)
    b.upstream.send(answer)
    b.upstream.close()
    assert b.stats("cluster.health_check.failure", "cluster.health_check.network_failure") == [1, 1]


@pytest.mark.parametrize("answer", [b"garbage\r\n\r\n", b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n"])
def test_garbage_is_a_network_failure_and_ends_the_connection(bench: MakeBench, answer: bytes) -> None:
    b = checked(bench)
    b.upstream.send(answer)
    assert b.upstream.closed
    assert b.stats("cluster.health_check.network_failure", "cluster.upstream_cx_protocol_error") == [1, 1]


def test_more_than_an_answer_ends_the_connection_but_the_answer_counts(bench: MakeBench) -> None:
    b = checked(bench)
    b.upstream.send(EMPTY + EMPTY)
    assert healthy(b)
    assert b.upstream.closed
    assert b.stat("cluster.upstream_cx_protocol_error") == 1


def test_bytes_that_nobody_asked_for_end_the_connection(bench: MakeBench) -> None:
    b = checked(bench)
    b.upstream.send(EMPTY)
    b.upstream.send(EMPTY)
    assert b.upstream.closed
    assert b.stat("cluster.health_check.success") == 1


def test_no_answer_in_time(bench: MakeBench) -> None:
    b = checked(bench)
    b.upstream.send(b"HTTP/1.1 200 OK\r\n")
    b.advance(1.02)
    assert b.upstream.closed
    assert b.cluster.hosts()[0].health_flags & HealthFlag.ACTIVE_HC_TIMEOUT
    b.upstream.send(b"content-length: 0\r\n\r\n")  # too late
    assert b.stats("cluster.health_check.failure", "cluster.health_check.success") == [1, 0]


def test_a_connection_that_does_not_come_up_in_time(bench: MakeBench) -> None:
    b = bench(accepts=False, cluster={"health_checks": [_check()]})
    b.advance(0.02)
    b.advance(1.02)
    assert b.upstream.closed
    assert b.stat("cluster.health_check.network_failure") == 1


def test_a_refused_connection(bench: MakeBench) -> None:
    b = bench(accepts=False, cluster={"health_checks": [_check()]})
    b.advance(0.02)
    b.upstream.refuse()
    assert b.stat("cluster.health_check.network_failure") == 1
    b.advance(10.02)
    assert len(b.upstreams) == 2


def _check() -> dict[str, Any]:
    return {
        "timeout": "1s",
        "interval": "10s",
        "no_traffic_interval": "10s",
        "initial_jitter": "0.001s",
        "unhealthy_threshold": 1,
        "healthy_threshold": 1,
        "http_health_check": {"path": "/"},
    }


def test_an_endless_body_takes_no_memory_and_no_longer_than_the_timeout(bench: MakeBench) -> None:
    b = checked(bench, http={"receive": [{"text": "00"}], "response_buffer_size": 0})
    b.upstream.send(b"HTTP/1.1 200 OK\r\n\r\n")
    session = next(iter(b.cluster.health.checker.sessions.values()))  # type: ignore[union-attr]
    for _ in range(200):
        b.upstream.send(b"x" * 65536)
    client = session._client
    assert isinstance(client, HttpHealthCheckClient)
    assert len(client._matcher._tail) < 2
    b.advance(1.02)
    assert b.upstream.closed


def test_what_is_behind_the_limit_is_not_looked_at(bench: MakeBench) -> None:
    b = checked(bench, http={"receive": [{"text": "21"}], "response_buffer_size": 3})
    b.upstream.send(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nab", b"c!")
    assert b.stat("cluster.health_check.failure") == 1


def test_a_check_under_way_ends_with_its_cluster(bench: MakeBench) -> None:
    b = checked(bench)
    b.cluster_manager.stop()
    b.turns.settle()
    assert b.upstream.closed
    assert b.dispatcher.next_deadline() is None


def test_runtime_can_turn_the_name_of_the_service_off(bench: MakeBench) -> None:
    http = {"service_name_matcher": {"exact": "somebody"}}
    b = checked(bench, http=http)
    b.upstream.send(EMPTY)
    assert not healthy(b)
    assert b.stat("cluster.health_check.verify_cluster") == 1
    b.runtime.modify({"health_check.verify_cluster": "0"})
    b.advance(10.02)
    b.upstream.send(EMPTY)
    assert healthy(b)


def test_requests_go_on_while_a_check_waits(bench: MakeBench) -> None:
    b = checked(bench)
    client = b.client().send(GET)
    b.upstream.send(OK)
    assert client.received().endswith(b"ok")
    assert b.stats("cluster.upstream_cx_total", "cluster.upstream_rq_total") == [1, 1]


def test_a_header_that_can_not_be_sent_fails_the_check(bench: MakeBench) -> None:
    header = {"header": {"key": "x-a", "value": "%UPSTREAM_METADATA(a:b)%"}}
    http = {"path": "/", "request_headers_to_add": [header]}
    b = bench(cluster={"health_checks": [{**_check(), "initial_jitter": "0.001s", "http_health_check": http}]})
    b.cluster.hosts()[0].metadata = {"a": {"b": "1\n2"}}
    b.advance(0.02)
    assert b.upstream.closed
    assert b.upstream.received() == b""
    assert b.stats("cluster.health_check.attempt", "cluster.health_check.network_failure") == [1, 1]
