"""From the bytes of a message head to header entries.

Envoy: `Http1::BalsaParser`, `quiche::BalsaFrame`, `HeaderUtility::headerValueIsValid`.

There are two ways through a head. The quick one takes lines that end in CRLF, looks each up in a bounded cache of lines
that were checked before, and otherwise checks the name against a token and the line against the bytes that none may
hold. Whatever the quick way does not like goes the lenient way, which knows what Envoy lets pass (bare LF,
folded lines, stray CR) and what it refuses, and with which words. Nothing is accepted that neither way has checked:
what is cached was fully checked, and only lines up to 128 bytes are kept, 4,096 of them.
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
_PLAIN: Final = bytes(set(_LEGAL) - {10, 13})
"""Deleting these from a line leaves the bytes that make it one for the lenient way."""

_LINES: Final[dict[bytes, Entry]] = {}
_MAX_LINES: Final = 4096
_MAX_LINE: Final = 128

_NAMES: Final[dict[bytes, tuple[bytes, int]]] = {}
_MAX_NAMES: Final = 4096

UNDERSCORE: Final = 1 << len(KIND)
"""The kind of a header whose name has an underscore: settings may refuse or drop it."""

_CONTENT_LENGTH: Final = KIND[b"content-length"]
_TRANSFER_ENCODING: Final = KIND[b"transfer-encoding"]

CODEC_ERROR: Final = "http1.codec_error"
INVALID_CHARACTERS: Final = "http1.invalid_characters"
INVALID_TRANSFER_ENCODING: Final = "http1.invalid_transfer_encoding"

END_OF_HEAD = re.compile(rb"\n\r?\n").search
"""Where an empty line ends a head, for any line ends that Envoy takes."""
_FOLD = re.compile(rb"\r?\n(?=[ \t])")


def check_characters(head: bytes) -> None:
    """Refuse the bytes that no head may hold; CR and LF are looked at elsewhere.

    Raises:
        CodecProtocolError: there is one.
    """
    if head.translate(None, _LEGAL):
        raise CodecProtocolError(INVALID_CHARACTERS)


def _know_name(name: bytes) -> tuple[bytes, int] | None:
    """(lower-case name, kind), kept for the next time; None if it is no name."""
    if _is_token(name) is None:
        return None
    lower = name.lower()
    known = (lower, UNDERSCORE if b"_" in lower else KIND.get(lower, 0))
    if len(name) <= _MAX_LINE:
        if len(_NAMES) >= _MAX_NAMES:
            _NAMES.clear()
        _NAMES[name] = known
    return known


known_line = _LINES.get
"""The entry of a header line that was checked before, or None."""


def parse_unknown(lines: list[bytes], entries: list[Entry | None]) -> bool:
    """Put entries where `known_line` gave None; `lines` are a head split at CRLF, without its first line.

    False asks for the lenient way, to accept or to refuse.
    """
    for at, line in enumerate(lines):
        if entries[at] is None:
            name, colon, value = line.partition(b":")
            if not colon or line.translate(None, _PLAIN):
                return False
            known = _NAMES.get(name) or _know_name(name)
            if known is None:
                return False
            lower, kind = known
            value = value.strip(b" \t")
            item = entries[at] = (lower, value, b"%b: %b\r\n" % (lower, value), kind)
            if len(line) <= _MAX_LINE:
                if len(_LINES) >= _MAX_LINES:
                    _LINES.clear()
                _LINES[line] = item
    return True


def lenient_entries(section: bytes) -> list[Entry]:
    """The entries of header lines as Envoy reads them; `section` is without its last line end.

    Lines may end in LF alone. A line that begins with a blank continues the one before it: the line end goes, blanks
    stay. CR goes wherever else it stands in a value.

    Raises:
        CodecProtocolError: for what Envoy refuses, too.
    """
    check_characters(section)
    if section[:1] in (b" ", b"\t"):
        raise CodecProtocolError(CODEC_ERROR)
    entries: list[Entry] = []
    for line in _FOLD.sub(b"", section).split(b"\n") if section else ():
        name, colon, value = line.partition(b":")
        if not colon:
            raise CodecProtocolError(CODEC_ERROR)
        known = _NAMES.get(name) or _know_name(name)
        if known is None:
            raise CodecProtocolError(CODEC_ERROR)
        lower, kind = known
        value = value.strip(b" \t\r")
        if b"\r" in value:
            # Envoy frames by the value as it came and judges it without the CR. Nothing good comes of a length that
            # reads in two ways, so both framing headers are refused here.
            if kind == _CONTENT_LENGTH:
                raise CodecProtocolError(CODEC_ERROR)
            if kind == _TRANSFER_ENCODING:
                raise CodecProtocolError(INVALID_TRANSFER_ENCODING, 501)
            value = value.replace(b"\r", b"")
        entries.append((lower, value, b"%b: %b\r\n" % (lower, value), kind))
    return entries
