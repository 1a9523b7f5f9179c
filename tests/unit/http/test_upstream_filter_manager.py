"""Filters between the router and an upstream: what comes out at either end."""

from __future__ import annotations

from typing import Any, cast

from minienvoy.explain.explanation import NO_EXPLANATION
from minienvoy.http.filter import FilterDataStatus, FilterHeadersStatus, StreamFilter
from minienvoy.http.filter_manager import FilterChain
from minienvoy.http.header_map import HeaderMap, RequestHeaderMap, ResponseHeaderMap
from minienvoy.http.upstream_filter_manager import UpstreamFilterManager
from minienvoy.stream_info import ConnectionInfo, StreamInfo


class Client(StreamInfo):
    """On whose behalf the attempt is made."""

    explain = NO_EXPLANATION
    buffer_limit = 10

    def __init__(self) -> None:
        self.connection = ConnectionInfo(None, None)
        self.replies: list[Any] = []

    def route(self) -> None:
        return None

    def describe(self) -> None: ...

    def send_local_reply(self, status: int, body: Any, details: str, *more: Any) -> None:
        self.replies.append((status, details))


class Ends:
    def __init__(self, connected: bool = False) -> None:
        self.done = False
        self.connected = connected
        self.seen: list[Any] = []

    def codec_headers(self, headers: RequestHeaderMap, end_stream: bool) -> None:
        self.seen.append(("request", [name for name, *_ in headers.entries], end_stream))

    def codec_data(self, data: bytes, end_stream: bool) -> None:
        self.seen.append((data, end_stream))

    def codec_trailers(self, trailers: HeaderMap) -> None:
        self.seen.append("trailers")

    def router_headers(self, headers: ResponseHeaderMap, end_stream: bool) -> None:
        self.seen.append(("response", headers.status, end_stream))

    def router_data(self, data: bytes, end_stream: bool) -> None:
        self.seen.append((data, end_stream))

    def router_trailers(self, trailers: HeaderMap) -> None:
        self.seen.append("trailers")

    def on_request_watermark(self, high: bool) -> None:
        self.seen.append("wait" if high else "go on")

    def on_response_watermark(self, high: bool) -> None:
        self.seen.append("upstream waits" if high else "upstream goes on")


class Marking(StreamFilter):
    destroyed = 0

    def decode_headers(self, headers: RequestHeaderMap, end_stream: bool) -> FilterHeadersStatus:
        headers.add(b"x-marked", b"1")
        return FilterHeadersStatus.CONTINUE

    def on_destroy(self) -> None:
        Marking.destroyed += 1


class Refusing(StreamFilter):
    def decode_headers(self, headers: RequestHeaderMap, end_stream: bool) -> FilterHeadersStatus:
        self.decoder_callbacks.send_local_reply(429, "", "refused")
        return FilterHeadersStatus.STOP_ITERATION


class Holding(StreamFilter):
    def encode_data(self, data: bytes, end_stream: bool) -> FilterDataStatus:
        return FilterDataStatus.CONTINUE if end_stream else FilterDataStatus.STOP_ITERATION_AND_WATERMARK


def manager(ends: Ends, *filters: Any, client: Client | None = None) -> UpstreamFilterManager:
    chain = FilterChain((*filters, StreamFilter))
    return UpstreamFilterManager(chain, cast(Any, client or Client()), ends)


def request() -> RequestHeaderMap:
    return RequestHeaderMap(b"GET", b"/", b"a.com", [])


def test_the_codec_holds_what_has_gone_through_the_filters_until_there_is_a_connection() -> None:
    ends = Ends()
    m = manager(ends, Marking)
    m.decode_headers(request(), False)
    m.decode_data(b"abc", False)
    m.decode_data(b"def", True)
    assert ends.seen == []
    ends.connected = True
    m.on_connected()
    assert ends.seen == [("request", [b"x-marked"], False), (b"abcdef", True)]


def test_what_waits_for_a_connection_is_bounded() -> None:
    ends = Ends()
    m = manager(ends, Marking)
    m.decode_headers(request(), False)
    m.decode_data(b"0123456789a", False)
    assert ends.seen == ["wait"]
    ends.connected = True
    m.on_connected()
    assert ends.seen == ["wait", ("request", [b"x-marked"], False), "go on", (b"0123456789a", False)]


def test_without_a_chain_there_is_the_codec() -> None:
    ends = Ends(connected=True)
    m = UpstreamFilterManager(None, cast(Any, Client()), ends)
    m.decode_headers(request(), True)
    m.encode_headers(ResponseHeaderMap(200), True)
    assert ends.seen == [("request", [], True), ("response", 200, True)]


def test_a_filter_answers_the_client_and_the_upstream_hears_nothing() -> None:
    ends, client = Ends(connected=True), Client()
    manager(ends, Refusing, Marking, client=client).decode_headers(request(), True)
    assert (client.replies, ends.seen) == ([(429, "refused")], [])


def test_a_response_that_a_filter_holds_makes_the_upstream_wait() -> None:
    ends = Ends(connected=True)
    m = manager(ends, Holding)
    m.encode_headers(ResponseHeaderMap(200), False)
    m.encode_data(b"0123456789a", False)
    m.encode_data(b"", True)
    assert ends.seen == [("response", 200, False), "upstream waits", "upstream goes on", (b"0123456789a", True)]


def test_after_its_end_an_attempt_hears_nothing_and_its_filters_are_gone() -> None:
    Marking.destroyed = 0
    ends = Ends(connected=True)
    m = manager(ends, Marking)
    m.decode_headers(request(), False)
    ends.done = True
    m.destroy()
    m.destroy()
    m.decode_data(b"late", True)
    m.encode_headers(ResponseHeaderMap(200), True)
    assert (ends.seen, Marking.destroyed) == ([("request", [b"x-marked"], False)], 1)
