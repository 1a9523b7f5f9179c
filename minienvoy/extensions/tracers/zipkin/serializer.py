"""Spans as a collector reads them.

Envoy: `Zipkin::JsonV2Serializer`, `ProtobufSerializer` (`source/extensions/tracers/zipkin/span_buffer.cc`).
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

from ....tracing.span import SERVER

if TYPE_CHECKING:
    from .tracer import ZipkinSpan


def microseconds(seconds: float) -> int:
    return round(seconds * 1_000_000)


class JsonSerializer:
    """`HTTP_JSON`."""

    content_type = b"application/json"

    def __init__(self, service: str, address: str) -> None:
        kind = "ipv6" if ":" in address else "ipv4"
        self._endpoint: dict[str, str | int] = {"serviceName": service, kind: address, "port": 0}
        if not service:
            del self._endpoint["serviceName"]

    def serialize(self, spans: Iterable[ZipkinSpan]) -> bytes:
        plain = [self._plain(span) for span in spans]
        return json.dumps(plain, ensure_ascii=False, separators=(",", ":")).encode()

    def _plain(self, span: ZipkinSpan) -> dict[str, Any]:
        plain: dict[str, Any] = {"traceId": span.trace_id}
        if span.parent_id:
            plain["parentId"] = span.parent_id
        plain.update(id=span.span_id, kind=span.kind, name=span.operation)
        if not span.operation:
            del plain["name"]
        plain.update(
            timestamp=microseconds(span.start_time),
            duration=microseconds(span.end_time - span.start_time),
            localEndpoint=self._endpoint,
            annotations=[{"timestamp": microseconds(time), "value": name} for time, name in span.events],
            tags={name: value for name, value in span.tags.items() if value},
        )
        if span.shared:
            plain["shared"] = True
        return plain


class ProtobufSerializer:
    """`HTTP_PROTO`: `zipkin.proto3.ListOfSpans`, written by hand. Envoy has the ids of spans in the machine's byte
    order, and those of traces in that of the network."""

    content_type = b"application/x-protobuf"

    def __init__(self, service: str, address: str) -> None:
        packed = ip_address(address).packed
        self._endpoint = _text(1, service) + _bytes(3 if len(packed) == 16 else 2, packed)

    def serialize(self, spans: Iterable[ZipkinSpan]) -> bytes:
        return b"".join(_bytes(1, self._message(span)) for span in spans)

    def _message(self, span: ZipkinSpan) -> bytes:
        parts = [_bytes(1, bytes.fromhex(span.trace_id))]
        if span.parent_id:
            parts.append(_bytes(2, bytes.fromhex(span.parent_id)[::-1]))
        parts.append(_bytes(3, bytes.fromhex(span.span_id)[::-1]))
        parts.append(_varint(4 << 3) + _varint(2 if span.kind == SERVER else 1))
        parts.append(_text(5, span.operation))
        parts.append(_fixed64(6, microseconds(span.start_time)))
        parts.append(_varint(7 << 3) + _varint(microseconds(span.end_time - span.start_time)))
        parts.append(_bytes(8, self._endpoint))
        parts += (_bytes(10, _fixed64(1, microseconds(time)) + _bytes(2, name.encode())) for time, name in span.events)
        parts += (
            _bytes(11, _bytes(1, key.encode()) + _bytes(2, value.encode())) for key, value in span.tags.items() if value
        )
        if span.shared:
            parts.append(_varint(13 << 3) + b"\x01")
        return b"".join(parts)


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _bytes(number: int, value: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(value)) + value


def _text(number: int, value: str) -> bytes:
    """An empty one is left out, as protobuf does."""
    return _bytes(number, value.encode()) if value else b""


def _fixed64(number: int, value: int) -> bytes:
    return _varint(number << 3 | 1) + value.to_bytes(8, "little")
