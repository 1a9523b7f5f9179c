"""Traces that an agent of Datadog is sent, and the headers that tell an upstream of them.

Identities are random: each is replaced by a number, in the order in which they are met, whether it is written in
decimal or in hexadecimal digits. Times, and what is particular to a process or a build, are replaced by words; tags,
which are in the order of a hash table, are sorted.
"""

from __future__ import annotations

import re
import struct
from typing import Any

_DECIMAL = re.compile(r"^(x-datadog-(?:trace|parent)-id): (\d+)$")
_TRACEPARENT = re.compile(r"^(traceparent: 00)-([0-9a-f]{16})([0-9a-f]{16})-([0-9a-f]{16})-(\d\d)$")
_TRACESTATE = re.compile(r"(?<=;p:)[0-9a-f]{16}\b")
_TID = re.compile(r"(?<=_dd\.p\.tid=)[0-9a-f]{8}0{8}\b")
_TIMEOUT = re.compile(r"^(x-envoy-expected-rq-timeout-ms: )(?:199\d|198\d|2000)$")
_BUILD = re.compile(r"[0-9a-f]{40}/\S+")
_NUMBERED = ("trace_id", "span_id", "parent_id")
_SHORT = {0xC0: None, 0xC2: False, 0xC3: True}
_FIXED = {
    0xCA: ">f",
    0xCB: ">d",
    0xCC: ">B",
    0xCD: ">H",
    0xCE: ">I",
    0xCF: ">Q",
    0xD0: ">b",
    0xD1: ">h",
    0xD2: ">i",
    0xD3: ">q",
}


def unpack(data: bytes, at: int = 0) -> tuple[Any, int]:
    """One value of msgpack, and where it ends."""
    kind = data[at]
    at += 1
    if kind < 0x80:
        return kind, at
    if kind in _SHORT:
        return _SHORT[kind], at
    if kind in _FIXED:
        size = struct.calcsize(_FIXED[kind])
        return struct.unpack_from(_FIXED[kind], data, at)[0], at + size
    if kind in (0xDB, 0xDA, 0xD9) or 0xA0 <= kind < 0xC0:
        length, at = _length(data, at, {0xDB: 4, 0xDA: 2, 0xD9: 1}.get(kind, 0), kind & 0x1F)
        return data[at : at + length].decode(), at + length
    if kind in (0xDD, 0xDC) or 0x90 <= kind < 0xA0:
        length, at = _length(data, at, {0xDD: 4, 0xDC: 2}.get(kind, 0), kind & 0x0F)
        items = []
        for _ in range(length):
            item, at = unpack(data, at)
            items.append(item)
        return items, at
    length, at = _length(data, at, {0xDF: 4, 0xDE: 2}.get(kind, 0), kind & 0x0F)
    found = {}
    for _ in range(length):
        key, at = unpack(data, at)
        found[key], at = unpack(data, at)
    return found, at


def _length(data: bytes, at: int, size: int, short: int) -> tuple[int, int]:
    return (int.from_bytes(data[at : at + size], "big"), at + size) if size else (short, at)


class Traces:
    """Numbers the identities of one answer."""

    def __init__(self) -> None:
        self._numbers: dict[int, str] = {0: "none"}

    def tree(self, value: Any) -> Any:
        if isinstance(value, dict) and "traces" in value:
            return {"traces": [[self._span(span) for span in trace] for trace in value["traces"]]}
        if isinstance(value, dict):
            return {key: self.tree(item) for key, item in value.items()}
        if isinstance(value, list):
            return [self.tree(item) for item in value]
        if not isinstance(value, str):
            return value
        return self._header(value)

    def _number(self, value: int) -> str:
        return self._numbers.setdefault(value, f"<id {len(self._numbers)}>")

    def _header(self, line: str) -> str:
        line = _DECIMAL.sub(lambda m: f"{m[1]}: {self._number(int(m[2]))}", line)
        line = _TRACEPARENT.sub(
            lambda m: (
                f"{m[1]}-{'<high>' if int(m[2], 16) else 'none'} {self._number(int(m[3], 16))}-"
                f"{self._number(int(m[4], 16))}-{m[5]}"
            ),
            line,
        )
        if line.startswith("tracestate: "):
            line = _TRACESTATE.sub(lambda m: self._number(int(m[0], 16)), line)
        return _TIMEOUT.sub(r"\1<about 2000>", _TID.sub("<high>", line))

    def _span(self, span: dict[str, Any]) -> dict[str, Any]:
        shown = {}
        for key, value in span.items():
            if key in _NUMBERED:
                shown[key] = self._number(value)
            elif key in ("start", "duration"):
                shown[key] = "<time>"
            elif isinstance(value, dict):
                shown[key] = {name: self._tag(name, value[name]) for name in sorted(value)}
            else:
                shown[key] = value
        return shown

    def _tag(self, name: str, value: Any) -> Any:
        if name in ("runtime-id", "process_id"):
            return f"<{name}>"
        if name == "_dd.p.tid":
            return "<high>"
        return _BUILD.sub("<version>", value) if isinstance(value, str) else value
