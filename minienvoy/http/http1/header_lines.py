"""From the bytes of a message head to header entries.

Envoy: `Http1::BalsaParser`, `HeaderUtility::headerValueIsValid`.

There are two ways through a head. The quick one takes lines that end in CRLF, looks each up in a bounded cache of lines
that were checked before, and otherwise checks the name against a token and the whole head, once, against the bytes that
no head may hold. Whatever the quick way does not like goes the lenient way, which knows what Envoy lets pass (bare LF,
folded lines, stray CR) and what it refuses, and with which words. Nothing is accepted that neither way has checked: what
is cached was fully checked, and only lines up to 128 bytes are kept, 4,096 of them.
"""

from __future__ import annotations

import re
from typing import Final

from ...errors import CodecProtocolError
from ..header_map import KIND, Entry

TOKEN: Final = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_is_token = re.compile(TOKEN).fullmatch
_ILLEGAL: Final = bytes(set(range(32)) - {9, 10, 13}) + b"\x7f"
_LEGAL: Final = bytes(set(range(256)) - set(_ILLEGAL))
"""Deleting these from a head leaves the bytes that make it invalid."""

_LINES: Final[dict[bytes, Entry]] = {}
_MAX_LINES: Final = 4096
_MAX_LINE: Final = 128

_NAMES: Final[dict[bytes, tuple[bytes, int]]] = {}
_MAX_NAMES: Final = 4096

INVALID_NAME: Final = "http1.codec_error"
INVALID_VALUE: Final = "http1.invalid_characters"


def has_illegal_byte(head: bytes) -> bool:
    """True if there is a byte that no header may hold (CR and LF are looked at elsewhere)."""
    return bool(head.translate(None, _LEGAL))


def parse_line(line: bytes) -> Entry:
    """One unfolded header line without its end; raises CodecProtocolError."""
    name, colon, value = line.partition(b":")
    known = _NAMES.get(name)
    if known is None:
        if not colon or _is_token(name) is None:
            raise CodecProtocolError(INVALID_NAME)
        lower = name.lower()
        known = (lower, KIND.get(lower, 0))
        if len(name) <= _MAX_LINE:
            if len(_NAMES) >= _MAX_NAMES:
                _NAMES.clear()
            _NAMES[name] = known
    elif not colon:
        raise CodecProtocolError(INVALID_NAME)
    lower, kind = known
    value = value.strip(b" \t")
    return (lower, value, b"%b: %b\r\n" % (lower, value), kind)


def parse_lines(lines: list[bytes]) -> list[Entry]:
    """Header lines whose bytes were checked by `has_illegal_byte`; raises CodecProtocolError."""
    known = _LINES
    try:
        return [known[line] for line in lines]
    except KeyError:
        return [known.get(line) or _parse_and_keep(line) for line in lines]


def quick_lines(lines: list[bytes], head: bytes, end: int) -> list[Entry] | None:
    """The entries of `lines`, which are `head[:end]` split at CRLF without its first line; None asks for the lenient way."""
    known = _LINES
    try:
        return [known[line] for line in lines]
    except KeyError:
        breaks = len(lines)
        if head.count(b"\n", 0, end) != breaks or head.count(b"\r", 0, end) != breaks or has_illegal_byte(head[:end]):
            return None
        for line in lines:
            if line[:1] in (b" ", b"\t"):
                return None
        return [known.get(line) or _parse_and_keep(line) for line in lines]


def _parse_and_keep(line: bytes) -> Entry:
    parsed = parse_line(line)
    if len(line) <= _MAX_LINE:
        if len(_LINES) >= _MAX_LINES:
            _LINES.clear()
        _LINES[line] = parsed
    return parsed


def lenient_lines(head: bytes) -> list[bytes]:
    """Split a head as Envoy does: lines may end in LF, folded lines are joined by a space, a stray CR is dropped.

    Raises:
        CodecProtocolError: for bytes that Envoy refuses, too.
    """
    if has_illegal_byte(head):
        raise CodecProtocolError(INVALID_VALUE)
    lines: list[bytes] = []
    for raw in head.split(b"\n"):
        line = raw[:-1] if raw[-1:] == b"\r" else raw
        if line[:1] in (b" ", b"\t") and lines:
            if len(lines) == 1:
                raise CodecProtocolError(INVALID_NAME)
            lines[-1] = lines[-1].rstrip(b" \t") + b" " + line.strip(b" \t")
        else:
            lines.append(line)
    return [line.replace(b"\r", b"") if b"\r" in line else line for line in lines]


_END_OF_HEAD = re.compile(rb"\n\r?\n").search


def find_end_of_head(buffer: bytes, start: int) -> tuple[int, int] | None:
    """Where the head ends and where the rest begins, for any line ends that Envoy takes; None if it is not all there.

    The head is without its last line end. `start` is how far an earlier search got.
    """
    match = _END_OF_HEAD(buffer, max(0, start - 3))
    if match is None:
        return None
    end = match.start()
    return (end - 1 if buffer[end - 1 : end] == b"\r" else end), match.end()
