"""Requests through the router and the connection pool to hosts that do what tests say."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from minienvoy.stream_info import ResponseFlag
from tests.unit.http_bench import GET, OK, Bench

MakeBench = Callable[..., Bench]
POST = b"POST / HTTP/1.1\r\nhost: a.com\r\ncontent-length: 4\r\n\r\n"
RESET_BEFORE = b"upstream connect error or disconnect/reset before headers. reset reason: "


def route(**fields: Any) -> list[Any]:
    return [{"match": {"prefix": "/"}, "route": {"cluster": "a", **fields}}]


def outcome(b: Bench) -> tuple[Any, str, int]:
    return b.stream.response_code, b.stream.response_code_details, b.stream.response_flags


# -- nobody to ask


def test_no_route(bench: MakeBench) -> None:
    b = bench([{"match": {"prefix": "/x"}, "route": {"cluster": "a"}}])
    assert b"content-length: 0\r\n\r\n" in b.client().send(GET).received()
    assert outcome(b) == (404, "route_not_found", ResponseFlag.NO_ROUTE_FOUND)
    assert b.stats("http.no_route", "http.rq_total") == [1, 1]


@pytest.mark.parametrize(
    ("code", "status"), [("SERVICE_UNAVAILABLE", 503), ("NOT_FOUND", 404), ("INTERNAL_SERVER_ERROR", 500)]
)
def test_a_cluster_that_is_not_there(bench: MakeBench, code: str, status: int) -> None:
    b = bench(route(cluster="none", cluster_not_found_response_code=code))
    b.client().send(GET)
    assert outcome(b) == (status, "cluster_not_found", ResponseFlag.NO_CLUSTER_FOUND)
    assert b.stat("http.no_cluster") == 1


def test_a_cluster_without_hosts(bench: MakeBench) -> None:
    b = bench(route(cluster="empty"))
    assert b.client().send(GET).received().endswith(b"\r\n\r\nno healthy upstream")
    assert outcome(b) == (503, "no_healthy_upstream", ResponseFlag.NO_HEALTHY_UPSTREAM)
    assert b.store.value("cluster.empty.upstream_cx_none_healthy") == 1
    assert b.store.value("cluster.empty.external.upstream_rq_503") == 1


# -- connections that do not come up


def test_a_connection_that_is_refused(bench: MakeBench) -> None:
    b = bench(accepts=False)
    client = b.client().send(GET)
    b.upstream.refuse()
    assert client.received().endswith(RESET_BEFORE + b"remote connection failure")
    details = (
        "upstream_reset_before_response_started{remote_connection_failure|delayed_connect_error:_Connection_refused}"
    )
    assert outcome(b) == (503, details, ResponseFlag.UPSTREAM_CONNECTION_FAILURE)
    assert b.stream.upstream_transport_failure_reason == "delayed connect error: Connection refused"
    assert b.stats(
        "cluster.upstream_cx_connect_fail",
        "cluster.upstream_rq_pending_failure_eject",
        "cluster.upstream_rq_pending_active",
        "cluster.upstream_rq_total",
        "cluster.upstream_rq_503",
    ) == [1, 1, 0, 0, 1]


def test_a_connection_that_takes_too_long(bench: MakeBench) -> None:
    b = bench(accepts=False, cluster={"connect_timeout": "0.5s"})
    client = b.client().send(GET)
    b.advance(0.51)
    assert client.received().endswith(RESET_BEFORE + b"connection timeout")
    assert outcome(b) == (
        503,
        "upstream_reset_before_response_started{connection_timeout}",
        ResponseFlag.UPSTREAM_CONNECTION_FAILURE,
    )
    assert b.stats("cluster.upstream_cx_connect_timeout", "cluster.upstream_cx_connect_fail") == [1, 1]


def test_all_who_wait_hear_that_a_connection_has_failed(bench: MakeBench) -> None:
    b = bench(accepts=False)
    clients = [b.client().send(GET) for _ in range(3)]
    b.upstreams[0].refuse()
    assert [client.received()[:12] for client in clients] == [b"HTTP/1.1 503"] * 3
    b.upstreams[1].accept()
    b.upstreams[2].accept()
    clients[0].send(GET)
    assert len(b.upstreams) == 3


# -- upstreams that break off


@pytest.mark.parametrize("how", ["close", "reset"])
def test_an_upstream_that_goes_away_before_it_answers(bench: MakeBench, how: str) -> None:
    b = bench()
    client = b.client().send(GET)
    getattr(b.upstream, how)()
    assert client.received().endswith(RESET_BEFORE + b"connection termination")
    assert outcome(b) == (
        503,
        "upstream_reset_before_response_started{connection_termination}",
        ResponseFlag.UPSTREAM_CONNECTION_TERMINATION,
    )
    assert b.stats(
        "cluster.upstream_cx_destroy_remote_with_active_rq", "cluster.upstream_rq_active", "cluster.upstream_cx_active"
    ) == [1, 0, 0]
    assert not client.gone


@pytest.mark.parametrize("how", ["close", "reset"])
@pytest.mark.parametrize(
    "beginning",
    [
        b"HTTP/1.1 200 OK\r\ncontent-length: 30\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n",
    ],
)
def test_a_response_that_is_cut_short_is_cut_short_downstream(bench: MakeBench, how: str, beginning: bytes) -> None:
    b = bench()
    client = b.client().send(GET)
    b.upstream.send(beginning)
    getattr(b.upstream, how)()
    assert b"abc" in client.received()
    b.advance(1.1)
    assert client.gone
    assert outcome(b) == (
        200,
        "upstream_reset_after_response_started{protocol_error}",
        ResponseFlag.UPSTREAM_PROTOCOL_ERROR,
    )


def test_a_response_may_end_with_its_connection(bench: MakeBench) -> None:
    b = bench()
    client = b.client().send(GET)
    b.upstream.send(b"HTTP/1.1 200 OK\r\n\r\nabc", b"def")
    b.upstream.close()
    assert client.received().endswith(b"\r\n\r\n3\r\nabc\r\n3\r\ndef\r\n0\r\n\r\n")
    assert not client.gone
    assert b.stats(
        "cluster.upstream_rq_active",
        "cluster.upstream_cx_destroy_with_active_rq",
        "cluster.upstream_cx_destroy_remote",
    ) == [0, 0, 1]
    assert b.cluster.resource_manager.requests.current == 0


@pytest.mark.parametrize("rubbish", [b"rubbish\r\n\r\n", b"HTTP/1.1 200 OK\r\nbad header\r\n\r\n"])
def test_a_response_that_is_none_is_answered_502(bench: MakeBench, rubbish: bytes) -> None:
    b = bench()
    client = b.client().send(GET)
    b.upstream.send(rubbish)
    answer = client.received()
    assert answer.startswith(b"HTTP/1.1 502 Bad Gateway\r\n")
    assert answer.endswith(RESET_BEFORE + b"protocol error")
    assert outcome(b) == (
        502,
        "upstream_reset_before_response_started{protocol_error}",
        ResponseFlag.UPSTREAM_PROTOCOL_ERROR,
    )
    assert b.upstream.closed
    assert b.stats("cluster.upstream_cx_protocol_error", "cluster.upstream_rq_active") == [1, 0]


def test_a_body_that_turns_into_rubbish_is_cut_short(bench: MakeBench) -> None:
    b = bench()
    client = b.client().send(GET)
    b.upstream.send(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", b"zz\r\n")
    b.advance(1.1)
    assert client.gone
    assert b.stat("cluster.upstream_cx_protocol_error") == 1


def test_bytes_after_a_response_never_answer_the_next_request(bench: MakeBench) -> None:
    b = bench()
    client = b.client().send(GET)
    b.upstream.send(OK + b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil")
    assert client.received().endswith(b"ok")
    assert b.upstream.closed
    client.send(GET)
    assert len(b.upstreams) == 2
    b.upstream.send(OK)
    assert client.received().endswith(b"ok")


def test_bytes_that_nobody_asked_for_end_an_idle_connection(bench: MakeBench) -> None:
    b = bench()
    b.client().send(GET)
    b.upstream.send(OK)
    b.upstream.send(OK)
    assert b.upstream.closed
    assert b.stat("cluster.upstream_cx_protocol_error") == 1


# -- timeouts


def test_the_whole_response_must_come_within_the_timeout_of_the_route(bench: MakeBench) -> None:
    b = bench(route(timeout="2s"))
    client = b.client().send(GET)
    assert b"x-envoy-expected-rq-timeout-ms: 2000\r\n" in b.upstream.received()
    b.advance(1.99)
    assert client.received() == b""
    b.advance(0.03)
    answer = client.received()
    assert answer.startswith(b"HTTP/1.1 504 Gateway Timeout\r\n")
    assert answer.endswith(b"\r\n\r\nupstream request timeout")
    assert outcome(b) == (504, "response_timeout", ResponseFlag.UPSTREAM_REQUEST_TIMEOUT)
    assert b.upstream.closed
    assert b.stats(
        "cluster.upstream_rq_timeout",
        "cluster.upstream_cx_destroy_local_with_active_rq",
        "cluster.upstream_rq_active",
        "cluster.upstream_rq_504",
    ) == [1, 1, 0, 1]
    assert not client.gone


def test_the_timeout_begins_when_the_request_is_complete(bench: MakeBench) -> None:
    b = bench(route(timeout="2s"))
    client = b.client().send(POST)
    b.advance(10)
    client.send(b"body")
    b.advance(1.9)
    b.upstream.send(OK)
    assert client.received().endswith(b"ok")


def test_the_timeout_breaks_off_a_response_that_has_begun(bench: MakeBench) -> None:
    b = bench(route(timeout="2s"))
    client = b.client().send(GET)
    b.upstream.send(b"HTTP/1.1 200 OK\r\ncontent-length: 30\r\n\r\nabc")
    b.advance(3.1)
    assert client.gone
    assert outcome(b) == (200, "response_timeout", ResponseFlag.UPSTREAM_REQUEST_TIMEOUT)


def test_the_timeout_counts_while_a_connection_is_waited_for(bench: MakeBench) -> None:
    b = bench(route(timeout="1s"), accepts=False)
    client = b.client().send(GET)
    b.advance(1.01)
    assert client.received().startswith(b"HTTP/1.1 504 ")
    assert b.stats("cluster.upstream_rq_pending_active", "cluster.upstream_rq_cancelled") == [0, 1]


def test_the_timeout_of_one_request_does_not_end_the_next(bench: MakeBench) -> None:
    b = bench(route(timeout="2s"))
    client = b.client()
    for _ in range(4):
        client.send(GET)
        b.advance(1.5)
        b.upstream.send(OK)
        assert client.received().endswith(b"ok")
    client.send(GET)
    b.advance(2.02)
    assert client.received().startswith(b"HTTP/1.1 504 ")


def test_a_timeout_of_0_is_none(bench: MakeBench) -> None:
    b = bench(route(timeout="0s"))
    client = b.client().send(GET)
    assert b"expected-rq-timeout" not in b.upstream.received()
    b.advance(200)
    b.upstream.send(OK)
    assert client.received().endswith(b"ok")


INTERNAL = {
    "use_remote_address": True,
    "internal_address_config": {"cidr_ranges": [{"address_prefix": "127.0.0.0", "prefix_len": 8}]},
}


def test_a_client_inside_may_choose_the_timeout(bench: MakeBench) -> None:
    b = bench(hcm=INTERNAL)
    client = b.client().get("/", "x-envoy-upstream-rq-timeout-ms: 3000")
    request = b.upstream.received()
    assert b"x-envoy-expected-rq-timeout-ms: 3000\r\n" in request
    assert b"x-envoy-upstream-rq-timeout-ms" not in request
    b.advance(3.01)
    assert client.received().startswith(b"HTTP/1.1 504 ")


@pytest.mark.parametrize("value", ["soon", "-5", "1e3", "99999999999999999999"])
def test_a_timeout_that_is_no_number_is_not_obeyed(bench: MakeBench, value: str) -> None:
    b = bench(hcm=INTERNAL)
    b.client().get("/", f"x-envoy-upstream-rq-timeout-ms: {value}")
    assert b"x-envoy-expected-rq-timeout-ms: 15000\r\n" in b.upstream.received()


def test_a_client_outside_may_not_choose_the_timeout(bench: MakeBench) -> None:
    b = bench()
    b.client().get("/", "x-envoy-upstream-rq-timeout-ms: 3000")
    request = b.upstream.received()
    assert b"x-envoy-expected-rq-timeout-ms: 15000\r\n" in request
    assert b"x-envoy-upstream-rq-timeout-ms" not in request


# -- bodies


def test_a_body_is_sent_on_as_it_comes(bench: MakeBench) -> None:
    b = bench()
    client = b.client().send(POST)
    assert b.upstream.received().endswith(b"\r\n\r\n")
    client.send(b"bo")
    assert b.upstream.received() == b"bo"
    client.send(b"dy")
    assert b.upstream.received() == b"dy"


def test_a_body_waits_for_the_connection(bench: MakeBench) -> None:
    b = bench(accepts=False)
    b.client().send(POST, b"bo", b"dy")
    b.upstream.accept()
    assert b.upstream.received().endswith(b"\r\n\r\nbody")


def test_half_a_body_waits_for_the_connection(bench: MakeBench) -> None:
    b = bench(accepts=False)
    client = b.client().send(POST, b"bo")
    b.upstream.accept()
    assert b.upstream.received().endswith(b"\r\n\r\nbo")
    client.send(b"dy")
    assert b.upstream.received() == b"dy"
    b.upstream.send(OK)
    assert client.received().endswith(b"ok")


def test_trailers_wait_for_the_connection(bench: MakeBench) -> None:
    trailers = {"http_protocol_options": {"enable_trailers": True}}
    b = bench(accepts=False, hcm=trailers, cluster=trailers)
    b.client().send(b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n0\r\nx: y\r\n\r\n")
    b.upstream.accept()
    assert b.upstream.received().endswith(b"\r\n\r\n2\r\nab\r\n0\r\nx: y\r\n\r\n")


def test_an_empty_chunked_body_waits_for_the_connection(bench: MakeBench) -> None:
    b = bench(accepts=False)
    b.client().send(b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n", b"0\r\n\r\n")
    b.upstream.accept()
    assert b.upstream.received().endswith(b"\r\n\r\n0\r\n\r\n")


# -- responses


def test_informational_responses_of_the_upstream_stay_here(bench: MakeBench) -> None:
    b = bench()
    client = b.client().send(GET)
    b.upstream.send(b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n" + OK)
    assert client.received().startswith(b"HTTP/1.1 200 ")


def test_the_time_that_the_upstream_took_is_told(bench: MakeBench) -> None:
    b = bench()
    client = b.client().send(GET)
    b.advance(0.25)
    b.upstream.send(OK.replace(b"\r\n\r\n", b"\r\nx-envoy-upstream-service-time: 7\r\n\r\n"))
    answer = client.received()
    assert b"x-envoy-upstream-service-time: 250\r\n" in answer
    assert answer.count(b"service-time") == 1


def test_envoy_headers_may_be_suppressed(bench: MakeBench) -> None:
    b = bench(router={"suppress_envoy_headers": True})
    client = b.client().send(GET)
    assert b"x-envoy" not in b.upstream.received()
    b.upstream.send(OK)
    assert b"x-envoy" not in client.received()


def test_responses_are_counted_by_code(bench: MakeBench) -> None:
    b = bench()
    client = b.client()
    for status in (200, 404, 503):
        client.send(GET)
        b.upstream.send(b"HTTP/1.1 %d X\r\ncontent-length: 0\r\n\r\n" % status)
    assert b.stats(
        "cluster.upstream_rq_200",
        "cluster.upstream_rq_4xx",
        "cluster.upstream_rq_503",
        "cluster.upstream_rq_completed",
        "cluster.external.upstream_rq_2xx",
    ) == [1, 1, 1, 3, 1]
    (host,) = b.hosts
    assert (host.stats.rq_success, host.stats.rq_error, host.stats.rq_total) == (2, 1, 3)


# -- direct answers


def test_a_direct_response_is_sent_as_it_is_configured(bench: MakeBench) -> None:
    body = "größer 好"
    b = bench([{"match": {"prefix": "/"}, "direct_response": {"status": 203, "body": {"inline_string": body}}}])
    answer = b.client().send(GET).received()
    assert answer.startswith(b"HTTP/1.1 203 ")
    assert answer.endswith(b"\r\n\r\n" + body.encode())
    assert b.stat("http.rq_direct_response") == 1


def test_headers_of_the_route_are_added_to_a_direct_response(bench: MakeBench) -> None:
    b = bench(
        [
            {
                "match": {"prefix": "/"},
                "direct_response": {"status": 200},
                "response_headers_to_add": [{"header": {"key": "x-a", "value": "%RESPONSE_CODE%"}}],
            }
        ]
    )
    assert b"x-a: 0\r\n" in b.client().send(GET).received()


def test_a_redirect_says_where_to(bench: MakeBench) -> None:
    b = bench([{"match": {"prefix": "/"}, "redirect": {"https_redirect": True}}])
    answer = b.client().get("/path?query").received()
    assert answer.startswith(b"HTTP/1.1 301 ")
    assert b"location: https://a.com/path?query\r\n" in answer


# -- rewriting


def test_the_host_may_be_that_of_the_endpoint(bench: MakeBench) -> None:
    b = bench(route(auto_host_rewrite=True))
    b.hosts[0].hostname = "backend.example"
    b.client().send(GET)
    request = b.upstream.received()
    assert b"host: backend.example\r\n" in request
    assert b"x-envoy-original-host: a.com\r\n" in request


def test_prefix_and_host_are_rewritten(bench: MakeBench) -> None:
    action = {
        "cluster": "a",
        "prefix_rewrite": "/new",
        "host_rewrite_literal": "b.com",
        "append_x_forwarded_host": True,
    }
    b = bench([{"match": {"prefix": "/old"}, "route": action}])
    b.client().get("/old/x?y")
    request = b.upstream.received()
    assert request.startswith(b"GET /new/x?y HTTP/1.1\r\nhost: b.com\r\n")
    for line in (b"x-envoy-original-path: /old/x?y", b"x-envoy-original-host: a.com", b"x-forwarded-host: a.com"):
        assert b"\r\n" + line + b"\r\n" in request


# -- what is explained


def test_the_way_of_a_request_is_explained(bench: MakeBench) -> None:
    b = bench(endpoints=("10.0.0.1:80", "10.0.0.2:80"))
    client = b.client().send(GET)
    b.upstream.send(OK)
    chosen = b.explanations.last()["host"].chose
    assert str(chosen) in ("10.0.0.1:80", "10.0.0.2:80")
    assert b.explanations.last()["connection"].because == "new"
    client.send(GET)
    b.upstream.send(OK)
    client.send(GET)
    b.upstreams[0].send(OK)
    assert b.explanations.last()["connection"].because == "reused, request 2"


def test_a_timeout_is_explained(bench: MakeBench) -> None:
    b = bench(route(timeout="1.5s"))
    b.client().send(GET)
    b.advance(1.6)
    explanation = b.explanations.last()
    assert str(explanation["timeout"]) == "timeout: route timeout, because no complete response within 1.5 s"
    assert explanation["local_reply"].because == "response_timeout"


# -- who takes no more


def test_upstream_is_read_again_when_each_full_buffer_has_room(bench: MakeBench) -> None:
    b = bench(route())
    client = b.client().send(GET)
    stream = client.manager.stream
    upstream = b.upstreams[0]
    upstream.send(b"HTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\nabcd")
    seen = []
    for high in (True, True, False, False):
        stream.watermark_callbacks(high)
        seen.append(upstream.reading)
    assert seen == [False, False, False, True]
    paused, resumed = (f"cluster.a.upstream_flow_control_{word}_reading_total" for word in ("paused", "resumed"))
    assert [b.store.value(paused), b.store.value(resumed)] == [1, 1]


def test_the_client_is_read_again_when_each_full_buffer_upstream_has_room(bench: MakeBench) -> None:
    b = bench(route())
    client = b.client().send(POST, b"ab")
    request = client.manager.stream.terminal.upstream
    seen = []
    for high in (True, True, False, False):
        request._on_upstream_watermark(high)
        seen.append(client.reading)
    assert seen == [False, False, False, True]


HINT = b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n"


def test_only_the_first_interim_response_is_passed_on_where_any_is(bench: MakeBench) -> None:
    b = bench(hcm={"proxy_100_continue": True})
    client = b.client().send(GET)
    b.upstream.send(HINT + b"HTTP/1.1 100 Continue\r\n\r\n")
    assert client.received() == b"HTTP/1.1 103 Unknown\r\nlink: </a>\r\n\r\n"
    b.upstream.send(OK)
    assert client.received().startswith(b"HTTP/1.1 200 OK\r\n")
    assert b.stat("cluster.upstream_rq_1xx") == 1


def test_after_an_interim_response_there_is_no_other_attempt(bench: MakeBench) -> None:
    b = bench(route(retry_policy={"retry_on": "5xx"}))
    client = b.client().send(GET)
    b.upstream.send(HINT)
    assert client.received() == b""
    b.upstream.send(b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n")
    assert client.received().startswith(b"HTTP/1.1 503 Service Unavailable\r\n")
    assert b.stat("cluster.upstream_rq_retry") == 0
