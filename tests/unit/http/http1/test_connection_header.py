"""What `connection` and `upgrade` ask of this hop."""

from __future__ import annotations

import pytest

from minienvoy.errors import CodecProtocolError
from minienvoy.http.header_map import HeaderMap
from minienvoy.http.http1.connection_header import connection_tokens, sanitize_connection_header, take_upgrade


def test_tokens_of_all_connection_headers_are_lower_case_and_stripped() -> None:
    headers = HeaderMap.of([("connection", "Close, ,X-Foo"), ("x", "y"), ("connection", "TE")])
    assert connection_tokens(headers) == [b"close", b"x-foo", b"te"]


def test_an_upgrade_needs_both_headers() -> None:
    assert take_upgrade(HeaderMap.of([("connection", "Upgrade"), ("upgrade", "websocket")]))
    assert not take_upgrade(HeaderMap.of([("connection", "Upgrade")]))
    headers = HeaderMap.of([("connection", "close"), ("upgrade", "websocket")])
    assert not take_upgrade(headers)
    assert headers.pairs() == [("connection", "close")]


def test_h2c_leaves_nothing_of_itself() -> None:
    headers = HeaderMap.of([("upgrade", "H2C"), ("connection", "upgrade,http2-settings"), ("http2-settings", "x")])
    assert not take_upgrade(headers)
    assert headers.pairs() == []


def test_h2c_among_others_is_an_upgrade() -> None:
    assert take_upgrade(HeaderMap.of([("connection", "upgrade"), ("upgrade", "h2c"), ("upgrade", "websocket")]))


def test_te_and_the_header_itself_stay() -> None:
    headers = HeaderMap.of([("connection", "te, x-foo, keep-alive"), ("te", "trailers"), ("X-Foo", "1")])
    assert not sanitize_connection_header(headers)
    assert headers.pairs() == [("connection", "te, x-foo, keep-alive"), ("te", "trailers")]


def test_nominating_host_is_told() -> None:
    assert sanitize_connection_header(HeaderMap.of([("connection", "Host")]))


def test_second_connection_header_is_looked_at_too() -> None:
    with pytest.raises(CodecProtocolError):
        sanitize_connection_header(HeaderMap.of([("connection", "close"), ("connection", "x-forwarded-for")]))
