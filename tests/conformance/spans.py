"""Spans in the bodies that trace collectors are sent, and the headers that tell of them: compared by their shape.

Ids are random: each is replaced by a number, the same wherever it stands, so that who is whose child stays to be seen.
Times are replaced by words; the order of tags, which is that of a hash table, is taken away.
"""

from __future__ import annotations

import json
import re
from typing import Any

_ID_HEADER = re.compile(r"^(x-b3-(?:trace|span|parentspan)id|x-datadog-\w+-id): (\S+)$")
_CONTEXT_HEADER = re.compile(r"^(b3|traceparent): (\S+)$")
_ID = re.compile(r"\b(?:[0-9a-f]{32}|[0-9a-f]{16})\b")
_ID_KEYS = ("traceId", "id", "parentId")
_TIME_KEYS = ("timestamp", "duration")
_OTLP = "opentelemetry.proto.collector.trace.v1.ExportTraceServiceRequest"
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
            return {"spans": sorted((self._zipkin(span) for span in json.loads(value)), key=_by_kind)}
        if "telemetry.sdk.name" in value or "service.name" in value:
            return {"spans": self._otlp(value.encode("latin-1"))}
        return self._header(value)

    def _number(self, identity: str) -> str:
        # 16 digits may be the lower half of 32, as the id of a trace is in a format that has only so many.
        return self._numbers.setdefault(identity.lstrip("0"), f"<id {len(self._numbers) + 1}>")

    def _header(self, line: str) -> str:
        line = _ID_HEADER.sub(lambda m: f"{m[1]}: {self._number(m[2])}", line)
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

    def _otlp(self, body: bytes) -> list[Any]:
        from minienvoy.config.schema import message_class

        request = message_class(_OTLP).FromString(body)
        found: list[Any] = []
        for resource in request.resource_spans:
            found.append({"resource": _attributes(resource.resource.attributes)})
            for scope in resource.scope_spans:
                found.append({"scope": [scope.scope.name, _version(scope.scope.version)]})
                spans = [self._otlp_span(span) for span in scope.spans]
                found += sorted(spans, key=_by_kind)
        return found

    def _otlp_span(self, span: Any) -> dict[str, Any]:
        shown: dict[str, Any] = {
            "name": span.name,
            "kind": span.kind,
            "trace": self._number(span.trace_id.hex()),
            "id": self._number(span.span_id.hex()),
            "flags": span.flags,
            "attributes": {each.key: self._header(each.value.string_value) for each in span.attributes},
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


def _by_kind(span: dict[str, Any]) -> str:
    return f"{span['kind']} {span.get('name')} {span.get('tags', span.get('attributes'))}"


def _attributes(attributes: Any) -> dict[str, str]:
    return {each.key: _version(each.value.string_value) for each in sorted(attributes, key=lambda each: each.key)}


def _version(text: str) -> str:
    """Which build it is does not matter."""
    return re.sub(r"^[0-9a-f]{40}/[\d.]+(?:-\w+)?/.*", "<version>", text)
