"""Requests that are tried more than once, in simulated time: what is waited for costs nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from minienvoy.stream_info import ResponseFlag
from minienvoy.upstream.resource_manager import RecentResource
from tests.unit.http_bench import GET, OK, Bench, Upstream

MakeBench = Callable[..., Bench]
NO = b"HTTP/1.1 503 No\r\ncontent-length: 0\r\n\r\n"
LATE = b"HTTP/1.1 503 No\r\ncontent-length: 2\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nhost: a.com\r\ncontent-length: 8\r\n\r\n"
MINUTES = {"base_interval": "200s", "max_interval": "200s"}


def retrying(timeout: str = "15s", **policy: Any) -> list[Any]:
    action = {"cluster": "a", "timeout": timeout, "retry_policy": {"retry_on": "5xx", **policy}}
    return [{"match": {"prefix": "/"}, "route": action}]


def hedging(**policy: Any) -> list[Any]:
    routes = retrying(per_try_timeout="1s", **policy)
    routes[0]["route"]["hedge_policy"] = {"hedge_on_per_try_timeout": True}
    routes[0]["route"]["timeout"] = "10s"
    return routes


def attempts(b: Bench) -> list[str]:
    """What was decided about retries, for the request that ended last."""
    return [f"{each.chose}, because {each.because}" for each in b.explanations.last().all("retry")]


def wait(b: Bench, seconds: int) -> None:
    """In steps, so that a connection that is begun meanwhile is there before its time is over."""
    for _ in range(seconds):
        b.advance(1)


def open_upstreams(b: Bench) -> list[Upstream]:
    return [upstream for upstream in b.upstreams if not upstream.closed]


# -- one after the other


def test_a_failed_attempt_is_repeated_on_the_same_connection_if_it_is_free(bench: MakeBench) -> None:
    b = bench(retrying())
    client = b.client().send(GET)
    b.upstream.send(NO)
    assert client.received() == b""
    b.advance(0.05)
    assert b.upstream.received().count(b"GET / HTTP/1.1\r\n") == 2
    b.upstream.send(OK)
    assert client.received().startswith(b"HTTP/1.1 200 OK\r\n")
    assert (len(b.upstreams), b.stream.attempt_count, b.stream.response_flags) == (1, 2, 0)


def test_a_response_whose_body_is_to_come_is_not_waited_for(bench: MakeBench) -> None:
    b = bench(retrying())
    b.client().send(GET)
    b.upstream.send(LATE)
    assert b.upstream.closed
    b.advance(0.05)
    assert len(b.upstreams) == 2


def test_the_last_failure_is_the_answer(bench: MakeBench) -> None:
    b = bench(retrying(num_retries=2))
    client = b.client().send(GET)
    for _ in range(3):
        b.upstream.send(NO)
        b.advance(1)
    assert client.received().startswith(b"HTTP/1.1 503 Service Unavailable\r\n")
    assert b.stream.response_flags == ResponseFlag.UPSTREAM_RETRY_LIMIT_EXCEEDED
    assert b.stats("cluster.upstream_rq_retry", "cluster.upstream_rq_retry_limit_exceeded") == [2, 1]


def test_a_refused_connection_is_tried_again_and_the_client_is_told_so(bench: MakeBench) -> None:
    b = bench(retrying(), accepts=False)
    client = b.client().send(GET)
    b.upstream.refuse()
    b.advance(0.05)
    b.upstream.refuse()
    assert client.received().endswith(b"retried and the latest reset reason: remote connection failure")
    # As in Envoy, what is told of the upstream is about the last attempt, and that has not come to a host.
    assert b.stream.attempted_hosts == ()


def test_an_explanation_tells_of_every_attempt(bench: MakeBench) -> None:
    b = bench(retrying(num_retries=1))
    b.client().send(GET)
    b.upstream.send(NO)
    b.advance(1)
    b.upstream.send(NO)
    first, last = attempts(b)
    assert first.startswith("attempt 2 in ")
    assert first.endswith(" ms, because 5xx: 503")
    assert last == "None, because 5xx: 503, but no retries left"
    assert len(b.explanations.last().all("host")) == 2


def test_minutes_of_back_off_cost_no_time(bench: MakeBench) -> None:
    b = bench(retrying("0s", retry_back_off=MINUTES))
    client = b.client().send(GET)
    b.upstream.send(NO)
    assert b.stat("cluster.upstream_rq_retry") == 0
    assert b.upstream.received().count(b"GET") == 1
    wait(b, 201)
    b.upstream.send(OK)
    assert client.received().startswith(b"HTTP/1.1 200 OK\r\n")
    assert b.stats("cluster.upstream_rq_retry", "cluster.upstream_rq_retry_backoff_exponential") == [1, 1]


def test_what_a_header_says_is_waited_for_and_up_to_half_as_much_again(bench: MakeBench) -> None:
    limited = {"reset_headers": [{"name": "retry-after", "format": "SECONDS"}]}
    b = bench(retrying("0s", rate_limited_retry_back_off=limited))
    b.client().send(GET)
    b.upstream.send(b"HTTP/1.1 503 No\r\nretry-after: 100\r\ncontent-length: 0\r\n\r\n")
    b.advance(99.9)
    assert b.upstream.received().count(b"GET") == 1
    b.advance(50.2)
    assert b.upstream.received().count(b"GET") == 1
    assert b.stat("cluster.upstream_rq_retry_backoff_ratelimited") == 1
    b.upstream.send(OK)


def test_a_unix_time_is_waited_for(bench: MakeBench) -> None:
    limited = {"reset_headers": [{"name": "x-reset", "format": "UNIX_TIMESTAMP"}], "max_interval": "1000s"}
    b = bench(retrying("0s", rate_limited_retry_back_off=limited))
    b.client().send(GET)
    at = int(b.dispatcher.wall_time()) + 200
    b.upstream.send(b"HTTP/1.1 503 No\r\nx-reset: %d\r\ncontent-length: 0\r\n\r\n" % at)
    b.advance(198)
    assert b.upstream.received().count(b"GET") == 1
    b.advance(103)
    assert b.upstream.received().count(b"GET") == 1
    b.upstream.send(OK)


def test_a_client_that_leaves_takes_the_retry_with_it(bench: MakeBench) -> None:
    b = bench(retrying(retry_back_off=MINUTES))
    client = b.client().send(GET)
    b.upstream.send(NO)
    client.reset()
    b.advance(7200)
    assert b.upstream.received().count(b"GET") == 1
    assert b.cluster.resource_manager.retries.current == 0


def test_the_time_of_the_request_goes_on_while_a_retry_waits(bench: MakeBench) -> None:
    b = bench(retrying(retry_back_off=MINUTES))
    client = b.client().send(GET)
    b.upstream.send(NO)
    b.advance(15.1)
    assert client.received().endswith(b"upstream request timeout")
    assert b.stream.response_code_details == "response_timeout"
    b.advance(7200)
    assert b.upstream.received().count(b"GET") == 1


def test_the_upstream_is_told_what_is_left_of_the_time(bench: MakeBench) -> None:
    b = bench(retrying(retry_back_off={"base_interval": "8s"}))
    b.client().send(GET)
    assert b"x-envoy-expected-rq-timeout-ms: 15000\r\n" in b.upstream.received()
    b.upstream.send(NO)
    b.advance(8.1)
    line = next(line for line in b.upstream.received().split(b"\r\n") if line.startswith(b"x-envoy-expected"))
    assert 6900 <= int(line.partition(b": ")[2]) < 15000
    b.upstream.send(OK)


def test_the_same_seed_waits_the_same(bench: MakeBench) -> None:
    def back_off(b: Bench) -> str:
        b.client().send(GET)
        b.upstream.send(NO)
        b.advance(1)
        b.upstream.send(OK)
        return attempts(b)[0]

    policy = retrying(retry_back_off={"base_interval": "0.9s"})
    assert back_off(bench(policy)) == back_off(bench(policy))


# -- hosts


def test_a_retry_avoids_hosts_that_were_tried(bench: MakeBench) -> None:
    previous = "type.googleapis.com/envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate"
    predicate = {"name": "previous", "typed_config": {"@type": previous}}
    endpoints = ("10.0.0.1:80", "10.0.0.2:80", "10.0.0.3:80")
    policy = retrying(num_retries=2, retry_host_predicate=[predicate], host_selection_retry_max_attempts=9)
    b = bench(policy, endpoints=endpoints)
    for _ in range(4):
        tried = len(b.upstreams)
        b.client().send(GET)
        for _ in range(3):
            b.upstream.send(b"HTTP/1.1 503 No\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
            b.advance(1)
        assert len({str(upstream.address) for upstream in b.upstreams[tried:]}) == 3
        b.advance(1)


def test_a_retry_goes_to_the_next_priority(bench: MakeBench) -> None:
    name = "type.googleapis.com/envoy.extensions.retry.priority.previous_priorities.v3.PreviousPrioritiesConfig"
    priority = {"name": "previous", "typed_config": {"@type": name, "update_frequency": 1}}
    priorities = [
        {
            "priority": number,
            "lb_endpoints": [
                {"endpoint": {"address": {"socket_address": {"address": f"10.0.0.{number}", "port_value": 80}}}}
            ],
        }
        for number in range(3)
    ]
    cluster = {"load_assignment": {"cluster_name": "a", "endpoints": priorities}}
    b = bench(retrying(num_retries=3, retry_priority=priority), cluster=cluster, endpoints=())
    b.client().send(GET)
    for _ in range(4):
        b.upstream.send(b"HTTP/1.1 503 No\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
        b.advance(1)
    # When all have been tried, they may be tried again.
    assert [upstream.address.host for upstream in b.upstreams] == ["10.0.0.0", "10.0.0.1", "10.0.0.2", "10.0.0.0"]


# -- bodies


def test_a_body_is_sent_again_as_far_as_it_has_come(bench: MakeBench) -> None:
    b = bench(retrying())
    client = b.client().send(POST + b"abc")
    b.upstream.reset()
    b.advance(1)
    assert b.upstream.received().endswith(b"\r\n\r\nabc")
    client.send(b"hello")
    assert b.upstream.received() == b"hello"
    b.upstream.send(OK)
    assert client.received().startswith(b"HTTP/1.1 200 OK\r\n")


def test_what_comes_while_the_retry_waits_is_sent_with_it(bench: MakeBench) -> None:
    b = bench(retrying("0s", retry_back_off=MINUTES))
    client = b.client().send(POST + b"abc")
    b.upstream.reset()
    client.send(b"hello")
    wait(b, 201)
    assert b.upstream.received().endswith(b"\r\n\r\nabchello")
    b.upstream.send(OK)


def test_a_body_that_is_too_large_is_passed_on_and_not_kept(bench: MakeBench) -> None:
    b = bench(retrying(), buffer_limit=4)
    client = b.client().send(POST + b"abc")
    client.send(b"hello")
    assert b.upstream.received().endswith(b"abchello")
    b.upstream.send(NO)
    assert client.received().startswith(b"HTTP/1.1 503 ")
    assert b.stats("cluster.retry_or_shadow_abandoned", "cluster.upstream_rq_retry") == [1, 0]
    assert attempts(b) == ["None, because the body is larger than the buffer limit"]


def test_a_body_that_is_too_large_while_the_retry_waits_ends_the_request(bench: MakeBench) -> None:
    b = bench(retrying(retry_back_off=MINUTES), buffer_limit=4)
    client = b.client().send(POST + b"abc")
    b.upstream.reset()
    client.send(b"hello")
    assert client.received().startswith(b"HTTP/1.1 507 Insufficient Storage\r\n")
    assert b.stream.response_code_details == "request_payload_exceeded_retry_buffer_limit"
    b.advance(7200)
    assert len(b.upstreams) == 1


# -- slow attempts


def test_an_attempt_has_a_time_of_its_own(bench: MakeBench) -> None:
    b = bench(retrying(per_try_timeout="2s"))
    client = b.client().send(GET)
    b.advance(2.1)
    assert b.upstreams[0].closed
    b.advance(0.1)
    assert b"x-envoy-expected-rq-timeout-ms: 2000\r\n" in b.upstream.received()
    b.advance(2.1)
    assert client.received().endswith(b"upstream request timeout")
    assert b.stream.response_code_details == "upstream_per_try_timeout"
    assert b.stats("cluster.upstream_rq_per_try_timeout", "cluster.upstream_rq_timeout") == [2, 0]


def test_silence_in_the_middle_of_a_response_ends_it(bench: MakeBench) -> None:
    b = bench(retrying(per_try_idle_timeout="2s"))
    client = b.client().send(GET)
    b.upstream.send(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n")
    for _ in range(3):
        b.advance(1.5)
        b.upstream.send(b"abc"[:2])
    b.advance(3.1)
    assert client.gone
    assert b.stream.response_code_details == "upstream_per_try_idle_timeout"


def test_hedging_lets_the_slow_attempt_go_on(bench: MakeBench) -> None:
    b = bench(hedging())
    client = b.client().send(GET)
    b.advance(1.1)
    assert len(open_upstreams(b)) == 2
    b.upstreams[0].send(OK)
    assert client.received().startswith(b"HTTP/1.1 200 OK\r\n")
    assert open_upstreams(b) == [b.upstreams[0]]


def test_hedging_waits_for_the_other_when_one_fails(bench: MakeBench) -> None:
    b = bench(hedging())
    client = b.client().send(GET)
    b.advance(1.1)
    b.upstreams[0].send(LATE)
    assert client.received() == b""
    b.upstreams[1].send(OK)
    assert client.received().startswith(b"HTTP/1.1 200 OK\r\n")


def test_hedging_when_nobody_answers(bench: MakeBench) -> None:
    b = bench(hedging(num_retries=2))
    client = b.client().send(GET)
    wait(b, 11)
    assert len(b.upstreams) == 3
    assert open_upstreams(b) == []
    assert client.received().endswith(b"upstream request timeout")
    flags = ResponseFlag.UPSTREAM_RETRY_LIMIT_EXCEEDED | ResponseFlag.UPSTREAM_REQUEST_TIMEOUT
    assert (b.stream.response_flags, b.stream.attempt_count) == (flags, 3)
    assert b.stats("cluster.upstream_rq_timeout", "cluster.upstream_rq_retry_limit_exceeded") == [3, 1]


def test_a_client_that_leaves_ends_every_attempt(bench: MakeBench) -> None:
    b = bench(hedging(num_retries=2))
    client = b.client().send(GET)
    b.advance(2.2)
    client.reset()
    assert open_upstreams(b) == []


# -- circuit breakers


def test_no_more_retries_than_the_breaker_allows(bench: MakeBench) -> None:
    breakers = {"thresholds": [{"max_retries": 1}]}
    b = bench(retrying(retry_back_off=MINUTES), cluster={"circuit_breakers": breakers})
    first, second = b.client().send(GET), b.client().send(GET)
    for upstream in b.upstreams:
        upstream.send(NO)
    assert first.received() == b""
    assert second.received().startswith(b"HTTP/1.1 503 ")
    assert b.stream.response_flags == ResponseFlag.UPSTREAM_OVERFLOW
    assert attempts(b) == ["None, because 5xx: 503, but too many retries under way (1 of 1)"]
    assert b.stat("cluster.circuit_breakers.default.rq_retry_open") == 1
    wait(b, 201)
    b.upstreams[0].send(OK)
    b.upstreams[1].send(OK)


def test_retries_may_be_a_part_of_all_requests(bench: MakeBench) -> None:
    budget = {"budget_percent": {"value": 50}, "min_retry_concurrency": 0}
    breakers = {"thresholds": [{"retry_budget": budget}]}
    b = bench(retrying(retry_back_off=MINUTES), cluster={"circuit_breakers": breakers})
    clients = [b.client().send(GET) for _ in range(4)]
    for upstream in b.upstreams:
        upstream.send(LATE)
    answered = [bool(client.received()) for client in clients]
    # The first may be one of half of four; then half of the three that are left is one, and that is under way.
    assert answered.count(False) == 1


@pytest.mark.parametrize("value", ["reset", "connect-failure", "retriable-4xx", "refused-stream", "unavailable"])
def test_what_nobody_asks_for_is_not_retried(bench: MakeBench, value: str) -> None:
    b = bench(retrying(retry_on=value))
    client = b.client().send(GET)
    b.upstream.send(NO)
    assert client.received().startswith(b"HTTP/1.1 503 ")
    assert attempts(b) == []


def test_a_redirect_within_is_followed_after_a_retry(bench: MakeBench) -> None:
    routes = retrying()
    routes[0]["route"]["internal_redirect_policy"] = {}
    b = bench(routes)
    client = b.client().send(GET)
    b.upstream.send(NO)
    b.advance(1)
    b.upstream.send(b"HTTP/1.1 302 Found\r\nlocation: http://a.com/next\r\ncontent-length: 0\r\n\r\n")
    b.advance(1)
    assert len(b.upstreams) == 2, "the first was not free yet when the redirect was followed"
    b.upstreams[0].send(OK)
    assert client.received().startswith(b"HTTP/1.1 200 OK\r\n")


# -- budgets of the recent past, other clusters


def test_a_budget_may_go_by_the_requests_of_the_recent_past(bench: MakeBench) -> None:
    budget = {"budget_percent": {"value": 10}, "min_retry_concurrency": 0, "budget_interval": "3600s"}
    b = bench(retrying(), cluster={"circuit_breakers": {"thresholds": [{"retry_budget": budget}]}})
    client = b.client()
    for _ in range(9):
        client.send(GET)
        b.upstream.send(OK)
    client.received()
    b.advance(3599)
    client.send(GET)
    b.upstream.send(NO)
    assert client.received() == b""  # one of ten
    b.advance(0.1)
    b.upstream.send(OK)
    assert client.received().startswith(b"HTTP/1.1 200 ")
    b.advance(3601)
    client.send(GET)
    b.upstream.send(NO)
    assert client.received().startswith(b"HTTP/1.1 503 ")
    assert attempts(b) == ["None, because 5xx: 503, but too many retries under way (0 of 0)"]


def test_what_is_remembered_of_a_busy_hour_is_bounded() -> None:
    now = [0.0]
    resource = RecentResource(10**6, 3600.0, lambda: now[0])
    for _ in range(20_000):
        now[0] += 0.5
        resource.current += 1
        resource.current -= 1
    assert len(resource._buckets) <= 101
    assert abs(resource.recent - 7200) <= 144


def test_a_retry_may_go_to_another_of_the_weighted_clusters(bench: MakeBench) -> None:
    routes = retrying(refresh_cluster_on_retry=True)
    del routes[0]["route"]["cluster"]
    routes[0]["route"]["weighted_clusters"] = {
        "clusters": [{"name": "a", "weight": 1_000_000}, {"name": "empty", "weight": 1}]
    }
    b = bench(routes)
    client = b.client().send(GET)
    b.upstream.send(NO)
    b.advance(0.1)
    assert client.received().endswith(b"no healthy upstream")
    assert [each.chose for each in b.explanations.last().all("cluster")] == ["a", "empty"]
    assert b.explanations.last().all("cluster")[-1].because == "refresh_cluster_on_retry"


# -- what an explanation says of breakers


@pytest.mark.parametrize(
    ("thresholds", "words"),
    [
        ({"max_connections": 1, "max_pending_requests": 0}, "pending requests 0 of 0"),
        ({"max_requests": 1}, "requests 1 of 1"),
    ],
)
def test_a_breaker_that_is_open_is_told_with_its_counts(
    bench: MakeBench, thresholds: dict[str, int], words: str
) -> None:
    b = bench(cluster={"circuit_breakers": {"thresholds": [thresholds]}})
    if "max_requests" in thresholds:
        b.client().send(GET)
    refused = b.client().send(GET)
    assert b"x-envoy-overloaded: true" in refused.received()
    decision = b.explanations.last()["connection"]
    assert decision.chose is None
    assert words in decision.because
    for upstream in b.upstreams:
        upstream.send(OK)
