"""The headers by which proxies tell each other of their spans: B3, in many headers or in one, and W3C as a fallback.

Envoy: `Zipkin::SpanContextExtractor`, `Zipkin::Span::injectContext`.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from ....http.header_map import HeaderMap

_ID: Final = re.compile(rb"[0-9a-fA-F]{1,16}")
_SINGLE: Final = re.compile(
    rb"([0-9a-fA-F]{16}(?:[0-9a-fA-F]{16})?)-([0-9a-fA-F]{16})(?:-([01dD]))?(?:-([0-9a-fA-F]{16}))?"
)
_TRACEPARENT: Final = re.compile(rb"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})")


class SpanContext(NamedTuple):
    """Of the span that caused a request; `parent_id` is 0 if it has none."""

    trace_id_high: int
    trace_id: int
    span_id: int
    parent_id: int = 0


def extract_sampled(headers: HeaderMap, w3c: bool) -> bool | None:
    """What somebody before has decided; None if nobody has."""
    single = headers.get(b"b3")
    if single is not None:
        found = _SINGLE.fullmatch(single)
        flag = single if len(single) == 1 else (found[3] if found is not None else None)
        return None if flag is None else flag != b"0"
    value = headers.get(b"x-b3-sampled")
    if value is not None:
        return value in (b"1", b"true")
    if w3c:
        parent = _TRACEPARENT.fullmatch(headers.get(b"traceparent") or b"")
        if parent is not None:
            return bool(int(parent[4], 16) & 1)
    return None


def extract_context(headers: HeaderMap, w3c: bool) -> SpanContext | None:
    """The span that caused this request; None if nobody says.

    Raises:
        ValueError: what is said makes no sense.
    """
    single = headers.get(b"b3")
    if single is not None:
        return _from_single(single)
    trace_id, span_id = headers.get(b"x-b3-traceid"), headers.get(b"x-b3-spanid")
    if trace_id is not None and span_id is not None:
        high = 0
        if len(trace_id) == 32:
            high, trace_id = _number(trace_id[:16]), trace_id[16:]
        parent = headers.get(b"x-b3-parentspanid")
        return SpanContext(high, _number(trace_id), _number(span_id), _number(parent) if parent else 0)
    traceparent = headers.get(b"traceparent") if w3c else None
    if traceparent is not None:
        found = _TRACEPARENT.fullmatch(traceparent)
        if found is None:
            # Unlike B3 that makes no sense.
            return None
        return SpanContext(int(found[2][:16], 16), int(found[2][16:], 16), int(found[3], 16))
    return None


def _from_single(value: bytes) -> SpanContext | None:
    if value in (b"0", b"1", b"d"):
        # Only the decision.
        return None
    found = _SINGLE.fullmatch(value)
    if found is None:
        raise ValueError("b3")
    trace_id = found[1]
    high = int(trace_id[:-16], 16) if len(trace_id) == 32 else 0
    return SpanContext(high, int(trace_id[-16:], 16), int(found[2], 16), int(found[4], 16) if found[4] else 0)


def _number(value: bytes) -> int:
    if _ID.fullmatch(value) is None:
        raise ValueError("not an id")
    return int(value, 16)


def inject_context(headers: HeaderMap, trace_id: str, span_id: str, parent_id: str, sampled: bool, w3c: bool) -> None:
    """In the format in which the request came, which is many headers if it came without; `w3c` adds `traceparent`."""
    flag = "1" if sampled else "0"
    if headers.has(b"b3"):
        _put(headers, b"b3", "-".join(filter(None, (trace_id, span_id, flag, parent_id))))
    else:
        _put(headers, b"x-b3-traceid", trace_id)
        _put(headers, b"x-b3-spanid", span_id)
        if parent_id:
            _put(headers, b"x-b3-parentspanid", parent_id)
        _put(headers, b"x-b3-sampled", flag)
    if w3c:
        _put(headers, b"traceparent", f"00-{trace_id.zfill(32)}-{span_id}-0{flag}")


def _put(headers: HeaderMap, name: bytes, value: str) -> None:
    """At the end, wherever it stood."""
    headers.remove(name)
    headers.add(name, value.encode())
