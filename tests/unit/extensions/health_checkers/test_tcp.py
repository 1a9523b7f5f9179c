"""TCP health checks over connections that only remember; what Envoy does is in tests/conformance/scenarios."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.unit.http_bench import Bench

MakeBench = Callable[..., Bench]
PING = {"send": {"text": "70696e67"}, "receive": [{"text": "706f6e67"}]}


def checked(bench: MakeBench, tcp: dict[str, Any], accepts: bool = True, **check: Any) -> Bench:
    check = {
        "timeout": "1s",
        "interval": "10s",
        "no_traffic_interval": "10s",
        "initial_jitter": "0.001s",
        "unhealthy_threshold": 2,
        "healthy_threshold": 1,
        "tcp_health_check": tcp,
        **check,
    }
    b = bench(accepts=accepts, cluster={"health_checks": [check]})
    b.advance(0.02)
    return b


def healthy(b: Bench) -> bool:
    return b.cluster.hosts()[0].healthy


def test_a_connection_is_enough(bench: MakeBench) -> None:
    b = checked(bench, {})
    assert healthy(b)
    assert b.upstream.closed
    b.advance(10.02)
    assert len(b.upstreams) == 2


def test_no_connection_is_a_network_failure(bench: MakeBench) -> None:
    b = checked(bench, {}, accepts=False)
    b.upstream.refuse()
    b.advance(10.02)
    b.advance(1.02)
    assert b.stats("cluster.health_check.failure", "cluster.health_check.network_failure") == [2, 2]
    assert b.upstream.closed


def test_bytes_go_and_come_on_one_connection(bench: MakeBench) -> None:
    b = checked(bench, PING)
    assert b.upstream.received() == b"ping"
    b.upstream.send(b"..po", b"ng")
    assert healthy(b)
    b.advance(10.02)
    assert b.upstream.received() == b"ping"
    b.upstream.send(b"pong")
    assert b.stat("cluster.health_check.success") == 2
    assert len(b.upstreams) == 1


def test_a_connection_that_is_not_reused_is_closed_after_the_answer(bench: MakeBench) -> None:
    b = checked(bench, PING, reuse_connection=False)
    b.upstream.send(b"pong")
    assert healthy(b)
    assert b.upstream.closed


def test_the_end_of_the_connection_is_a_failure_at_any_time(bench: MakeBench) -> None:
    b = checked(bench, PING)
    b.upstream.send(b"pong")
    b.upstream.close()
    assert b.stat("cluster.health_check.network_failure") == 1
    b.advance(10.02)
    b.upstream.reset()
    assert b.stat("cluster.health_check.network_failure") == 2


def test_a_flood_of_other_bytes_is_not_read_for_long(bench: MakeBench) -> None:
    b = checked(bench, PING)
    for _ in range(17):
        b.upstream.send(b"x" * 65536)
    assert not b.upstream.reading
    b.advance(1.02)
    assert b.upstream.closed
    assert b.stat("cluster.health_check.failure") == 1


def test_a_check_under_way_ends_with_its_cluster(bench: MakeBench) -> None:
    b = checked(bench, PING)
    b.cluster_manager.stop()
    b.turns.settle()
    assert b.upstream.closed
    assert b.stat("cluster.health_check.failure") == 0


def test_a_proxy_protocol_header_tells_the_addresses_of_each_check(bench: MakeBench) -> None:
    b = checked(bench, {**PING, "proxy_protocol_config": {"version": "V1"}})
    assert b.upstream.received() == b"PROXY TCP4 127.0.0.1 10.0.0.1 50001 80\r\nping"
    b.upstream.send(b"pong")
    b.advance(10.02)
    assert b.upstream.received() == b"PROXY TCP4 127.0.0.1 10.0.0.1 50001 80\r\nping"


def test_a_proxy_protocol_header_of_version_2_is_local(bench: MakeBench) -> None:
    b = checked(bench, {**PING, "proxy_protocol_config": {"version": "V2"}})
    assert b.upstream.received() == b"\r\n\r\n\x00\r\nQUIT\n\x20\x00\x00\x00ping"
