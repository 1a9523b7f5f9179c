"""Headers as scripts change them."""

from __future__ import annotations

from minienvoy.extensions.filters.http.lua import headers
from minienvoy.http.header_map import SUSPECT, RequestHeaderMap, ResponseHeaderMap


def request(*pairs: tuple[bytes, bytes]) -> RequestHeaderMap:
    made = RequestHeaderMap(b"GET", b"/", b"a.test")
    for name, value in pairs:
        made.add(name, value)
    return made


def test_all_headers_of_a_request_begin_with_the_pseudo_headers():
    assert headers.all_headers(request((b"x", b"1"))) == (
        *(b":authority", b"a.test", b":path", b"/", b":method", b"GET", b":scheme", b"http"),
        *(b"x", b"1"),
    )


def test_a_pseudo_header_is_added_to():
    made = request()
    headers.add_header(made, b":path", b"more")
    headers.add_header(made, b"host", b"b.test")
    headers.add_header(made, b":unknown", b"x")
    assert (made.path, made.authority, len(made)) == (b"/,more", b"a.test,b.test", 0)


def test_what_can_not_be_sent_is_marked():
    for name, value in ((b"x", b"a\r\nb: c"), (b"x y", b"a"), (b":path", b"/\n"), (b":method", b"")):
        made = request()
        headers.replace_header(made, name, value)
        assert made.seen & SUSPECT, name


def test_a_response_has_blanks_in_place_of_line_breaks():
    made = ResponseHeaderMap(200)
    headers.add_header(made, b"x", b"a\r\nb")
    headers.set_reason(made, b"a\r\nb")
    assert made.get(b"x") == b"a  b"
    assert made.key_formatter.reason == b"a  b"


def test_the_status_is_replaced_by_another_one_only():
    made = ResponseHeaderMap(200)
    headers.replace_header(made, b":status", b"404")
    headers.replace_header(made, b":status", b"abc")
    headers.add_header(made, b":status", b"418")
    assert made.status == 418
    assert headers.all_headers(made) == (b":status", b"418")


def test_a_request_has_no_reason_phrase():
    made = request()
    headers.set_reason(made, b"x")
    assert made.seen == request().seen
