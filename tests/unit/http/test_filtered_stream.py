"""Whole requests through filters of the tests' own and the router."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from minienvoy.http.filter import (
    FilterDataStatus,
    FilterHeadersStatus,
    FilterTrailersStatus,
    StreamDecoderFilter,
    StreamEncoderFilter,
    StreamFilter,
)
from minienvoy.http.header_map import HeaderMap, RequestHeaderMap, ResponseHeaderMap
from tests.unit.http_bench import GET, OK, Bench

MakeBench = Callable[..., Bench]
POST = b"POST / HTTP/1.1\r\nhost: a.com\r\ncontent-length: 4\r\n\r\n"
CHUNKED_POST = b"POST / HTTP/1.1\r\nhost: a.com\r\ntransfer-encoding: chunked\r\n\r\n"
TRAILERS = {"http_protocol_options": {"enable_trailers": True}}
UPSTREAM_TRAILERS = {"http_protocol_options": {"enable_trailers": True}}


class Scripted(StreamFilter):
    """Answers what it is told to at each hook, a status or a call that returns one; keeps what it saw."""

    def __init__(self, **script: Any) -> None:
        self.script = script
        self.saw: list[str] = []
        self.destroyed = 0

    def _at(self, hook: str, what: str, default: Any) -> Any:
        self.saw.append(what)
        answer = self.script.get(hook, default)
        return answer(self) if callable(answer) else answer

    def decode_headers(self, headers: RequestHeaderMap, end_stream: bool) -> FilterHeadersStatus:
        status: FilterHeadersStatus = self._at(
            "decode_headers", f"H{'.' if end_stream else ''}", FilterHeadersStatus.CONTINUE
        )
        return status

    def decode_data(self, data: bytes, end_stream: bool) -> FilterDataStatus:
        status: FilterDataStatus = self._at(
            "decode_data", f"D({data.decode()}){'.' if end_stream else ''}", FilterDataStatus.CONTINUE
        )
        return status

    def decode_trailers(self, trailers: HeaderMap) -> FilterTrailersStatus:
        status: FilterTrailersStatus = self._at("decode_trailers", "T", FilterTrailersStatus.CONTINUE)
        return status

    def encode_headers(self, headers: ResponseHeaderMap, end_stream: bool) -> FilterHeadersStatus:
        status: FilterHeadersStatus = self._at(
            "encode_headers", f"h{headers.status}{'.' if end_stream else ''}", FilterHeadersStatus.CONTINUE
        )
        return status

    def encode_data(self, data: bytes, end_stream: bool) -> FilterDataStatus:
        status: FilterDataStatus = self._at(
            "encode_data", f"d({data.decode()}){'.' if end_stream else ''}", FilterDataStatus.CONTINUE
        )
        return status

    def encode_trailers(self, trailers: HeaderMap) -> FilterTrailersStatus:
        status: FilterTrailersStatus = self._at("encode_trailers", "t", FilterTrailersStatus.CONTINUE)
        return status

    def on_destroy(self) -> None:
        self.destroyed += 1


def scripted(bench: MakeBench, *filters: Scripted, **options: Any) -> Bench:
    """For one request: each filter is made once."""
    return bench(filters=[lambda each=each: each for each in filters], **options)


def reply(status: Any) -> Callable[[Scripted], Any]:
    def answer(each: Scripted) -> Any:
        each.decoder_callbacks.send_local_reply(418, "no", "filter_said_no")
        return status

    return answer


def test_requests_go_down_the_chain_and_responses_come_back_up(bench: MakeBench) -> None:
    order: list[str] = []

    class Named(StreamFilter):
        def __init__(self, name: str) -> None:
            self.name = name

        def decode_headers(self, headers: RequestHeaderMap, end_stream: bool) -> FilterHeadersStatus:
            order.append(f"{self.name} request")
            return FilterHeadersStatus.CONTINUE

        def encode_headers(self, headers: ResponseHeaderMap, end_stream: bool) -> FilterHeadersStatus:
            order.append(f"{self.name} response")
            return FilterHeadersStatus.CONTINUE

    b = bench(filters=[lambda: Named("1"), lambda: Named("2")])
    b.client().send(GET)
    b.upstream.send(OK)
    assert order == ["1 request", "2 request", "2 response", "1 response"]


def test_everything_is_seen_with_its_end(bench: MakeBench) -> None:
    each = Scripted()
    b = scripted(bench, each, hcm=TRAILERS, cluster=UPSTREAM_TRAILERS)
    client = b.client().send(CHUNKED_POST, b"2\r\nab\r\n0\r\nx: y\r\n\r\n")
    assert each.saw == ["H", "D(ab)", "T"]
    assert b.upstream.received().endswith(b"\r\n\r\n2\r\nab\r\n0\r\nx: y\r\n\r\n")
    b.upstream.send(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\ncd\r\n0\r\nz: 1\r\n\r\n")
    assert each.saw[3:] == ["h200", "d(cd)", "t"]
    assert client.received().endswith(b"\r\n\r\n2\r\ncd\r\n0\r\nz: 1\r\n\r\n")
    assert each.destroyed == 1


def test_filters_of_one_side_only(bench: MakeBench) -> None:
    class Request(StreamDecoderFilter):
        def decode_headers(self, headers: RequestHeaderMap, end_stream: bool) -> FilterHeadersStatus:
            headers["x-seen"] = "request"
            return FilterHeadersStatus.CONTINUE

    class Response(StreamEncoderFilter):
        def encode_headers(self, headers: ResponseHeaderMap, end_stream: bool) -> FilterHeadersStatus:
            headers["x-seen"] = "response"
            return FilterHeadersStatus.CONTINUE

    b = bench(filters=[Request, Response])
    client = b.client().send(GET)
    assert b"x-seen: request\r\n" in b.upstream.received()
    b.upstream.send(OK)
    assert b"x-seen: response\r\n" in client.received()


def test_each_stream_has_filters_of_its_own(bench: MakeBench) -> None:
    made: list[Scripted] = []

    def make() -> Scripted:
        made.append(Scripted())
        return made[-1]

    b = bench(filters=[make])
    client = b.client().send(GET)
    b.upstream.send(OK)
    client.send(GET)
    b.upstream.send(OK)
    assert [each.destroyed for each in made] == [1, 1]


def test_a_delayed_request_continues_when_the_filter_says_so(bench: MakeBench) -> None:
    each = Scripted(decode_headers=FilterHeadersStatus.STOP_ALL_ITERATION_AND_WATERMARK)
    b = scripted(bench, each)
    b.client().send(POST + b"body")
    assert (each.saw, b.upstreams) == (["H"], [])
    each.decoder_callbacks.continue_decoding()
    b.turns.settle()
    assert each.saw == ["H", "D(body)."]
    assert b.upstream.received().endswith(b"\r\n\r\nbody")


def test_the_time_of_the_upstream_does_not_include_that_of_the_filters(bench: MakeBench) -> None:
    each = Scripted(decode_headers=FilterHeadersStatus.STOP_ITERATION)
    b = scripted(bench, each)
    client = b.client().send(GET)
    b.advance(3)
    each.decoder_callbacks.continue_decoding()
    b.turns.settle()
    b.advance(0.02)
    b.upstream.send(OK)
    assert b"x-envoy-upstream-service-time: 20\r\n" in client.received()


def test_a_response_is_held_until_the_filter_says_so(bench: MakeBench) -> None:
    each = Scripted(encode_headers=FilterHeadersStatus.STOP_ALL_ITERATION_AND_BUFFER)
    b = scripted(bench, each)
    client = b.client().send(GET)
    b.upstream.send(OK)
    assert client.received() == b""
    each.encoder_callbacks.continue_encoding()
    assert client.received().endswith(b"\r\n\r\nok")
    assert each.saw == ["H.", "h200", "d(ok)."]


def test_a_response_body_is_taken_whole_and_replaced(bench: MakeBench) -> None:
    def decode(each: Scripted) -> FilterDataStatus:
        each.encoder_callbacks.inject_encoded_data(b"OK", True)
        return FilterDataStatus.STOP_ITERATION_NO_BUFFER

    b = scripted(bench, Scripted(encode_data=decode))
    client = b.client().send(GET)
    b.upstream.send(OK)
    assert client.received().endswith(b"\r\n\r\nOK")


def test_a_body_is_added_to_a_request_that_had_none(bench: MakeBench) -> None:
    def add(each: Scripted) -> FilterHeadersStatus:
        each.decoder_callbacks.add_decoded_data(b"body")
        assert each.decoder_callbacks.decoding_buffer() == b"body"
        return FilterHeadersStatus.CONTINUE

    b = scripted(bench, Scripted(decode_headers=add), Scripted())
    b.client().send(GET)
    assert b.upstream.received().endswith(b"transfer-encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n")


def test_a_body_is_added_to_a_response_that_had_none(bench: MakeBench) -> None:
    def add(each: Scripted) -> FilterHeadersStatus:
        each.encoder_callbacks.add_encoded_data(b"body")
        assert each.encoder_callbacks.encoding_buffer() == b"body"
        return FilterHeadersStatus.CONTINUE

    b = scripted(bench, Scripted(), Scripted(encode_headers=add))
    client = b.client().send(GET)
    b.upstream.send(b"HTTP/1.1 204 No Content\r\n\r\n")
    assert client.received().endswith(b"\r\n\r\nbody")


# -- local replies

LAST_CHUNK = b"0\r\nx: y\r\n\r\n"


@pytest.mark.parametrize(
    ("hook", "status"),
    [
        *(("decode_headers", status) for status in FilterHeadersStatus),
        *(("decode_data", status) for status in FilterDataStatus),
        *(("decode_trailers", status) for status in FilterTrailersStatus),
    ],
)
def test_a_local_reply_from_a_hook_of_the_request_ends_it(bench: MakeBench, hook: str, status: Any) -> None:
    first, second, third = Scripted(), Scripted(**{hook: reply(status)}), Scripted()
    b = scripted(bench, first, second, third, hcm=TRAILERS)
    client = b.client().send(CHUNKED_POST + b"2\r\nab\r\n" + LAST_CHUNK)
    assert client.received().startswith(b"HTTP/1.1 418 ")
    requests = [each for each in second.saw if each[0] in "HDT"]
    assert requests == ["H", "D(ab)", "T"][: len(requests)]
    assert len([each for each in third.saw if each[0] in "HDT"]) == len(requests) - 1
    for each in (first, second, third):
        assert each.saw[-2:] == ["h418", "d(no)."]
        assert each.destroyed == 1
    assert b.stream.response_code_details == "filter_said_no"
    assert b.stat("http.downstream_rq_active") == 0


@pytest.mark.parametrize("status", list(FilterHeadersStatus))
def test_a_local_reply_instead_of_a_response_goes_past_the_filters(bench: MakeBench, status: Any) -> None:
    first, second = Scripted(), Scripted(encode_headers=reply(status))
    b = scripted(bench, first, second)
    client = b.client().send(GET)
    b.upstream.send(OK)
    assert client.received().startswith(b"HTTP/1.1 418 ")
    assert (first.saw, second.saw) == (["H."], ["H.", "h200"])
    assert (first.destroyed, second.destroyed) == (1, 1)


@pytest.mark.parametrize("status", list(FilterDataStatus))
def test_a_local_reply_after_the_headers_are_sent_breaks_the_response_off(bench: MakeBench, status: Any) -> None:
    each = Scripted(encode_data=reply(status))
    b = scripted(bench, each)
    client = b.client().send(GET)
    b.upstream.send(OK)
    assert client.received().startswith(b"HTTP/1.1 200 ")
    b.advance(1.1)
    assert client.gone
    assert b.stream.response_code_details == "filter_said_no"


def test_a_local_reply_while_headers_are_held_takes_their_place(bench: MakeBench) -> None:
    each = Scripted(encode_headers=FilterHeadersStatus.STOP_ITERATION, encode_data=reply(FilterDataStatus.CONTINUE))
    b = scripted(bench, each)
    client = b.client().send(GET)
    b.upstream.send(OK)
    assert client.received().startswith(b"HTTP/1.1 418 ")


def test_a_local_reply_may_be_held_back_by_a_filter(bench: MakeBench) -> None:
    holds = Scripted(encode_headers=FilterHeadersStatus.STOP_ALL_ITERATION_AND_BUFFER)
    b = scripted(bench, holds, Scripted(decode_headers=reply(FilterHeadersStatus.STOP_ITERATION)))
    client = b.client().send(GET)
    assert client.received() == b""
    holds.encoder_callbacks.continue_encoding()
    assert client.received().startswith(b"HTTP/1.1 418 ")


def test_no_response_of_the_upstream_comes_after_a_local_reply_that_is_held_back(bench: MakeBench) -> None:
    holds = Scripted(encode_headers=FilterHeadersStatus.STOP_ALL_ITERATION_AND_BUFFER)
    b = scripted(bench, holds, hcm={"stream_idle_timeout": "2s"})
    client = b.client().send(GET)
    b.advance(2.1)
    assert client.received() == b""
    assert b.upstream.closed
    holds.encoder_callbacks.continue_encoding()
    assert client.received().startswith(b"HTTP/1.1 504 ")


def test_the_filter_itself_may_answer(bench: MakeBench) -> None:
    class Answers(StreamDecoderFilter):
        def decode_headers(self, headers: RequestHeaderMap, end_stream: bool) -> FilterHeadersStatus:
            answer = ResponseHeaderMap(200)
            answer["content-length"] = "2"
            self.decoder_callbacks.encode_headers(answer, False, "answered")
            self.decoder_callbacks.encode_data(b"hi", True)
            return FilterHeadersStatus.STOP_ITERATION

    seen = Scripted()
    b = bench(filters=[lambda: seen, Answers])
    client = b.client().send(GET)
    assert client.received().endswith(b"\r\n\r\nhi")
    assert seen.saw == ["H.", "h200", "d(hi)."]
    assert b.stream.response_code_details == "answered"


def test_the_body_that_follows_a_local_reply_is_not_shown_to_filters(bench: MakeBench) -> None:
    first = Scripted()
    b = scripted(bench, first, Scripted(decode_headers=reply(FilterHeadersStatus.STOP_ITERATION)))
    b.client().send(POST, b"body")
    assert first.saw == ["H", "h418", "d(no)."]


def test_a_filter_may_reset_the_stream(bench: MakeBench) -> None:
    def reset(each: Scripted) -> FilterHeadersStatus:
        each.decoder_callbacks.reset_stream()
        return FilterHeadersStatus.STOP_ITERATION

    each = Scripted(decode_headers=reset)
    b = scripted(bench, each)
    client = b.client().send(GET)
    b.advance(1.1)
    assert (client.received(), client.gone, each.destroyed) == (b"", True, 1)


def test_a_stream_that_is_gone_can_not_be_continued(bench: MakeBench) -> None:
    each = Scripted(
        decode_headers=FilterHeadersStatus.STOP_ITERATION, encode_headers=FilterHeadersStatus.STOP_ITERATION
    )
    b = scripted(bench, each)
    client = b.client().send(GET)
    client.close()
    assert each.destroyed == 1
    each.decoder_callbacks.continue_decoding()
    each.decoder_callbacks.send_local_reply(200, "", "")
    each.decoder_callbacks.inject_decoded_data(b"x", True)
    each.encoder_callbacks.continue_encoding()
    assert b.upstreams == []


# -- buffers


def test_a_request_that_is_too_large_to_be_buffered(bench: MakeBench) -> None:
    each = Scripted(decode_data=FilterDataStatus.STOP_ITERATION_AND_BUFFER)
    b = scripted(bench, each, buffer_limit=3)
    client = b.client().send(POST, b"body")
    answer = client.received()
    assert answer.startswith(b"HTTP/1.1 413 Payload Too Large\r\n")
    assert answer.endswith(b"\r\n\r\nPayload Too Large")
    assert b.stream.response_code_details == "request_payload_too_large"


def test_a_response_that_is_too_large_to_be_buffered(bench: MakeBench) -> None:
    each = Scripted(encode_headers=FilterHeadersStatus.STOP_ALL_ITERATION_AND_BUFFER)
    b = scripted(bench, each, buffer_limit=1000)
    client = b.client().send(GET)
    b.upstream.send(b"HTTP/1.1 200 OK\r\ncontent-length: 2000\r\n\r\n", b"x" * 1500)
    assert client.received().startswith(b"HTTP/1.1 500 ")
    assert b.upstream.closed
    assert b.stat("http.rs_too_large") == 1


def test_a_response_that_gets_too_large_after_its_headers_breaks_off(bench: MakeBench) -> None:
    each = Scripted(encode_data=FilterDataStatus.STOP_ITERATION_AND_BUFFER)
    b = scripted(bench, each, buffer_limit=1000)
    client = b.client().send(GET)
    b.upstream.send(b"HTTP/1.1 200 OK\r\ncontent-length: 2000\r\n\r\n", b"x" * 1500)
    assert client.received().startswith(b"HTTP/1.1 200 ")
    b.advance(1.1)
    assert client.gone


def test_the_client_waits_while_a_filter_holds_too_much_and_goes_on_when_it_lets_go(bench: MakeBench) -> None:
    each = Scripted(decode_headers=FilterHeadersStatus.STOP_ALL_ITERATION_AND_WATERMARK)
    b = scripted(bench, each, buffer_limit=3)
    client = b.client().send(POST, b"body")
    assert not client.reading
    each.decoder_callbacks.continue_decoding()
    b.turns.settle()
    assert client.reading
    b.upstream.send(OK)
    assert client.received().endswith(b"ok")


def test_the_client_is_read_again_when_the_stream_ends_that_made_it_wait(bench: MakeBench) -> None:
    each = Scripted(decode_headers=FilterHeadersStatus.STOP_ALL_ITERATION_AND_WATERMARK)
    b = scripted(bench, each, buffer_limit=3, hcm={"stream_idle_timeout": "1s"})
    client = b.client().send(POST + b"body")
    assert not client.reading
    b.advance(1.1)
    assert client.received().startswith(b"HTTP/1.1 504 ")
    assert client.reading


def test_the_upstream_waits_while_a_filter_holds_too_much(bench: MakeBench) -> None:
    each = Scripted(encode_headers=FilterHeadersStatus.STOP_ALL_ITERATION_AND_WATERMARK)
    b = scripted(bench, each, buffer_limit=3)
    client = b.client().send(GET)
    b.upstream.send(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n", b"body")
    assert not b.upstream.reading
    each.encoder_callbacks.continue_encoding()
    assert b.upstream.reading
    b.upstream.send(b"!")
    assert client.received().endswith(b"body!")


# -- what filters see of the stream


def test_a_filter_may_send_the_request_elsewhere(bench: MakeBench) -> None:
    class Moves(StreamDecoderFilter):
        def decode_headers(self, headers: RequestHeaderMap, end_stream: bool) -> FilterHeadersStatus:
            before = self.decoder_callbacks.route()
            headers.path = b"/new"
            assert self.decoder_callbacks.route() is before
            self.decoder_callbacks.clear_route_cache()
            return FilterHeadersStatus.CONTINUE

    routes = [
        {"match": {"path": "/new"}, "direct_response": {"status": 201}},
        {"match": {"prefix": "/"}, "route": {"cluster": "a"}},
    ]
    b = bench(routes, filters=[Moves])
    client = b.client().send(GET)
    assert client.received().startswith(b"HTTP/1.1 201 ")


def test_a_filter_knows_its_stream(bench: MakeBench) -> None:
    each = Scripted()
    b = scripted(bench, each)
    client = b.client().send(GET)
    callbacks = each.decoder_callbacks
    assert callbacks.dispatcher is b.dispatcher
    assert callbacks.downstream_connection is client.connection
    assert callbacks.stream_info.upstream_cluster_name == "a"
    assert "cluster" in callbacks.explain
