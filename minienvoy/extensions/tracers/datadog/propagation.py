"""Who called, in the headers of Datadog or of W3C; and what the next proxy is told, in both.

Envoy: `datadog::tracing::ExtractedData`, `extract_datadog`, `extract_w3c`, `TraceSegment::inject` (dd-trace-cpp).
"""

from __future__ import annotations

import re
from typing import Final

from ....http.header_map import HeaderMap
from ....record import record

TAGS_PREFIX: Final = "_dd.p."
MAX_TAGS: Final = 512
"""How long `x-datadog-tags` may be."""
_TRACEPARENT: Final = re.compile(r"(?!ff)[0-9a-f]{2}-([0-9a-f]{16})([0-9a-f]{16})-([0-9a-f]{16})-([0-9a-f]{2})(?:-.*)?")
_NOT_IN_TRACESTATE: Final = re.compile(r"[^\x20-\x7d]|[,;~]")


@record
class Extracted:
    """Attributes:
    high, trace_id, parent_id: 64 bits each.
    priority: None if the caller has not decided.
    tags: `_dd.p.*`, in their order.
    last_datadog_parent: hexadecimal digits, what W3C's headers tell of the last span of Datadog's; None if they do
        not tell of the caller.
    other_vendors: the rest of `tracestate`.
    """

    high: int
    trace_id: int
    parent_id: int
    priority: int | None
    origin: str
    tags: dict[str, str]
    last_datadog_parent: str | None = None
    other_vendors: str = ""


def extract(headers: HeaderMap) -> Extracted | None:
    """None if nobody called, or nobody who can be understood."""
    found = _extract_datadog(headers)
    return found if found is not None else _extract_w3c(headers)


def _text(headers: HeaderMap, name: bytes) -> str:
    return (headers.get(name) or b"").decode("latin-1").strip()


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and int(text) < 1 << 64 else None


def _extract_datadog(headers: HeaderMap) -> Extracted | None:
    trace_id = _number(_text(headers, b"x-datadog-trace-id"))
    parent_id = _number(_text(headers, b"x-datadog-parent-id"))
    if not trace_id or parent_id is None:
        return None
    tags = {}
    for pair in _text(headers, b"x-datadog-tags").split(","):
        key, equals, value = pair.partition("=")
        if equals and key.startswith(TAGS_PREFIX):
            tags[key] = value
    high = tags.get(f"{TAGS_PREFIX}tid", "")
    if not re.fullmatch("[0-9a-f]{16}", high):
        tags.pop(f"{TAGS_PREFIX}tid", None)
        high = "0"
    origin = _text(headers, b"x-datadog-origin")
    return Extracted(
        int(high, 16), trace_id, parent_id, _priority(_text(headers, b"x-datadog-sampling-priority")), origin, tags
    )


def _priority(text: str) -> int | None:
    return int(text) if re.fullmatch(r"-?\d{1,9}", text) else None


def _extract_w3c(headers: HeaderMap) -> Extracted | None:
    found = _TRACEPARENT.fullmatch(_text(headers, b"traceparent"))
    if found is None or not int(found[1] + found[2], 16) or not int(found[3], 16):
        return None
    sampled = bool(int(found[4], 16) & 1)
    fields: dict[str, str] = {}
    others = []
    for entry in _text(headers, b"tracestate").split(","):
        vendor, _, value = entry.strip().partition("=")
        if vendor != "dd":
            others.append(entry.strip())
            continue
        for pair in value.split(";"):
            key, _, told = pair.partition(":")
            fields[key] = told
    tags = {f"{TAGS_PREFIX}{key[2:]}": value.replace("~", "=") for key, value in fields.items() if key[:2] == "t."}
    told_priority = _priority(fields.get("s", ""))
    priority = int(sampled)
    if told_priority is not None and (told_priority > 0) is sampled:
        priority = told_priority
    elif sampled and told_priority is not None:
        tags[f"{TAGS_PREFIX}dm"] = "-0"
    elif not sampled:
        tags.pop(f"{TAGS_PREFIX}dm", None)
    if int(found[1], 16):
        tags[f"{TAGS_PREFIX}tid"] = found[1]
    return Extracted(
        int(found[1], 16),
        int(found[2], 16),
        int(found[3], 16),
        priority,
        fields.get("o", "").replace("~", "="),
        tags,
        fields.get("p", "0" * 16),
        ",".join(filter(None, others)),
    )


def inject(
    headers: HeaderMap,
    high: int,
    trace_id: int,
    span_id: int,
    priority: int,
    origin: str,
    tags: dict[str, str],
    other_vendors: str,
) -> bool:
    """Tell the next proxy; False if there are more tags than it can be told."""
    _say(headers, b"x-datadog-trace-id", b"%d" % trace_id)
    _say(headers, b"x-datadog-parent-id", b"%d" % span_id)
    _say(headers, b"x-datadog-sampling-priority", b"%d" % priority)
    if origin:
        _say(headers, b"x-datadog-origin", origin.encode("latin-1", "replace"))
    encoded = ",".join(f"{key}={value}" for key, value in tags.items())
    fits = len(encoded) <= MAX_TAGS
    if encoded and fits:
        _say(headers, b"x-datadog-tags", encoded.encode("latin-1", "replace"))
    flags = "01" if priority > 0 else "00"
    _say(headers, b"traceparent", f"00-{high:016x}{trace_id:016x}-{span_id:016x}-{flags}".encode())
    state = f"dd=s:{priority};p:{span_id:016x}"
    if origin:
        state += f";o:{_in_tracestate(origin)}"
    for key, value in tags.items():
        if key != f"{TAGS_PREFIX}tid":
            state += f";t.{key.removeprefix(TAGS_PREFIX)}:{_in_tracestate(value)}"
    _say(headers, b"tracestate", ",".join(filter(None, (state, other_vendors))).encode("latin-1", "replace"))
    return fits


def _say(headers: HeaderMap, name: bytes, value: bytes) -> None:
    """Behind everything else, as Envoy does."""
    headers.remove(name)
    headers.add(name, value)


def _in_tracestate(text: str) -> str:
    return _NOT_IN_TRACESTATE.sub("_", text).replace("=", "~")
