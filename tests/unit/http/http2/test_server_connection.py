"""The downstream side as transcripts: frames in, events out, frames back. What is refused was seen at Envoy."""

from __future__ import annotations

from typing import Any

import pytest

from minienvoy.http.codec import StreamResetReason
from minienvoy.http.header_map import HeaderMap, ResponseHeaderMap
from minienvoy.http.http2.frames import PREFACE, frame, goaway, rst_stream, settings_frame, window_update

from .peer import A_GET, GET, POST, Server

LOST = ("error", "codec_error:The_user_callback_function_failed")
INVALID = ("error", "http2.invalid.header.field")
RULE = ("error", "http2.violation.of.messaging.rule")


def literal(*pairs: tuple[bytes, bytes]) -> bytes:
    return b"".join(b"\0%c%b%c%b" % (len(name), name, len(value), value) for name, value in pairs)


BASE = ((b":method", b"GET"), (b":scheme", b"http"), (b":path", b"/"), (b":authority", b"a"))


def request(*pairs: tuple[bytes, bytes], flags: int = 5, stream: int = 1) -> bytes:
    return frame(1, flags, stream, literal(*pairs))


def test_the_settings_are_envoys_and_come_as_soon_as_the_preface_begins() -> None:
    server = Server(greet=False)
    server.receive(PREFACE[:10])
    assert server.frames() == [
        ("SETTINGS", 0, 0, [(1, 4096), (8, 0), (3, 1024), (4, 16 * 1024 * 1024)]),
        ("WINDOW_UPDATE", 0, 0, 25_100_289),
    ]


def test_what_is_no_preface_is_refused_at_its_first_wrong_byte() -> None:
    assert Server(greet=False).receive(b"PRI * HTTP/1") == [
        ("error", "codec_error:Received_bad_client_magic_byte_string")
    ]


def test_a_request_arrives_with_its_pseudo_headers() -> None:
    server = Server()
    assert server.receive(server.headers(1, *GET)) == [A_GET]


def test_a_response_leaves_in_one_write_with_its_body() -> None:
    server = Server()
    server.receive(server.headers(1, *GET))
    server.answer(200, b"hello")
    assert server.connection.written == b""
    assert server.frames() == [("HEADERS", 4, 1, [(":status", "200")]), ("DATA", 1, 1, b"hello")]
    assert server.codec.streams == {}


def test_body_and_trailers_go_both_ways() -> None:
    server = Server()
    got = server.receive(server.headers(1, *POST, end=False) + frame(0, 0, 1, b"ab") + server.headers(1, ("t", "1")))
    assert got[1:] == [("data", b"ab", False), ("trailers", [("t", "1")])]
    stream = server.streams[0]
    stream.encode_headers(ResponseHeaderMap(200), False)
    stream.encode_data(b"cd", False)
    stream.encode_trailers(HeaderMap.of([("grpc-status", "0")]))
    assert server.frames() == [
        ("HEADERS", 4, 1, [(":status", "200")]),
        ("DATA", 0, 1, b"cd"),
        ("HEADERS", 5, 1, [("grpc-status", "0")]),
    ]


def test_cookie_crumbs_are_joined_and_come_last() -> None:
    server = Server()
    crumbs = (*GET, ("cookie", "a=1"), ("x", "y"), ("cookie", "b=2"))
    ((_, pairs, _),) = server.receive(server.headers(1, *crumbs))
    assert pairs[4:] == [("x", "y"), ("cookie", "a=1; b=2")]


def test_a_host_header_serves_where_there_is_no_authority_and_is_dropped_where_there_is() -> None:
    server = Server()
    ((_, without, _),) = server.receive(request(*BASE[:3], (b"host", b"h")))
    ((_, with_one, _),) = server.receive(request(*BASE, (b"host", b"h"), stream=3))
    assert without[0] == (":authority", "h")
    assert with_one[0] == (":authority", "a")
    assert len(without) == len(with_one) == 4


def test_headers_about_the_connection_do_not_leave() -> None:
    server = Server()
    server.receive(server.headers(1, *GET))
    headers = ResponseHeaderMap(200)
    headers.add(b"connection", b"close")
    headers.add(b"transfer-encoding", b"chunked")
    headers.add(b"x", b"y")
    server.streams[0].encode_headers(headers, True)
    assert server.frames() == [("HEADERS", 5, 1, [(":status", "200"), ("x", "y")])]


@pytest.mark.parametrize(
    ("title", "pairs", "outcome"),
    [
        ("upper case", (*BASE, (b"X-A", b"1")), INVALID),
        ("connection", (*BASE, (b"connection", b"close")), INVALID),
        ("transfer-encoding", (*BASE, (b"transfer-encoding", b"chunked")), INVALID),
        ("upgrade", (*BASE, (b"upgrade", b"x")), INVALID),
        ("te of anything but trailers", (*BASE, (b"te", b"gzip")), INVALID),
        ("no path", (BASE[0], BASE[1], BASE[3]), RULE),
        ("no scheme", (BASE[0], BASE[2], BASE[3]), RULE),
        ("neither authority nor host", BASE[:3], RULE),
        ("a pseudo-header after others", (*BASE[:3], (b"a", b"b"), BASE[3]), INVALID),
        ("a pseudo-header twice", (BASE[0], *BASE), INVALID),
        ("an unknown pseudo-header", (*BASE, (b":foo", b"1")), INVALID),
        ("a pseudo-header of responses", (*BASE, (b":status", b"200")), INVALID),
        ("an empty path", (*BASE[:2], (b":path", b""), BASE[3]), INVALID),
        ("a path without a slash", (*BASE[:2], (b":path", b"abc"), BASE[3]), RULE),
        ("a path with a space", (*BASE[:2], (b":path", b"/a b"), BASE[3]), INVALID),
        ("a method with a space", ((b":method", b"G T"), *BASE[1:]), INVALID),
        ("an authority with user information", (*BASE[:3], (b":authority", b"u@a")), INVALID),
        ("CR in a value", (*BASE, (b"x", b"a\r\nb")), INVALID),
        ("NUL in a value", (*BASE, (b"x", b"a\0b")), INVALID),
        ("a name with a space", (*BASE, (b"x y", b"1")), INVALID),
        ("an empty name", (*BASE, (b"", b"1")), INVALID),
        ("two lengths", (*BASE, (b"content-length", b"0"), (b"content-length", b"0")), INVALID),
        ("a length and no body", (*BASE, (b"content-length", b"5")), RULE),
        ("an extended CONNECT", ((b":method", b"CONNECT"), (b":protocol", b"x"), *BASE[1:]), INVALID),
        ("a CONNECT with a path", ((b":method", b"CONNECT"), *BASE[2:]), RULE),
    ],
)  # fmt: skip
def test_a_request_that_is_none_ends_the_connection_without_a_word(
    title: str, pairs: tuple[tuple[bytes, bytes], ...], outcome: tuple[str, str]
) -> None:
    server = Server()
    assert server.receive(request(*pairs))[-1] == outcome
    assert server.frames() == []


@pytest.mark.native_codec
def test_a_length_that_is_no_number_makes_no_request() -> None:
    server = Server()
    assert server.receive(request(*BASE, (b"content-length", b"+5")))[-1] == INVALID
    assert server.frames() == []


def test_a_request_that_is_none_ends_only_its_stream_where_that_is_wanted() -> None:
    server = Server(stream_error_on_invalid_http_message=True)
    got = server.receive(request(*BASE, (b"te", b"gzip")) + request(*BASE, stream=3))
    assert got == [A_GET, ("reset", "protocol error", "http2.invalid.header.field")]
    assert server.frames() == [("RST_STREAM", 0, 1, 1)]


BROKEN_FRAMING = [
    ("DATA of a stream that is not open", frame(0, 1, 1, b"abc"), (0, 1, b"DATA: stream in idle")),
    ("PING of three bytes", frame(6, 0, 0, b"123"), (0, 6, b"")),
    ("SETTINGS of three bytes", frame(4, 0, 0, b"123"), (0, 6, b"")),
    ("SETTINGS that acknowledges something", frame(4, 1, 0, b"123456"), (0, 6, b"")),
    ("CONTINUATION of nothing", frame(9, 4, 1, b"x"), (0, 1, b"CONTINUATION: unexpected")),
    ("a frame that is too large", b"\x00\x40\x01\x00\x00\x00\x00\x00\x01", (0, 6, b"too large frame size")),
    ("PRIORITY of three bytes", frame(2, 0, 1, b"123"), (0, 6, b"")),
    ("more padding than frame", frame(1, 0xD, 1, b"\xff\x82"), (0, 1, b"HEADERS: invalid padding")),
    ("an index that is not there", frame(1, 5, 1, b"\xc6"), (1, 9, b"")),
]


@pytest.mark.native_codec
@pytest.mark.parametrize(("title", "frames", "said"), BROKEN_FRAMING)
def test_broken_framing_is_told_by_goaway(title: str, frames: bytes, said: tuple[int, int, bytes]) -> None:
    server = Server()
    assert server.receive(frames)[-1] == LOST
    assert server.frames() == [("GOAWAY", 0, 0, said)]


BROKEN_RULES = [
    ("WINDOW_UPDATE of nothing", window_update(0, 0)),
    ("more window than can be", window_update(0, (1 << 31) - 1)),
    ("WINDOW_UPDATE of a stream that is not open", window_update(5, 1)),
    ("RST_STREAM of a stream that is not open", rst_stream(5, 1)),
    ("a window setting that is too large", settings_frame([(4, 1 << 31)])),
    ("a push setting that is none", settings_frame([(2, 2)])),
    ("a frame size that is too small", settings_frame([(5, 1)])),
    ("SETTINGS of a stream", frame(4, 0, 1)),
    ("an even number", request(*BASE, stream=2)),
    ("PUSH_PROMISE", frame(5, 4, 1, b"\0\0\0\2")),
    ("a stream that depends on itself", frame(1, 0x25, 1, b"\0\0\0\1\0" + literal(*BASE))),
]


@pytest.mark.native_codec
@pytest.mark.parametrize(("title", "frames"), BROKEN_RULES)
def test_a_broken_rule_ends_the_connection_without_a_word(title: str, frames: bytes) -> None:
    server = Server()
    assert server.receive(frames)[-1][0] == "error"
    assert server.frames() == []


@pytest.mark.parametrize(
    ("title", "frames"), [*((title, frames) for title, frames, _ in BROKEN_FRAMING), *BROKEN_RULES]
)
def test_both_codecs_end_a_connection_that_is_broken(title: str, frames: bytes, codec: str) -> None:
    server = Server()
    assert server.receive(frames)[-1][0] == "error"
    assert server.receive(server.headers(7, *GET)) == []


@pytest.mark.native_codec
def test_frames_of_a_stream_that_ends_in_the_same_bytes_find_it_half_closed() -> None:
    server = Server()
    stream_ended = server.headers(1, *GET)
    assert server.receive(stream_ended + frame(0, 0, 1, b"x"))[-1] == LOST
    assert server.frames()[-1] == ("GOAWAY", 0, 0, (1, 5, b"DATA: stream in half-closed(remote)"))


@pytest.mark.native_codec
def test_a_length_that_the_body_does_not_keep_ends_the_stream() -> None:
    for body in (b"abc", b"abcdef"):
        server = Server()
        got = server.receive(request(*BASE, (b"content-length", b"5"), flags=4) + frame(0, 1, 1, body))
        assert got[-1] == ("reset", "protocol error", "http2.remote_reset")
        assert server.frames() == [("RST_STREAM", 0, 1, 1)]


def test_too_many_headers_end_the_stream_and_the_next_one_lives() -> None:
    server = Server()
    many = tuple((b"a%d" % number, b"1") for number in range(97))
    got = server.receive(request(*BASE, *many) + request(*BASE, *many[1:], stream=3))
    assert len(got[0][1]) == 100
    assert got[1] == ("reset", "local reset", "http2.too_many_headers")
    assert server.frames() == [("RST_STREAM", 0, 1, 2)]
    assert server.stats.header_overflow == 1


def test_a_header_list_that_is_too_large_costs_no_memory() -> None:
    server = Server()
    big = server.headers(1, *GET, ("x", "y" * 4000))
    server.receive(big)
    bomb = frame(1, 5, 3, literal(*BASE) + b"\xbe" * 16_000)
    assert server.receive(bomb) == [("reset", "local reset", "http2.header_list_size_too_large")]


@pytest.mark.native_codec
def test_a_block_in_pieces_is_one_block_and_513_pieces_are_too_many() -> None:
    block = literal(*BASE)
    server = Server()
    assert server.receive(frame(1, 1, 1, block[:7]) + frame(9, 0, 1, block[7:9]) + frame(9, 4, 1, block[9:])) == [A_GET]
    pieces = frame(9, 0, 3, b"\x90")
    assert server.receive(frame(1, 1, 3, block) + pieces * 512) == []
    assert server.receive(pieces) == [("error", "codec_error:Too_many_CONTINUATION_frames_following_a_HEADER_frame")]


@pytest.mark.native_codec
def test_a_block_in_pieces_that_is_too_large_ends_its_stream_at_once_and_the_table_stays_right() -> None:
    server = Server()
    large = frame(1, 1, 1, literal(*BASE)) + frame(9, 0, 1, literal(*[(b"a", b"x" * 120)] * 8)) * 65
    server.receive(large)
    assert server.frames() == [("RST_STREAM", 0, 1, 2)]
    server.receive(frame(9, 4, 1, b"\x40\x01b\x01c"))
    assert server.frames() == []
    ((_, pairs, _),) = server.receive(frame(1, 5, 3, literal(*BASE) + b"\xbe"))
    assert pairs[-1] == ("b", "c")


def test_what_one_read_leads_to_leaves_in_nghttp2s_order() -> None:
    server = Server()
    answered: list[int] = []

    def answer_at_once(encoder: Any) -> Any:
        class Answering:
            def decode_headers(self, headers: Any, end_stream: bool) -> None:
                answered.append(encoder.id)
                encoder.encode_headers(ResponseHeaderMap(200), False)
                encoder.encode_data(b"x", True)

        return Answering()

    server.codec._new_stream = answer_at_once
    server.receive(server.headers(1, *GET) + server.headers(3, *GET) + frame(6, 0, 0, b"12345678"))
    assert [(kind, stream) for kind, _, stream, _ in server.frames()] == [
        ("PING", 0), ("HEADERS", 1), ("HEADERS", 3), ("DATA", 1), ("DATA", 3),
    ]  # fmt: skip
    assert answered == [1, 3]


def test_nothing_of_a_stream_leaves_that_is_reset_in_the_same_read() -> None:
    server = Server()
    server.receive(server.headers(1, *POST, end=False))
    server.receive(settings_frame([(4, 0)]))
    server.answer(200, b"x")
    server.frames()
    server.receive(window_update(1, 1) + rst_stream(1, 8))
    assert server.frames() == []


def test_streams_that_come_after_goaway_are_not_looked_at() -> None:
    server = Server()
    server.receive(server.headers(1, *POST, end=False))
    server.codec.go_away()
    server.run()
    assert server.receive(server.headers(3, *GET)) == []
    assert server.receive(frame(0, 1, 3, b"x")) == []
    assert server.frames() == [("GOAWAY", 0, 0, (1, 0, b""))]


def test_streams_beyond_the_limit_are_refused() -> None:
    server = Server(max_concurrent_streams=1)
    assert server.receive(request(*BASE) + request(*BASE, stream=3)) == [A_GET]
    assert server.frames() == [("RST_STREAM", 0, 3, 7)]
    server.answer(200)
    assert server.receive(request(*BASE, stream=5)) == [A_GET]


def test_a_body_larger_than_the_windows_waits_and_goes_on() -> None:
    server = Server()
    server.receive(settings_frame([(4, 10)]) + server.headers(1, *GET))
    server.frames()
    server.answer(200, b"x" * 25)
    assert server.frames() == [("HEADERS", 4, 1, [(":status", "200")]), ("DATA", 0, 1, b"x" * 10)]
    server.receive(window_update(1, 14))
    assert server.frames() == [("DATA", 0, 1, b"x" * 14)]
    server.receive(settings_frame([(4, 20)]))
    assert server.frames() == [("SETTINGS", 1, 0, []), ("DATA", 1, 1, b"x")]


def test_who_feeds_a_stream_hears_when_too_much_waits() -> None:
    server = Server()
    server.codec.buffer_limit = 100
    server.receive(settings_frame([(4, 0)]) + server.headers(1, *GET))
    stream = server.streams[0]
    heard: list[bool] = []
    stream.watermark = heard.append
    stream.encode_headers(ResponseHeaderMap(200), False)
    stream.encode_data(b"x" * 200, False)
    assert heard == [True]
    server.receive(window_update(1, 120))
    assert heard == [True]
    server.receive(window_update(1, 40))
    assert heard == [True, False]


def test_streams_share_the_connections_window_in_turn() -> None:
    server = Server()
    server.receive(server.headers(1, *GET) + server.headers(3, *GET) + settings_frame([(4, 1 << 20)]))
    server.frames()
    for at in (0, 1):
        server.answer(200, b"x" * 65_535, at)
    assert sum(len(payload) for kind, _, _, payload in server.frames() if kind == "DATA") == 65_535
    server.receive(window_update(0, 65_535))
    ended = [number for kind, flags, number, _ in server.frames() if kind == "DATA" and flags]
    assert ended == [3]


def test_window_is_given_back_in_halves_and_not_while_nobody_reads() -> None:
    server = Server(initial_stream_window_size=65_535, initial_connection_window_size=65_535)
    server.receive(server.headers(1, *POST, end=False))
    stream = server.streams[0]
    stream.read_disable(True)
    for _ in range(3):
        server.receive(frame(0, 0, 1, b"x" * 16_000))
    assert server.frames() == []
    stream.read_disable(False)
    assert server.frames() == [("WINDOW_UPDATE", 0, 0, 48_000), ("WINDOW_UPDATE", 0, 1, 48_000)]


@pytest.mark.native_codec
def test_more_than_the_window_ends_the_stream_and_more_than_the_connections_the_connection() -> None:
    server = Server(initial_stream_window_size=20_000, initial_connection_window_size=65_535)
    server.receive(frame(4, 1, 0) + server.headers(1, *POST, end=False))
    server.streams[0].read_disable(True)
    assert server.receive(frame(0, 0, 1, b"x" * 16_000) * 2)[-1] == ("reset", "local reset", "")
    assert server.frames()[0] == ("RST_STREAM", 0, 1, 3)
    greedy = Server(initial_connection_window_size=65_535)
    greedy.receive(greedy.headers(1, *POST, end=False))
    greedy.streams[0].read_disable(True)
    assert greedy.receive(frame(0, 0, 1, b"x" * 16_000) * 5)[-1] == LOST
    assert greedy.frames() == [("GOAWAY", 0, 0, (1, 3, b""))]


def test_what_was_held_by_a_stream_that_ended_is_the_connections_again() -> None:
    server = Server(initial_connection_window_size=65_535)
    server.receive(server.headers(1, *POST, end=False))
    server.streams[0].read_disable(True)
    server.receive(frame(0, 0, 1, b"x" * 16_000) * 3)
    server.receive(rst_stream(1, 8))
    assert server.frames() == [("WINDOW_UPDATE", 0, 0, 48_000)]


def test_an_answer_before_the_end_of_the_request_is_followed_by_a_reset_without_error() -> None:
    server = Server()
    server.receive(server.headers(1, *POST, end=False))
    server.answer(403)
    server.streams[0].reset_stream(StreamResetReason.LOCAL_RESET)
    assert server.frames() == [("HEADERS", 5, 1, [(":status", "403")]), ("RST_STREAM", 0, 1, 0)]


def test_a_reset_does_not_wait_for_an_answer_that_waits_for_window() -> None:
    server = Server()
    server.receive(settings_frame([(4, 3)]) + server.headers(1, *POST, end=False))
    server.answer(403, b"no!!")
    server.frames()
    server.streams[0].reset_stream(StreamResetReason.LOCAL_RESET)
    assert server.frames() == [("RST_STREAM", 0, 1, 2)]


def test_the_peers_reset_reaches_the_decoder() -> None:
    server = Server()
    server.receive(server.headers(1, *POST, end=False))
    assert server.receive(rst_stream(1, 8)) == [("reset", "remote reset", "http2.remote_reset")]
    assert server.receive(rst_stream(1, 8)) == []


def test_a_ping_is_answered_and_unknown_frames_are_nothing() -> None:
    server = Server()
    assert server.receive(frame(6, 0, 0, b"12345678") + frame(77, 0, 1, b"x") + frame(2, 0, 1, b"\0\0\0\0\0")) == []
    assert server.frames() == [("PING", 1, 0, b"12345678")]


CONTROL_FLOOD = "codec_error:Too_many_control_frames_in_the_outbound_queue."


@pytest.mark.parametrize(
    ("frames", "details", "counter"),
    [
        (frame(6, 0, 0, b"12345678") * 1001, CONTROL_FLOOD, "outbound_control_flood"),
        (settings_frame([]) * 1001, CONTROL_FLOOD, "outbound_control_flood"),
        (frame(2, 0, 1, b"\0\0\0\0\0") * 101, "codec_error:Too_many_PRIORITY_frames", "inbound_priority_frames_flood"),
        (
            window_update(0, 1) * 6,
            "codec_error:Too_many_WINDOW_UPDATE_frames",
            "inbound_window_update_frames_flood",
        ),
    ],
)
def test_floods_end_the_connection(frames: bytes, details: str, counter: str) -> None:
    server = Server()
    server.connection.is_flushed = False
    assert server.receive(frames) == [("error", details)]
    assert getattr(server.stats, counter) == 1


def test_more_answers_than_there_is_room_for_are_not_even_written() -> None:
    server = Server()
    details = "codec_error:Flooding_was_detected_in_this_HTTP/2_session,_and_it_must_be_closed"
    assert server.receive(frame(6, 0, 0, b"12345678") * 7001) == [("error", details)]
    assert server.frames() == []


def test_the_answers_to_a_flood_of_pings_are_written() -> None:
    server = Server()
    assert server.receive(frame(6, 0, 0, b"12345678") * 1001) == [("error", CONTROL_FLOOD)]
    assert len(server.frames()) == 1001


def test_empty_data_twice_in_a_row_is_a_flood() -> None:
    server = Server()
    server.receive(server.headers(1, *POST, end=False))
    assert server.receive(frame(0, 0, 1)) == []
    assert server.receive(frame(0, 0, 1)) == [("error", "http2.inbound_empty_frames_flood")]


def test_goaway_in_two_steps() -> None:
    server = Server()
    server.receive(server.headers(1, *GET))
    server.codec.shutdown_notice()
    server.codec.go_away()
    assert server.frames() == [
        ("GOAWAY", 0, 0, ((1 << 31) - 1, 0, b"")),
        ("GOAWAY", 0, 0, (1, 0, b"")),
    ]


def test_open_streams_go_on_after_the_peers_goaway() -> None:
    server = Server()
    server.receive(server.headers(1, *POST, end=False))
    assert server.receive(goaway(0, 0) + frame(0, 1, 1, b"abc")) == [("data", b"abc", True)]
    server.answer(200, b"hello")
    assert server.frames() == [("HEADERS", 4, 1, [(":status", "200")]), ("DATA", 1, 1, b"hello")]


def test_the_end_of_the_connection_ends_every_stream() -> None:
    server = Server()
    server.receive(server.headers(1, *GET) + server.headers(3, *GET))
    server.events.clear()
    server.codec.on_connection_closed()
    assert server.events == [("reset", "connection termination", "")] * 2
    assert server.receive(goaway(0, 0)) == []


def test_any_split_of_the_bytes_is_the_same_conversation() -> None:
    def conversation(server: Server) -> bytes:
        return (
            server.headers(1, *POST, end=False)
            + frame(0, 0, 1, b"abc")
            + frame(6, 0, 0, b"12345678")
            + server.headers(1, ("t", "1"))
            + server.headers(3, *GET)
        )

    whole = Server()
    expected = whole.receive(conversation(whole))
    for size in (1, 2, 3, 5, 8, 13):
        server = Server()
        data = conversation(server)
        got = []
        for at in range(0, len(data), size):
            got += server.receive(data[at : at + size])
        assert got == expected


def test_nothing_begins_on_a_connection_that_ended_while_it_was_written_to(monkeypatch: pytest.MonkeyPatch) -> None:
    """Found by the soak: a stream of nobody, which nobody would ever have ended."""
    server = Server()
    server.codec.shutdown_notice()
    monkeypatch.setattr(server.codec, "_write", lambda data: server.codec.on_connection_closed())
    assert server.receive(server.headers(1, *GET)) == []
    assert server.codec.streams == {}


def test_resets_fill_a_bucket_that_a_second_refills() -> None:
    server = Server(stream_reset_burst=2, stream_reset_rate=1)

    def reset(stream: int) -> list[Any]:
        return server.receive(server.headers(stream, *GET) + rst_stream(stream, 8))

    assert reset(1)[-1] == reset(3)[-1] == ("reset", "remote reset", "http2.remote_reset")
    server.connection.now += 1
    assert reset(5)[-1][0] == "reset"
    server.connection.now += 0.5
    assert reset(7)[-1] == LOST
    assert server.frames()[-1] == ("GOAWAY", 0, 0, (7, 2, b""))


def test_bytes_that_wait_for_window_are_counted() -> None:
    server = Server()
    server.receive(frame(4, 0, 0, b"\0\4\0\0\0\4") + server.headers(1, *GET) + server.headers(3, *GET))
    server.answer(200, b"0123456789", 0)
    server.answer(200, b"0123456789", 1)
    assert server.stats.pending_send_bytes == 12
    server.receive(window_update(1, 2))
    assert server.stats.pending_send_bytes == 10
    server.receive(rst_stream(1, 8))
    assert server.stats.pending_send_bytes == 6
    server.codec.on_connection_closed()
    assert server.stats.pending_send_bytes == 0


def test_a_string_that_is_too_long_is_no_header() -> None:
    block = literal(*BASE) + b"\0\1x\x7f\x82\xff\x03" + b"y" * 65_537
    frames = frame(1, 1, 1, block[:16_000]) + b"".join(
        frame(9, 0, 1, block[at : at + 16_000]) for at in range(16_000, 80_000, 16_000)
    )
    server = Server(max_headers_size=200_000)
    assert server.receive(frames + frame(9, 4, 1))[-1] == LOST
    assert server.frames()[-1][3][1] == 9
    wide = Server(max_headers_size=200_000, max_field_size=66 * 1024)
    assert wide.receive(frames + frame(9, 4, 1))[-1][0] == "headers"


@pytest.mark.native_codec
@pytest.mark.parametrize(("acknowledged", "ends"), [(b"", False), (frame(4, 1, 0), True)])
def test_a_window_of_the_settings_counts_when_they_are_acknowledged(acknowledged: bytes, ends: bool) -> None:
    server = Server(initial_stream_window_size=20_000)
    server.receive(acknowledged + server.headers(1, *POST, end=False))
    server.streams[0].read_disable(True)
    told = server.receive(frame(0, 0, 1, b"x" * 16_000) * 2)
    assert (told[-1][0] == "reset") is ends


@pytest.mark.native_codec
def test_the_window_of_padding_is_given_back_first() -> None:
    """163 frames of 202 bytes with the padding of the last of them, but not its one byte, are half a window."""
    server = Server(initial_stream_window_size=65_535, initial_connection_window_size=65_535)
    server.receive(server.headers(1, *POST, end=False))
    server.frames()
    server.receive(frame(0, 8, 1, bytes([200]) + b"x" + bytes(200)) * 163)
    assert server.frames() == [("WINDOW_UPDATE", 0, 0, 32_925), ("WINDOW_UPDATE", 0, 1, 32_925)]


ROW = 5 * frame(0, 0, 1, b"x" * 16384)


@pytest.mark.native_codec
def test_full_frames_in_a_row_of_a_body_of_known_length_come_as_one() -> None:
    server = Server(initial_stream_window_size=1 << 20, initial_connection_window_size=1 << 20)
    server.receive(frame(4, 1, 0))
    length = ("content-length", str(5 * 16384 + 3))
    server.receive(server.headers(1, *POST, length, end=False))
    assert server.receive(ROW + frame(0, 1, 1, b"end")) == [
        ("data", b"x" * 5 * 16384, False),
        ("data", b"end", True),
    ]


@pytest.mark.native_codec
def test_a_row_ends_where_window_is_given_back() -> None:
    server = Server(initial_stream_window_size=65536, initial_connection_window_size=65536)
    server.receive(frame(4, 1, 0))
    server.receive(server.headers(1, *POST, ("content-length", "90000"), end=False))
    server.frames()
    assert server.receive(ROW[: 4 * (9 + 16384)]) == [("data", b"x" * 2 * 16384, False)] * 2
    assert server.frames() == [("WINDOW_UPDATE", 0, 0, 32768), ("WINDOW_UPDATE", 0, 1, 32768)] * 2


@pytest.mark.native_codec
def test_frames_of_a_body_of_unknown_length_stay_apart() -> None:
    server = Server(initial_stream_window_size=1 << 20, initial_connection_window_size=1 << 20)
    server.receive(frame(4, 1, 0))
    server.receive(server.headers(1, *POST, end=False))
    assert server.receive(ROW) == [("data", b"x" * 16384, False)] * 5


@pytest.mark.native_codec
def test_a_row_longer_than_its_body_breaks_the_stream_at_the_frame_that_is_too_much() -> None:
    server = Server(initial_stream_window_size=1 << 20, initial_connection_window_size=1 << 20)
    server.receive(frame(4, 1, 0))
    server.receive(server.headers(1, *POST, ("content-length", str(2 * 16384 + 1)), end=False))
    told = server.receive(ROW)
    assert told[0] == ("data", b"x" * 2 * 16384, False)
    assert [each[0] for each in told] == ["data", "reset"]


@pytest.mark.native_codec
def test_there_is_one_window_update_at_a_time_and_the_rest_follows_it() -> None:
    server = Server(initial_stream_window_size=65_535, initial_connection_window_size=65_535)
    server.receive(frame(4, 1, 0) + server.headers(1, *POST, end=False))
    server.frames()
    server.receive(4 * frame(0, 0, 1, b"x" * 16_000))
    assert server.frames() == [
        ("WINDOW_UPDATE", 0, 0, 48_000),
        ("WINDOW_UPDATE", 0, 1, 48_000),
    ]
    server.receive(5 * frame(0, 0, 1, b"x" * 12_000))
    assert server.frames() == [
        ("WINDOW_UPDATE", 0, 0, 40_000),
        ("WINDOW_UPDATE", 0, 1, 40_000),
        ("WINDOW_UPDATE", 0, 0, 36_000),
        ("WINDOW_UPDATE", 0, 1, 36_000),
    ]


@pytest.mark.native_codec
def test_streams_that_are_given_window_together_go_on_by_their_numbers() -> None:
    server = Server()
    server.receive(settings_frame([(4, 10)]) + server.headers(1, *GET) + server.headers(3, *GET))
    for stream in server.streams:
        stream.encode_headers(ResponseHeaderMap(200), False)
        stream.encode_data(b"x" * 20, True)
    server.run()
    server.frames()
    server.receive(window_update(3, 10) + window_update(1, 10))
    assert [(kind, stream) for kind, _, stream, _ in server.frames()] == [("DATA", 1), ("DATA", 3)]


@pytest.mark.native_codec
def test_settings_that_are_acknowledged_twice_end_the_connection() -> None:
    server = Server()
    assert server.receive(frame(4, 1, 0)) == []
    assert server.receive(frame(4, 1, 0)) == [LOST]
