"""Protobuf's wire format, as far as it has to be written field by field.

A request keeps the order of its JSON, and zeros that were said; a response shows what its server has written. A message
object would forget both.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

VARINT, FIXED64, BYTES, START_GROUP, END_GROUP, FIXED32 = range(6)
_MAX_DEPTH: Final = 100


class WireError(Exception):
    """These bytes are no message."""


def varint(value: int) -> bytes:
    """`value` (negative ones as 64 bits) in groups of seven bits."""
    if 0 <= value < 0x80:
        return bytes((value,))
    value &= 0xFFFFFFFFFFFFFFFF
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def zigzag(value: int) -> int:
    """A signed number whose absolute value is small as a small unsigned one."""
    return value * 2 if value >= 0 else -value * 2 - 1


def length_delimited(number: int, content: bytes) -> bytes:
    return varint(number << 3 | BYTES) + varint(len(content)) + content


def read_varint(data: bytes, at: int, end: int) -> tuple[int, int]:
    """The unsigned number at `at` and where it ends."""
    value = shift = 0
    while at < end:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & 0xFFFFFFFFFFFFFFFF, at
        shift += 7
        if shift > 63:
            raise WireError("unexpected EOF")
    raise WireError("unexpected EOF")


def _read_tag(data: bytes, at: int, end: int) -> tuple[int, int]:
    """The tag at `at` and where it ends; 0 where a message ends, as it does with a tag that does (`ReadTag`)."""
    try:
        tag, at = read_varint(data, at, end)
    except WireError:
        return 0, end
    return tag & 0xFFFFFFFF, at


def fields(data: bytes) -> Iterator[tuple[int, int, int | bytes]]:
    """(number, wire type, value) of each field; fixed ones are bytes, groups are empty."""
    at, end = 0, len(data)
    while at < end:
        tag, at = _read_tag(data, at, end)
        if not tag:
            return
        kind, number = tag & 7, tag >> 3
        if kind > FIXED32:
            raise WireError(f"unknown wire type: {kind}")
        if kind == VARINT:
            value, at = read_varint(data, at, end)
            yield number, kind, value
            continue
        if kind == START_GROUP:
            yield number, kind, b""
            at = _skip_group(data, at, end, number, 0)
            continue
        if kind == END_GROUP:
            raise WireError(f"attempted to close group {number} before SGROUP tag")
        if kind == BYTES:
            size, at = read_varint(data, at, end)
        elif kind == FIXED64:
            size = 8
        else:
            size = 4
        if size > end - at:
            raise WireError("unexpected EOF")
        yield number, kind, data[at : at + size]
        at += size


def _skip_group(data: bytes, at: int, end: int, group: int, depth: int) -> int:
    if depth > _MAX_DEPTH:
        raise WireError("allowed depth exceeded")
    while at < end:
        tag, at = read_varint(data, at, end)
        kind, number = tag & 7, tag >> 3
        if kind == END_GROUP:
            if number != group:
                break
            return at
        if kind == VARINT:
            _, at = read_varint(data, at, end)
        elif kind == START_GROUP:
            at = _skip_group(data, at, end, number, depth + 1)
        elif kind == BYTES:
            size, at = read_varint(data, at, end)
            at += size
        else:
            at += 8 if kind == FIXED64 else 4
    raise WireError("unexpected EOF")
