"""`traceparent` and `tracestate`."""

from __future__ import annotations

import pytest

from minienvoy.extensions.tracers.opentelemetry.span_context import SpanContext, extract_context, inject_context
from minienvoy.http.header_map import RequestHeaderMap

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


def headers(*pairs: tuple[str, str]) -> RequestHeaderMap:
    made = RequestHeaderMap(b"GET", b"/", b"a.com")
    for name, value in pairs:
        made.add(name.encode(), value.encode())
    return made


def test_nobody_says_anything() -> None:
    assert extract_context(headers()) is None
    assert extract_context(headers(("tracestate", "a=1"))) is None


def test_a_caller_and_its_state_in_several_headers() -> None:
    told = headers(("tracestate", "a=1"), ("traceparent", f"00-{TRACE}-{SPAN}-01"), ("tracestate", "b=2"))
    assert extract_context(told) == SpanContext(TRACE, SPAN, True, "a=1,b=2")


@pytest.mark.parametrize(("flags", "sampled"), [("00", False), ("01", True), ("02", False), ("ff", True)])
def test_only_the_last_bit_says_that_a_trace_is_sampled(flags: str, sampled: bool) -> None:
    found = extract_context(headers(("traceparent", f"cc-{TRACE.upper()}-{SPAN}-{flags}")))
    assert found == SpanContext(TRACE, SPAN, sampled)


@pytest.mark.parametrize(
    "told",
    [
        "",
        "00",
        f"00-{TRACE}-{SPAN}",
        f"00-{TRACE}-{SPAN}-01-x",
        f"00-{TRACE[:-1]}x-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"+0-{TRACE}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-01\n",
    ],
)
def test_what_makes_no_sense_is_an_error(told: str) -> None:
    with pytest.raises(ValueError, match="traceparent"):
        extract_context(headers(("traceparent", told)))


def test_the_state_is_told_even_if_it_is_empty() -> None:
    told = headers(("traceparent", "old"), ("x", "y"))
    inject_context(told, SpanContext(TRACE, SPAN, False))
    assert told.pairs()[-3:] == [("x", "y"), ("traceparent", f"00-{TRACE}-{SPAN}-00"), ("tracestate", "")]
