"""Shadows of requests, which nobody waits for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from minienvoy.errors import ConfigError
from minienvoy.router.shadow_writer import shadow_host
from tests.unit.http_bench import GET, OK, Bench

MakeBench = Callable[..., Bench]
POST = b"POST / HTTP/1.1\r\nhost: a.com\r\ncontent-length: 4\r\n\r\n"


def shadowed(*policies: dict[str, Any], **fields: Any) -> list[Any]:
    action = {"cluster": "a", "request_mirror_policies": list(policies) or [{"cluster": "a"}], **fields}
    return [{"match": {"prefix": "/"}, "route": action}]


@pytest.mark.parametrize(
    ("host", "shadow"),
    [(b"a.test", b"a.test-shadow"), (b"a.test:80", b"a.test-shadow:80"), (b"a:b", b"a:b-shadow")],
)
def test_the_port_of_a_shadow_stays_at_the_end(host: bytes, shadow: bytes) -> None:
    assert shadow_host(host) == shadow


def test_a_shadow_is_marked_as_one_and_its_answer_is_dropped(bench: MakeBench) -> None:
    b = bench(shadowed())
    client = b.client().send(GET)
    upstream, shadow = b.upstreams
    text = shadow.received()
    assert b"host: a.com-shadow\r\n" in text
    assert b"x-envoy-internal: true\r\nx-forwarded-for: 192.0.2.2\r\n" in text
    assert b"shadow" not in upstream.received()
    shadow.send(b"HTTP/1.1 500 Oh\r\ncontent-length: 2\r\n\r\nno")
    assert client.received() == b""
    upstream.send(OK)
    assert client.received().startswith(b"HTTP/1.1 200 OK\r\n")
    assert b.stats("cluster.internal.upstream_rq_500", "cluster.external.upstream_rq_200") == [1, 1]


def test_a_shadow_gets_the_body_as_it_comes(bench: MakeBench) -> None:
    b = bench(shadowed())
    client = b.client().send(POST, b"ab")
    upstream, shadow = b.upstreams
    assert shadow.received().endswith(b"\r\n\r\nab")
    client.send(b"cd")
    assert shadow.received().endswith(b"cd")
    upstream.send(OK)
    shadow.send(OK)
    assert b.stat("cluster.upstream_rq_active") == 0


def test_a_body_waits_for_the_connection_of_the_shadow(bench: MakeBench) -> None:
    b = bench(shadowed(), accepts=False)
    b.client().send(POST, b"abcd")
    b.upstreams[-1].accept()
    assert b.upstreams[-1].received().endswith(b"\r\n\r\nabcd")


def test_a_shadow_with_too_much_to_wait_for_makes_the_client_wait(bench: MakeBench) -> None:
    b = bench(shadowed(), accepts=False, buffer_limit=100)
    client = b.client().send(b"POST / HTTP/1.1\r\nhost: a.com\r\ncontent-length: 300\r\n\r\n", b"x" * 101)
    b.upstreams[0].accept()  # the request's own: the shadow is the second
    assert b.stat("http.downstream_flow_control_paused_reading_total") == 1
    assert b.stat("http.downstream_flow_control_resumed_reading_total") == 0
    b.upstreams[-1].accept()
    assert b.stat("http.downstream_flow_control_resumed_reading_total") == 1
    client.send(b"x" * 199)
    assert all(each.received().endswith(b"x" * 300) for each in b.upstreams)


def test_a_shadow_that_fails_while_the_client_waits_lets_it_go_on(bench: MakeBench) -> None:
    b = bench(shadowed(), accepts=False, buffer_limit=100)
    b.client().send(b"POST / HTTP/1.1\r\nhost: a.com\r\ncontent-length: 300\r\n\r\n", b"x" * 101)
    b.upstreams[0].accept()
    b.upstreams[-1].refuse()
    assert b.stat("http.downstream_flow_control_resumed_reading_total") == 1


def test_a_shadow_that_fails_disturbs_nothing(bench: MakeBench) -> None:
    b = bench(shadowed())
    client = b.client().send(GET)
    upstream, shadow = b.upstreams
    shadow.reset()
    upstream.send(OK)
    assert client.received().startswith(b"HTTP/1.1 200 OK\r\n")
    assert b.stat("cluster.internal.upstream_rq_503") == 1


def test_a_shadow_of_a_request_that_breaks_off_breaks_off(bench: MakeBench) -> None:
    b = bench(shadowed())
    b.client().send(POST, b"ab").close()
    assert [each.closed for each in b.upstreams] == [True, True]


def test_a_shadow_outlives_a_request_that_is_complete(bench: MakeBench) -> None:
    b = bench(shadowed())
    b.client().send(GET)
    upstream, shadow = b.upstreams
    upstream.send(OK)
    assert b.stat("cluster.upstream_rq_active") == 1
    shadow.send(OK)
    assert b.stats("cluster.upstream_rq_active", "cluster.upstream_rq_200") == [0, 2]


def test_a_shadow_has_the_timeout_of_its_route(bench: MakeBench) -> None:
    b = bench(shadowed(timeout="3s"))
    b.client().send(GET)
    upstream, shadow = b.upstreams
    upstream.send(OK)
    b.advance(3.1)
    assert shadow.closed
    assert b.stats("cluster.upstream_rq_timeout", "cluster.internal.upstream_rq_504") == [1, 1]


def test_a_shadow_without_a_host_to_go_to_is_counted(bench: MakeBench) -> None:
    b = bench(shadowed({"cluster": "empty"}))
    b.client().send(GET)
    assert len(b.upstreams) == 1
    assert b.store.value("cluster.empty.upstream_cx_none_healthy") == 1
    b.upstream.send(OK)


@pytest.mark.parametrize(("numerator", "connections"), [(0, 1), (100, 2)])
def test_a_fraction_of_requests_is_shadowed(bench: MakeBench, numerator: int, connections: int) -> None:
    b = bench(shadowed({"cluster": "a", "runtime_fraction": {"default_value": {"numerator": numerator}}}))
    b.client().send(GET)
    assert len(b.upstreams) == connections
    for each in b.upstreams:
        each.send(OK)


def test_a_shadow_names_one_cluster_or_one_header(bench: MakeBench) -> None:
    with pytest.raises(ConfigError, match="exactly one of cluster and cluster_header"):
        bench(shadowed({"cluster": "a", "cluster_header": "x-a"}))


def test_the_cluster_of_a_shadow_must_exist(bench: MakeBench) -> None:
    with pytest.raises(ConfigError, match="route: unknown shadow cluster 'nope'"):
        bench(shadowed({"cluster": "nope"}), route_config={"validate_clusters": True})
