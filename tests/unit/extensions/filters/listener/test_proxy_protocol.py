"""PROXY headers, byte by byte."""

from __future__ import annotations

import pytest

from minienvoy.extensions.filters.listener.proxy_protocol import (
    NEED_MORE,
    NO_HEADER,
    V2_SIGNATURE,
    Malformed,
    parse_header,
)

V1 = b"PROXY TCP4 1.2.3.4 5.6.7.8 1000 80\r\n"
V2 = V2_SIGNATURE + b"\x21\x11\0\x0f\x01\x02\x03\x04\x05\x06\x07\x08\x03\xe8\0\x50\x04\0\0"


@pytest.mark.parametrize("header", [V1, V2])
def test_every_beginning_needs_more_and_the_rest_is_left(header):
    assert all(parse_header(header[:size]) is NEED_MORE for size in range(len(header)))
    found = parse_header(header + b"GET /")
    assert (found.size, str(found.remote), str(found.local)) == (len(header), "1.2.3.4:1000", "5.6.7.8:80")


@pytest.mark.parametrize("data", [b"GET / HTTP/1.1\r\n", b"PROXX", b"\r\n\r\n\0\r\nQUIX", b"\0"])
def test_other_bytes_are_no_header_where_there_need_not_be_one(data):
    assert parse_header(data, optional=True) is NO_HEADER


@pytest.mark.parametrize("data", [b"GET / HTTP/1.1 ", b"PROXX", b"\r\n\r\n\0\r\nQUIX", b"\0"])
def test_where_there_has_to_be_a_header_sixteen_bytes_tell(data):
    assert parse_header(data) is NEED_MORE
    assert parse_header(data.ljust(16, b".")) is NO_HEADER


def test_a_short_line_is_a_header_that_is_none():
    with pytest.raises(Malformed):
        parse_header(b"GET /\r\n")


@pytest.mark.parametrize(
    "data",
    [
        b"PROXY TCP4 1.2.3.4 5.6.7.8 1000\r\n",
        b"PROXY TCP4 1.2.3.4 5.6.7.8 1000 80 90\r\n",
        b"PROXY TCP4 1.2.3.4 5.6.7.8 -1 80\r\n",
        b"PROXY TCP5 1.2.3.4 5.6.7.8 1 80\r\n",
        b"PROXY TCP6 1.2.3.4 5.6.7.8 1 80\r\n",
        b"PROXY " + b"x" * 200,
        V2_SIGNATURE + b"\x31\x11\0\x0c" + bytes(12),
        V2_SIGNATURE + b"\x21\x11\0\x0b" + bytes(12),
        V2_SIGNATURE + b"\x21\x31\0\x0c" + bytes(12),
        V2_SIGNATURE + b"\x21\x11\0\x0f" + bytes(12) + b"\x04\0\x01",
    ],
)
def test_a_wrong_header_is_an_error(data):
    with pytest.raises(Malformed):
        parse_header(data)


def test_who_is_not_told_of_stays_who_they_are():
    assert parse_header(b"PROXY UNKNOWN ffff::1 x y\r\n").remote is None
    assert parse_header(V2_SIGNATURE + b"\x20\0\0\0").remote is None
