"""One downstream connection: its timeouts, its end, its counters. `b.finish()` of the fixture checks the rest."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.unit.http_bench import GET, OK, Bench

MakeBench = Callable[..., Bench]
POST = b"POST / HTTP/1.1\r\nhost: a.com\r\ncontent-length: 4\r\n\r\n"
DIRECT = [{"match": {"prefix": "/"}, "direct_response": {"status": 200, "body": {"inline_string": "hi"}}}]


def common(**fields: Any) -> dict[str, Any]:
    return {"common_http_protocol_options": fields}


# -- one request after the other


def test_a_request_goes_upstream_and_its_response_comes_back(bench: MakeBench) -> None:
    b = bench()
    client = b.client().send(GET)
    assert b.upstream.received() == (
        b"GET / HTTP/1.1\r\nhost: a.com\r\nx-forwarded-proto: http\r\n"
        b"x-request-id: %b\r\nx-envoy-expected-rq-timeout-ms: 15000\r\n\r\n"
    ) % b.clients[0].manager.stream.request_headers.get(b"x-request-id")
    b.advance(0.02)
    b.upstream.send(OK)
    assert client.received() == (
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nx-envoy-upstream-service-time: 20\r\n"
        b"date: Tue, 14 Nov 2023 22:13:20 GMT\r\nserver: envoy\r\n\r\nok"
    )


def test_a_connection_carries_one_request_after_the_other(bench: MakeBench) -> None:
    b = bench()
    client = b.client()
    for _ in range(3):
        client.send(GET)
        b.upstream.send(OK)
        assert client.received().startswith(b"HTTP/1.1 200 ")
    assert len(b.upstreams) == 1
    assert b.stats("http.downstream_cx_total", "http.downstream_rq_total", "http.downstream_rq_2xx") == [1, 3, 3]


def test_pipelined_requests_are_answered_in_order(bench: MakeBench) -> None:
    b = bench()
    client = b.client().send(*[GET.replace(b"/ ", b"/%d " % number) for number in (1, 2, 3)])
    for number in (b"1", b"2", b"3"):
        assert b.upstream.received().startswith(b"GET /%b " % number)
        b.upstream.send(OK.replace(b"ok", b"%b!" % number))
        assert client.received().endswith(b"%b!" % number)
    assert client.reading


def test_pipelined_requests_in_one_piece(bench: MakeBench) -> None:
    b = bench(DIRECT)
    client = b.client().send(GET * 2)
    assert client.received().count(b"HTTP/1.1 200 OK\r\n") == 2
    assert b.stat("http.downstream_rq_total") == 2


def test_more_pipelined_requests_than_answers_can_have_left_end_the_connection(bench: MakeBench) -> None:
    b = bench(DIRECT)
    client = b.client().send(GET * 5)
    assert client.received().count(b"HTTP/1.1 200 OK\r\n") == 2
    assert b.stat("http.downstream_rq_total") == 3
    assert b.stat("http.downstream_rq_rx_reset") == 1
    assert b.stat("http.downstream_cx_destroy_local_active_rq") == 1


def test_a_client_that_pipelines_without_end_is_made_to_wait(bench: MakeBench) -> None:
    b = bench()
    client = b.client().send(GET, GET, GET)
    assert not client.reading
    b.upstream.send(OK)
    b.upstream.send(OK)
    b.upstream.send(OK)
    assert client.reading


def test_what_is_pipelined_after_the_last_request_is_not_answered(bench: MakeBench) -> None:
    b = bench(DIRECT)
    client = b.client().send(b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n" + GET)
    assert client.received().count(b"HTTP/1.1") == 1
    assert b.stat("http.downstream_rq_total") == 1


# -- the end of the connection


def test_a_client_that_asks_for_the_end_gets_it_at_once_after_a_proxied_response(bench: MakeBench) -> None:
    b = bench()
    client = b.client().get("/", "connection: close")
    b.upstream.send(OK)
    assert b"\r\nconnection: close\r\n" in client.received()
    assert client.gone
    assert b.stats("http.downstream_cx_destroy", "http.downstream_cx_destroy_local") == [1, 1]


def test_after_a_local_reply_the_client_gets_time_to_read_it(bench: MakeBench) -> None:
    b = bench(DIRECT, hcm={"delayed_close_timeout": "0.5s"})
    client = b.client().get("/", "connection: close")
    assert b"\r\nconnection: close\r\n" in client.received()
    b.advance(0.45)
    assert not client.gone
    b.advance(0.1)
    assert client.gone
    assert b.stat("http.downstream_cx_delayed_close_timeout") == 1


def test_a_client_that_leaves_first_ends_the_delay(bench: MakeBench) -> None:
    b = bench(DIRECT)
    client = b.client().get("/", "connection: close")
    client.close()
    assert client.gone
    assert b.stats("http.downstream_cx_destroy_remote", "http.downstream_cx_delayed_close_timeout") == [1, 0]


def test_the_last_of_max_requests_per_connection_says_so(bench: MakeBench) -> None:
    b = bench(hcm=common(max_requests_per_connection=2))
    client = b.client().send(GET)
    b.upstream.send(OK)
    assert b"connection" not in client.received()
    client.send(GET)
    b.upstream.send(OK)
    assert b"\r\nconnection: close\r\n" in client.received()
    assert client.gone
    assert b.stat("http.downstream_cx_max_requests_reached") == 1


def test_a_response_before_the_request_is_complete_ends_the_connection(bench: MakeBench) -> None:
    b = bench(DIRECT)
    client = b.client().send(POST)
    assert b"\r\nconnection: close\r\n" in client.received()
    client.send(b"body")
    assert client.received() == b""
    b.advance(1.1)
    assert client.gone
    assert b.stat("http.downstream_rq_response_before_rq_complete") == 1


def test_an_upstream_that_answers_too_early_ends_both_connections(bench: MakeBench) -> None:
    b = bench()
    client = b.client().send(POST)
    b.upstream.send(OK)
    assert b"\r\nconnection: close\r\n" in client.received()
    assert b.upstream.closed
    b.advance(1.1)
    assert client.gone


# -- draining


def test_a_draining_server_tells_its_clients_and_closes_when_they_have_had_time(bench: MakeBench) -> None:
    b = bench(hcm={"drain_timeout": "2s"})
    client = b.client().send(GET)
    b.drain_state.active = b.draining = True
    b.upstream.send(OK)
    assert b"\r\nconnection: close\r\n" in client.received()
    assert not client.gone
    b.advance(2.1)
    assert not client.gone
    b.advance(1.1)
    assert client.gone
    assert b.stat("http.downstream_cx_drain_close") == 1


def test_a_connection_that_was_asked_to_end_still_serves_who_asks_again(bench: MakeBench) -> None:
    b = bench(DIRECT, hcm={"drain_timeout": "2s"})
    b.drain_state.active = b.draining = True
    client = b.client().send(GET, GET * 2)
    assert client.received().count(b"\r\nconnection: close\r\n") == 3
    assert b.stats("http.downstream_cx_drain_close", "http.downstream_rq_total") == [1, 3]
    b.advance(2.1)
    client.send(GET)
    assert client.received() == b""
    b.advance(1.1)
    assert client.gone


def test_a_server_that_drains_gradually_may_let_a_connection_be(bench: MakeBench) -> None:
    b = bench()
    client = b.client().send(GET)
    b.drain_state.active = True
    b.upstream.send(OK)
    assert b"connection" not in client.received()
    assert b.stat("http.downstream_cx_drain_close") == 0


def test_a_connection_on_which_nothing_is_asked_ends_when_its_time_has_come(bench: MakeBench) -> None:
    b = bench(DIRECT, hcm={"drain_timeout": "2s"})
    client = b.client().send(GET)
    b.drain_delay = 3.0
    b.drain_state.begin()
    b.advance(2.9)
    assert b.stat("http.downstream_cx_drain_close") == 0
    b.advance(0.2)
    assert b.stat("http.downstream_cx_drain_close") == 1
    b.advance(1.9)
    assert not client.gone
    b.advance(1.1)
    assert client.gone


def test_a_connection_that_has_said_nothing_just_ends(bench: MakeBench) -> None:
    b = bench(DIRECT)
    client = b.client()
    b.drain_delay = 3.0
    b.drain_state.begin()
    b.advance(3.01)
    assert client.gone
    assert b.stat("http.downstream_cx_drain_close") == 1


def test_a_connection_that_comes_while_the_server_drains_has_its_time_too(bench: MakeBench) -> None:
    b = bench(DIRECT)
    b.drain_delay = 3.0
    b.drain_state.begin()
    client = b.client()
    b.advance(2.9)
    assert not client.gone
    b.advance(0.11)
    assert client.gone


def test_who_has_been_asked_to_end_is_not_asked_again(bench: MakeBench) -> None:
    b = bench(DIRECT, hcm={"drain_timeout": "2s"})
    client = b.client()
    b.drain_delay, b.draining = 1.0, True
    b.drain_state.begin()
    client.send(GET)
    assert b.stat("http.downstream_cx_drain_close") == 1
    b.advance(1.5)
    assert b.stat("http.downstream_cx_drain_close") == 1
    assert not client.gone
    b.advance(1.6)
    assert client.gone
    assert not b.drain_state.watchers


def test_a_drained_connection_waits_for_its_stream(bench: MakeBench) -> None:
    b = bench(hcm={"drain_timeout": "1s", **common(max_connection_duration="3s")})
    client = b.client().send(GET)
    b.advance(10)
    assert not client.gone
    b.upstream.send(OK)
    assert b"\r\nconnection: close\r\n" in client.received()
    b.advance(1.1)
    assert client.gone
    assert b.stat("http.downstream_cx_max_duration_reached") == 1


def test_max_connection_duration_closes_what_has_never_asked(bench: MakeBench) -> None:
    b = bench(hcm=common(max_connection_duration="3s"))
    client = b.client()
    b.advance(2.9)
    assert not client.gone
    b.advance(0.2)
    assert client.gone


# -- idle timeouts


def test_a_connection_that_has_never_asked_is_closed_after_the_idle_timeout(bench: MakeBench) -> None:
    b = bench(hcm=common(idle_timeout="0.5s"))
    client = b.client()
    b.advance(0.49)
    assert not client.gone
    b.advance(0.02)
    assert client.gone
    assert b.stats("http.downstream_cx_idle_timeout", "http.downstream_cx_destroy_local") == [1, 1]


def test_an_idle_connection_is_drained_and_closed_with_delay(bench: MakeBench) -> None:
    b = bench(DIRECT, hcm={"drain_timeout": "0.3s", **common(idle_timeout="0.5s")})
    client = b.client().send(GET)
    b.advance(1.79)
    assert not client.gone
    b.advance(0.04)
    assert client.gone
    assert b.stat("http.downstream_cx_idle_timeout") == 1


def test_a_request_starts_the_idle_timeout_anew(bench: MakeBench) -> None:
    b = bench(DIRECT, hcm=common(idle_timeout="1s"))
    client = b.client()
    for _ in range(5):
        b.advance(0.9)
        client.send(GET)
    assert b.stat("http.downstream_cx_idle_timeout") == 0


def test_a_connection_with_a_stream_is_not_idle(bench: MakeBench) -> None:
    b = bench([{"match": {"prefix": "/"}, "route": {"cluster": "a", "timeout": "0s"}}], hcm=common(idle_timeout="1s"))
    client = b.client().send(GET)
    b.advance(30)
    b.upstream.send(OK)
    assert client.received().endswith(b"ok")
    assert b.stat("http.downstream_cx_idle_timeout") == 0


def test_without_any_idle_timeout_nothing_ends(bench: MakeBench) -> None:
    b = bench(DIRECT, hcm={"stream_idle_timeout": "0s", **common(idle_timeout="0s")})
    client = b.client().send(GET)
    assert b.dispatcher.next_deadline() is None
    b.advance(100_000)
    assert not client.gone


# -- timeouts of streams


def test_a_silent_stream_is_answered_504_after_the_stream_idle_timeout(bench: MakeBench) -> None:
    b = bench(hcm={"stream_idle_timeout": "2s"})
    client = b.client().send(GET)
    b.advance(1.99)
    assert client.received() == b""
    b.advance(0.02)
    answer = client.received()
    assert answer.startswith(b"HTTP/1.1 504 Gateway Timeout\r\n")
    assert answer.endswith(b"\r\n\r\nstream timeout")
    assert (b.stream.response_code_details, b.stat("http.downstream_rq_idle_timeout")) == ("stream_idle_timeout", 1)
    assert b.upstream.closed


def test_a_client_that_stops_in_the_middle_of_its_request_is_answered_408(bench: MakeBench) -> None:
    b = bench(hcm={"stream_idle_timeout": "2s"})
    client = b.client().send(POST, b"bo")
    b.advance(2.01)
    answer = client.received()
    assert answer.startswith(b"HTTP/1.1 408 Request Timeout\r\n")
    assert b"connection: close\r\n" in answer


def test_each_byte_starts_the_stream_idle_timeout_anew(bench: MakeBench) -> None:
    b = bench(hcm={"stream_idle_timeout": "2s"})
    client = b.client().send(POST)
    for byte in (b"b", b"o", b"d", b"y"):
        b.advance(1.5)
        client.send(byte)
    b.upstream.send(b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n")
    for byte in (b"a", b"b", b"c"):
        b.advance(1.5)
        b.upstream.send(byte)
    assert client.received().endswith(b"abc")
    assert b.stat("http.downstream_rq_idle_timeout") == 0


def test_a_response_that_stops_in_the_middle_is_broken_off(bench: MakeBench) -> None:
    b = bench(hcm={"stream_idle_timeout": "2s"})
    client = b.client().send(GET)
    b.upstream.send(b"HTTP/1.1 200 OK\r\ncontent-length: 30\r\n\r\nabc")
    b.advance(2.01)
    assert client.received().endswith(b"\r\n\r\nabc")
    b.advance(1.01)
    assert client.gone
    assert b.stream.response_code_details == "stream_idle_timeout"


@pytest.mark.parametrize(("route_timeout", "at"), [("1s", 1.0), ("7s", 7.0)])
def test_the_idle_timeout_of_the_route_counts(bench: MakeBench, route_timeout: str, at: float) -> None:
    routes = [{"match": {"prefix": "/"}, "route": {"cluster": "a", "timeout": "0s", "idle_timeout": route_timeout}}]
    b = bench(routes, hcm={"stream_idle_timeout": "3s"})
    client = b.client().send(GET)
    b.advance(at - 0.02)
    assert client.received() == b""
    b.advance(0.04)
    assert client.received().startswith(b"HTTP/1.1 504 ")


def test_the_idle_timeout_of_the_route_may_be_the_only_one(bench: MakeBench) -> None:
    routes = [{"match": {"prefix": "/"}, "route": {"cluster": "a", "timeout": "0s", "idle_timeout": "1s"}}]
    b = bench(routes, hcm={"stream_idle_timeout": "0s", **common(idle_timeout="0s")})
    client = b.client().send(GET)
    b.advance(1.01)
    assert client.received().startswith(b"HTTP/1.1 504 ")
    b.advance(1000)
    client.send(GET)
    b.upstream.send(OK)
    assert client.received().endswith(b"ok")


def test_a_route_may_have_no_idle_timeout(bench: MakeBench) -> None:
    routes = [{"match": {"prefix": "/"}, "route": {"cluster": "a", "timeout": "0s", "idle_timeout": "0s"}}]
    b = bench(routes, hcm={"stream_idle_timeout": "1s"})
    client = b.client().send(GET)
    b.advance(100)
    b.upstream.send(OK)
    assert client.received().endswith(b"ok")


def test_the_headers_must_come_within_the_request_headers_timeout(bench: MakeBench) -> None:
    b = bench(hcm={"request_headers_timeout": "1s"})
    client = b.client().send(b"GET / HTTP/1.1\r\nhost:")
    b.advance(1.01)
    answer = client.received()
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert answer.endswith(b"\r\n\r\nrequest header timeout")
    b.advance(1.01)
    assert client.gone
    assert b.stat("http.downstream_rq_header_timeout") == 1
    assert b.stream.response_code_details == "request_header_timeout"


def test_headers_that_come_in_time_stop_the_timeout(bench: MakeBench) -> None:
    b = bench(hcm={"request_headers_timeout": "1s"})
    client = b.client().send(POST)
    b.advance(5)
    b.upstream.send(OK)
    assert b"200 OK" in client.received()


def test_the_whole_request_must_come_within_the_request_timeout(bench: MakeBench) -> None:
    b = bench(hcm={"request_timeout": "1s"})
    client = b.client().send(POST, b"bod")
    b.advance(1.01)
    answer = client.received()
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert answer.endswith(b"\r\n\r\nrequest timeout")
    assert b.stat("http.downstream_rq_timeout") == 1
    assert b.stream.response_code_details == "request_overall_timeout"


@pytest.mark.parametrize("request_bytes", [GET, POST + b"body"])
def test_a_request_that_comes_in_time_stops_the_request_timeout(bench: MakeBench, request_bytes: bytes) -> None:
    b = bench(hcm={"request_timeout": "1s"})
    client = b.client().send(request_bytes)
    b.advance(5)
    b.upstream.send(OK)
    assert client.received().endswith(b"ok")


def test_a_stream_may_not_last_longer_than_max_stream_duration(bench: MakeBench) -> None:
    b = bench(hcm=common(max_stream_duration="2s"))
    client = b.client().send(GET)
    b.advance(2.01)
    answer = client.received()
    assert answer.startswith(b"HTTP/1.1 504 ")
    assert answer.endswith(b"\r\n\r\ndownstream duration timeout")
    assert b.stat("http.downstream_rq_max_duration_reached") == 1
    assert b.stream.response_code_details == "max_duration_timeout"


def test_max_stream_duration_breaks_a_response_off(bench: MakeBench) -> None:
    b = bench(hcm=common(max_stream_duration="2s"))
    client = b.client().send(GET)
    b.upstream.send(b"HTTP/1.1 200 OK\r\ncontent-length: 30\r\n\r\nabc")
    b.advance(3.1)
    assert client.gone


@pytest.mark.parametrize(("duration", "status"), [("1s", b"504"), ("0s", b"200")])
def test_the_route_overrides_max_stream_duration(bench: MakeBench, duration: str, status: bytes) -> None:
    action = {"cluster": "a", "timeout": "0s", "max_stream_duration": {"max_stream_duration": duration}}
    b = bench([{"match": {"prefix": "/"}, "route": action}], hcm=common(max_stream_duration="2s"))
    client = b.client().send(GET)
    b.advance(5)
    b.upstream.send(OK)
    assert client.received().startswith(b"HTTP/1.1 " + status)


# -- clients that go away


def test_a_client_that_leaves_in_the_middle_of_its_request(bench: MakeBench) -> None:
    b = bench()
    client = b.client().send(POST, b"bo")
    client.close()
    assert b.upstream.closed
    assert b.stream.response_code_details == "downstream_remote_disconnect"
    assert b.stats(
        "http.downstream_rq_rx_reset",
        "http.downstream_cx_destroy_remote_active_rq",
        "http.downstream_cx_destroy_active_rq",
        "http.downstream_rq_active",
    ) == [1, 1, 1, 0]


def test_a_client_that_leaves_in_the_middle_of_its_response(bench: MakeBench) -> None:
    b = bench()
    client = b.client().send(GET)
    b.upstream.send(b"HTTP/1.1 200 OK\r\ncontent-length: 30\r\n\r\nabc")
    client.reset()
    assert b.upstream.closed
    assert b.stream.response_code == 200
    assert b.stream.response_flags


def test_a_client_that_leaves_while_the_upstream_is_connecting(bench: MakeBench) -> None:
    b = bench(accepts=False)
    b.client().send(GET).close()
    assert b.stats("cluster.upstream_rq_pending_active", "cluster.upstream_rq_cancelled") == [0, 1]
    b.upstream.accept()
    assert b.upstream.received() == b""


def test_a_client_that_leaves_between_requests(bench: MakeBench) -> None:
    b = bench(DIRECT)
    b.client().send(GET).close()
    assert b.stats("http.downstream_rq_rx_reset", "http.downstream_cx_destroy_remote") == [0, 1]


# -- broken requests


def test_garbage_is_answered_400_and_the_connection_closed(bench: MakeBench) -> None:
    b = bench()
    client = b.client().send(b"\x16\x03\x01garbage\r\n\r\n")
    answer = client.received()
    assert answer.startswith(b"HTTP/1.1 400 Bad Request\r\n")
    assert b"\r\nconnection: close\r\n" in answer
    b.advance(1.1)
    assert client.gone
    assert b.stat("http.downstream_cx_protocol_error") == 1


def test_garbage_in_a_body_is_answered_400_as_long_as_there_is_no_response(bench: MakeBench) -> None:
    b = bench()
    client = b.client().send(b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n", b"zz\r\n")
    assert client.received().startswith(b"HTTP/1.1 400 ")
    assert b.upstream.closed
    assert b.stat("http.downstream_cx_protocol_error") == 1


def test_garbage_in_a_body_after_the_response_has_begun_breaks_it_off(bench: MakeBench) -> None:
    b = bench()
    client = b.client().send(b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n")
    b.upstream.send(b"HTTP/1.1 200 OK\r\ncontent-length: 30\r\n\r\nabc")
    client.received()
    client.send(b"zz\r\n")
    assert client.received() == b""
    b.advance(1.1)
    assert client.gone


def test_nothing_is_read_after_garbage(bench: MakeBench) -> None:
    b = bench(DIRECT)
    client = b.client().send(b"\x16\r\n\r\n" + GET, GET)
    assert client.received().count(b"HTTP/1.1 ") == 1
    assert b.stat("http.downstream_rq_total") == 1


def test_garbage_between_requests_is_a_request_of_its_own(bench: MakeBench) -> None:
    b = bench(DIRECT)
    client = b.client().send(GET)
    client.received()
    client.send(b"\x00\x00\r\n\r\n")
    assert client.received().startswith(b"HTTP/1.1 400 ")
    assert b.stat("http.downstream_rq_total") == 2


# -- watermarks


def test_a_client_that_does_not_read_stops_the_upstream_and_starts_it_again(bench: MakeBench) -> None:
    b = bench(buffer_limit=10)
    client = b.client().send(GET)
    client.block()
    b.upstream.send(b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nabc")
    assert not b.upstream.reading
    client.unblock()
    assert b.upstream.reading
    b.upstream.send(b"def")
    assert client.received().endswith(b"abcdef")
    assert b.stats(
        "http.downstream_flow_control_paused_reading_total",
        "cluster.upstream_flow_control_paused_reading_total",
        "cluster.upstream_flow_control_resumed_reading_total",
    ) == [0, 1, 1]


@pytest.mark.parametrize(
    "response",
    [
        OK,
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nx: y\r\n\r\n",
    ],
)
def test_the_upstream_connection_is_read_again_when_its_response_is_complete(bench: MakeBench, response: bytes) -> None:
    trailers = {"http_protocol_options": {"enable_trailers": True}}
    b = bench(buffer_limit=10, hcm=trailers, cluster=trailers)
    client = b.client().send(GET)
    client.block()
    b.upstream.send(response)
    assert b.upstream.reading
    client.unblock()
    assert b"ok" in client.received()
    client.send(GET)
    b.upstream.send(OK)
    assert client.received().endswith(b"ok")
    assert len(b.upstreams) == 1


def test_a_response_to_a_client_that_already_does_not_read_is_not_read(bench: MakeBench) -> None:
    b = bench(buffer_limit=10)
    client = b.client().send(GET)
    client.block()
    b.upstream.send(OK)
    client.send(GET)
    assert not b.upstream.reading
    client.unblock()
    b.upstream.send(OK)
    assert client.received().endswith(b"ok")


def test_an_upstream_that_does_not_read_stops_the_client_and_starts_it_again(bench: MakeBench) -> None:
    b = bench(cluster={"per_connection_buffer_limit_bytes": 10})
    client = b.client().send(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 24\r\n\r\n")
    b.upstream.block()
    client.send(b"x" * 12)
    assert not client.reading
    b.upstream.unblock()
    assert client.reading
    client.send(b"y" * 12)
    assert b.upstream.received().endswith(b"x" * 12 + b"y" * 12)
    assert b.stats("cluster.upstream_flow_control_backed_up_total", "cluster.upstream_flow_control_drained_total") == [
        1,
        1,
    ]
    b.upstream.send(OK)


@pytest.mark.parametrize("timeout", ["route", "stream"])
def test_the_client_is_read_again_when_the_stream_that_stopped_it_times_out(bench: MakeBench, timeout: str) -> None:
    route = {"cluster": "a", "timeout": "2s" if timeout == "route" else "0s"}
    b = bench(
        [{"match": {"prefix": "/"}, "route": route}],
        cluster={"per_connection_buffer_limit_bytes": 10},
        hcm={"stream_idle_timeout": "3s"},
    )
    client = b.client().send(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 12\r\n\r\n")
    b.upstream.block()
    client.send(b"x" * 12)
    assert not client.reading
    b.advance(3.1)
    assert client.received().startswith(b"HTTP/1.1 504 ")
    assert client.reading
    client.send(GET)
    b.upstream.send(OK)
    assert client.received().endswith(b"ok")


def test_a_client_waits_while_the_upstream_is_connecting(bench: MakeBench) -> None:
    b = bench(accepts=False, buffer_limit=10)
    client = b.client().send(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 24\r\n\r\n", b"x" * 12)
    assert not client.reading
    b.upstream.accept()
    assert client.reading
    client.send(b"y" * 12)
    assert b.upstream.received().endswith(b"x" * 12 + b"y" * 12)
    b.upstream.send(OK)
    assert client.received().endswith(b"ok")


def test_a_client_that_waits_for_a_connection_is_read_again_when_there_is_none(bench: MakeBench) -> None:
    b = bench(accepts=False, buffer_limit=10)
    client = b.client().send(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 12\r\n\r\n" + b"x" * 12)
    assert not client.reading
    b.upstream.refuse()
    assert client.received().startswith(b"HTTP/1.1 503 ")
    assert client.reading


# -- unusual requests and responses


def test_the_expectation_of_a_client_is_met_by_the_proxy(bench: MakeBench) -> None:
    b = bench()
    client = b.client().send(POST[:-2] + b"expect: 100-continue\r\n\r\n")
    assert client.received() == b"HTTP/1.1 100 Continue\r\n\r\n"
    assert b"\r\nexpect:" not in b.upstream.received()


def test_an_upstream_may_be_asked_for_100_continue(bench: MakeBench) -> None:
    b = bench(hcm={"proxy_100_continue": True})
    client = b.client().send(POST[:-2] + b"expect: 100-continue\r\n\r\n")
    assert client.received() == b""
    assert b"expect: 100-continue" in b.upstream.received()
    b.upstream.send(b"HTTP/1.1 100 Continue\r\n\r\n")
    assert client.received() == b"HTTP/1.1 100 Continue\r\n\r\n"
    client.send(b"body")
    b.upstream.send(OK)
    assert client.received().endswith(b"ok")


def test_the_answer_to_head_has_no_body(bench: MakeBench) -> None:
    b = bench(DIRECT)
    client = b.client().send(b"HEAD / HTTP/1.1\r\nhost: a\r\n\r\n")
    answer = client.received()
    assert b"content-length: 2\r\n" in answer
    assert answer.endswith(b"\r\n\r\n")


def test_http_1_0_gets_what_it_asks_for(bench: MakeBench) -> None:
    b = bench(DIRECT, hcm={"http_protocol_options": {"accept_http_10": True, "default_host_for_http_10": "a"}})
    client = b.client().send(b"GET / HTTP/1.0\r\nconnection: keep-alive\r\n\r\n")
    answer = client.received()
    assert answer.startswith(b"HTTP/1.0 200 OK\r\n")
    assert b"connection: keep-alive\r\n" in answer
    client.send(b"GET / HTTP/1.0\r\n\r\n")
    assert b"connection: close\r\n" in client.received()
    b.advance(1.1)
    assert client.gone


@pytest.mark.parametrize(
    ("target", "answer", "details"),
    [
        (b"/a#b", b"400", "path_normalization_failed"),
        (b"http://a/x", b"200", "direct_response"),
    ],
)
def test_request_targets(bench: MakeBench, target: bytes, answer: bytes, details: str) -> None:
    b = bench(DIRECT)
    client = b.client().send(b"GET %b HTTP/1.1\r\nhost: a\r\n\r\n" % target)
    assert client.received().startswith(b"HTTP/1.1 " + answer)
    assert b.stream.response_code_details == details


def test_an_asterisk_is_no_path(bench: MakeBench) -> None:
    b = bench(DIRECT)
    client = b.client().send(b"OPTIONS * HTTP/1.1\r\nhost: a\r\n\r\n")
    assert client.received().startswith(b"HTTP/1.1 404 ")
    assert b.stream.response_code_details == "absolute_path_rejected"
    assert b.stat("http.downstream_rq_non_relative_path") == 1


def test_an_upgrade_that_is_not_configured_is_refused(bench: MakeBench) -> None:
    b = bench()
    client = b.client().get("/", "connection: upgrade", "upgrade: websocket")
    assert client.received().startswith(b"HTTP/1.1 403 ")
    assert b.stream.response_code_details == "upgrade_failed"
    assert b.stat("http.downstream_rq_ws_on_non_ws_route") == 1


def test_a_request_without_a_host_is_answered_400_without_a_body(bench: MakeBench) -> None:
    b = bench()
    client = b.client().send(b"GET / HTTP/1.1\r\n\r\n")
    answer = client.received()
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert answer.endswith(b"content-length: 0\r\n\r\n")
    assert b.stream.response_code_details == "missing_host_header"


def test_grpc_clients_are_told_in_their_words(bench: MakeBench) -> None:
    b = bench([{"match": {"prefix": "/"}, "route": {"cluster": "empty"}}])
    client = b.client().send(
        b"POST / HTTP/1.1\r\nhost: a\r\ncontent-type: application/grpc\r\ncontent-length: 0\r\n\r\n"
    )
    answer = client.received()
    assert answer.startswith(b"HTTP/1.1 200 OK\r\ncontent-type: application/grpc\r\ngrpc-status: 14\r\n")
    assert b"grpc-message: no healthy upstream\r\n" in answer


# -- what is told


def test_the_server_header_may_be_left_alone(bench: MakeBench) -> None:
    b = bench(hcm={"server_header_transformation": "PASS_THROUGH"})
    client = b.client().send(GET)
    b.upstream.send(b"HTTP/1.1 200 OK\r\nserver: them\r\ncontent-length: 0\r\n\r\n")
    assert b"server: them\r\n" in client.received()


def test_the_server_header_may_be_added_only_where_there_is_none(bench: MakeBench) -> None:
    b = bench(hcm={"server_header_transformation": "APPEND_IF_ABSENT", "server_name": "us"})
    client = b.client().send(GET)
    b.upstream.send(b"HTTP/1.1 200 OK\r\nserver: them\r\ncontent-length: 0\r\n\r\n")
    assert b"server: them\r\n" in client.received()
    client.send(GET)
    b.upstream.send(OK)
    assert b"server: us\r\n" in client.received()


def test_the_request_id_is_told_to_the_client(bench: MakeBench) -> None:
    b = bench(hcm={"always_set_request_id_in_response": True})
    client = b.client().get("/", "x-request-id: mine")
    b.upstream.send(OK)
    assert b"x-request-id: mine\r\n" in client.received()


def test_responses_are_counted_by_class(bench: MakeBench) -> None:
    b = bench()
    client = b.client()
    for status in (200, 302, 404, 503):
        client.send(GET)
        b.upstream.send(b"HTTP/1.1 %d X\r\ncontent-length: 0\r\n\r\n" % status)
    names = ["2xx", "3xx", "4xx", "5xx", "completed"]
    assert b.stats(*(f"http.downstream_rq_{name}" for name in names)) == [1, 1, 1, 1, 4]
    assert b.stats(*(f"listener.127.0.0.1_10000.http.test.downstream_rq_{name}" for name in names)) == [1, 1, 1, 1, 4]


def test_an_explanation_tells_what_happened_to_a_request(bench: MakeBench) -> None:
    b = bench(hcm={"stream_idle_timeout": "2s"})
    b.client().get("/", "x-request-id: mine")
    b.advance(2.1)
    explanation = b.explanations.for_request_id("mine")
    assert [each.point for each in explanation.decisions] == [
        "route",
        "cluster",
        "host",
        "connection",
        "timeout",
        "local_reply",
    ]
    assert str(explanation["timeout"]) == "timeout: stream_idle_timeout, because reached after 2.000 s"


# -- lifetimes


def test_a_jitter_makes_a_connection_live_longer_and_never_shorter(bench: MakeBench) -> None:
    b = bench(hcm=common(max_connection_duration="10s", max_connection_duration_jitter={"value": 50}))
    b.config.draw = lambda: 0.5
    client = b.client()
    b.advance(12.4)
    assert not client.gone
    b.advance(0.2)
    assert client.gone


def test_a_jitter_makes_a_drain_take_longer(bench: MakeBench) -> None:
    b = bench(
        DIRECT,
        hcm=common(max_connection_duration="1s") | {"drain_timeout": "4s", "drain_timeout_jitter": {"value": 100}},
    )
    b.config.draw = lambda: 0.25
    client = b.client().send(GET)
    b.advance(1 + 4.9)
    assert not client.gone
    b.advance(0.2 + 1)
    assert client.gone


def test_a_safe_end_is_told_with_the_next_response(bench: MakeBench) -> None:
    b = bench(hcm=common(max_connection_duration="1s") | {"http1_safe_max_connection_duration": True})
    client = b.client().send(GET)
    b.advance(2)
    b.upstream.send(OK)
    assert b"connection: close" not in client.received()
    b.advance(20)
    assert not client.gone
    client.send(GET)
    b.upstream.send(OK)
    assert b"connection: close" in client.received()
    assert client.gone
