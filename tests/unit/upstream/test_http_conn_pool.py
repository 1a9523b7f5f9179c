"""Connections of one host: who gets one, who waits, when they end. `b.finish()` of the fixture checks the balance."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from minienvoy.upstream.host import HostSet
from tests.unit.http_bench import GET, OK, Bench, Client

MakeBench = Callable[..., Bench]


def numbered(client: Client, number: int) -> Client:
    client.send(GET.replace(b"/ ", b"/%d " % number))
    return client


def breakers(**thresholds: Any) -> dict[str, Any]:
    return {"circuit_breakers": {"thresholds": [thresholds]}}


def protocol(**fields: Any) -> dict[str, Any]:
    return {"common_http_protocol_options": fields}


def status(client: Client) -> bytes:
    return client.received()[9:12]


def test_a_connection_is_used_again(bench: MakeBench) -> None:
    b = bench()
    for _ in range(3):
        b.client().send(GET)
        b.upstream.send(OK)
    assert len(b.upstreams) == 1
    assert b.stats("cluster.upstream_cx_total", "cluster.upstream_rq_total", "cluster.upstream_rq_pending_total") == [
        1,
        3,
        1,
    ]


def test_the_connection_that_was_used_last_is_used_first(bench: MakeBench) -> None:
    b = bench()
    b.client().send(GET)
    b.client().send(GET)
    b.upstreams[1].send(OK)
    b.upstreams[0].send(OK)
    b.upstreams[0].received()
    b.client().send(GET)
    assert b.upstreams[0].received().startswith(b"GET")


def test_streams_that_wait_are_served_in_order(bench: MakeBench) -> None:
    b = bench(cluster=breakers(max_connections=1))
    for number in (1, 2, 3):
        numbered(b.client(), number)
    for number in (1, 2, 3):
        assert b.upstream.received().startswith(b"GET /%d " % number)
        b.upstream.send(OK)
    assert len(b.upstreams) == 1


def test_whoever_comes_free_first_serves_who_waits(bench: MakeBench) -> None:
    b = bench(accepts=False)
    numbered(b.client(), 1)
    numbered(b.client(), 2)
    b.upstreams[1].accept()
    assert b.upstreams[1].received().startswith(b"GET /1 ")
    b.upstreams[1].send(OK)
    assert b.upstreams[1].received().startswith(b"GET /2 ")
    b.upstreams[0].accept()
    assert b.upstreams[0].received() == b""


def test_a_stream_that_is_cancelled_is_passed_over(bench: MakeBench) -> None:
    b = bench(accepts=False)
    first = numbered(b.client(), 1)
    numbered(b.client(), 2)
    first.close()
    assert b.stats("cluster.upstream_rq_cancelled", "cluster.upstream_rq_pending_active") == [1, 1]
    b.upstreams[0].accept()
    assert b.upstreams[0].received().startswith(b"GET /2 ")


def test_a_connection_that_nobody_waits_for_any_more_is_kept(bench: MakeBench) -> None:
    b = bench(accepts=False)
    b.client().send(GET).close()
    b.upstream.accept()
    assert not b.upstream.closed
    b.client().send(GET)
    assert b.upstream.received().startswith(b"GET")
    assert len(b.upstreams) == 1


# -- circuit breakers


def test_no_more_than_max_pending_requests_wait(bench: MakeBench) -> None:
    b = bench(accepts=False, cluster=breakers(max_pending_requests=2))
    clients = [b.client().send(GET) for _ in range(3)]
    answer = clients[2].received()
    assert answer.startswith(b"HTTP/1.1 503 Service Unavailable\r\nx-envoy-overloaded: true\r\n")
    assert answer.endswith(b"reset reason: overflow")
    assert b.stream.response_code_details == "upstream_reset_before_response_started{overflow}"
    assert b.stats("cluster.upstream_rq_pending_overflow", "cluster.upstream_rq_pending_active") == [1, 2]
    assert b.stat("cluster.circuit_breakers.default.rq_pending_open") == 1


def test_no_more_than_max_requests_are_under_way(bench: MakeBench) -> None:
    b = bench(cluster=breakers(max_requests=1))
    first = b.client().send(GET)
    second = b.client().send(GET)
    assert status(second) == b"503"
    assert b.stat("cluster.circuit_breakers.default.rq_open") == 1
    b.upstreams[0].send(OK)
    assert status(first) == b"200"
    b.client().send(GET)
    assert b.stats("cluster.upstream_rq_active_overflow", "cluster.upstream_rq_total") == [1, 2]


def test_the_limit_of_requests_holds_for_an_idle_connection(bench: MakeBench) -> None:
    b = bench(cluster=breakers(max_requests=1))
    clients = [b.client().send(GET), b.client().send(GET)]
    clients[0].received()
    clients[1].received()
    b.upstreams[0].send(OK)
    clients[0].send(GET)
    assert status(b.client().send(GET)) == b"503"


def test_all_who_wait_are_refused_when_requests_are_at_their_limit(bench: MakeBench) -> None:
    b = bench(accepts=False, endpoints=("10.0.0.1:80", "10.0.0.2:80"), cluster=breakers(max_requests=1))
    clients = [b.client().send(GET) for _ in range(6)]
    for upstream in b.upstreams:
        upstream.accept()
    assert sorted(status(client) for client in clients) == [b"", b"503", b"503", b"503", b"503", b"503"]
    assert b.stat("cluster.upstream_rq_pending_active") == 0


def test_nobody_waits_for_good_on_a_connection_that_found_requests_at_their_limit(bench: MakeBench) -> None:
    limits = breakers(max_requests=1, max_connections=1)
    b = bench(accepts=False, endpoints=("10.0.0.1:80", "10.0.0.2:80"), cluster=limits)
    clients = [b.client().send(GET) for _ in range(4)]
    b.upstreams[0].accept()
    b.upstreams[1].accept()
    assert [status(client) for client in clients] == [b"", b"503", b"", b"503"]
    b.upstreams[0].send(OK)
    b.upstreams[0].send(OK)
    assert [status(client) for client in clients] == [b"200", b"", b"200", b""]


def test_no_more_than_max_connections_but_one_for_each_host(bench: MakeBench) -> None:
    b = bench(endpoints=("10.0.0.1:80", "10.0.0.2:80"), cluster=breakers(max_connections=1))
    for _ in range(4):
        b.client().send(GET)
    assert sorted(upstream.address.host for upstream in b.upstreams) == ["10.0.0.1", "10.0.0.2"]
    assert b.stats("cluster.upstream_cx_overflow", "cluster.upstream_rq_pending_active") == [3, 2]
    assert b.stat("cluster.circuit_breakers.default.cx_open") == 1


def test_who_waits_gets_a_new_connection_when_one_has_ended(bench: MakeBench) -> None:
    b = bench(cluster=breakers(max_connections=2))
    clients = [b.client().send(GET) for _ in range(4)]
    b.upstreams[0].send(OK.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n"))
    assert len(b.upstreams) == 3
    b.upstreams[2].send(OK)
    assert [status(client) for client in clients] == [b"200", b"", b"200", b""]


# -- connections that end


def test_a_connection_that_the_host_wants_to_end_is_not_used_again(bench: MakeBench) -> None:
    b = bench()
    client = b.client().send(GET)
    b.upstream.send(OK.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n"))
    assert b"connection: close" not in client.received()
    assert b.upstream.closed
    client.send(GET)
    assert len(b.upstreams) == 2


def test_an_idle_connection_that_the_host_closes_is_forgotten(bench: MakeBench) -> None:
    b = bench()
    client = b.client().send(GET)
    b.upstream.send(OK)
    b.upstream.close()
    assert b.stats("cluster.upstream_cx_destroy_remote", "cluster.upstream_cx_destroy_with_active_rq") == [1, 0]
    client.send(GET)
    b.upstream.send(OK)
    assert len(b.upstreams) == 2


def test_max_requests_per_connection(bench: MakeBench) -> None:
    b = bench(cluster=protocol(max_requests_per_connection=2))
    client = b.client()
    for _ in range(4):
        client.send(GET)
        b.upstream.send(OK)
        assert status(client) == b"200"
    assert len(b.upstreams) == 2
    assert b.stat("cluster.upstream_cx_max_requests") == 2


def test_an_idle_connection_is_closed_after_the_idle_timeout(bench: MakeBench) -> None:
    b = bench(cluster=protocol(idle_timeout="2s"))
    client = b.client().send(GET)
    b.advance(5)
    b.upstream.send(OK)
    b.advance(1.9)
    client.send(GET)
    b.upstream.send(OK)
    b.advance(1.9)
    assert not b.upstream.closed
    b.advance(0.2)
    assert b.upstream.closed
    assert b.stats("cluster.upstream_cx_idle_timeout", "cluster.upstream_cx_destroy_local") == [1, 1]


def test_a_connection_that_served_who_waited_is_closed_after_the_idle_timeout(bench: MakeBench) -> None:
    b = bench(cluster={**breakers(max_connections=1), **protocol(idle_timeout="2s")})
    b.client().send(GET)
    b.client().send(GET)
    b.upstream.send(OK)
    b.upstream.send(OK)
    b.advance(2.1)
    assert b.upstream.closed


def test_a_connection_that_was_never_used_is_closed_after_the_idle_timeout(bench: MakeBench) -> None:
    b = bench(accepts=False, cluster=protocol(idle_timeout="2s"))
    b.client().send(GET).close()
    b.upstream.accept()
    b.advance(2.1)
    assert b.upstream.closed


def test_an_idle_timeout_of_0_is_none(bench: MakeBench) -> None:
    b = bench(cluster=protocol(idle_timeout="0s"))
    b.client().send(GET)
    b.upstream.send(OK)
    b.advance(100_000)
    assert not b.upstream.closed


def test_an_idle_connection_is_closed_after_max_connection_duration(bench: MakeBench) -> None:
    b = bench(cluster=protocol(max_connection_duration="3s"))
    b.client().send(GET)
    b.upstream.send(OK)
    b.advance(3.1)
    assert b.upstream.closed
    assert b.stat("cluster.upstream_cx_max_duration_reached") == 1


def test_a_busy_connection_is_closed_when_it_is_done_after_max_connection_duration(bench: MakeBench) -> None:
    b = bench(cluster=protocol(max_connection_duration="3s"))
    client = b.client().send(GET)
    b.advance(3.1)
    assert not b.upstream.closed
    b.upstream.send(OK)
    assert status(client) == b"200"
    assert b.upstream.closed


# -- hosts that go away


def remove_hosts(b: Bench) -> None:
    b.cluster.priority_set.update_hosts(HostSet(0, ()))


def test_the_idle_connections_of_a_removed_host_are_closed(bench: MakeBench) -> None:
    b = bench()
    b.client().send(GET)
    b.upstream.send(OK)
    remove_hosts(b)
    assert b.upstream.closed


def test_a_busy_connection_of_a_removed_host_ends_after_its_stream(bench: MakeBench) -> None:
    b = bench()
    client = b.client().send(GET)
    remove_hosts(b)
    assert not b.upstream.closed
    b.upstream.send(OK)
    assert status(client) == b"200"
    assert b.upstream.closed


def test_who_waits_for_a_removed_host_is_still_served(bench: MakeBench) -> None:
    b = bench(accepts=False)
    client = b.client().send(GET)
    remove_hosts(b)
    b.upstream.accept()
    b.upstream.send(OK)
    assert status(client) == b"200"
    assert b.upstream.closed


def test_all_who_wait_for_a_removed_host_are_served(bench: MakeBench) -> None:
    b = bench(cluster=breakers(max_connections=1))
    clients = [b.client().send(GET) for _ in range(3)]
    remove_hosts(b)
    for upstream in (0, 1, 2):
        b.upstreams[upstream].send(OK)
    assert [status(client) for client in clients] == [b"200"] * 3


def test_a_connection_to_a_removed_host_that_nobody_waits_for_is_closed(bench: MakeBench) -> None:
    b = bench(accepts=False)
    b.client().send(GET).close()
    remove_hosts(b)
    b.upstream.accept()
    assert b.upstream.closed


def test_closing_a_pool_tells_those_who_wait(bench: MakeBench) -> None:
    b = bench(accepts=False)
    clients = [b.client().send(GET), b.client().send(GET)]
    (pool,) = b.hosts[0].http_pools.values()
    pool.close()
    assert [status(client) for client in clients] == [b"503", b"503"]
    assert all(upstream.closed for upstream in b.upstreams)


# -- bytes


def test_bytes_are_counted_while_connections_are_open_and_when_they_are_closed(bench: MakeBench) -> None:
    b = bench()
    b.client().send(GET)
    sent = len(b.upstream.received())
    b.upstream.send(OK)
    expected = [len(OK), sent]
    assert b.stats("cluster.upstream_cx_rx_bytes_total", "cluster.upstream_cx_tx_bytes_total") == expected
    b.upstream.close()
    assert b.stats("cluster.upstream_cx_rx_bytes_total", "cluster.upstream_cx_tx_bytes_total") == expected


def test_bytes_of_open_connections_are_forgotten_by_a_reset_of_counters(bench: MakeBench) -> None:
    b = bench()
    client = b.client().send(GET)
    b.upstream.send(OK)
    b.store.reset_counters()
    assert b.stats("cluster.upstream_cx_rx_bytes_total", "cluster.upstream_cx_tx_bytes_total") == [0, 0]
    client.send(GET)
    b.upstream.send(OK)
    assert b.stat("cluster.upstream_cx_rx_bytes_total") == len(OK)


@pytest.mark.parametrize("connections", [1, 3])
def test_the_requests_of_each_connection_are_recorded(bench: MakeBench, connections: int) -> None:
    b = bench()
    for _ in range(connections):
        b.client().send(GET)
    for upstream in b.upstreams:
        upstream.send(OK)
        upstream.close()
    b.store.merge_histograms()
    recorded = b.cluster.stats.traffic.upstream_rq_per_cx.cumulative_statistics()
    assert recorded.sample_count == connections
