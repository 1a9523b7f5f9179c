"""A request whose headers could be read as something else is not sent."""

from __future__ import annotations

import pytest

from minienvoy.http.header_map import SUSPECT, RequestHeaderMap, entry, is_valid_value, suspect, without_controls
from minienvoy.testing.transcript import Client


def refused(headers: RequestHeaderMap) -> tuple[list[str], bytes]:
    """(what the codec refuses, what it has written)"""
    client = Client()
    names: list[str] = []
    client.recorder.on_request_refused = names.append  # type: ignore[attr-defined]
    client.codec.new_stream(client.recorder).encode_headers(headers, True)
    return names, bytes(client.connection.written)


def request(path: bytes = b"/", authority: bytes = b"a", value: bytes = b"1") -> RequestHeaderMap:
    headers = RequestHeaderMap(b"GET", path, authority)
    headers.add(b"x-good", b"1")
    headers.add(b"x-one", value)
    headers.seen |= SUSPECT
    return headers


@pytest.mark.parametrize(
    ("headers", "name"),
    [
        (request(value=b"a\r\nevil: 1"), "x-one"),
        (request(value=b"a\nb"), "x-one"),
        (request(value=b"a\0"), "x-one"),
        (request(value=b"\x7f"), "x-one"),
        (request(path=b"/a\r\nb"), ":path"),
        (request(authority=b"a\r\nb", path=b"/\n"), ":authority"),
    ],
)
def test_the_first_header_that_is_none_is_told_and_nothing_is_written(headers: RequestHeaderMap, name: str) -> None:
    assert refused(headers) == ([f"invalid header value for: {name}"], b"")


def test_a_name_that_is_none_is_told() -> None:
    headers = request()
    headers.add(b"x y", b"1")
    assert refused(headers) == (["invalid header name: x y"], b"")


@pytest.mark.parametrize(
    ("name", "value", "marked"), [(b"x", b"1", False), (b"x y", b"1", True), (b"x", b"a\x01", True)]
)
def test_an_entry_that_can_not_be_sent_is_marked(name: bytes, value: bytes, marked: bool) -> None:
    item = suspect(entry(name, value))
    assert bool(item[3] & SUSPECT) == marked
    assert item[:3] == entry(name, value)[:3]


def test_a_suspicion_that_is_unfounded_does_no_harm() -> None:
    names, written = refused(request(value=b"caf\xe9 \t~"))
    assert names == []
    assert written == b"GET / HTTP/1.1\r\nhost: a\r\nx-good: 1\r\nx-one: caf\xe9 \t~\r\n\r\n"


def test_what_could_make_two_headers_of_one_becomes_a_blank() -> None:
    assert without_controls(b"a\r\nb\0c\td\x01") == b"a  b c\td\x01"
    assert is_valid_value(b"a\tb\x80")
    assert not is_valid_value(b"\x1f")
