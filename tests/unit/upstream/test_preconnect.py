"""Connections for the next requests; Envoy's side of it is in tests/conformance/scenarios/preconnect.yaml."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from minienvoy.upstream.preconnect import PeekingLoadBalancer
from tests.unit.http_bench import GET, OK, Bench

MakeBench = Callable[..., Bench]
THREE = ("10.0.0.1:80", "10.0.0.2:80", "10.0.0.3:80")


def ahead(ratio: float, **more: Any) -> dict[str, Any]:
    return {"preconnect_policy": {"predictive_preconnect_ratio": ratio, **more}}


def test_the_next_requests_go_to_the_hosts_that_were_preconnected(bench: MakeBench) -> None:
    b = bench(cluster=ahead(3.0), endpoints=THREE)
    clients = [b.client().send(GET)]
    hosts = {str(each.address) for each in b.upstreams}
    assert len(b.upstreams) == len(hosts) == 3
    clients += [b.client().send(GET) for _ in range(2)]
    assert [each.received().count(b"GET") for each in b.upstreams[:3]] == [1, 1, 1]
    for upstream in b.upstreams:
        upstream.send(OK)
    assert all(client.received().startswith(b"HTTP/1.1 200 ") for client in clients)


def test_an_explanation_says_that_the_host_was_chosen_ahead(bench: MakeBench) -> None:
    b = bench(cluster=ahead(2.0), endpoints=THREE)
    first = b.client().send(GET)
    for upstream in b.upstreams:
        if upstream.received():
            upstream.send(OK)
    b.client().send(GET)
    for upstream in b.upstreams:
        if upstream.received():
            upstream.send(OK)
    assert first.received()
    assert b.explanations.last()["host"].because == "chosen ahead, when it was preconnected"


def test_enough_is_enough(bench: MakeBench) -> None:
    b = bench(cluster=ahead(2.0), endpoints=THREE)
    client = b.client()
    for _ in range(7):
        client.send(GET)
        for upstream in b.upstreams:
            if upstream.received():
                upstream.send(OK)
        assert client.received().startswith(b"HTTP/1.1 200 ")
    assert len(b.upstreams) == 3


def test_a_host_that_has_left_is_not_chosen_because_it_was_promised(bench: MakeBench) -> None:
    b = bench(cluster=ahead(3.0), endpoints=THREE)
    client = b.client().send(GET)
    for upstream in b.upstreams:
        if upstream.received():
            upstream.send(OK)
    client.received()
    cluster = b.cluster
    kept = cluster.priority_set.host_sets[0].hosts[:1]
    cluster.priority_set.update_hosts(cluster.load_assignment.host_set(0, kept))
    assert isinstance(cluster.load_balancer, PeekingLoadBalancer)
    assert {cluster.load_balancer.choose_host(None) for _ in range(4)} == set(kept)


@pytest.mark.parametrize("policy", ["RING_HASH", "MAGLEV"])
def test_who_hashes_can_not_say_who_comes_next(bench: MakeBench, policy: str) -> None:
    b = bench(cluster={**ahead(3.0), "lb_policy": policy}, endpoints=THREE)
    b.client().send(GET)
    assert len(b.upstreams) == 1
    b.upstream.send(OK)


def test_metadata_may_forbid_it(bench: MakeBench) -> None:
    matcher = {"filter": "m", "path": [{"key": "k"}], "value": {"bool_match": True}}
    b = bench(cluster=ahead(3.0, preconnect_enabled_metadata=matcher), endpoints=THREE)
    b.client().send(GET)
    assert len(b.upstreams) == 1
    assert b.stat("cluster.upstream_cx_preconnect_skipped") == 1
    b.upstream.send(OK)
