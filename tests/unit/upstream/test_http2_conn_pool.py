"""Connections that many streams share: who gets one, who waits, when they end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import hpack

from minienvoy.http.http2.frames import PREFACE, frame, goaway, rst_stream, settings_frame
from tests.unit.http_bench import GET, Bench, Client, Upstream

MakeBench = Callable[..., Bench]


def http2(**options: Any) -> dict[str, Any]:
    return {"http2_protocol_options": options}


def limited(**options: Any) -> dict[str, Any]:
    return {**http2(), "common_http_protocol_options": options}


def ok(stream: int) -> bytes:
    return frame(1, 5, stream, hpack.Encoder().encode([(":status", "200")]))


def streams(upstream: Upstream) -> list[int]:
    """Whose HEADERS have come since the last time."""
    data = upstream.received().removeprefix(PREFACE)
    found = []
    while data:
        length = int.from_bytes(data[:3], "big")
        if data[3] == 1:
            found.append(int.from_bytes(data[5:9], "big"))
        data = data[9 + length :]
    return found


def status(client: Client) -> bytes:
    return client.received()[9:12]


def answer(b: Bench, upstream: Upstream, *numbers: int) -> None:
    upstream.send(b"".join(map(ok, numbers)))


def test_streams_share_a_connection(bench: MakeBench) -> None:
    b = bench(cluster=http2())
    clients = [b.client().send(GET) for _ in range(3)]
    assert len(b.upstreams) == 1
    assert streams(b.upstream) == [1, 3, 5]
    answer(b, b.upstream.send(settings_frame([])), 5, 1, 3)
    assert [status(client) for client in clients] == [b"200"] * 3
    names = ("cluster.upstream_cx_http2_total", "cluster.upstream_rq_total", "cluster.upstream_rq_active")
    assert b.stats(*names) == [1, 3, 0]


def test_streams_wait_together_for_a_connection(bench: MakeBench) -> None:
    b = bench(accepts=False, cluster=http2())
    for _ in range(5):
        b.client().send(GET)
    assert len(b.upstreams) == 1
    assert b.stat("cluster.upstream_rq_pending_active") == 5
    b.upstream.accept()
    assert streams(b.upstream) == [1, 3, 5, 7, 9]
    assert b.stat("cluster.upstream_rq_pending_active") == 0


def test_a_connection_that_fails_fails_all_who_wait(bench: MakeBench) -> None:
    b = bench(accepts=False, cluster=http2())
    clients = [b.client().send(GET) for _ in range(3)]
    b.upstream.refuse()
    assert [status(client) for client in clients] == [b"503"] * 3


def test_more_streams_than_one_connection_takes_get_another(bench: MakeBench) -> None:
    b = bench(cluster=http2(max_concurrent_streams=2))
    for _ in range(5):
        b.client().send(GET)
    assert [streams(upstream) for upstream in b.upstreams] == [[1, 3], [1, 3], [1]]


def test_the_peer_may_take_fewer_streams(bench: MakeBench) -> None:
    b = bench(cluster={**http2(), "circuit_breakers": {"thresholds": [{"max_connections": 1}]}})
    b.client().send(GET)
    b.upstream.send(settings_frame([(3, 1)]))
    b.client().send(GET)
    assert streams(b.upstream) == [1]
    assert b.stat("cluster.upstream_rq_pending_active") == 1
    answer(b, b.upstream, 1)
    assert streams(b.upstream) == [3]


def test_goaway_ends_the_connection_after_its_last_stream(bench: MakeBench) -> None:
    b = bench(cluster=http2())
    first = b.client().send(GET)
    old = b.upstream.send(settings_frame([]) + goaway(1, 0))
    second = b.client().send(GET)
    assert len(b.upstreams) == 2
    answer(b, old, 1)
    assert status(first) == b"200"
    assert old.closed
    answer(b, b.upstream.send(settings_frame([])), 1)
    assert status(second) == b"200"
    assert b.stat("cluster.upstream_cx_close_notify") == 1


def test_goaway_on_an_idle_connection_ends_it(bench: MakeBench) -> None:
    b = bench(cluster=http2())
    b.client().send(GET)
    answer(b, b.upstream.send(settings_frame([])), 1)
    b.upstream.send(goaway(1, 0))
    assert b.upstream.closed


def test_max_requests_per_connection_counts_streams(bench: MakeBench) -> None:
    b = bench(cluster=limited(max_requests_per_connection=2))
    for _ in range(3):
        b.client().send(GET)
    assert [streams(upstream) for upstream in b.upstreams] == [[1, 3], [1]]
    answer(b, b.upstreams[0].send(settings_frame([])), 1, 3)
    assert b.upstreams[0].closed
    assert b.stat("cluster.upstream_cx_max_requests") == 1


def test_the_idle_timeout_begins_after_the_last_stream(bench: MakeBench) -> None:
    b = bench(cluster=limited(idle_timeout="2s"))
    b.client().send(GET)
    b.upstream.send(settings_frame([]))
    b.advance(5)
    answer(b, b.upstream, 1)
    b.advance(1.9)
    assert not b.upstream.closed
    b.advance(0.2)
    assert b.upstream.closed
    assert b.stat("cluster.upstream_cx_idle_timeout") == 1


def test_after_max_connection_duration_it_takes_no_new_streams(bench: MakeBench) -> None:
    b = bench(cluster=limited(max_connection_duration="2s"))
    b.client().send(GET)
    old = b.upstream.send(settings_frame([]))
    b.advance(2.1)
    b.client().send(GET)
    assert len(b.upstreams) == 2
    answer(b, old, 1)
    assert old.closed


def test_no_more_requests_than_the_breaker_lets_through(bench: MakeBench) -> None:
    b = bench(cluster={**http2(), "circuit_breakers": {"thresholds": [{"max_requests": 1}]}})
    clients = [b.client().send(GET), b.client().send(GET)]
    assert [status(client) for client in clients] == [b"", b"503"]
    answer(b, b.upstream.send(settings_frame([])), 1)
    assert status(clients[0]) == b"200"
    assert b.stats("cluster.upstream_rq_active_overflow", "cluster.upstream_rq_active") == [1, 0]


def test_a_client_that_leaves_resets_its_stream_only(bench: MakeBench) -> None:
    b = bench(cluster=http2())
    first, second = b.client().send(GET), b.client().send(GET)
    b.upstream.send(settings_frame([]))
    b.upstream.received()
    first.close()
    assert rst_stream(1, 2) in b.upstream.received()
    answer(b, b.upstream, 3)
    assert status(second) == b"200"
    assert b.stats("cluster.upstream_rq_tx_reset", "cluster.upstream_rq_active") == [1, 0]


def test_a_connection_that_ends_takes_its_streams_with_it(bench: MakeBench) -> None:
    b = bench(cluster=http2())
    clients = [b.client().send(GET) for _ in range(3)]
    b.upstream.close()
    assert [status(client) for client in clients] == [b"503"] * 3
    names = ("cluster.upstream_cx_destroy_remote_with_active_rq", "cluster.upstream_rq_active")
    assert b.stats(*names, "cluster.upstream_cx_active", "cluster.http2.streams_active") == [1, 0, 0, 0]


def test_a_peer_that_answers_no_ping_is_left(bench: MakeBench) -> None:
    b = bench(cluster=http2(connection_keepalive={"interval": "1s", "timeout": "2s", "interval_jitter": {"value": 0}}))
    client = b.client().send(GET)
    b.upstream.send(settings_frame([]))
    b.advance(1.1)
    b.advance(2.1)
    assert b.upstream.closed
    assert status(client) == b"503"
    assert b.stat("cluster.http2.keepalive_timeout") == 1


def test_a_slow_upstream_makes_the_client_wait(bench: MakeBench) -> None:
    b = bench(cluster={**http2(), "per_connection_buffer_limit_bytes": 1000})
    client = b.client()
    client.send(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 200000\r\n\r\n" + bytes(100_000))
    assert not client.reading
    b.upstream.send(settings_frame([]) + frame(8, 0, 0, (1 << 20).to_bytes(4, "big")))
    b.upstream.send(frame(8, 0, 1, (1 << 20).to_bytes(4, "big")))
    assert client.reading


def test_a_slow_client_gets_no_more_than_the_window(bench: MakeBench) -> None:
    b = bench(cluster=http2(initial_stream_window_size=65535, initial_connection_window_size=65535), buffer_limit=1000)
    client = b.client().send(GET)
    client.block()
    b.upstream.send(settings_frame([]) + frame(1, 4, 1, hpack.Encoder().encode([(":status", "200")])))
    b.upstream.received()
    b.upstream.send(frame(0, 0, 1, bytes(16_000)))
    b.upstream.received()
    for _ in range(2):
        b.upstream.send(frame(0, 0, 1, bytes(16_000)))
    assert b.upstream.received() == b""
    client.unblock()
    assert frame(8, 0, 1, (48_000).to_bytes(4, "big"))[3:9] in b.upstream.received()


def test_hosts_that_leave_are_drained(bench: MakeBench) -> None:
    b = bench(cluster=http2())
    client = b.client().send(GET)
    b.upstream.send(settings_frame([]))
    host = b.cluster.hosts()[0]
    for pool in tuple(host.http_pools.values()):
        pool.drain()
    assert not b.upstream.closed
    answer(b, b.upstream, 1)
    assert status(client) == b"200"
    assert b.upstream.closed
    assert host.http_pools == {}


def test_more_connections_than_are_needed_where_that_is_wanted(bench: MakeBench) -> None:
    options = http2(max_concurrent_streams=1)
    b = bench(cluster={**options, "preconnect_policy": {"per_upstream_preconnect_ratio": 2.0}})
    b.client().send(GET)
    assert len(b.upstreams) == 2


def test_a_host_forgets_who_has_waited_for_it(bench: MakeBench) -> None:
    b = bench(accepts=False, cluster=http2())
    client = b.client().send(GET)
    (host,) = b.cluster.hosts()
    assert host.stats.rq_pending_active == 1
    b.upstream.accept()
    assert host.stats.rq_pending_active == 0
    answer(b, b.upstream.send(settings_frame([])), 1)
    assert status(client) == b"200"
