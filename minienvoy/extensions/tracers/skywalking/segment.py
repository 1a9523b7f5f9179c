"""A segment: what this proxy has to say of one trace, in the order in which it began.

Envoy: `cpp2sky::TracingContext`, `cpp2sky::TracingSpan`, `cpp2sky::SpanContext`. The header `sw8` tells the next proxy;
`skywalking.v3.SegmentObject` tells the collector (`language-agent/Tracing.proto` of SkyWalking's protocol).
"""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from .tracer import SkyWalkingSpan

COMPONENT: Final = 9000
"""What SkyWalking calls Envoy."""
_HTTP_LAYER: Final = 3
_EXIT: Final = 1
_FIELDS: Final = 8


class SpanContext(NamedTuple):
    """Who called, as its `sw8` says."""

    trace_id: str
    segment_id: str
    span_id: int
    service: str
    instance: str
    endpoint: str
    address: str

    @classmethod
    def from_header(cls, value: bytes) -> SpanContext:
        """Raises ValueError: it has other than eight fields, or what is in them is none."""
        fields = value.decode("latin-1").split("-")
        if len(fields) != _FIELDS:
            raise ValueError("Invalid span context format. It must have 8 fields.")
        if fields[0] not in ("0", "1"):
            raise ValueError("Invalid span context format. sample field must be 0 or 1.")
        _, trace, segment, span, service, instance, endpoint, address = fields
        return cls(
            _decode(trace),
            _decode(segment),
            int(span),
            _decode(service),
            _decode(instance),
            _decode(endpoint),
            _decode(address),
        )


def _decode(text: str) -> str:
    """Base64, whether it is filled up or not; what is none is empty."""
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True).decode("utf-8", "replace")
    except binascii.Error:
        return ""


def _encode(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


class Segment:
    """Spans that belong together: that of a request, and those of its attempts."""

    __slots__ = ("_caller", "_id", "instance", "service", "spans", "trace_id")

    def __init__(self, trace_id: str, segment_id: str, service: str, instance: str, caller: SpanContext | None) -> None:
        self.trace_id = trace_id
        self._id = segment_id
        self.service = service
        self.instance = instance
        self._caller = caller
        self.spans: list[SkyWalkingSpan] = []

    @property
    def complete(self) -> bool:
        return all(span.finished for span in self.spans)

    def header(self, target: str) -> bytes | None:
        """`sw8` for the last span, if that leads out of this proxy."""
        last = self.spans[-1]
        if not last.is_exit:
            return None
        fields = (
            "1",
            _encode(self.trace_id),
            _encode(self._id),
            str(last.number),
            _encode(self.service),
            _encode(self.instance),
            _encode(self.spans[0].operation),
            _encode(target),
        )
        return "-".join(fields).encode()

    def serialize(self) -> bytes:
        """A `SegmentObject`."""
        parts = [_text(1, self.trace_id), _text(2, self._id)]
        parts += [_bytes(3, self._span(span)) for span in self.spans]
        parts += [_text(4, self.service), _text(5, self.instance)]
        return b"".join(parts)

    def _span(self, span: SkyWalkingSpan) -> bytes:
        parts = [
            _number(1, span.number),
            _number(2, span.parent_number),
            _number(3, int(span.start_time * 1000)),
            _number(4, int(span.end_time * 1000)),
        ]
        if self._caller is not None and not span.is_exit:
            parts.append(_bytes(5, _reference(self._caller)))
        parts += [
            _text(6, span.operation),
            _text(7, span.peer),
            _number(8, _EXIT if span.is_exit else 0),
            _number(9, _HTTP_LAYER),
            _number(10, COMPONENT),
            _number(11, int(span.is_error)),
        ]
        parts += [_bytes(12, _pair(key, value)) for key, value in span.told_tags()]
        for at, event in span.events:
            parts.append(_bytes(13, _number(1, int(at * 1000)) + _bytes(2, _pair("", event))))
        parts.append(_number(14, int(span.skip_analysis)))
        return b"".join(parts)


def _reference(caller: SpanContext) -> bytes:
    return b"".join(
        (
            _text(2, caller.trace_id),
            _text(3, caller.segment_id),
            _number(4, caller.span_id),
            _text(5, caller.service),
            _text(6, caller.instance),
            _text(7, caller.endpoint),
            _text(8, caller.address),
        )
    )


def _pair(key: str, value: str) -> bytes:
    return _text(1, key) + _text(2, value)


def _varint(value: int) -> bytes:
    value &= (1 << 64) - 1
    found = bytearray()
    while value > 0x7F:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    found.append(value)
    return bytes(found)


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value) if value else b""


def _text(field: int, value: str) -> bytes:
    return _bytes(field, value.encode("utf-8", "replace")) if value else b""


def _bytes(field: int, value: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(value)) + value
