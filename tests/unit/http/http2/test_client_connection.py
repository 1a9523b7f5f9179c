"""The upstream side as transcripts."""

from __future__ import annotations

import pytest

from minienvoy.http.codec import StreamResetReason
from minienvoy.http.header_map import HeaderMap, RequestHeaderMap
from minienvoy.http.http2.frames import frame, goaway, rst_stream, settings_frame

from .peer import Client, Decoder

SETTINGS = ("SETTINGS", 0, 0, [(2, 0), (1, 4096), (8, 0), (3, 1024), (4, 16 * 1024 * 1024)])
WINDOW = ("WINDOW_UPDATE", 0, 0, 25_100_289)


def test_the_preface_and_settings_are_envoys() -> None:
    client = Client(greet=False)
    client.request()
    assert client.frames()[:2] == [SETTINGS, WINDOW]


def test_nothing_is_said_before_there_is_a_reason() -> None:
    client = Client(greet=False)
    assert client.frames() == []
    client.receive(frame(4, 0, 0))
    assert client.frames() == [SETTINGS, ("SETTINGS", 1, 0, []), WINDOW]


def test_a_ping_is_a_reason() -> None:
    client = Client(greet=False)
    client.codec.ping(bytes(8))
    assert client.frames() == [SETTINGS, ("PING", 0, 0, bytes(8)), WINDOW]


def test_a_request_of_http1_has_its_pseudo_headers_in_envoys_order() -> None:
    client = Client()
    client.request()
    pairs = [(":authority", "a"), (":path", "/"), (":method", "GET"), (":scheme", "http")]
    assert client.frames() == [("HEADERS", 5, 1, pairs)]


def test_an_upgrade_becomes_an_extended_connect() -> None:
    client = Client()
    headers = RequestHeaderMap(b"GET", b"/ws", b"a")
    headers.add(b"connection", b"Upgrade")
    headers.add(b"upgrade", b"websocket")
    client.codec.new_stream(Decoder(client.events)).encode_headers(headers, False)
    ((_, _, _, pairs),) = client.frames()
    assert (":method", "CONNECT") in pairs
    assert pairs[-1] == (":protocol", "websocket")


def test_streams_run_at_the_same_time_and_end_in_any_order() -> None:
    client = Client()
    client.request()
    client.request()
    got = client.receive(
        client.response(3, status=204) + client.response(1, ("x", "y"), end=False) + frame(0, 1, 1, b"z")
    )
    assert got == [
        ("headers", [(":status", "204")], True),
        ("headers", [(":status", "200"), ("x", "y")], False),
        ("data", b"z", True),
    ]
    assert client.codec.streams == {}
    assert client.heard.count("stream closed") == 2


def test_interim_responses_and_trailers() -> None:
    client = Client()
    client.request()
    got = client.receive(
        client.response(1, status=103, end=False)
        + client.response(1, end=False)
        + client.headers(1, ("grpc-status", "0"))
    )
    assert got == [
        ("interim", 103),
        ("headers", [(":status", "200")], False),
        ("trailers", [("grpc-status", "0")]),
    ]


def test_request_trailers_end_the_request() -> None:
    client = Client()
    stream = client.request(b"POST", end=False)
    stream.encode_data(b"ab", False)
    stream.encode_trailers(HeaderMap.of([("t", "1")]))
    assert client.frames()[1:] == [("DATA", 0, 1, b"ab"), ("HEADERS", 5, 1, [("t", "1")])]


def test_a_head_response_may_announce_a_body_that_does_not_come() -> None:
    client = Client()
    client.request(b"HEAD")
    got = client.receive(client.response(1, ("content-length", "5")))
    assert got == [("headers", [(":status", "200"), ("content-length", "5")], True)]


@pytest.mark.parametrize("pairs", [((":status", "20"),), (("x", "y"),), ((":status", "200"), (":path", "/"))])
def test_a_response_that_is_none_ends_the_connection(pairs: tuple[tuple[str, str], ...]) -> None:
    client = Client()
    client.request()
    kind, details = client.receive(client.headers(1, *pairs))[-1]
    assert kind == "error"
    assert details.startswith("http2.")


def test_an_interim_response_can_not_be_the_end() -> None:
    client = Client()
    client.request()
    assert client.receive(client.headers(1, (":status", "101")))[-1][0] == "error"


def test_goaway_refuses_what_the_peer_has_not_looked_at() -> None:
    client = Client()
    for _ in range(3):
        client.request()
    got = client.receive(goaway(1, 0))
    assert got == [("reset", "remote refused stream reset", "http2.remote_refuse")] * 2
    assert "go away" in client.heard
    assert list(client.codec.streams) == [1]
    assert client.receive(client.response(1, status=204)) == [("headers", [(":status", "204")], True)]


def test_a_refused_stream_is_told_apart_from_one_that_is_reset() -> None:
    client = Client()
    client.request()
    client.request()
    assert client.receive(rst_stream(1, 7) + rst_stream(3, 2)) == [
        ("reset", "remote refused stream reset", "http2.remote_refuse"),
        ("reset", "remote reset", "http2.remote_reset"),
    ]


def test_the_peers_limit_of_streams_is_told() -> None:
    client = Client()
    client.receive(settings_frame([(3, 7)]))
    assert client.heard[-1] == ("max streams", 7)
    assert client.codec.peer_max_streams == 7


def test_a_smaller_table_is_announced_in_the_next_block() -> None:
    client = Client()
    client.receive(settings_frame([(1, 0)]))
    client.frames()
    client.decoder.max_allowed_table_size = 0
    client.request()
    ((_, _, _, pairs),) = client.frames()
    assert pairs[0] == (":authority", "a")


def test_a_response_to_nothing_that_was_asked_is_an_error() -> None:
    client = Client()
    assert client.receive(client.response(1))[-1][0] == "error"


@pytest.mark.parametrize("frames", [frame(0, 0, 1, b"ok"), frame(0, 1, 1, b"ok"), frame(0, 1, 1)])
def test_a_body_before_its_headers_is_not_passed_on(frames: bytes) -> None:
    client = Client()
    client.request()
    got = client.receive(frames)
    assert [event[0] for event in got] in (["reset"], ["error"])


@pytest.mark.parametrize(("method", "status"), [(b"GET", 204), (b"GET", 304), (b"HEAD", 200)])
def test_a_body_where_none_may_be_is_not_passed_on(method: bytes, status: int) -> None:
    client = Client()
    client.request(method)
    client.receive(client.response(1, status=status, end=False))
    assert client.receive(frame(0, 1, 1, b"HTTP/1.1 200 OK"))[-1][0] in ("reset", "error")
    assert not any(event[0] == "data" for event in client.events)


def test_a_server_has_no_push_to_allow() -> None:
    assert Client().receive(frame(4, 0, 0, b"\0\2\0\0\0\1"))[-1][0] == "error"


def test_headers_after_the_end_of_a_response_are_no_trailers() -> None:
    client = Client()
    client.request(b"POST", end=False)
    got = client.receive(client.response(1) + client.headers(1, ("late", "1")))
    assert got[0] == ("headers", [(":status", "200")], True)
    assert [each[0] for each in got if each[0] != "error"] == ["headers"]


@pytest.mark.native_codec
def test_a_length_of_nothing_in_a_204_is_looked_over_and_another_is_an_error() -> None:
    client = Client()
    client.request()
    got = client.receive(client.response(1, ("content-length", "0"), status=204))
    assert got == [("headers", [(":status", "204")], True)]
    client.request()
    assert client.receive(client.response(3, ("content-length", "3"), status=204))[0][0] == "error"


@pytest.mark.native_codec
def test_a_reset_of_a_request_goes_before_the_next_one() -> None:
    client = Client()
    first = client.request()
    client.frames()
    client.codec.dispatching = True
    client.request()
    first.reset_stream(StreamResetReason.LOCAL_RESET)
    client.codec.dispatching = False
    client.codec.flush()
    assert [(kind, stream) for kind, _, stream, _ in client.frames()] == [("RST_STREAM", 1), ("HEADERS", 3)]
