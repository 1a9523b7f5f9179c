"""What SkyWalking's header says of a caller, and what a segment becomes."""

from __future__ import annotations

import pytest

from minienvoy.extensions.tracers.skywalking.segment import SpanContext

HEADER = b"1-MQ==-NQ==-3-bWVzaA==-aW5zdGFuY2U=-L2FwaS92MS9oZWFsdGg=-ZXhhbXBsZS5jb206ODA4MA=="


def test_header_tells_of_the_caller() -> None:
    assert SpanContext.from_header(HEADER) == SpanContext(
        "1", "5", 3, "mesh", "instance", "/api/v1/health", "example.com:8080"
    )


def test_base64_need_not_be_filled_up_and_what_is_none_is_empty() -> None:
    context = SpanContext.from_header(b"0-MQ-!-3-bWVzaA-a-b-c")
    assert (context.trace_id, context.segment_id, context.service, context.instance) == ("1", "", "mesh", "")


@pytest.mark.parametrize(
    "value",
    [b"", b"1", HEADER + b"-", b"2" + HEADER[1:], HEADER.replace(b"-3-", b"-x-"), HEADER.replace(b"-3-", b"--")],
)
def test_other_headers_tell_nothing(value: bytes) -> None:
    with pytest.raises(ValueError):
        SpanContext.from_header(value)
