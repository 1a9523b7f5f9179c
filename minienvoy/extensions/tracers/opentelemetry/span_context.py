"""The headers by which proxies tell each other of their spans, as the W3C has them.

Envoy: `OpenTelemetry::SpanContextExtractor`, `OpenTelemetry::Span::injectContext`; W3C "Trace Context".
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from ....http.header_map import HeaderMap

_TRACEPARENT: Final = re.compile(rb"[0-9a-fA-F]{2}-([0-9a-fA-F]{32})-([0-9a-fA-F]{16})-([0-9a-fA-F]{2})")


class SpanContext(NamedTuple):
    """Of the span that caused another; ids in hexadecimal digits."""

    trace_id: str
    span_id: str
    sampled: bool
    trace_state: str = ""


def extract_context(headers: HeaderMap) -> SpanContext | None:
    """The span that caused this request; None if nobody says.

    `tracestate` without a `traceparent` is nobody's. Any version is read as the one that is known.

    Raises:
        ValueError: what is said makes no sense.
    """
    told = headers.get(b"traceparent")
    if told is None:
        return None
    found = _TRACEPARENT.fullmatch(told)
    if found is None or not found[1].strip(b"0") or not found[2].strip(b"0"):
        raise ValueError("traceparent")
    state = b",".join(headers.get_all(b"tracestate")).decode("latin-1")
    return SpanContext(found[1].lower().decode(), found[2].lower().decode(), bool(int(found[3], 16) & 1), state)


def inject_context(headers: HeaderMap, context: SpanContext) -> None:
    """At the end, wherever they stood; Envoy tells `tracestate` even if there is none."""
    told = f"00-{context.trace_id}-{context.span_id}-0{int(context.sampled)}"
    for name, value in ((b"traceparent", told.encode()), (b"tracestate", context.trace_state.encode("latin-1"))):
        headers.remove(name)
        headers.add(name, value)
