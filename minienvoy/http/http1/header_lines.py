"""From the bytes of a message head to header entries.

Envoy: `Http1::BalsaParser`, `quiche::BalsaFrame`, `HeaderUtility::headerValueIsValid`.

There are two ways through a head. The quick one takes lines that end in CRLF, looks each up in a bounded cache of lines
that were checked before, and otherwise checks the names against a token and the head against the bytes that none may
hold. Where most lines turn out to be new, those of the next heads are not looked up (`parse_new`). Whatever the quick
way does not like goes the lenient way, which knows what Envoy lets pass (bare LF, folded lines, stray CR) and what it
refuses, and with which words. Nothing is accepted that neither way has checked: what is cached was fully checked, and
only lines up to 128 bytes are kept, 4,096 of them.
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
_IN_LINES: Final = bytes(set(_LEGAL) - set(b"\r\n"))
"""Deleting these leaves the line ends, too."""

_LINES: Final[dict[bytes, Entry]] = {}
_MAX_LINES: Final = 4096
_MAX_LINE: Final = 128

_MAX_LINES_OF_A_NAME: Final = 256
"""After these only every 16th is kept."""

_NAMES: Final[dict[bytes, _Name]] = {}
_PLAIN_KINDS: Final[dict[bytes, int]] = {}
"""Kinds of the names among them that are in lower case."""
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


class _Name:
    """A header name that was checked before.

    Attributes:
        lower: as it goes on.
        kind: of its entries.
        plain: it came in lower case, so that a line of it can go on as it is.
        kept: how many of its lines were kept.
        skip: the next line to keep is the `skip`th that is not known. The first 256 are kept, then every 16th: a header
            whose value never repeats (an id) must not push out those whose values do, and one that changes now and
            then (`date`) is found again soon after it has.
    """

    __slots__ = ("kept", "kind", "lower", "plain", "skip")

    def __init__(self, name: bytes) -> None:
        self.lower = name.lower()
        self.kind = UNDERSCORE if b"_" in name else KIND.get(self.lower, 0)
        self.plain = name == self.lower
        self.kept = 0
        self.skip = 1

    def keep(self, line: bytes, item: Entry) -> None:
        self.kept += 1
        self.skip = 1 if self.kept < _MAX_LINES_OF_A_NAME else 16
        if len(line) <= _MAX_LINE:
            if len(_LINES) >= _MAX_LINES:
                _LINES.clear()
            _LINES[line] = item


def _know_name(name: bytes) -> _Name | None:
    """What is known of a name, kept for the next time; None if it is no name."""
    if _is_token(name) is None:
        return None
    known = _Name(name)
    if len(name) <= _MAX_LINE:
        if len(_NAMES) >= _MAX_NAMES:
            _NAMES.clear()
            _PLAIN_KINDS.clear()
        _NAMES[name] = known
        if known.plain:
            _PLAIN_KINDS[name] = known.kind
    return known


known_line = _LINES.get
"""The entry of a header line that was checked before, or None."""


def parse_new(head: bytes, lines: list[bytes]) -> list[Entry] | None:
    """The entries of `lines`, which are `head` split at CRLF, without its first line.

    None asks for the lenient way, to accept or to refuse.
    """
    # Nothing but the line ends that it was split at: no illegal byte, and no CR or LF within a line.
    if head.translate(None, _IN_LINES) != b"\r\n" * len(lines):
        return None
    entries: list[Entry] = []
    plain_kind = _PLAIN_KINDS.get
    for line in lines:
        name, colon, value = line.partition(b": ")
        kind = plain_kind(name)
        # What is stripped of nothing is the same object.
        if colon and kind is not None and value.strip() is value:
            entries.append((name, value, line + b"\r\n", kind))
            continue
        item = _parse_line(line)
        if item is None:
            return None
        entries.append(item)
    return entries


def _parse_line(line: bytes) -> Entry | None:
    """An entry from a line without illegal bytes; None if it is not `name: value`."""
    name, colon, value = line.partition(b":")
    known = _NAMES.get(name) or _know_name(name)
    if known is None or not colon:
        return None
    value = value.strip(b" \t")
    return (known.lower, value, b"%b: %b\r\n" % (known.lower, value), known.kind)


def parse_unknown(head: bytes, lines: list[bytes], entries: list[Entry | None]) -> bool:
    """Put entries where `known_line` gave None, and keep some of these lines; otherwise as `parse_new`.

    False asks for the lenient way.
    """
    if head.translate(None, _IN_LINES) != b"\r\n" * len(lines):
        return False
    known_name = _NAMES.get
    for at, line in enumerate(lines):
        if entries[at] is None:
            name, colon, value = line.partition(b": ")
            known = known_name(name)
            item: Entry | None
            if colon and known is not None and known.plain and value.strip() is value:
                item = (name, value, line + b"\r\n", known.kind)
            else:
                item = _parse_line(line)
                if item is None:
                    return False
                known = known_name(line.partition(b":")[0])
            entries[at] = item
            if known is not None:
                known.skip = skip = known.skip - 1
                if not skip:
                    known.keep(line, item)
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
        lower, kind = known.lower, known.kind
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
