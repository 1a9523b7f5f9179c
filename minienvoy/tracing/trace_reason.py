"""Why a request is traced, as the 15th digit of its `x-request-id` tells everybody who handles it.

Envoy: `Tracing::Reason`, `Extensions::RequestId::UUIDRequestIDExtension`. A random UUID has a 4 there.
"""

from __future__ import annotations

from typing import Final

from ..http.header_map import RequestHeaderMap
from ..http.request_id import set_trace_digit

NOT_TRACEABLE: Final = "not_traceable"
SAMPLING: Final = "random_sampling"
SERVICE_FORCED: Final = "service_forced"
CLIENT_FORCED: Final = "client_enabled"
"""These are the names of their counters, too."""

DIGITS: Final = {NOT_TRACEABLE: b"4", SAMPLING: b"9", SERVICE_FORCED: b"a", CLIENT_FORCED: b"b"}
_REASONS: Final = {digit[0]: reason for reason, digit in DIGITS.items()}


def trace_reason_of(headers: RequestHeaderMap) -> str:
    """What the request id says."""
    value = headers.get(b"x-request-id")
    return NOT_TRACEABLE if value is None or len(value) != 36 else _REASONS.get(value[14], NOT_TRACEABLE)


def set_trace_reason(headers: RequestHeaderMap, reason: str) -> None:
    set_trace_digit(headers, DIGITS[reason])


def request_id_number(headers: RequestHeaderMap) -> int | None:
    """The first eight digits, which sampling goes by; None if they are none."""
    value = (headers.get(b"x-request-id") or b"")[:8]
    if len(value) < 8 or value.strip(b"0123456789abcdefABCDEF"):
        return None
    return int(value, 16)
