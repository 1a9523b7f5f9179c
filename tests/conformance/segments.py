"""Segments that a collector of SkyWalking is sent, and the header that tells an upstream of them.

Identities are random: each is replaced by a number, in the order in which they are met, in headers and in segments
alike; times are replaced by a word.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable, Iterator
from typing import Any

_SEGMENT = {1: "trace", 2: "segment", 3: "spans", 4: "service", 5: "instance", 6: "size limited"}
_SPAN = {
    1: "id",
    2: "parent",
    3: "start",
    4: "end",
    5: "refs",
    6: "operation",
    7: "peer",
    8: "type",
    9: "layer",
    10: "component",
    11: "error",
    12: "tags",
    13: "logs",
    14: "skip analysis",
}
_REFERENCE = {
    1: "type",
    2: "trace",
    3: "segment",
    4: "span",
    5: "service",
    6: "instance",
    7: "endpoint",
    8: "address",
}
_HEADER = re.compile(r"^sw8: (\S+)$")
_UUID = re.compile(r"[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}")


def fields(message: bytes) -> Iterator[tuple[int, Any]]:
    """Numbers and values: bytes, or integers with a sign."""
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        value, at = _varint(message, at)
        if key & 7 == 2:
            yield key >> 3, message[at : at + value]
            at += value
        else:
            yield key >> 3, value - (1 << 64) if value >> 63 else value


def _varint(message: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at


def of_streams(streams: Iterable[tuple[list[Any], list[bytes]]]) -> list[Any]:
    """Of the head and of the messages of each stream of gRPC; every thread has one, and most have nothing to say."""
    found: list[Any] = []
    for head, bodies in streams:
        if not bodies:
            continue
        found.append([[f"{name}: {value}" for name, value in head], *(_segment(body) for body in bodies)])
    return found


def _segment(body: bytes) -> dict[str, Any]:
    shown: dict[str, Any] = {}
    for number, value in fields(body):
        if number == 3:
            shown.setdefault("spans", []).append(_span(value))
        else:
            shown[_SEGMENT[number]] = value.decode() if isinstance(value, bytes) else value
    return shown


def _span(body: bytes) -> dict[str, Any]:
    shown: dict[str, Any] = {}
    for number, value in fields(body):
        name = _SPAN[number]
        if name in ("start", "end"):
            value = "<time>"
        elif name == "refs":
            reference = ((_REFERENCE[at], each) for at, each in fields(value))
            value = {key: each.decode() if isinstance(each, bytes) else each for key, each in reference}
        elif name == "tags":
            pair = dict(fields(value))
            value = f"{pair[1].decode()}={pair.get(2, b'').decode()}"
        elif name == "logs":
            value = [each.decode() for at, data in fields(value) if at == 2 for _, each in fields(data)]
        elif isinstance(value, bytes):
            value = value.decode()
        if name in ("refs", "tags", "logs"):
            shown.setdefault(name, []).append(value)
        else:
            shown[name] = value
    return shown


class Segments:
    """Numbers the identities of one answer."""

    def __init__(self) -> None:
        self._numbers: dict[str, str] = {}

    def tree(self, value: Any) -> Any:
        if isinstance(value, dict):
            return {key: self.tree(item) for key, item in value.items()}
        if isinstance(value, list):
            return [self.tree(item) for item in value]
        if not isinstance(value, str):
            return value
        header = _HEADER.match(value)
        if header is not None:
            return {"sw8": [self._text(_decoded(part)) for part in header[1].split("-")]}
        return self._text(value) if _UUID.search(value) else value

    def _text(self, text: str) -> str:
        return _UUID.sub(lambda m: self._numbers.setdefault(m[0], f"<id {len(self._numbers) + 1}>"), text)


def _decoded(part: str) -> str:
    try:
        return base64.b64decode(part, validate=True).decode() if len(part) > 2 else part
    except (binascii.Error, UnicodeDecodeError):
        return part
