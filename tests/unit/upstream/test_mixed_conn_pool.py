"""Connections of which TLS says what they speak."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from minienvoy.errors import ConfigError
from minienvoy.record import replace
from minienvoy.upstream.http_conn_pool import HttpConnPool
from minienvoy.upstream.http_protocol_options import UpstreamProtocol
from tests.unit.http_bench import GET, Bench, Client, Upstream
from tests.unit.upstream.test_http2_conn_pool import http2, ok, status, streams

MakeBench = Callable[..., Bench]
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"


def mixed(bench: MakeBench, **cluster: Any) -> Bench:
    """Its connections are plain: `accept` says what was agreed on."""
    b = bench(accepts=False, cluster=cluster)
    b.cluster.http_options = replace(b.cluster.http_options, protocol=UpstreamProtocol.ALPN)
    return b


def accept(upstream: Upstream, alpn: str) -> Upstream:
    upstream.connection.info.ssl = SimpleNamespace(alpn=alpn, connected_time=0.0)
    upstream.accept()
    return upstream


def pool_of(b: Bench) -> HttpConnPool:
    assert b.cluster.http_pools
    pool: HttpConnPool = next(iter(b.cluster.http_pools))
    return pool


def statuses(clients: list[Client]) -> list[bytes]:
    return [status(client) for client in clients]


def test_streams_wait_for_one_connection_as_long_as_it_may_be_http2(bench: MakeBench) -> None:
    b = mixed(bench)
    clients = [b.client().send(GET) for _ in range(3)]
    assert len(b.upstreams) == 1
    accept(b.upstream, "h2")
    assert streams(b.upstream) == [1, 3, 5]
    b.upstream.send(b"\0\0\0\4\0\0\0\0\0", ok(1), ok(3), ok(5))
    assert statuses(clients) == [b"200"] * 3
    names = ("cluster.upstream_cx_http1_total", "cluster.upstream_cx_http2_total", "cluster.upstream_cx_total")
    assert b.stats(*names) == [0, 1, 2]


def test_each_stream_gets_a_connection_once_they_are_http1(bench: MakeBench) -> None:
    b = mixed(bench)
    clients = [b.client().send(GET) for _ in range(3)]
    for at in range(3):
        assert accept(b.upstreams[at], "http/1.1").received().startswith(b"GET / HTTP/1.1\r\n")
    for upstream in b.upstreams:
        upstream.send(OK)
    assert statuses(clients) == [b"200"] * 3
    b.client().send(GET)
    assert len(b.upstreams) == 3
    names = ("cluster.upstream_cx_http1_total", "cluster.upstream_cx_http2_total", "cluster.upstream_cx_total")
    assert b.stats(*names) == [3, 0, 6]


def test_without_an_agreement_it_is_http1(bench: MakeBench) -> None:
    b = mixed(bench)
    client = b.client().send(GET)
    accept(b.upstream, "").send(OK)
    assert status(client) == b"200"
    assert b.stat("cluster.upstream_cx_http1_total") == 1


def test_a_host_may_have_connections_of_both_kinds(bench: MakeBench) -> None:
    b = mixed(bench, common_http_protocol_options={"max_requests_per_connection": 1})
    first = b.client().send(GET)
    accept(b.upstream, "http/1.1").send(OK)
    second = b.client().send(GET)
    accept(b.upstream, "h2").send(b"\0\0\0\4\0\0\0\0\0", ok(1))
    assert statuses([first, second]) == [b"200", b"200"]
    assert [upstream.closed for upstream in b.upstreams] == [True, True]
    assert b.stats("cluster.upstream_cx_active", "cluster.upstream_rq_active") == [0, 0]


def test_who_waits_fails_with_a_connection_that_does_not_come_up(bench: MakeBench) -> None:
    b = mixed(bench)
    clients = [b.client().send(GET) for _ in range(2)]
    b.upstream.refuse()
    assert statuses(clients) == [b"503", b"503"]
    assert b.stats("cluster.upstream_cx_total", "cluster.upstream_cx_connect_fail") == [1, 1]


def test_a_host_that_leaves_takes_its_idle_connections_with_it(bench: MakeBench) -> None:
    b = mixed(bench)
    b.client().send(GET)
    accept(b.upstream, "http/1.1").send(OK)
    pool = pool_of(b)
    pool.drain_connections()
    assert b.upstream.closed


def test_a_busy_http1_connection_closes_after_its_stream_when_its_host_has_left(bench: MakeBench) -> None:
    b = mixed(bench)
    client = b.client().send(GET)
    accept(b.upstream, "http/1.1")
    pool = pool_of(b)
    pool.drain()
    assert not b.upstream.closed
    b.upstream.send(OK)
    assert status(client) == b"200"
    assert b.upstream.closed


def test_connections_are_made_ahead_of_their_streams(bench: MakeBench) -> None:
    b = mixed(
        bench, preconnect_policy={"per_upstream_preconnect_ratio": {"value": 2.0}}, **http2(max_concurrent_streams=1)
    )
    b.client().send(GET)
    assert len(b.upstreams) == 2


def test_a_cluster_that_can_not_agree_is_refused(make_cluster: Callable[..., Any]) -> None:
    name = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
    options = {name: {"@type": f"type.googleapis.com/{name}", "auto_config": {}}}
    with pytest.raises(ConfigError, match="ALPN configured for cluster a which has a non-ALPN transport socket"):
        make_cluster("a", ["1.2.3.4:80"], type="STATIC", typed_extension_protocol_options=options)
