"""What holds of HTTP/1 codecs whatever they are given."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from minienvoy.http.http1.chunked import ChunkedReader, encode_chunk
from minienvoy.http.http1.settings import REJECT_UNDERSCORES, Http1Settings
from minienvoy.testing.transcript import Client, Event, Server

quickly = settings(max_examples=100)

LIMITS = Http1Settings(max_headers_size=2000, max_headers_count=12, enable_trailers=True, accept_http_10=True)
TOKEN = "!#$%&'*+-.^_`|~0123456789abcXYZ"


def one_of(*values: bytes) -> st.SearchStrategy[bytes]:
    return st.sampled_from(values)


# Pieces of messages: good ones, odd ones that Envoy takes, and bad ones.
line_ends = one_of(b"\r\n", b"\r\n", b"\r\n", b"\r\n", b"\n", b"\r\r\n")
names = st.text(TOKEN, min_size=1, max_size=6).map(str.encode) | one_of(b"Connection", b"te", b"X-Forwarded-For")
values = st.binary(max_size=12) | one_of(b"close", b"x-a", b"a\r\n b", b"a\rb", b"  a\tb ", b"", b"\xff")
plain_values = st.text("abc ,;=\t\xff", max_size=12).map(lambda text: text.encode("latin-1"))
framing_lines = one_of(
    b"Content-Length: 3",
    b"content-length: 0",
    b"content-length: 3, 3",
    b"content-length: +3",
    b"content-length: 1\r2",
    b"transfer-encoding: chunked",
    b"Transfer-Encoding: CHUNKED",
    b"transfer-encoding: gzip",
    b"transfer-encoding:\r\n chunked",
    b"connection: upgrade\r\nupgrade: websocket",
    b"connection: upgrade\r\nupgrade: h2c",
    b"connection: x-a, close",
    b"host: b",
    b" folded",
    b"no colon",
)
header_lines = (
    st.tuples(names, values).map(lambda pair: pair[0] + b": " + pair[1])
    | st.tuples(names, plain_values).map(lambda pair: pair[0] + b":" + pair[1])
    | framing_lines
)
request_lines = one_of(
    b"GET / HTTP/1.1",
    b"POST /a?b HTTP/1.1",
    b"HEAD / HTTP/1.1",
    b"GET http://u@b:80/x HTTP/1.1",
    b"OPTIONS * HTTP/1.1",
    b"CONNECT b:80 HTTP/1.1",
    b"GET\t/  HTTP/1.1 ",
    b"GET / HTTP/1.0",
    b"GET /",
    b"GET /\x00 HTTP/1.1",
    b"FOO / HTTP/1.1",
    b"",
)
status_lines = one_of(
    b"HTTP/1.1 200 OK",
    b"HTTP/1.1 200",
    b"HTTP/1.0 200 OK",
    b"HTTP/1.1 100 Continue",
    b"HTTP/1.1 204 No Content",
    b"HTTP/1.1 304 Not Modified",
    b"HTTP/1.1 101 S",
    b"HTTP/1.1  2000 x",
    b"HTTP/2.0 503 x",
    b"HTTP/1.1 20 x",
    b"X",
)
bodies = one_of(
    b"",
    b"abc",
    b"0\r\n\r\n",
    b"3\r\nabc\r\n0\r\n\r\n",
    b"3;x=y\r\nabc\r\nA\r\n0123456789\r\n0\r\nx-t: 1\r\n\r\n",
    b"3;x\nabc\r\n0\r\n\r\n",
    b"3\r\nabcX\r\n0\r\n\r\n",
    b"0\r\nbad\r\n\r\n",
    b"g\r\n",
) | st.binary(max_size=10)


@st.composite
def messages(draw: st.DrawFn, start_lines: st.SearchStrategy[bytes]) -> bytes:
    """One to three messages, or what is left of them."""
    message = b""
    for _ in range(draw(st.integers(1, 3))):
        end = draw(line_ends)
        lines = [draw(start_lines), *draw(st.lists(header_lines, max_size=4))]
        if draw(st.booleans()):
            lines.insert(1, b"Host: a")
        message += b"".join(line + end for line in lines) + draw(line_ends) + draw(bodies)
    if draw(st.booleans()):
        at = draw(st.integers(0, len(message)))
        message = message[:at] + draw(st.binary(max_size=2)) + message[at + draw(st.integers(0, 2)) :]
    return message


requests = messages(request_lines)
responses = messages(status_lines)


@st.composite
def splits(draw: st.DrawFn, of: st.SearchStrategy[bytes]) -> tuple[bytes, list[bytes]]:
    message = draw(of)
    cuts = sorted(draw(st.lists(st.integers(0, len(message)), max_size=8)))
    return message, [message[a:b] for a, b in pairwise([0, *cuts, len(message)])]


def server(name: str = "native", limits: Http1Settings = LIMITS) -> Server:
    return Server(name, limits, answering=True)


def client(name: str = "native", method: str = "GET") -> Client:
    """In the middle of a request."""
    asking = Client(name, LIMITS)
    asking.ask(method)
    return asking


def normal(events: list[Event]) -> list[Event]:
    """Body in one piece. Nothing of an error but that it is one: a message with two faults shows the first that comes.

    Body right before an error is left out: what comes with broken bytes is lost.
    """
    joined: list[Event] = []
    for event in events:
        if event[0] == "error":
            while joined and joined[-1][0] == "data":
                joined.pop()
            event = ("error",)
        if event[0] == "data" and joined and joined[-1][0] == "data":
            joined[-1] = ("data", joined[-1][1] + event[1])
        else:
            joined.append(event)
    return joined


def blurred(events: list[Event]) -> list[Event]:
    """As far as h11 and Envoy agree: h11 makes one blank of a fold, and writes `chunked` in lower case."""

    def blur(part: Any) -> Any:
        if isinstance(part, list):
            return [(name, b" ".join(value.lower().split())) for name, value in part]
        return part

    return [tuple(blur(part) for part in event) for event in events]


@quickly
@given(splits(requests))
def test_requests_read_the_same_however_they_are_cut(case: tuple[bytes, list[bytes]]) -> None:
    message, pieces = case
    for name in ("native", "h11"):
        whole = server(name).receive(message)
        # Who asks again before two answers have left is a flood; between two reads they leave.
        if not any(event[0] == "error" and "Too_many_responses_queued" in event[1] for event in whole):
            assert normal(server(name).receive(*pieces)) == normal(whole)


def test_a_third_request_in_one_read_is_a_flood_however_little_of_it_there_is() -> None:
    message = b"GET / HTTP/1.1\r\n\r\n"
    assert normal(server().receive(2 * message + b"!"))[-1] == ("error",)
    assert normal(server().receive(message, message + b"!"))[-1] == ("end_stream",)


@quickly
@given(splits(responses), st.sampled_from(["GET", "HEAD", "CONNECT"]))
def test_responses_read_the_same_however_they_are_cut(case: tuple[bytes, list[bytes]], method: str) -> None:
    message, pieces = case
    for name in ("native", "h11"):
        whole, cut = client(name, method), client(name, method)
        read = normal(whole.receive(message))
        # What comes after the response ends the connection, at once or as an error.
        again = normal(cut.receive(*pieces))
        assert again == read or again == [*read, ("error",)]
        assert cut.codec.should_close == whole.codec.should_close or ("error",) in read


@quickly
@given(requests)
def test_native_and_h11_read_requests_alike_where_both_take_them(message: bytes) -> None:
    native, h11 = server("native").receive(message), server("h11").receive(message)
    # A line without a version is a whole request of HTTP/0.9 to Envoy and so to us; h11 waits for its end.
    versioned = b" HTTP/" in message.lstrip(b"\r\n").split(b"\n", 1)[0]
    if versioned and not any(event[0] == "error" for event in native + h11):
        assert blurred(normal(native)) == blurred(normal(h11))


@quickly
@given(responses, st.sampled_from(["GET", "HEAD", "CONNECT"]))
def test_native_and_h11_read_responses_alike_where_both_take_them(message: bytes, method: str) -> None:
    native, h11 = client("native", method), client("h11", method)
    ours, theirs = native.receive(message), h11.receive(message)
    if not any(event[0] == "error" for event in ours + theirs):
        assert blurred(normal(ours)) == blurred(normal(theirs))
        assert native.codec.should_close == h11.codec.should_close


@quickly
@given(requests, st.sampled_from([LIMITS, Http1Settings(underscores=REJECT_UNDERSCORES), Http1Settings()]))
def test_the_quick_way_takes_what_the_lenient_way_takes_and_says_the_same(
    message: bytes, limits: Http1Settings
) -> None:
    lenient = server(limits=limits)
    lenient.codec._max_quick_head = -1
    expected = lenient.receive(message)
    # The second and third time lines, and then heads, are known.
    for _ in range(3):
        assert server(limits=limits).receive(message) == expected


@quickly
@given(responses)
def test_the_quick_way_reads_responses_like_the_lenient_one(message: bytes) -> None:
    lenient = client()
    lenient.codec._max_quick_head = -1
    expected = lenient.receive(message)
    for _ in range(3):
        quick = client()
        assert quick.receive(message) == expected
        assert quick.codec.should_close == lenient.codec.should_close


@quickly
@given(splits(st.binary(max_size=60) | requests | responses))
def test_hostile_bytes_are_answered_by_protocol_errors_alone(case: tuple[bytes, list[bytes]]) -> None:
    _, pieces = case
    for name in ("native", "h11"):
        for codec in (server(name), client(name), client(name, "HEAD")):
            for piece in pieces:
                codec.receive(piece)
                assert len(codec.codec._buffer) <= LIMITS.max_headers_size + len(piece)
            codec.codec.on_connection_closed(*([True] if isinstance(codec, Client) else []))
            codec.receive(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")


pairs = st.lists(
    st.tuples(
        st.text("abcxyz-", min_size=1, max_size=6).filter(lambda name: name not in ("te", "host")).map(str.encode),
        st.text("abc,;=\xe9", max_size=8).map(lambda text: text.encode("latin-1")),
    ),
    max_size=5,
)
pieces_of_body = st.lists(st.binary(max_size=20), max_size=4)


def without_framing(given_pairs: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    return [pair for pair in given_pairs if pair[0] not in (b"transfer-encoding", b"content-length")]


@quickly
@given(pairs, pieces_of_body, st.booleans())
def test_a_request_that_is_written_is_the_one_that_is_read(
    given_pairs: list[tuple[bytes, bytes]], body: list[bytes], known_length: bool
) -> None:
    whole = b"".join(body)
    asking = Client()
    extra = [(b"content-length", b"%d" % len(whole))] if known_length else []
    asking.ask("POST", "/x", [*given_pairs, *extra], body=b"", end_stream=False)
    for piece in body:
        asking.codec.encode_data(piece, False)
    asking.codec.encode_data(b"", True)
    wire = asking.wire
    for name in ("native", "h11"):
        head, *rest = normal(server(name).receive(wire))
        assert head[:4] == ("headers", b"POST", b"/x", b"a")
        assert without_framing(head[4]) == given_pairs
        assert rest == ([("data", whole)] if whole else []) + [("end_stream",)]


@quickly
@given(pairs, pieces_of_body, st.booleans())
def test_a_response_that_is_written_is_the_one_that_is_read(
    given_pairs: list[tuple[bytes, bytes]], body: list[bytes], known_length: bool
) -> None:
    whole = b"".join(body)
    answering = Server()
    answering.receive(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
    extra = [(b"content-length", b"%d" % len(whole))] if known_length else []
    answering.answer(203, [*given_pairs, *extra], b"", end_stream=False)
    for piece in body:
        answering.codec.encode_data(piece, False)
    answering.codec.encode_data(b"", True)
    wire = answering.wire
    for name in ("native", "h11"):
        asking = client(name)
        head, *rest = normal(asking.receive(wire))
        assert head[:2] == ("response", 203)
        assert without_framing(head[2]) == given_pairs
        assert rest == ([("data", whole)] if whole else []) + [("end_stream",)]
        assert not asking.codec.should_close


@quickly
@given(pieces_of_body, st.binary(max_size=5), st.data())
def test_chunks_that_are_written_are_read_however_they_are_cut(
    body: list[bytes], rest: bytes, choose: st.DataObject
) -> None:
    coded = b"".join(encode_chunk(piece) for piece in body if piece) + b"0\r\n\r\n"
    cuts = sorted(choose.draw(st.lists(st.integers(0, len(coded)), max_size=6)))
    reader = ChunkedReader(1000)
    read = b""
    after = b""
    for a, b in pairwise([0, *cuts, len(coded)]):
        piece, after = reader.feed(coded[a:b] + (rest if b == len(coded) and not reader.done else b""))
        read += piece
        if reader.done:
            break
    assert (reader.done, reader.error, read, after) == (True, None, b"".join(body), rest)
