"""How many connections a pool has, and whose they are."""

from __future__ import annotations

from collections.abc import Callable

from tests.unit.http_bench import GET, OK, Bench

MakeBench = Callable[..., Bench]
BREAKERS = "circuit_breakers"


def test_connections_are_made_before_they_are_needed(bench: MakeBench) -> None:
    b = bench(cluster={"preconnect_policy": {"per_upstream_preconnect_ratio": 2.0}})
    first = b.client().send(GET)
    assert len(b.upstreams) == 2
    second = b.client().send(GET)
    assert len(b.upstreams) == 4
    for upstream in b.upstreams:
        if upstream.received():
            upstream.send(OK)
    assert first.received().startswith(b"HTTP/1.1 200 OK\r\n")
    assert second.received().startswith(b"HTTP/1.1 200 OK\r\n")
    assert b.stat("cluster.upstream_cx_total") == 4


def test_no_connection_is_made_early_above_the_limit(bench: MakeBench) -> None:
    limits = {"thresholds": [{"max_connections": 1}]}
    b = bench(cluster={"preconnect_policy": {"per_upstream_preconnect_ratio": 3.0}, BREAKERS: limits})
    b.client().send(GET)
    assert len(b.upstreams) == 1
    assert b.stat("cluster.upstream_cx_overflow") == 1
    b.upstream.send(OK)


def test_downstream_connections_do_not_share(bench: MakeBench) -> None:
    b = bench(cluster={"connection_pool_per_downstream_connection": True})
    clients = [b.client(), b.client()]
    for client in clients:
        for _ in range(2):
            client.send(GET)
            b.upstream.send(OK)
    assert len(b.upstreams) == 2
    assert [upstream.received().count(b"GET") for upstream in b.upstreams] == [2, 2]


def test_a_host_has_no_more_connections_than_it_may(bench: MakeBench) -> None:
    b = bench(cluster={BREAKERS: {"per_host_thresholds": [{"max_connections": 1}]}})
    clients = [b.client().send(GET), b.client().send(GET)]
    assert len(b.upstreams) == 1
    b.upstream.send(OK)
    b.upstream.send(OK)
    assert [client.received()[:12] for client in clients] == [b"HTTP/1.1 200"] * 2


def test_a_pool_that_has_nothing_left_makes_room_for_another(bench: MakeBench) -> None:
    b = bench(
        cluster={BREAKERS: {"thresholds": [{"max_connection_pools": 1}]}}, endpoints=("10.0.0.1:80", "10.0.0.2:80")
    )
    first = b.client().send(GET)
    assert b.client().send(GET).received().endswith(b"no healthy upstream")
    assert b.stat("cluster.upstream_cx_pool_overflow") == 1
    assert b.explanations.last()["connection"].because == "connection pools: 1 of 1"
    b.upstream.send(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
    assert first.received().startswith(b"HTTP/1.1 200 OK\r\n")
    third = b.client().send(GET)
    b.upstream.send(OK)
    assert third.received().startswith(b"HTTP/1.1 200 OK\r\n")
