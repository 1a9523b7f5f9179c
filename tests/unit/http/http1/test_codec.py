"""Both sides of HTTP/1 as transcripts; where Envoy is more lenient than h11 only the native codec is asked."""

from __future__ import annotations

import pytest

from minienvoy.http.codec import StreamResetReason
from minienvoy.http.header_map import HeaderMap, ResponseHeaderMap
from minienvoy.http.http1.header_formatter import proper_case_words
from minienvoy.http.http1.settings import (
    DROP_UNDERSCORES,
    REJECT_UNDERSCORES,
    Http1Settings,
)
from minienvoy.testing.transcript import (
    Client,
    Event,
    Server,
    data,
    end_stream,
    error,
    headers,
    interim,
    reset,
    response,
    trailers,
)

GET = b"GET / HTTP/1.1\r\nhost: a\r\n"
POST = b"POST / HTTP/1.1\r\nhost: a\r\n"
CHUNKED = b"transfer-encoding: chunked\r\n"
TE = (b"transfer-encoding", b"chunked")
A_GET = [headers("GET", "/", "a"), end_stream()]
CODEC_ERROR = [error("http1.codec_error")]
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
AN_OK = [response(200, (b"content-length", b"2")), data(b"ok"), end_stream()]


@pytest.fixture(params=["native", "h11"])
def codec(request: pytest.FixtureRequest) -> str:
    """The codec's name: what is said here holds for both."""
    return str(request.param)


def receive(name: str, message: bytes, **settings: object) -> list[Event]:
    return Server(name, Http1Settings(**settings)).receive(message)  # type: ignore[arg-type]


# -- requests that both codecs take


def test_get_arrives_with_its_headers_in_lower_case_and_in_order(codec: str) -> None:
    message = b"GET /a?b=c HTTP/1.1\r\nHost: a:80\r\nX-B:  1 \r\nx-a: 2\r\nX-B:\t3\r\nx-empty:\r\n\r\n"
    pairs = [(b"x-b", b"1"), (b"x-a", b"2"), (b"x-b", b"3"), (b"x-empty", b"")]
    assert receive(codec, message) == [headers("GET", "/a?b=c", "a:80", *pairs), end_stream()]


def test_a_head_is_read_the_same_when_it_comes_again(codec: str) -> None:
    message = b"GET /again HTTP/1.1\r\nhost: a\r\nx-again: 1\r\nconnection: x-gone\r\nx-gone: 1\r\n\r\n"
    first = receive(codec, message)
    assert first == [headers("GET", "/again", "a", (b"x-again", b"1"), (b"connection", b"x-gone")), end_stream()]
    assert [receive(codec, message) for _ in range(4)] == [first] * 4


def test_what_a_stream_does_to_its_headers_is_not_seen_by_the_next_with_the_same_head(codec: str) -> None:
    server = Server(codec, answering=True)
    message = GET + b"x-mine: 1\r\n\r\n"
    for _ in range(3):
        assert server.receive(message) == [headers("GET", "/", "a", (b"x-mine", b"1")), end_stream()]
        server.streams[-1].headers.remove(b"x-mine")
        server.streams[-1].headers.path = b"/changed"


def test_bytes_above_ascii_in_values_survive(codec: str) -> None:
    assert receive(codec, GET + b"x: \xff\xfe\r\n\r\n")[0] == headers("GET", "/", "a", (b"x", b"\xff\xfe"))


def test_body_with_a_length_arrives_as_it_comes(codec: str) -> None:
    server = Server(codec)
    head = [headers("POST", "/", "a", (b"content-length", b"5")), data(b"he")]
    assert server.receive(POST + b"content-length: 5\r\n\r\nhe") == head
    assert server.receive(b"l") == [data(b"l")]
    assert server.receive(b"lo") == [data(b"lo"), end_stream()]


def test_chunked_body_arrives_in_one_piece_if_it_came_in_one(codec: str) -> None:
    server = Server(codec)
    assert server.receive(POST + CHUNKED + b"\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n") == [
        headers("POST", "/", "a", TE),
        data(b"abcde"),
        end_stream(),
    ]


def test_trailers_are_dropped_unless_they_are_enabled(codec: str) -> None:
    message = POST + CHUNKED + b"\r\n1\r\nx\r\n0\r\nX-T: 1\r\n\r\n"
    head = headers("POST", "/", "a", TE)
    assert receive(codec, message) == [head, data(b"x"), end_stream()]
    assert receive(codec, message, enable_trailers=True) == [
        head,
        data(b"x"),
        trailers((b"x-t", b"1")),
        end_stream(),
    ]


def test_length_of_zero_ends_the_request_with_its_headers(codec: str) -> None:
    assert receive(codec, POST + b"content-length: 0\r\n\r\n") == [
        headers("POST", "/", "a", (b"content-length", b"0")),
        end_stream(),
    ]


def test_absolute_form_overrules_host_and_loses_its_user(codec: str) -> None:
    assert receive(codec, b"GET http://u:p@B:8/x?y HTTP/1.1\r\nhost: a\r\n\r\n")[0] == headers("GET", "/x?y", "B:8")
    assert receive(codec, b"GET HTTPS://b HTTP/1.1\r\nhost: a\r\n\r\n")[0] == headers("GET", "/", "b")
    assert receive(codec, b"GET http://b?x HTTP/1.1\r\nhost: a\r\n\r\n")[0] == headers("GET", "?x", "b")


def test_absolute_form_is_a_path_like_any_other_when_it_is_not_allowed(codec: str) -> None:
    message = b"GET http://b/ HTTP/1.1\r\nhost: a\r\n\r\n"
    assert receive(codec, message, allow_absolute_url=False)[0] == headers("GET", "http://b/", "a")


def test_connect_has_an_authority_and_no_path_and_what_follows_is_raw(codec: str) -> None:
    server = Server(codec)
    assert server.receive(b"CONNECT b:443 HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n\x16\x03") == [
        headers("CONNECT", "", "b:443"),
        data(b"\x16\x03"),
    ]
    assert server.receive(b"GET / HTTP/1.1\r\n\r\n") == [data(b"GET / HTTP/1.1\r\n\r\n")]


def test_asterisk_is_for_options(codec: str) -> None:
    assert receive(codec, b"OPTIONS * HTTP/1.1\r\nhost: a\r\n\r\n") == [headers("OPTIONS", "*", "a"), end_stream()]
    assert receive(codec, b"GET * HTTP/1.1\r\nhost: a\r\n\r\n") == [error("http1.invalid_url")]


@pytest.mark.parametrize(
    ("target", "details"),
    [
        ("GET ftp://b/", "http1.invalid_scheme"),
        ("GET http:///x", "http1.invalid_url"),
        ("GET http://b:x/", "http1.invalid_url"),
        ("GET http://b:/", "http1.invalid_url"),
        ("GET http://b:65536/", "http1.invalid_url"),
        ("GET http://[::1/", "http1.invalid_url"),
        ("GET http://a_b/", "http1.invalid_url"),
        ("GET http://u@@b/", "http1.codec_error"),
        ("GET http://b{/", "http1.codec_error"),
        ("GET http:/b", "http1.codec_error"),
        ("GET b", "http1.codec_error"),
        ("GET ?x", "http1.codec_error"),
        ("GET /\xe9", "http1.codec_error"),
        ("CONNECT b", "http1.invalid_url"),
        ("CONNECT b:", "http1.invalid_url"),
        ("CONNECT /x", "http1.invalid_url"),
        ("CONNECT u@b:80", "http1.invalid_url"),
        ("CONNECT b:80#x", "http1.codec_error"),
        ("FOO /", "http1.codec_error"),
        ("get /", "http1.codec_error"),
        ("M-SEARCH /", "http1.codec_error"),
    ],
)
def test_targets_and_methods_that_are_refused(codec: str, target: str, details: str) -> None:
    assert receive(codec, target.encode("latin-1") + b" HTTP/1.1\r\nhost: a\r\n\r\n") == [error(details)]


@pytest.mark.parametrize("host", [b"a b", b"a/b", b"a#b", b"a?b", b'a"b', b"a\\b", b"a|b", b"{a}", b"<a>", b"\xff"])
def test_host_that_can_not_be_one_is_refused(codec: str, host: bytes) -> None:
    message = b"GET / HTTP/1.1\r\nhost: " + host + b"\r\n\r\n"
    assert receive(codec, message)[0][0] == "error"
    assert receive("native", message) == [error("http.invalid_authority")]


def test_host_may_be_empty_or_an_ip_literal(codec: str) -> None:
    assert receive(codec, b"GET / HTTP/1.1\r\nhost:\r\n\r\n")[0] == headers("GET", "/", "")
    assert receive(codec, b"GET / HTTP/1.1\r\nhost: [::1]:80\r\n\r\n")[0] == headers("GET", "/", "[::1]:80")


# -- lengths: every doubt is refused


@pytest.mark.parametrize(
    "value", [b"+5", b"-1", b"0x5", b"1_0", b"5 5", b"5, 5", b"", b"5.0", b"\xb2", b"18446744073709551616", b"9" * 5000]
)
def test_length_that_is_not_a_number_of_64_bits_is_refused(codec: str, value: bytes) -> None:
    assert receive(codec, POST + b"content-length: " + value + b"\r\n\r\nhello") == CODEC_ERROR


def test_two_lengths_are_refused_even_when_they_are_equal(codec: str) -> None:
    assert receive(codec, POST + b"content-length: 5\r\ncontent-length: 5\r\n\r\nhello") == CODEC_ERROR


def test_leading_zeros_of_a_length_do_not_count() -> None:
    events = receive("native", POST + b"content-length: " + b"0" * 30 + b"2\r\n\r\nhi")
    assert events[1:] == [data(b"hi"), end_stream()]


def test_length_and_chunks_are_refused_unless_allowed(codec: str) -> None:
    message = POST + CHUNKED + b"content-length: 5\r\n\r\n0\r\n\r\n"
    assert receive(codec, message) == [error("http1.content_length_and_chunked_not_allowed")]
    assert receive(codec, message, allow_chunked_length=True) == [headers("POST", "/", "a", TE), end_stream()]
    # What one connection may do is not what the next one may.
    assert receive(codec, message) == [error("http1.content_length_and_chunked_not_allowed")]


@pytest.mark.parametrize(
    "value", [b"xchunked", b"identity", b"chunked, identity", b"gzip, chunked", b"chunked;q=1", b"", b"chunked,"]
)
def test_transfer_coding_other_than_chunked_is_not_implemented(codec: str, value: bytes) -> None:
    message = POST + b"transfer-encoding: " + value + b"\r\n\r\n"
    assert receive(codec, message) == [error("http1.invalid_transfer_encoding", 501)]


def test_two_transfer_codings_are_not_implemented(codec: str) -> None:
    assert receive(codec, POST + CHUNKED + CHUNKED + b"\r\n") == [error("http1.invalid_transfer_encoding", 501)]


def test_transfer_coding_is_read_in_any_case(codec: str) -> None:
    events = receive(codec, POST + b"Transfer-Encoding: CHUNKED\r\n\r\n1\r\nx\r\n0\r\n\r\n")
    assert events[1:] == [data(b"x"), end_stream()]


def test_connect_has_no_body(codec: str) -> None:
    head = b"CONNECT b:80 HTTP/1.1\r\nhost: b\r\n"
    assert receive(codec, head + b"content-length: 3\r\n\r\nabc") == [error("http1.body_disallowed")]
    assert receive(codec, head + CHUNKED + b"\r\n") == [error("http1.invalid_transfer_encoding", 501)]


@pytest.mark.parametrize("framing", [b"content-length: 1\r2\r\n", b"content-length: 1\r\n 2\r\n"])
def test_length_with_a_line_end_inside_is_refused(framing: bytes) -> None:
    assert receive("native", POST + framing + b"\r\n123456789012") == CODEC_ERROR


@pytest.mark.parametrize("framing", [b"transfer-encoding: chun\rked\r\n", b"transfer-encoding: chun\r\n ked\r\n"])
def test_transfer_coding_with_a_line_end_inside_is_refused(framing: bytes) -> None:
    assert receive("native", POST + framing + b"\r\n0\r\n\r\n") == [error("http1.invalid_transfer_encoding", 501)]


# -- heads that are refused


@pytest.mark.parametrize("line", [b"x y: z", b"x : z", b"x\t: z", b": z", b"x\xe9: z", b"x(y: z", b"foo"])
def test_malformed_header_lines_are_refused(codec: str, line: bytes) -> None:
    assert receive(codec, GET + line + b"\r\n\r\n") == CODEC_ERROR


@pytest.mark.parametrize("byte", [b"\0", b"\x01", b"\x0b", b"\x0c", b"\x7f", b"\x1f"])
def test_control_bytes_are_refused_wherever_they_stand(codec: str, byte: bytes) -> None:
    for message in (GET + b"x: a%bb\r\n\r\n", GET + b"x%by: z\r\n\r\n", b"GET /%b HTTP/1.1\r\nhost: a\r\n\r\n"):
        assert receive(codec, message % byte)[0][0] == "error"
        assert receive("native", message % byte) == [error("http1.invalid_characters")]


@pytest.mark.parametrize("line", [b"GET /\0 HTTP/1.1", b"GET /\xe9 HTTP/1.1", b"GET / HTTP/1.1x", b"GET /\n HTTP/1.1"])
def test_known_lines_do_not_let_a_bad_start_line_pass(codec: str, line: bytes) -> None:
    rest = b"\r\nhost: a\r\nx-known: 1\r\n\r\n"
    assert receive(codec, b"GET / HTTP/1.1" + rest)[0][0] == "headers"
    (refused,) = receive(codec, line + rest)
    assert refused[0] == "error"


def test_known_lines_do_not_hide_an_earlier_end_of_the_head() -> None:
    rest = b"\r\nhost: a\r\nx-known: 1\r\n\r\n"
    assert receive("native", b"GET / HTTP/1.1" + rest)[0][0] == "headers"
    assert receive("native", b"GET / HTTP/1.1\n" + rest) == [headers("GET", "/", None), end_stream()]


@pytest.mark.parametrize("version", [b"HTTP/1.0", b"HTTP/1.2", b"HTTP/2.0", b"HTTP/0.9"])
def test_other_versions_are_asked_to_upgrade(codec: str, version: bytes) -> None:
    assert receive(codec, b"GET / " + version + b"\r\nhost: a\r\n\r\n") == [error("low_version", 426)]


@pytest.mark.parametrize("version", [b"HTTP/1.10", b"HTTP/1", b"http/1.1", b"XTTP/1.1", b"HTTP/1.1x"])
def test_versions_that_are_none_are_refused(codec: str, version: bytes) -> None:
    assert receive(codec, b"GET / " + version + b"\r\nhost: a\r\n\r\n") == CODEC_ERROR


def test_http_10_is_served_where_it_is_accepted_and_gets_a_host(codec: str) -> None:
    server = Server(codec, Http1Settings(accept_http_10=True, default_host_for_http_10=b"d"))
    assert server.receive(b"GET / HTTP/1.0\r\n\r\n") == [headers("GET", "/", "d"), end_stream()]
    server.answer(200, body=b"x")
    assert server.wire == b"HTTP/1.0 200 OK\r\n\r\nx"


def test_number_of_headers_is_limited(codec: str) -> None:
    lines = b"x: y\r\n" * 4
    assert receive(codec, GET + lines + b"\r\n", max_headers_count=5)[0][0] == "headers"
    assert receive(codec, GET + lines + b"x: y\r\n\r\n", max_headers_count=6)[0][0] == "headers"
    for _ in range(3):
        too_many = receive(codec, GET + lines + b"x: y\r\n\r\n", max_headers_count=5)
        assert too_many == [error("http1.too_many_headers", 431)]


def test_size_of_a_head_is_limited_to_the_byte(codec: str) -> None:
    message = GET + b"x: " + b"y" * 100 + b"\r\n\r\n"
    assert receive(codec, message, max_headers_size=len(message))[0][0] == "headers"
    assert receive(codec, message, max_headers_size=len(message) - 1) == [error("http1.headers_too_large", 431)]


def test_head_that_never_ends_is_refused_when_it_is_too_large(codec: str) -> None:
    server = Server(codec, Http1Settings(max_headers_size=100))
    assert server.receive(GET + b"x: " + b"y" * 70) == []
    assert server.receive(b"y" * 20) == [error("http1.headers_too_large", 431)]
    assert server.receive(b"y" * 20) == []


def test_what_follows_a_refused_request_is_not_read(codec: str) -> None:
    server = Server(codec)
    assert server.receive(b"FOO / HTTP/1.1\r\nhost: a\r\n\r\n") == CODEC_ERROR
    server.answer(400, [(b"connection", b"close")])
    assert server.receive(GET + b"\r\n") == []


def test_start_line_is_judged_before_the_head_is_complete() -> None:
    for line in (b"FOO / HTTP/1.1\r\n", b"GET b HTTP/1.1\r\n", b"GET / HTTX/1.1\n", b"GET\r\n", b"\x16\x03", b" "):
        assert receive("native", line) == CODEC_ERROR
    assert receive("native", b"FOO") == []
    assert receive("native", b"GET / HTTP/1.0\r\n") == []


def test_underscores_are_allowed_refused_or_dropped(codec: str) -> None:
    message = GET + b"x_a: 1\r\nb: 2\r\n\r\n"
    allowed = [headers("GET", "/", "a", (b"x_a", b"1"), (b"b", b"2")), end_stream()]
    assert receive(codec, message) == allowed
    assert receive(codec, message) == allowed
    refusing = Server(codec, Http1Settings(underscores=REJECT_UNDERSCORES))
    assert refusing.receive(message) == [error("http1.unexpected_underscore")]
    assert refusing.stats.requests_rejected_with_underscores_in_headers == 1
    dropping = Server(codec, Http1Settings(underscores=DROP_UNDERSCORES))
    assert dropping.receive(message) == [headers("GET", "/", "a", (b"b", b"2")), end_stream()]
    assert dropping.stats.dropped_headers_with_underscores == 1


# -- what `connection` asks of this hop


def test_nominated_headers_are_removed(codec: str) -> None:
    assert receive(codec, GET + b"connection: X-Foo, close\r\nx-foo: 1\r\nx-bar: 2\r\n\r\n")[0] == headers(
        "GET", "/", "a", (b"connection", b"X-Foo, close"), (b"x-bar", b"2")
    )


def test_nominated_length_is_removed_but_still_frames_the_body(codec: str) -> None:
    assert receive(codec, POST + b"connection: content-length\r\ncontent-length: 2\r\n\r\nhi") == [
        headers("POST", "/", "a", (b"connection", b"content-length")),
        data(b"hi"),
        end_stream(),
    ]


def test_nominated_host_is_gone(codec: str) -> None:
    assert receive(codec, GET + b"connection: host\r\n\r\n")[0] == headers("GET", "/", None, (b"connection", b"host"))


@pytest.mark.parametrize("name", [b"x-forwarded-for", b"X-Forwarded-Proto", b"x-forwarded-host", b":path"])
def test_nominating_what_the_proxy_relies_on_is_refused(codec: str, name: bytes) -> None:
    assert receive(codec, GET + b"connection: close, " + name + b"\r\n\r\n") == [
        error("http1.connection_header_rejected")
    ]


def test_nominating_ten_names_is_refused(codec: str) -> None:
    nine = b"connection: " + b",".join(b"x%d" % number for number in range(9))
    assert receive(codec, GET + nine + b",,\r\n\r\n")[0][0] == "headers"
    assert receive(codec, GET + nine + b",y\r\n\r\n") == [error("http1.connection_header_rejected")]


def test_upgrade_makes_what_follows_raw(codec: str) -> None:
    server = Server(codec)
    asked = [(b"connection", b"Upgrade"), (b"upgrade", b"websocket")]
    head = GET + b"connection: Upgrade\r\nupgrade: websocket\r\n\r\n"
    assert server.receive(head + b"\x81\x05hello") == [headers("GET", "/", "a", *asked), data(b"\x81\x05hello")]
    server.answer(101, [(b"connection", b"upgrade"), (b"upgrade", b"websocket")], end_stream=False)
    assert server.wire == b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n"
    server.codec.encode_data(b"\x81\x00", False)
    assert server.wire == b"\x81\x00"


def test_upgrade_to_h2c_is_forgotten(codec: str) -> None:
    message = GET + b"connection: Upgrade, HTTP2-Settings, x\r\nupgrade: h2c\r\nhttp2-settings: A\r\nx: 1\r\n\r\n"
    assert receive(codec, message) == [headers("GET", "/", "a", (b"connection", b"x")), end_stream()]


def test_upgrade_that_connection_does_not_mention_is_none(codec: str) -> None:
    message = GET + b"upgrade: websocket\r\nconnection: keep-alive\r\n\r\n"
    assert receive(codec, message) == [headers("GET", "/", "a", (b"connection", b"keep-alive")), end_stream()]


# -- where Envoy is more lenient than h11


@pytest.mark.parametrize(
    "message",
    [
        b"GET\t/\tHTTP/1.1\r\nhost: a\r\n\r\n",
        b"GET   /   HTTP/1.1  \r\nhost: a\r\n\r\n",
        b"GET /\r HTTP/1.1\r\r\nhost: a\r\n\r\n",
        b"GET / HTTP/1.1\nhost: a\n\n",
        b"GET / HTTP/1.1\nhost: a\n\r\n",
        b"GET / HTTP/1.1\r\nhost: a\r\n\n",
        b"GET / HTTP/1.1\r\nhost:\r\n a\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: a\r\n \r\n\r\n",
        b"GET / HTTP/1.1\r\nhost:\r a\r\r\n\r\n",
        b"\r\n\n\r" + GET + b"\r\n",
    ],
)
def test_envoy_reads_these_as_a_plain_get(message: bytes) -> None:
    assert receive("native", message) == A_GET


@pytest.mark.parametrize("message", [b" " + GET + b"\r\n", b"GET / HTTP/1.1\r\n x: y\r\n\r\n", GET + b"\r\r\n\r\n"])
def test_envoy_refuses_these(message: bytes) -> None:
    assert receive("native", message) == CODEC_ERROR


def test_folded_lines_keep_their_blanks() -> None:
    message = GET + b"x: a  \r\n \t b\n\tc\r\ny: d\r\n\r\n"
    assert receive("native", message)[0] == headers("GET", "/", "a", (b"x", b"a   \t b\tc"), (b"y", b"d"))


def test_cr_inside_a_value_is_removed() -> None:
    assert receive("native", GET + b"x: a \r b\r\n\r\n")[0] == headers("GET", "/", "a", (b"x", b"a  b"))


def test_cr_inside_a_name_is_refused() -> None:
    assert receive("native", GET + b"x\ry: z\r\n\r\n") == CODEC_ERROR


def test_several_hosts_are_joined_and_empty_ones_left_out() -> None:
    assert receive("native", GET + b"x: y\r\nHost:\r\nHost: b\r\n\r\n")[0] == headers("GET", "/", "a,b", (b"x", b"y"))


def test_request_without_a_host_says_so() -> None:
    assert receive("native", b"GET / HTTP/1.1\r\n\r\n") == [headers("GET", "/", None), end_stream()]


def test_any_number_of_empty_lines_may_come_first(codec: str) -> None:
    server = Server(codec)
    for _ in range(50):
        assert server.receive(b"\r\n" * 1000) == []
    assert server.receive(GET + b"\r\n") == A_GET


def test_http_09_ends_with_its_only_line() -> None:
    assert receive("native", b"GET /\r\n") == [error("low_version", 426)]
    server = Server("native", Http1Settings(accept_http_10=True, default_host_for_http_10=b"d"))
    assert server.receive(b"GET", b" /a \r", b"\n") == [headers("GET", "/a", "d"), end_stream()]
    server.answer(200, [(b"connection", b"close")], b"x")
    assert server.wire == b"HTTP/1.0 200 OK\r\nconnection: close\r\n\r\nx"


def test_a_request_begins_with_the_empty_lines_before_it(codec: str) -> None:
    server = Server(codec, answering=True)
    server.receive(b"\r\n")
    assert len(server.streams) == 1
    server.receive(GET + b"\r\n\r\n")
    assert len(server.streams) == 2


def test_any_token_is_a_method_where_that_is_allowed(codec: str) -> None:
    for method in ("FOO", "get", "M-SEARCH"):
        message = method.encode() + b" / HTTP/1.1\r\nhost: a\r\n\r\n"
        assert receive(codec, message, allow_custom_methods=True) == [headers(method, "/", "a"), end_stream()]
        assert receive(codec, message) == CODEC_ERROR


# -- pipelining


def test_pipelined_request_waits_for_the_answer_and_reading_stops(codec: str) -> None:
    server = Server(codec)
    assert server.receive(GET + b"\r\nGET /2 HTTP/1.1\r\nhost: a\r\n\r\n") == A_GET
    assert server.connection.read_disabled == 1
    server.answer()
    assert server.events_since() == [headers("GET", "/2", "a"), end_stream()]
    server.answer()
    assert server.events_since() == []
    assert server.connection.read_disabled == 0
    assert server.receive(GET + b"\r\n") == A_GET


def test_requests_that_are_answered_at_once_follow_each_other_without_a_stop(codec: str) -> None:
    server = Server(codec, answering=True)
    assert server.receive((GET + b"\r\n") * 2) == A_GET * 2
    assert server.connection.read_disabled == 0
    assert server.wire == b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n" * 2


def test_a_third_request_before_two_answers_have_left_is_a_flood() -> None:
    server = Server("native", answering=True)
    assert server.receive((GET + b"\r\n") * 3) == [*A_GET * 2, error("codec_error:Too_many_responses_queued.")]
    server = Server("native", answering=True)
    server.receive((GET + b"\r\n") * 2)
    assert server.receive((GET + b"\r\n") * 2) == A_GET * 2


def test_nothing_is_read_after_the_last_response(codec: str) -> None:
    server = Server(codec)
    server.receive(GET + b"\r\n" + GET + b"\r\n")
    server.codec.last_response = True
    server.answer(200, [(b"connection", b"close")])
    assert server.events_since() == []
    assert server.receive(GET + b"\r\n") == []


def test_answer_before_the_end_of_the_request_is_the_last(codec: str) -> None:
    server = Server(codec)
    server.receive(POST + b"content-length: 5\r\n\r\nhe")
    server.answer(413)
    assert server.receive(b"llo" + GET + b"\r\n") == []


def test_pipelined_garbage_is_refused_after_the_answer(codec: str) -> None:
    server = Server(codec)
    assert server.receive(GET + b"\r\nFOO / HTTP/1.1\r\nhost: a\r\n\r\n") == A_GET
    server.answer()
    assert server.events_since() == CODEC_ERROR


def test_end_of_the_connection_resets_the_stream(codec: str) -> None:
    server = Server(codec)
    server.receive(POST + b"content-length: 5\r\n\r\nhe")
    server.codec.on_connection_closed()
    assert server.events_since() == [reset(StreamResetReason.CONNECTION_TERMINATION)]


# -- responses that are written


@pytest.mark.parametrize(
    ("request_head", "status", "body", "wire"),
    [
        (GET, 200, None, b"200 OK\r\ncontent-length: 0\r\n\r\n"),
        (GET, 200, b"hello", b"200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"),
        (GET, 200, b"", b"200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"),
        (GET, 204, None, b"204 No Content\r\n\r\n"),
        (GET, 304, None, b"304 Not Modified\r\n\r\n"),
        (GET, 2000, None, b"2000 Unknown\r\ncontent-length: 0\r\n\r\n"),
        (b"HEAD / HTTP/1.1\r\nhost: a\r\n", 200, None, b"200 OK\r\ntransfer-encoding: chunked\r\n\r\n"),
        (b"HEAD / HTTP/1.1\r\nhost: a\r\n", 200, b"hello", b"200 OK\r\ntransfer-encoding: chunked\r\n\r\n"),
        (b"HEAD / HTTP/1.1\r\nhost: a\r\n", 304, None, b"304 Not Modified\r\n\r\n"),
        (b"CONNECT a:1 HTTP/1.1\r\nhost: a\r\n", 200, b"raw", b"200 OK\r\n\r\nraw"),
        (b"CONNECT a:1 HTTP/1.1\r\nhost: a\r\n", 404, None, b"404 Not Found\r\ncontent-length: 0\r\n\r\n"),
    ],
)
def test_response_is_framed_as_envoy_frames_it(
    codec: str, request_head: bytes, status: int, body: bytes | None, wire: bytes
) -> None:
    server = Server(codec)
    server.receive(request_head + b"\r\n")
    server.answer(status, body=body)
    assert server.wire == b"HTTP/1.1 " + wire


def test_response_with_a_length_is_not_chunked(codec: str) -> None:
    server = Server(codec)
    server.receive(GET + b"\r\n")
    server.answer(200, [(b"content-length", b"2"), (b"x", b"y")], b"ok")
    assert server.wire == b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nx: y\r\n\r\nok"


def test_names_are_written_as_the_formatter_makes_them(codec: str) -> None:
    server = Server(codec, Http1Settings(key_formatter=proper_case_words))
    server.receive(GET + b"\r\n")
    server.answer(200, [(b"x-foo_bar.baz", b"y")], b"k")
    assert (
        server.wire == b"HTTP/1.1 200 OK\r\nX-Foo_Bar.Baz: y\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nk\r\n0\r\n\r\n"
    )


def with_body_following(codec: str, *pairs: tuple[bytes, bytes]) -> Server:
    """A server codec that has encoded a response head whose body is known to come at once."""
    server = Server(codec)
    server.receive(GET + b"\r\n")
    head = ResponseHeaderMap(200)
    for name, value in pairs:
        head.add(name, value)
    head.body_follows = True
    server.codec.encode_headers(head, False)
    assert server.wire == b""
    return server


def test_head_and_body_leave_in_one_write(codec: str) -> None:
    server = with_body_following(codec, (b"content-length", b"2"))
    server.codec.encode_data(b"ok", True)
    assert server.wire == b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


@pytest.mark.parametrize(
    ("body", "end", "chunks"),
    [
        (b"ok", True, b"2\r\nok\r\n0\r\n\r\n"),
        (b"ok", False, b"2\r\nok\r\n"),
        (b"", True, b"0\r\n\r\n"),
        (b"", False, b""),
    ],
)
def test_head_that_waits_is_written_whatever_becomes_of_the_body(
    codec: str, body: bytes, end: bool, chunks: bytes
) -> None:
    server = with_body_following(codec)
    server.codec.encode_data(body, end)
    assert server.wire == b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + chunks


def test_head_that_waits_is_written_before_trailers_and_before_a_reset(codec: str) -> None:
    head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
    server = with_body_following(codec)
    server.codec.encode_trailers(HeaderMap())
    assert server.wire == head + b"0\r\n\r\n"
    server = with_body_following(codec)
    server.codec.reset_stream(StreamResetReason.LOCAL_RESET)
    assert server.wire == head


# -- requests that are written


@pytest.mark.parametrize(
    ("method", "body", "wire"),
    [
        ("GET", None, b"GET / HTTP/1.1\r\nhost: a\r\n\r\n"),
        ("DELETE", None, b"DELETE / HTTP/1.1\r\nhost: a\r\n\r\n"),
        ("OPTIONS", None, b"OPTIONS / HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n"),
        ("POST", None, b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n"),
        ("GET", b"hi", b"GET / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n"),
    ],
)
def test_request_is_framed_as_envoy_frames_it(codec: str, method: str, body: bytes | None, wire: bytes) -> None:
    client = Client(codec)
    client.ask(method, body=body)
    assert client.wire == wire


# -- responses


def ask(name: str, *pieces: bytes, method: str = "GET", **settings: object) -> list[Event]:
    client = Client(name, Http1Settings(**settings))  # type: ignore[arg-type]
    client.ask(method)
    return client.receive(*pieces)


def test_connection_carries_one_response_after_the_other(codec: str) -> None:
    client = Client(codec)
    for _ in range(3):
        client.ask()
        assert client.receive(OK) == AN_OK
        assert not client.codec.should_close


def test_chunked_response_arrives(codec: str) -> None:
    assert ask(codec, b"HTTP/1.1 200 OK\r\n" + CHUNKED + b"\r\n2\r\nok\r\n0\r\n\r\n") == [
        response(200, TE),
        data(b"ok"),
        end_stream(),
    ]


def test_response_without_a_length_lasts_until_the_connection_ends(codec: str) -> None:
    client = Client(codec)
    client.ask()
    assert client.receive(b"HTTP/1.1 200 OK\r\n\r\nhel", b"lo") == [response(200), data(b"hel"), data(b"lo")]
    client.codec.on_connection_closed(True)
    assert client.events_since() == [end_stream()]


@pytest.mark.parametrize("status", [204, 304])
def test_these_have_no_body(codec: str, status: int) -> None:
    assert ask(codec, b"HTTP/1.1 %d x\r\n\r\n" % status) == [response(status), end_stream()]


def test_head_has_no_body_whatever_its_length(codec: str) -> None:
    expected = [response(200, (b"content-length", b"5")), end_stream()]
    assert ask(codec, b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n", method="HEAD") == expected


def test_bytes_after_the_response_forbid_the_next_request(codec: str) -> None:
    client = Client(codec)
    client.ask()
    assert client.receive(OK + b"EXTRA") == AN_OK
    assert client.codec.should_close


def test_bytes_that_nobody_asked_for_are_an_error(codec: str) -> None:
    client = Client(codec)
    assert client.receive(OK) == CODEC_ERROR
    assert client.codec.should_close


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 200 OK\r\nconnection: close\r\n",
        b"HTTP/1.1 200 OK\r\nconnection: x, Close\r\n",
        b"HTTP/1.1 200 OK\r\nproxy-connection: close\r\n",
        b"HTTP/1.0 200 OK\r\n",
        b"HTTP/2.0 200 OK\r\n",
    ],
)
def test_these_responses_are_the_last_of_their_connection(codec: str, head: bytes) -> None:
    client = Client(codec)
    client.ask()
    assert client.receive(head + b"content-length: 2\r\n\r\nok")[1:] == [data(b"ok"), end_stream()]
    assert client.codec.should_close


def test_http_10_may_keep_its_connection(codec: str) -> None:
    client = Client(codec)
    client.ask()
    client.receive(b"HTTP/1.0 200 OK\r\nconnection: keep-alive\r\ncontent-length: 0\r\n\r\n")
    assert not client.codec.should_close


def test_response_before_the_request_is_over_is_the_last(codec: str) -> None:
    client = Client(codec)
    client.ask("POST", body=b"x", end_stream=False)
    assert client.receive(OK) == AN_OK
    assert client.codec.should_close


def test_interim_responses_come_before_the_response_and_are_not_kept(codec: str) -> None:
    flood = b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n"
    assert ask(codec, flood * 3 + OK) == [interim(103, (b"link", b"x"))] * 3 + AN_OK
    client = Client(codec)
    client.ask()
    for _ in range(200):
        assert len(client.receive(flood)) == 1
        assert not client.codec._buffer
    assert client.receive(OK) == AN_OK


@pytest.mark.parametrize("status", [100, 103, 204])
def test_responses_without_a_body_may_not_announce_one(codec: str, status: int) -> None:
    head = b"HTTP/1.1 %d x\r\n" % status
    assert ask(codec, head + b"content-length: 2\r\n\r\n") == [error("http1.content_length_not_allowed")]
    assert ask(codec, head + CHUNKED + b"\r\n") == [error("http1.transfer_encoding_not_allowed")]
    (first, *_) = ask(codec, head + b"content-length: 0\r\n\r\n")
    assert first[1:] == (status, [])


@pytest.mark.parametrize(
    "message",
    [
        b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 5\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: identity\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nx: \0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nx y: z\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n x: y\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nfoo\r\n\r\n",
        b"HTTP/1.1 99 x\r\n\r\n",
        b"HTTP/1.1 000 x\r\n\r\n",
        b"HTTP/1.1 2x0 x\r\n\r\n",
        b"HTTP/1.1 -20 x\r\n\r\n",
        b"HTTP/1.1 200OK\r\n\r\n",
        b"HTTP/1.1 200 O\0K\r\n\r\n",
        b"HTTP/1.10 200 OK\r\n\r\n",
        b"HTTP/2 200 OK\r\n\r\n",
        b"http/1.1 200 OK\r\n\r\n",
        b"ICY 200 OK\r\n\r\n",
        b"\r\n" + OK,
        b" " + OK,
        b"X",
    ],
)
def test_responses_that_are_refused(codec: str, message: bytes) -> None:
    (event,) = ask(codec, message)
    assert event[0] == "error"


@pytest.mark.parametrize(
    ("line", "status"),
    [
        (b"HTTP/1.1 200", 200),
        (b"HTTP/1.1 200 ", 200),
        (b"HTTP/1.1  200  OK", 200),
        (b"HTTP/1.1\t200\tOK", 200),
        (b"HTTP/1.1 0200 OK", 200),
        (b"HTTP/1.1 999 x", 999),
        (b"HTTP/1.1 2000 x", 2000),
        (b"HTTP/1.1 200 \xff", 200),
        (b"HTTP/1.1 200 O\rK", 200),
    ],
)
def test_envoy_reads_these_status_lines(line: bytes, status: int) -> None:
    assert ask("native", line + b"\r\ncontent-length: 2\r\n\r\nok")[0] == response(status, (b"content-length", b"2"))


def test_bare_lf_ends_lines_of_responses_too(codec: str) -> None:
    assert ask(codec, b"HTTP/1.1 200 OK\ncontent-length: 2\n\nok") == AN_OK


def test_limits_hold_for_responses(codec: str) -> None:
    too_large = b"HTTP/1.1 200 OK\r\nx: " + b"y" * 100
    assert ask(codec, too_large, max_headers_size=100) == [error("http1.headers_too_large", 431)]
    too_many = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nx: 1\r\nx: 2\r\n\r\n"
    for _ in range(3):
        assert ask(codec, too_many, max_headers_count=3)[0][0] == "response"
        assert ask(codec, too_many, max_headers_count=2) == [error("http1.too_many_headers", 431)]


def test_granted_upgrade_makes_what_follows_raw(codec: str) -> None:
    client = Client(codec)
    client.ask(pairs=[(b"connection", b"upgrade"), (b"upgrade", b"websocket")], end_stream=False)
    assert client.wire == b"GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n"
    granted = b"HTTP/1.1 101 S\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n"
    assert client.receive(granted + b"\x81", b"\x00")[1:] == [data(b"\x81"), data(b"\x00")]
    client.codec.encode_data(b"raw", False)
    assert client.wire == b"raw"
    assert client.codec.should_close


def test_refused_upgrade_is_an_ordinary_response(codec: str) -> None:
    client = Client(codec)
    client.ask(pairs=[(b"connection", b"upgrade"), (b"upgrade", b"websocket")], end_stream=False)
    assert client.receive(b"HTTP/1.1 403 F\r\ncontent-length: 2\r\n\r\nno")[1:] == [data(b"no"), end_stream()]


def test_101_that_was_not_asked_for_ends_there() -> None:
    client = Client("native")
    client.ask()
    assert client.receive(b"HTTP/1.1 101 S\r\n\r\nxx") == [response(101), end_stream()]
    assert client.codec.should_close


def test_connect_that_succeeds_makes_what_follows_raw(codec: str) -> None:
    client = Client(codec)
    client.ask("CONNECT", "", end_stream=False)
    assert client.wire == b"CONNECT a HTTP/1.1\r\nhost: a\r\n\r\n"
    assert client.receive(b"HTTP/1.1 200 OK\r\n\r\n\x16") == [response(200), data(b"\x16")]


@pytest.mark.parametrize(
    ("received", "reason"),
    [
        (b"", StreamResetReason.CONNECTION_TERMINATION),
        (b"HTTP/1.1 100 Continue\r\n\r\n", StreamResetReason.CONNECTION_TERMINATION),
        (b"HTTP/1.1 200 O", StreamResetReason.PROTOCOL_ERROR),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhel", StreamResetReason.PROTOCOL_ERROR),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n", StreamResetReason.PROTOCOL_ERROR),
    ],
)
def test_end_of_the_connection_before_the_end_of_the_response(
    codec: str, received: bytes, reason: StreamResetReason
) -> None:
    client = Client(codec)
    client.ask()
    client.receive(received)
    client.codec.on_connection_closed(True)
    assert client.events_since() == [reset(reason)]


def test_nothing_is_heard_of_an_abandoned_stream(codec: str) -> None:
    client = Client(codec)
    client.ask()
    assert client.codec.abandon() is client.recorder
    assert client.receive(OK) == []
    assert client.codec.should_close
