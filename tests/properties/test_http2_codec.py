"""The HTTP/2 codec against python-hyper's `h2`: what one says, the other hears, however the bytes are cut.

Both as two ends of one connection, and as two codecs that are told the same.
"""

from __future__ import annotations

from typing import Any

import h2.config
import h2.connection
import h2.events
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minienvoy.http.header_map import HeaderMap, ResponseHeaderMap, entry
from minienvoy.http.http2.frames import frame
from tests.unit.http.http2.peer import CODEC, GET, Client, Peer, Server

NAMES = st.from_regex(r"x-[a-z0-9-]{1,12}", fullmatch=True)
VALUES = st.from_regex(r"[!-~]([ -~]{0,30}[!-~])?", fullmatch=True)
PAIRS = st.lists(st.tuples(NAMES, VALUES), max_size=6, unique_by=lambda pair: pair[0])
BODIES = st.lists(st.binary(min_size=1, max_size=2000), max_size=4)
MESSAGES = st.lists(st.tuples(PAIRS, BODIES, PAIRS), min_size=1, max_size=4)
CUTS = st.lists(st.integers(1, 300), max_size=40)


def client() -> h2.connection.H2Connection:
    made = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True, header_encoding="latin-1"))
    made.initiate_connection()
    return made


def requests(peer: h2.connection.H2Connection, messages: list[Any]) -> bytes:
    """What `h2` says for these requests, one stream after the other."""
    for number, (headers, body, trailers) in enumerate(messages):
        stream = 2 * number + 1
        start = [(":method", "POST"), (":scheme", "http"), (":path", f"/{number}"), (":authority", "a")]
        peer.send_headers(stream, [*start, *headers], end_stream=not body and not trailers)
        for at, data in enumerate(body):
            peer.send_data(stream, data, end_stream=at == len(body) - 1 and not trailers)
        if trailers:
            peer.send_headers(stream, trailers, end_stream=True)
    return peer.data_to_send()


def pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    parts = []
    for size in cuts:
        parts.append(data[:size])
        data = data[size:]
    return [part for part in (*parts, data) if part]


def joined(events: list[Any]) -> list[Any]:
    """Consecutive bytes of a body are one event: how they were cut says nothing."""
    found: list[Any] = []
    for event in events:
        if found and event[0] == found[-1][0] == "data" and not found[-1][2]:
            found[-1] = ("data", found[-1][1] + event[1], event[2])
        else:
            found.append(event)
    return found


@given(MESSAGES, CUTS)
@settings(max_examples=60)
def test_requests_of_h2_are_heard_as_they_were_said_however_they_are_cut(messages: list[Any], cuts: list[int]) -> None:
    said = requests(client(), messages)
    server, heard = Server(greet=False), []
    for piece in pieces(said, cuts):
        heard += server.receive(piece)
    wanted: list[Any] = []
    for number, (headers, body, trailers) in enumerate(messages):
        start = [(":authority", "a"), (":path", f"/{number}"), (":method", "POST"), (":scheme", "http")]
        wanted.append(("headers", [*start, *headers], not body and not trailers))
        if body:
            wanted.append(("data", b"".join(body), not trailers))
        if trailers:
            wanted.append(("trailers", trailers))
    assert joined(heard) == wanted
    whole = Server(greet=False)
    assert joined(whole.receive(said)) == wanted
    assert whole.frames()[0] == server.frames()[0]


@given(MESSAGES)
@settings(max_examples=60)
def test_h2_hears_responses_as_they_were_said(messages: list[Any]) -> None:
    peer = client()
    server = Server(greet=False)
    server.receive(requests(peer, [([], [], []) for _ in messages]))
    for stream, (headers, body, trailers) in zip(server.streams, messages, strict=True):
        response = ResponseHeaderMap(200)
        for name, value in headers:
            response.add_entry(entry(name.encode(), value.encode()))
        stream.encode_headers(response, not body and not trailers)
        for at, data in enumerate(body):
            stream.encode_data(data, at == len(body) - 1 and not trailers)
        if trailers:
            stream.encode_trailers(HeaderMap([entry(name.encode(), value.encode()) for name, value in trailers]))
    server.run()
    heard: dict[int, list[Any]] = {}
    for event in peer.receive_data(server.connection.written):
        if isinstance(event, h2.events.ResponseReceived):
            heard[event.stream_id] = [event.headers[1:], b"", []]
        elif isinstance(event, h2.events.DataReceived):
            heard[event.stream_id][1] += event.data
        elif isinstance(event, h2.events.TrailersReceived):
            heard[event.stream_id][2] = event.headers
    wanted = {
        2 * number + 1: [headers, b"".join(body), trailers] for number, (headers, body, trailers) in enumerate(messages)
    }
    plain = {
        stream: [[tuple(pair) for pair in headers], body, [tuple(pair) for pair in trailers]]
        for stream, (headers, body, trailers) in heard.items()
    }
    assert plain == wanted
    assert server.codec.streams == {}


@given(st.binary(max_size=400), CUTS)
@settings(max_examples=150)
def test_any_bytes_end_the_same_way_however_they_are_cut(noise: bytes, cuts: list[int]) -> None:
    said = requests(client(), [([], [b"abc"], [])]) + noise
    whole, cut = Server(greet=False), Server(greet=False)
    at_once, in_pieces = joined(whole.receive(said)), []
    for piece in pieces(said, cuts):
        in_pieces += cut.receive(piece)
    assert joined(in_pieces) == at_once


NOISE = st.lists(
    st.one_of(
        st.tuples(st.just(6), st.sampled_from([0, 1]), st.just(0), st.binary(min_size=8, max_size=8)),
        st.tuples(
            st.just(8), st.just(0), st.sampled_from([0, 1, 3]), st.integers(1, 9).map(lambda n: n.to_bytes(4, "big"))
        ),
        st.tuples(st.just(4), st.just(0), st.just(0), st.sampled_from([b"", b"\0\4\0\1\0\0", b"\0\3\0\0\0\7"])),
        st.tuples(st.just(2), st.just(0), st.sampled_from([1, 3, 5]), st.just(b"\0\0\0\0\5")),
        st.tuples(st.integers(11, 40), st.integers(0, 255), st.integers(0, 5), st.binary(max_size=20)),
        st.tuples(st.just(3), st.just(0), st.just(1), st.sampled_from([b"\0\0\0\0", b"\0\0\0\7", b"\0\0\0\x08"])),
    ),
    max_size=5,
)


def with_codec(name: str, make: type[Peer]) -> Any:
    CODEC.name = name
    try:
        return make()
    finally:
        CODEC.name = "native"


@given(MESSAGES, NOISE, CUTS)
@settings(max_examples=80)
def test_both_codecs_tell_the_same_of_the_same_frames(messages: list[Any], noise: list[Any], cuts: list[int]) -> None:
    said = requests(client(), messages) + b"".join(frame(*each) for each in noise)
    transcripts = []
    for name in ("native", "h2"):
        server, heard = with_codec(name, Server), []
        server.frames()
        for piece in pieces(said, cuts):
            heard += server.receive(piece)
        for stream in server.streams:
            stream.encode_headers(ResponseHeaderMap(200), False)
            stream.encode_data(b"hello", False)
            stream.encode_trailers(HeaderMap([entry(b"t", b"1")]))
        transcripts.append((joined(heard), server.frames(), sorted(server.codec.streams)))
    assert transcripts[0] == transcripts[1]


@given(MESSAGES, CUTS)
@settings(max_examples=80)
def test_both_codecs_tell_the_same_of_the_same_responses(messages: list[Any], cuts: list[int]) -> None:
    peer = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False))
    peer.initiate_connection()
    transcripts = []
    said = b""
    for name in ("native", "h2"):
        asking, heard = with_codec(name, Client), []
        for _ in messages:
            asking.request()
        asking.run()
        if not said:
            hello = bytes(asking.connection.written)
            said = responses(peer, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, 0) + hello, messages)
        asked = asking.frames()
        for piece in pieces(said, cuts):
            heard += asking.receive(piece)
        transcripts.append((asked, joined(heard), asking.frames(), asking.heard))
    assert transcripts[0] == transcripts[1]


def responses(peer: h2.connection.H2Connection, asked: bytes, messages: list[Any]) -> bytes:
    """What `h2` says to these requests, one stream after the other."""
    peer.receive_data(asked)
    for number, (headers, body, trailers) in enumerate(messages):
        stream = 2 * number + 1
        peer.send_headers(stream, [(":status", "200"), *headers], end_stream=not body and not trailers)
        for at, data in enumerate(body):
            peer.send_data(stream, data, end_stream=at == len(body) - 1 and not trailers)
        if trailers:
            peer.send_headers(stream, trailers, end_stream=True)
    return peer.data_to_send()


@pytest.mark.parametrize("name", ["native", "h2"])
def test_windows_are_kept_alike(name: str) -> None:
    server = with_codec(name, Server)
    server.receive(frame(4, 0, 0, b"\0\4\0\0\0\x05") + server.headers(1, *GET))
    server.frames()
    server.answer(200, b"hello world")
    assert server.frames() == [("HEADERS", 4, 1, [(":status", "200")]), ("DATA", 0, 1, b"hello")]
    server.receive(frame(8, 0, 1, b"\0\0\0\x64"))
    assert server.frames() == [("DATA", 1, 1, b" world")]
