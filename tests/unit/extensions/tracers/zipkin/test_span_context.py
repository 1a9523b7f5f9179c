"""The headers by which proxies tell each other of their spans: B3 and, as a fallback, W3C."""

from __future__ import annotations

import pytest

from minienvoy.extensions.tracers.zipkin.span_context import (
    SpanContext,
    extract_context,
    extract_sampled,
    inject_context,
)
from minienvoy.http.header_map import RequestHeaderMap

TRACEPARENT = ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")


def headers(*pairs: tuple[str, str]) -> RequestHeaderMap:
    made = RequestHeaderMap(b"GET", b"/", b"a.com")
    for name, value in pairs:
        made.add(name.encode(), value.encode())
    return made


@pytest.mark.parametrize(
    ("pairs", "sampled"),
    [
        ([], None),
        ([("x-b3-sampled", "1")], True),
        ([("x-b3-sampled", "true")], True),
        ([("x-b3-sampled", "0")], False),
        ([("x-b3-sampled", "")], False),
        ([("b3", "0")], False),
        ([("b3", "d")], True),
        ([("b3", "00000000000000aa-00000000000000bb-0")], False),
        ([("b3", "00000000000000aa-00000000000000bb")], None),
        ([("b3", "nonsense"), ("x-b3-sampled", "1")], None),
        ([TRACEPARENT], None),
    ],
)
def test_what_was_decided_before(pairs: list[tuple[str, str]], sampled: bool | None) -> None:
    assert extract_sampled(headers(*pairs), w3c=False) == sampled


def test_w3c_counts_where_there_is_no_b3() -> None:
    assert extract_sampled(headers(TRACEPARENT), w3c=True) is True
    assert extract_sampled(headers(TRACEPARENT, ("x-b3-sampled", "0")), w3c=True) is False
    assert extract_context(headers(TRACEPARENT), w3c=True) == SpanContext(
        0x0AF7651916CD43DD, 0x8448EB211C80319C, 0xB7AD6B7169203331
    )
    assert extract_context(headers(TRACEPARENT), w3c=False) is None
    assert extract_context(headers(("traceparent", "nonsense")), w3c=True) is None


def test_many_headers_of_b3() -> None:
    told = headers(("x-b3-traceid", "aa"), ("x-b3-spanid", "bb"), ("x-b3-parentspanid", "cc"))
    assert extract_context(told, w3c=False) == SpanContext(0, 0xAA, 0xBB, 0xCC)
    wide = headers(("x-b3-traceid", "1" * 16 + "2" * 16), ("x-b3-spanid", "bb"))
    assert extract_context(wide, w3c=False) == SpanContext(0x1111111111111111, 0x2222222222222222, 0xBB)
    assert extract_context(headers(("x-b3-traceid", "aa")), w3c=False) is None


def test_one_header_of_b3() -> None:
    text = "1" * 32 + "-00000000000000bb-1-00000000000000cc"
    assert extract_context(headers(("b3", text)), w3c=False) == SpanContext(
        0x1111111111111111, 0x1111111111111111, 0xBB, 0xCC
    )
    assert extract_context(headers(("b3", "1")), w3c=False) is None


@pytest.mark.parametrize(
    "pairs",
    [
        [("b3", "nonsense")],
        [("b3", "")],
        [("x-b3-traceid", "xyz"), ("x-b3-spanid", "bb")],
        [("x-b3-traceid", "aa"), ("x-b3-spanid", "1" * 17)],
        [("x-b3-traceid", "aa"), ("x-b3-spanid", "+1")],
    ],
)
def test_what_makes_no_sense_is_an_error(pairs: list[tuple[str, str]]) -> None:
    with pytest.raises(ValueError, match=r"b3|not an id"):
        extract_context(headers(*pairs), w3c=False)


def test_the_context_is_told_in_the_form_in_which_it_came() -> None:
    many = headers(("x-b3-traceid", "old"), ("x-other", "1"))
    inject_context(many, "aa", "bb", "cc", True, w3c=True)
    assert many.pairs()[-6:] == [
        ("x-other", "1"),
        ("x-b3-traceid", "aa"),
        ("x-b3-spanid", "bb"),
        ("x-b3-parentspanid", "cc"),
        ("x-b3-sampled", "1"),
        ("traceparent", "00-000000000000000000000000000000aa-bb-01"),
    ]
    one = headers(("b3", "old"))
    inject_context(one, "aa", "bb", "", False, w3c=False)
    assert one.pairs()[-1] == ("b3", "aa-bb-0")
