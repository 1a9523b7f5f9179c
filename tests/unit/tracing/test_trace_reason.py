"""The digit of a request id that says why its request is traced."""

from __future__ import annotations

import pytest

from minienvoy.http.header_map import RequestHeaderMap
from minienvoy.tracing.trace_reason import DIGITS, request_id_number, set_trace_reason, trace_reason_of


def of(request_id: bytes) -> RequestHeaderMap:
    headers = RequestHeaderMap(b"GET", b"/", b"a.com")
    headers.add(b"x-request-id", request_id)
    return headers


@pytest.mark.parametrize("reason", DIGITS)
def test_what_is_written_is_read(reason: str) -> None:
    headers = of(b"00000000-0000-4000-8000-000000000000")
    set_trace_reason(headers, reason)
    assert trace_reason_of(headers) == reason


@pytest.mark.parametrize("request_id", [b"", b"abc", b"00000000-0000-f000-8000-000000000000", b"9" * 37])
def test_an_id_of_another_form_is_no_reason(request_id: bytes) -> None:
    assert trace_reason_of(of(request_id)) == "not_traceable"


@pytest.mark.parametrize(
    ("request_id", "number"),
    [(b"0000002a-rest", 42), (b"ABCDEF01", 0xABCDEF01), (b"0000002", None), (b"+000002a", None), (b"0x00002a", None)],
)
def test_only_eight_digits_are_a_number(request_id: bytes, number: int | None) -> None:
    assert request_id_number(of(request_id)) == number
    assert request_id_number(RequestHeaderMap(b"GET", b"/", b"a.com")) is None
