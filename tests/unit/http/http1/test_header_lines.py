"""Header lines, the quick way and the lenient way, and the bounds of what is remembered."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minienvoy.errors import CodecProtocolError
from minienvoy.http.header_map import KIND
from minienvoy.http.http1 import client_connection, header_lines, request_target, server_connection
from minienvoy.http.http1.header_lines import UNDERSCORE, known_line, lenient_entries, parse_new, parse_unknown
from minienvoy.testing.transcript import Client, Server


def quick(*lines: bytes) -> list[Any] | None:
    found: list[Any] = [known_line(line) for line in lines]
    return found if parse_unknown(b"x\r\n" + b"\r\n".join(lines), list(lines), found) else None


def test_an_entry_has_name_value_line_and_kind() -> None:
    assert quick(b"Content-Length: \t5 ", b"X: Y", b"x_y:") == [
        (b"content-length", b"5", b"content-length: 5\r\n", KIND[b"content-length"]),
        (b"x", b"Y", b"x: Y\r\n", 0),
        (b"x_y", b"", b"x_y: \r\n", UNDERSCORE),
    ]


def test_no_header_that_the_machinery_looks_for_has_the_kind_of_underscores() -> None:
    assert not any(kind & UNDERSCORE for kind in KIND.values())


@pytest.mark.parametrize(
    "line",
    [b"foo", b"", b"x y: z", b" x: y", b"\tx: y", b"x : y", b": y", b"x: a\rb", b"x: a\nb", b"x: \0", b"x\xe9: y"],
)
def test_the_quick_way_leaves_every_doubt_to_the_lenient_way(line: bytes) -> None:
    assert quick(b"a: b", line) is None
    assert known_line(line) is None


@pytest.mark.parametrize("name", [b"!#$%&'*+-.^_`|~09azAZ", b"a" * 1000])
def test_any_token_is_a_name(name: bytes) -> None:
    (entry,) = lenient_entries(name + b": x")
    assert entry[0] == name.lower()
    assert quick(name + b": x") == [entry]


def test_lines_of_any_end_and_folded_ones_are_taken_leniently() -> None:
    entries = lenient_entries(b"a: 1\r\nb: 2\nc: 3\r\n  4\n\t5\r\nd:\r\n 6\r")
    assert [(item[0], item[1]) for item in entries] == [
        (b"a", b"1"),
        (b"b", b"2"),
        (b"c", b"3  4\t5"),
        (b"d", b"6"),
    ]


def test_an_empty_section_has_no_entries() -> None:
    assert lenient_entries(b"") == []


@pytest.mark.parametrize(
    ("section", "details"),
    [
        (b"x\r: y", "http1.codec_error"),
        (b" x: y", "http1.codec_error"),
        (b"a: b\r\n\r", "http1.codec_error"),
        (b"x\r\n : y", "http1.codec_error"),
        (b"x: \x7f", "http1.invalid_characters"),
        (b"content-length: 1\r2", "http1.codec_error"),
        (b"Transfer-Encoding: chun\rked", "http1.invalid_transfer_encoding"),
    ],
)
def test_what_even_the_lenient_way_refuses(section: bytes, details: str) -> None:
    with pytest.raises(CodecProtocolError) as refused:
        lenient_entries(section)
    assert refused.value.details == details


def test_memory_of_lines_names_heads_and_authorities_is_bounded() -> None:
    server, client = Server(answering=True), Client()
    # Where most lines are new, those of the next heads are not looked up.
    usual = b"accept: a\r\nuser-agent: b\r\nx-c: c"
    for number in range(5000):
        for _ in range(2):
            # The second time the lines are known, and the head is kept.
            server.receive(b"GET / HTTP/1.1\r\nhost: h%d\r\n%b\r\nx%d: %d\r\n\r\n" % (number, usual, number, number))
            client.ask()
            client.receive(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\ny%d: 1\r\n\r\n" % number)
    assert 0 < len(header_lines._LINES) <= 4096
    assert 0 < len(header_lines._NAMES) <= 4096
    assert 0 < len(server_connection._REQUESTS) <= 1024
    assert 0 < len(client_connection._RESPONSES) <= 1024
    assert 0 < len(request_target._AUTHORITIES) <= 1024


def test_long_lines_names_heads_and_authorities_are_not_remembered() -> None:
    line = b"x-long: " + b"y" * 200
    long_name = b"n" * 200
    authority = b"a" * 300
    message = b"GET / HTTP/1.1\r\nhost: %b\r\n%b\r\n%b: 1\r\nz: %b\r\n\r\n" % (authority, line, long_name, b"z" * 900)
    server = Server(answering=True)
    for _ in range(3):
        assert server.receive(message)[0][0] == "headers"
    assert known_line(line) is None
    assert long_name not in header_lines._NAMES
    assert authority not in request_target._AUTHORITIES
    assert message.removesuffix(b"\r\n\r\n") not in server_connection._REQUESTS


@pytest.mark.parametrize(
    "line", [b"x_y: z", b"host: " + b"a" * 2000, b"transfer-encoding: chunked\r\ncontent-length: 1"]
)
def test_heads_that_a_setting_decides_are_not_remembered(line: bytes) -> None:
    head = b"GET / HTTP/1.1\r\n" + line
    for _ in range(3):
        Server().receive(head + b"\r\n\r\n")
    assert head not in server_connection._REQUESTS


def test_a_header_whose_value_never_repeats_is_kept_less_and_less() -> None:
    for number in range(3000):
        quick(b"x-id: %d" % number)
    kept = sum(line.startswith(b"x-id: ") for line in header_lines._LINES)
    assert kept <= 256 + 3000 // 16


def test_a_value_that_stays_for_a_while_is_known_soon_whatever_came_before() -> None:
    for number in range(5000):
        quick(b"x-date: %d" % number)
    for _ in range(16):
        quick(b"x-date: today")
    assert known_line(b"x-date: today") is not None


def new(*lines: bytes) -> list[Any] | None:
    return parse_new(b"x\r\n" + b"\r\n".join(lines), list(lines))


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize(
    "line",
    [
        *(b"name: value", b"Name: value", b"name:value", b"name:  value \t", b"name: ", b"name:", b"na_me: value"),
        *(b"name", b"Name", b"", b":", b": value", b"name : value", b" name: value", b"name: a\rb", b"name: a\nb"),
        *(b"name: a\r\nb", b"name: \0", b"name: \x7f", b"name: \xe9", b"na\xe9: a", b"name: a: b", b"name:\ta"),
        b"name: " + b"x" * 1000,
    ],
)
def test_new_lines_are_taken_and_refused_as_unknown_ones(line: bytes, known: bool) -> None:
    if known:
        for name in (b"name: x", b"Name: x", b"na_me: x"):
            new(name)
    assert new(b"a: b", line) == quick(b"a: b", line)


@given(st.lists(st.text("ab: \t\r\n\0\x7f_", max_size=8).map(str.encode), max_size=6))
def test_what_new_lines_are_taken_for_unknown_ones_are_taken_for(lines: list[bytes]) -> None:
    """And both only for what each line says by itself."""
    for name in (b"a: x", b"b: x", b"ab: x", b"ba: x"):
        new(name)
    head = b"x\r\n" + b"\r\n".join(lines)
    split = head.split(b"\r\n")[1:]
    found = parse_new(head, split)
    entries: list[Any] = [known_line(line) for line in split]
    assert found == (entries if parse_unknown(head, split, entries) else None)
    for entry, line in zip(found or (), split if found else (), strict=True):
        name, colon, value = line.partition(b":")
        assert (entry[0], entry[1], colon) == (name.lower(), value.strip(b" \t"), b":")
        assert not set(line) & set(b"\r\n\0\x7f")


def varied(number: int) -> bytes:
    return b"GET / HTTP/1.1\r\nhost: a\r\n" + b"".join(b"x-%d: %d\r\n" % (at, number) for at in range(8)) + b"\r\n"


@pytest.mark.parametrize(
    "lines",
    [
        *(b"x-1: a", b"X-1: a\r\nx-2:b", b"x-1:  a ", b"x-1: a\n", b"x-1: a\r\n b", b"x-1", b"x-1 : a", b": a"),
        *(b"content-length : 5", b"content-length: 5\r\ncontent-length: 5", b"content-length: +5", b"x-1: \0"),
        *(b"transfer-encoding: chunked\r\ncontent-length: 1", b"Transfer-Encoding: gzip", b"host: b", b"x_1: a"),
    ],
)
def test_after_heads_of_new_lines_any_other_is_read_as_on_a_fresh_connection(lines: bytes) -> None:
    message = b"POST / HTTP/1.1\r\nhost: a\r\n" + lines + b"\r\n\r\n"
    fresh, used = Server(answering=True), Server(answering=True)
    for number in range(3):
        assert used.receive(varied(10_000 + number))[0][0] == "headers"
    assert used.receive(message) == fresh.receive(message)


def test_lines_that_begin_to_repeat_are_found_again() -> None:
    server = Server(answering=True)
    for number in range(40):
        server.receive(varied(20_000 + number))
    message = varied(30_000)
    for _ in range(33):
        server.receive(message)
    assert message.removesuffix(b"\r\n\r\n") in server_connection._REQUESTS
