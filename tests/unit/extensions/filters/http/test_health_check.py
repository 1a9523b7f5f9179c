"""The filter over simulated time; what Envoy answers is in tests/conformance/scenarios/health_check_filter.yaml."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from minienvoy.stream_info import ResponseFlag
from minienvoy.upstream.host import HealthFlag
from tests.unit.http_bench import OK, Bench

MakeBench = Callable[..., Bench]
HEALTHZ = {"headers": [{"name": ":path", "string_match": {"exact": "/healthz"}}]}


def filtered(bench: MakeBench, *, endpoints: tuple[str, ...] = ("10.0.0.1:80",), **settings: Any) -> Bench:
    return bench(http_filters={"health_check": {**HEALTHZ, **settings}}, endpoints=endpoints)


def ask(b: Bench, path: str = "/healthz") -> str:
    return b.client().get(path).received().decode()


def test_the_filter_answers_and_names_the_cluster_of_this_server(bench: MakeBench) -> None:
    b = filtered(bench, pass_through_mode=False)
    answer = ask(b)
    assert answer.startswith("HTTP/1.1 200 OK\r\nx-envoy-upstream-healthchecked-cluster: service\r\n")
    assert b.stream.response_code_details == "health_check_ok"
    assert b.stream.is_health_check
    assert not b.upstreams


def test_checks_are_not_counted_as_requests(bench: MakeBench) -> None:
    b = filtered(bench, pass_through_mode=False)
    ask(b)
    assert b.stats("http.downstream_rq_total", "http.downstream_rq_2xx", "http.downstream_rq_completed") == [1, 0, 0]
    assert b.stats("http.tracing.health_check", "http.health_check.ok") == [1, 1]


def test_other_requests_pass(bench: MakeBench) -> None:
    b = filtered(bench, pass_through_mode=False)
    client = b.client().get("/other")
    b.upstream.send(OK)
    assert b"healthchecked" not in client.received()
    assert b.stat("http.downstream_rq_2xx") == 1


def test_a_check_that_passes_through_is_not_charged_to_the_upstream(bench: MakeBench) -> None:
    b = filtered(bench, pass_through_mode=True)
    client = b.client().get("/healthz")
    b.upstream.send(OK)
    assert b"x-envoy-upstream-healthchecked-cluster: service\r\n" in client.received()
    assert b.stats("cluster.upstream_rq_total", "cluster.upstream_rq_2xx") == [1, 0]
    assert b.cluster.hosts()[0].stats.rq_success == 0


def test_a_failing_server_says_so_to_everybody(bench: MakeBench) -> None:
    b = filtered(bench, pass_through_mode=True)
    b.server.health_check_failed = True
    answer = ask(b)
    assert answer.startswith("HTTP/1.1 503 Service Unavailable\r\n")
    assert b.stream.response_flags == ResponseFlag.FAILED_LOCAL_HEALTH_CHECK
    assert b.stream.response_code_details == "health_check_failed"
    client = b.client().get("/other")
    b.upstream.send(OK)
    assert b"x-envoy-immediate-health-check-fail: true\r\n" in client.received()


def test_an_answer_is_remembered_for_the_cache_time(bench: MakeBench) -> None:
    b = filtered(bench, pass_through_mode=True, cache_time="5s")
    b.client().get("/healthz")
    b.upstream.send(b"HTTP/1.1 500 No\r\ncontent-length: 0\r\nx-envoy-degraded: yes\r\n\r\n")
    answer = ask(b)
    assert answer.startswith("HTTP/1.1 500 Internal Server Error\r\nx-envoy-degraded: \r\n")
    assert b.stream.response_code_details == "health_check_cached"
    assert b.stats("http.health_check.degraded", "http.health_check.cached_response") == [1, 1]
    b.advance(5)
    b.client().get("/healthz")
    b.upstream.send(OK)
    assert ask(b).startswith("HTTP/1.1 200 OK\r\n")
    assert b.stat("cluster.upstream_rq_total") == 2


@pytest.mark.parametrize(
    ("failed", "percent", "status", "details"),
    [
        (0, 100, "200", "health_check_ok_cluster_healthy"),
        (1, 66.7, "200", "health_check_ok_cluster_healthy"),
        (2, 66.7, "503", "health_check_failed_cluster_unhealthy"),
        (3, 0, "200", "health_check_ok_cluster_healthy"),
    ],
)
def test_enough_hosts_must_be_well(bench: MakeBench, failed: int, percent: float, status: str, details: str) -> None:
    b = filtered(
        bench,
        endpoints=("10.0.0.1:80", "10.0.0.2:80", "10.0.0.3:80"),
        pass_through_mode=False,
        cluster_min_healthy_percentages={"a": {"value": percent}},
    )
    for host in b.cluster.hosts()[:failed]:
        host.health_flags |= HealthFlag.FAILED_OUTLIER_CHECK
    b.cluster.priority_set.refresh_health(0)
    assert ask(b)[9:12] == status
    assert b.stream.response_code_details == details


@pytest.mark.parametrize(
    ("cluster", "details"),
    [("nothing", "health_check_failed_no_cluster_found"), ("empty", "health_check_failed_cluster_empty")],
)
def test_a_cluster_must_be_there_and_have_hosts(bench: MakeBench, cluster: str, details: str) -> None:
    b = filtered(bench, pass_through_mode=False, cluster_min_healthy_percentages={cluster: {"value": 1}})
    assert ask(b).startswith("HTTP/1.1 503 ")
    assert b.stream.response_code_details == details


def test_the_answer_waits_for_the_whole_request(bench: MakeBench) -> None:
    b = filtered(bench, pass_through_mode=False)
    client = b.client().send(b"POST /healthz HTTP/1.1\r\nhost: a.com\r\ncontent-length: 5\r\n\r\nhel")
    assert client.received() == b""
    client.send(b"lo")
    assert client.received().startswith(b"HTTP/1.1 200 OK\r\n")
