"""Spans in the bodies that trace collectors are sent, and the headers that tell of them: compared by their shape.

Zipkin's JSON and protobuf, and OpenTelemetry's protobuf over HTTP and gRPC. Ids are random: each is replaced by a
number, the same wherever it stands, so that who is whose child stays to be seen. Times are replaced by words; the
order of Zipkin's tags, which is that of a hash table, is taken away.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from ipaddress import ip_address
from typing import Any

_ID_HEADER = re.compile(r"^(x-b3-(?:trace|span|parentspan)id|x-datadog-\w+-id): (\S+)$")
_CONTEXT_HEADER = re.compile(r"^(b3|traceparent): (\S+)$")
_ID = re.compile(r"\b(?:[0-9a-f]{32}|[0-9a-f]{16})\b")
_ID_KEYS = ("traceId", "id", "parentId")
_TIME_KEYS = ("timestamp", "duration")
MARKS = (b'"traceId"', b"telemetry.sdk.name", b"service.name", b"http.status_code")
"""What only the bodies have that tell of spans."""
_OTLP = "opentelemetry.proto.collector.trace.v1.ExportTraceServiceRequest"
_ZIPKIN = {
    1: "traceId",
    2: "parentId",
    3: "id",
    4: "kind",
    5: "name",
    6: "timestamp",
    7: "duration",
    8: "localEndpoint",
    10: "annotations",
    11: "tags",
    13: "shared",
}
_ENDPOINT = {1: "serviceName", 2: "ipv4", 3: "ipv6", 4: "port"}
_USER_AGENT = re.compile(r"^(user-agent: OTel-OTLP-Exporter-Envoy/)[0-9a-f]{40}/.*")
_PORT = re.compile(r":\d{4,5}$")
_LOGGED_ID = re.compile(r"\b(trace|span)=([0-9a-f]{16,32})\b")
_REQUEST_ID = re.compile(r"\b[0-9a-f]{8}-[0-9a-f]{4}-([0-9a-f])[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}\b")


class Spans:
    """Numbers the ids of one answer, in the order in which they are met."""

    def __init__(self) -> None:
        self._numbers: dict[str, str] = {}

    def tree(self, value: Any) -> Any:
        if isinstance(value, dict):
            return {key: self.tree(item) for key, item in value.items()}
        if isinstance(value, list):
            return [self.tree(item) for item in value]
        if not isinstance(value, str):
            return value
        if value.startswith("[{") and '"traceId"' in value:
            # In an order of their own before they are numbered: which of two ended first is not told.
            spans = sorted(
                json.loads(value.encode("latin-1")),
                key=lambda span: _rank(span["kind"], span.get("name"), span["tags"]),
            )
            return {"spans": [self._zipkin(span) for span in spans]}
        if value[:1] in ("\0", "\n") and any(mark.decode() in value for mark in MARKS):
            return self._packed(value.encode("latin-1"))
        return self._header(value)

    def _number(self, identity: str) -> str:
        # 16 digits may be the lower half of 32, as the id of a trace is in a format that has only so many.
        return self._numbers.setdefault(identity.lstrip("0"), f"<id {len(self._numbers) + 1}>")

    def _identity(self, packed: bytes) -> str:
        """Of bytes, which may stand the wrong way round."""
        turned = packed[::-1].hex().lstrip("0")
        if packed.hex().lstrip("0") not in self._numbers and turned in self._numbers:
            return f"{self._numbers[turned]} in little endian"
        return self._number(packed.hex())

    def _packed(self, body: bytes) -> dict[str, Any]:
        if body[:1] == b"\n":
            return {"spans": self._otlp(body) if _is_otlp(body) else self._zipkin_packed(body)}
        found: list[Any] = []
        while body:
            size = int.from_bytes(body[1:5], "big") + 5
            found += self._otlp(body[5:size])
            body = body[size:]
        return {"spans in messages": found}

    def _header(self, line: str) -> str:
        line = _ID_HEADER.sub(lambda m: f"{m[1]}: {self._number(m[2])}", line)
        line = _USER_AGENT.sub(r"\1<version>", line)
        line = _LOGGED_ID.sub(lambda m: f"{m[1]}={self._number(m[2])}", line)
        line = _REQUEST_ID.sub(lambda m: f"<uuid {m[1]}>", line)
        if _CONTEXT_HEADER.match(line):
            line = _ID.sub(lambda m: self._number(m[0]), line)
        return line

    def _zipkin(self, span: dict[str, Any]) -> dict[str, Any]:
        shown: dict[str, Any] = {}
        for key in sorted(span):
            value = span[key]
            if key in _ID_KEYS:
                value = self._number(value)
            elif key in _TIME_KEYS:
                value = "<time>"
            elif key == "annotations":
                value = [each["value"] for each in value]
            elif key == "tags":
                value = {name: self._header(value[name]) for name in sorted(value)}
            elif isinstance(value, dict):
                value = {name: value[name] for name in sorted(value)}
            shown[key] = value
        return shown

    def _zipkin_packed(self, body: bytes) -> list[Any]:
        """`zipkin.proto3.ListOfSpans`; the number of a field where it has no name here."""
        found = []
        for span in sorted((list(_fields(packed)) for _, packed in _fields(body)), key=_rank_of_packed):
            shown: dict[str, Any] = {}
            for number, value in span:
                name = _ZIPKIN.get(number, str(number))
                if name in _ID_KEYS:
                    shown[name] = self._identity(value)
                elif name in _TIME_KEYS:
                    shown[name] = "<time>"
                elif name == "localEndpoint":
                    shown[name] = {_ENDPOINT[at]: _endpoint_part(at, each) for at, each in _fields(value)}
                elif name == "annotations":
                    shown.setdefault(name, []).append(dict(_fields(value))[2].decode())
                elif name == "tags":
                    pair = dict(_fields(value))
                    shown.setdefault(name, {})[pair[1].decode()] = self._header(pair[2].decode())
                else:
                    shown[name] = value.decode() if isinstance(value, bytes) else value
            shown["tags"] = dict(sorted(shown.get("tags", {}).items()))
            found.append(dict(sorted(shown.items())))
        return found

    def _otlp(self, body: bytes) -> list[Any]:
        try:
            request = _message(body)
        except ValueError as problem:
            return [str(problem).rpartition(": ")[2]]
        found: list[Any] = []
        for resource in request.resource_spans:
            found.append({"resource": _attributes(resource.resource.attributes)})
            if resource.schema_url:
                found.append({"schema": resource.schema_url})
            for scope in resource.scope_spans:
                found.append({"scope": [scope.scope.name, _version(scope.scope.version)]})
                spans = sorted(scope.spans, key=_rank_of_otlp)
                found += [self._otlp_span(span) for span in spans]
        return found

    def _otlp_span(self, span: Any) -> dict[str, Any]:
        shown: dict[str, Any] = {
            "name": span.name,
            "kind": span.kind,
            "trace": self._number(span.trace_id.hex()),
            "id": self._number(span.span_id.hex()),
            "flags": span.flags,
            "attributes": [f"{each.key}={self._header(_any(each.value))}" for each in span.attributes],
            "times": "<time>" if 0 < span.start_time_unix_nano <= span.end_time_unix_nano else "none that make sense",
        }
        if span.parent_span_id:
            shown["parent"] = self._number(span.parent_span_id.hex())
        if span.trace_state:
            shown["state"] = span.trace_state
        if span.events:
            shown["events"] = [event.name for event in span.events]
        if span.HasField("status"):
            shown["status"] = [span.status.code, span.status.message]
        return shown


def _rank(kind: Any, name: Any, tags: dict[str, str]) -> str:
    """By what does not differ from run to run."""
    told = [(key, _PORT.sub("", value)) for key, value in sorted(tags.items()) if not key.startswith("guid:x-request")]
    return f"{kind} {name} {told}"


def _message(body: bytes) -> Any:
    from google.protobuf.message import DecodeError

    from minienvoy.config.schema import message_class

    try:
        return message_class(_OTLP).FromString(body)
    except DecodeError as problem:
        raise ValueError(str(problem)) from None


def _is_otlp(body: bytes) -> bool:
    """The two formats of protobuf begin with the same byte."""
    try:
        resources = _message(body).resource_spans
    except ValueError:
        return False
    spans = [span for resource in resources for scope in resource.scope_spans for span in scope.spans]
    return all(len(span.trace_id) == 16 and len(span.span_id) == 8 for span in spans) and bool(spans)


def _fields(packed: bytes) -> Iterator[tuple[int, Any]]:
    """The fields of a message, whatever it is: numbers of a varint or 64 bits, and bytes."""
    at = 0

    def varint() -> int:
        nonlocal at
        value = shift = 0
        while True:
            byte = packed[at]
            at += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    while at < len(packed):
        tag = varint()
        if tag & 7 == 2:
            length = varint()
            yield tag >> 3, packed[at : at + length]
            at += length
        elif tag & 7 == 1:
            yield tag >> 3, int.from_bytes(packed[at : at + 8], "little")
            at += 8
        else:
            yield tag >> 3, varint()


def _rank_of_zipkin(span: dict[str, Any]) -> str:
    return _rank(span["kind"], span.get("name"), span["tags"])


def _rank_of_packed(span: list[tuple[int, Any]]) -> str:
    fields = dict(span)
    pairs = [dict(_fields(value)) for number, value in span if number == 11]
    return _rank(fields.get(4), fields.get(5), {pair[1].decode(): pair[2].decode() for pair in pairs})


def _rank_of_otlp(span: Any) -> str:
    return _rank(span.kind, span.name, {each.key: _any(each.value) for each in span.attributes})


def _endpoint_part(number: int, value: Any) -> Any:
    if number in (2, 3):
        return str(ip_address(value))
    return value.decode() if isinstance(value, bytes) else value


def _any(value: Any) -> str:
    """An `AnyValue`; what is no text says which kind it is."""
    kind = value.WhichOneof("value")
    return (
        str(value.string_value) if kind == "string_value" else f"{kind} {getattr(value, kind)}" if kind else "nothing"
    )


def _attributes(attributes: Any) -> dict[str, str]:
    return {each.key: _version(_any(each.value)) for each in sorted(attributes, key=lambda each: each.key)}


def _version(text: str) -> str:
    """Which build it is does not matter."""
    return re.sub(r"^[0-9a-f]{40}/[\w.-]+/.*", "<version>", text)
