"""Reads the YAML that most configurations are written in, without a YAML library.

No Envoy counterpart. Importing PyYAML takes 12 ms, a quarter of what Envoy takes from start to first answer, and most
bootstraps need nothing of it: block mappings and sequences, scalars and flow collections of one line, comments.
That is what `simple_yaml` reads, and it gives up at the first sign of anything else: anchors, tags, text over several
lines, escapes, tabs, characters beyond ASCII, other documents, and whatever is wrong. `yaml_reader` then begins anew,
so the answer never depends on who gave it (`tests/unit/config/test_simple_yaml.py` compares them).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final

MAX_SIZE: Final = 1 << 18
_MAX_DEPTH: Final = 60
_MAX_KEY: Final = 100
"""YAML has a limit of 1,024 characters up to the colon."""

NOT_SIMPLE: Any = object()

_unusual = re.compile(r"[^\n -~]").search
_line = re.compile(
    # Indentation, dashes, and a last dash; or a key and perhaps its value; or a value; or nothing; and a comment.
    r"""( *)((?:- +)*)"""
    r"""(?:(-)|([A-Za-z_][a-zA-Z0-9_.\-/]{0,99}|"[^"\\]{0,99}"|'[^']{0,99}'):(?: +([^ #].*))?|([^ #].*))?"""
    r"""(?: *(?:(?<= )|^)#.*| *)"""
).fullmatch
_quoted = re.compile(r"""(?:"([^"\\]*)"|'([^']*)')(?: *| +#.*)""").fullmatch
_plain = re.compile(r"(?:[A-Za-z0-9_/.+$^(~]|-(?=[A-Za-z0-9]))[ -~]*").fullmatch
_flow = re.compile(
    r"""([{}\[\],])|("[^"\\]*"|'[^']*'|(?:[A-Za-z0-9_/.]|-(?=[A-Za-z0-9]))[a-zA-Z0-9_/.*+=^$()-]*)(: +)?"""
).match
_DASH, _KEY, _ITEM = range(3)


class _NotSimple(Exception):
    """Somebody else must read this."""


def simple_yaml(text: str, scalar: Callable[[str], Any], null_keys: frozenset[str]) -> Any:
    """The mapping that `text` is, or `NOT_SIMPLE`. `scalar` says what a plain scalar means; `null_keys` mean "null"."""
    if len(text) > MAX_SIZE or _unusual(text) is not None:
        return NOT_SIMPLE
    try:
        reader = _Reader(text, scalar, null_keys)
        if not reader.kinds or reader.kinds[0] != _KEY:
            return NOT_SIMPLE
        value = reader.block(reader.columns[0], 0)
    except _NotSimple:
        return NOT_SIMPLE
    return value if reader.at == len(reader.kinds) else NOT_SIMPLE


class _Reader:
    """A document as marks, each with its column: the dash of an item, a key with its value, a value."""

    def __init__(self, text: str, scalar: Callable[[str], Any], null_keys: frozenset[str]) -> None:
        self._scalar = scalar
        self._null_keys = null_keys
        self.columns: list[int] = []
        self.kinds: list[int] = []
        self._keys: list[str] = []
        self._values: list[Any] = []
        self.at = 0
        for number, line in enumerate(text.split("\n")):
            if line == "---" and not number:
                continue
            match = _line(line)
            if match is None:
                raise _NotSimple
            self._take(match)

    def _take(self, match: re.Match[str]) -> None:
        indent, dashes, last_dash, key, value, item = match.groups()
        column = len(indent)
        for dash in dashes.split("-")[1:]:
            self._mark(column, _DASH)
            column += 1 + len(dash)
        if key is not None:
            if key[0] in "\"'":
                key = key[1:-1]
            elif key in self._null_keys:
                key = "null"
            self._mark(column, _KEY, key, NOT_SIMPLE if value is None else self._value(value))
        elif item is not None:
            self._mark(column, _ITEM, "", self._value(item))
        elif last_dash:
            self._mark(column, _DASH)

    def _mark(self, column: int, kind: int, key: str = "", value: Any = None) -> None:
        self.columns.append(column)
        self.kinds.append(kind)
        self._keys.append(key)
        self._values.append(value)

    # -- what stands in one line

    def _value(self, text: str) -> Any:
        first = text[0]
        if first in "\"'":
            match = _quoted(text)
            if match is None:
                raise _NotSimple
            return match[1] if match[2] is None else match[2]
        if first in "{[":
            return self._flow(text)
        at = text.find(" #")
        plain = (text if at < 0 else text[:at]).rstrip(" ")
        if _plain(plain) is None or ": " in plain or plain[-1] == ":":
            raise _NotSimple
        return self._scalar(plain)

    def _flow(self, text: str) -> Any:
        """A flow collection; what comes after it in the line is at most a comment."""
        value, at = self._flow_value(text, 0, 0)
        rest = text[at:]
        if (rest.strip(" ") and not rest.lstrip(" ").startswith("#")) or rest.startswith("#"):
            raise _NotSimple
        return value

    def _flow_value(self, text: str, at: int, depth: int) -> tuple[Any, int]:
        match = _flow(text, at)
        if match is None or depth > _MAX_DEPTH:
            raise _NotSimple
        mark, scalar, colon = match.groups()
        if scalar is not None:
            if colon is not None:
                raise _NotSimple
            quoted = scalar[0] in "\"'"
            return (scalar[1:-1] if quoted else self._scalar(scalar)), match.end()
        if mark not in ("{", "["):
            raise _NotSimple
        close = "}" if mark == "{" else "]"
        mapping: dict[str, Any] = {}
        sequence: list[Any] = []
        at = _skip(text, match.end())
        if text[at : at + 1] == close:
            return (mapping if mark == "{" else sequence), at + 1
        while True:
            key = ""
            if mark == "{":
                match = _flow(text, at)
                if match is None or match[3] is None or len(match[2]) > _MAX_KEY:
                    raise _NotSimple
                key = match[2]
                if key[0] in "\"'":
                    key = key[1:-1]
                elif key in self._null_keys:
                    key = "null"
                at = match.end()
            value, at = self._flow_value(text, at, depth + 1)
            if mark == "{":
                mapping[key] = value
            else:
                sequence.append(value)
            at = _skip(text, at)
            after = text[at : at + 1]
            if after == close:
                return (mapping if mark == "{" else sequence), at + 1
            if after != "," or text[at + 1 : at + 2] != " ":
                raise _NotSimple
            at = _skip(text, at + 1)

    # -- what stands in several

    def block(self, column: int, depth: int) -> Any:
        """The collection or value that begins at the present mark, which stands in `column`."""
        if depth > _MAX_DEPTH:
            raise _NotSimple
        kind = self.kinds[self.at]
        if kind == _ITEM:
            self.at += 1
            return self._values[self.at - 1]
        if kind == _KEY:
            return self._mapping(column, depth)
        return self._sequence(column, depth)

    def _next_column(self) -> int:
        return self.columns[self.at] if self.at < len(self.columns) else -1

    def _mapping(self, column: int, depth: int) -> dict[str, Any]:
        mapping: dict[str, Any] = {}
        while True:
            key, value = self._keys[self.at], self._values[self.at]
            self.at += 1
            following = self._next_column()
            if value is NOT_SIMPLE:
                if following > column or (following == column and self.kinds[self.at] == _DASH):
                    # The dashes of a sequence may stand below its key.
                    value = self.block(following, depth + 1)
                    following = self._next_column()
                else:
                    value = None
            mapping[key] = value
            if following < column:
                return mapping
            if following > column or self.kinds[self.at] != _KEY:
                raise _NotSimple

    def _sequence(self, column: int, depth: int) -> list[Any]:
        sequence = []
        while True:
            self.at += 1
            following = self._next_column()
            if following > column:
                sequence.append(self.block(following, depth + 1))
                following = self._next_column()
            else:
                sequence.append(None)
            if following < column or (following == column and self.kinds[self.at] == _KEY):
                return sequence
            if following > column or self.kinds[self.at] != _DASH:
                raise _NotSimple


def _skip(text: str, at: int) -> int:
    while text[at : at + 1] == " ":
        at += 1
    return at
