"""JSON the way Envoy reads it: the lenient dialect of protobuf's C++ parser.

Envoy: `MessageUtil::loadFromJson`, whose parser (protobuf's `json/internal/lexer.cc`, in its legacy mode) takes single
quotes, keys without quotes, a trailing comma and line breaks in strings, but no comments, no `NaN`, no leading zero.
"""

from __future__ import annotations

import re
from typing import Any, NoReturn

from minienvoy.errors import ConfigError
from minienvoy.lazy_pattern import lazy_pattern

MAX_DEPTH = 100
"""Nesting that protobuf's parser allows."""

MAX_NODES = 2_000_000
"""Values of a document."""

_BLANK = lazy_pattern(r"[ \t\r\n]*")
_NUMBER = lazy_pattern(r"-?(\d*)(\.\d*)?([eE][-+]?\d+)?", re.ASCII)
_BARE = lazy_pattern(r"[A-Za-z_$][A-Za-z0-9_$]*", re.ASCII)
_STRING = {quote: lazy_pattern(rf"[^{quote}\\]*") for quote in "\"'"}
_ESCAPES = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "\\": "\\", "/": "/", '"': '"', "'": "'"}
_HEX = lazy_pattern(r"[0-9a-fA-F]{4}", re.ASCII)


class Repeated(dict[str, Any]):
    """An object in which a key stands more than once: `pairs` has them all, the dict the last of each."""

    pairs: list[tuple[str, Any]]


def read_json(text: str, name: str = "", positions: dict[tuple[str | int, ...], int] | None = None) -> Any:
    """The value of `text` as None, bool, int, float, str, list and dict (`Repeated` if a key stands twice).

    Args:
        name: the file, for errors.
        positions: filled, if given, with the offset of every value (of a member: of its key), by its path.

    Raises:
        ConfigError: at `name:line:column`, for what even Envoy does not take for JSON, and for documents deeper than
            `MAX_DEPTH` or larger than `MAX_NODES`.
    """
    return _Reader(text.removeprefix("\ufeff"), name, positions).document()


class _Reader:
    """A recursive descent; `at` is where the next token is looked for."""

    def __init__(self, text: str, name: str, positions: dict[tuple[str | int, ...], int] | None) -> None:
        self._text = text
        self._name = name
        self._positions = positions
        self._path: list[str | int] = []
        self._at = 0
        self._nodes = 0

    def document(self) -> Any:
        first = self._peek()
        if not first:
            raise ConfigError(
                "Unable to parse JSON as proto (INVALID_ARGUMENT: unexpected EOF)", location=self._location(0)
            )
        if first not in "{[\"'0123456789-" and not self._text.startswith(("true", "false", "null"), self._at):
            self._unexpected("{")
        value = self._value()
        if self._peek():
            raise ConfigError(
                "Unable to parse JSON as proto (INVALID_ARGUMENT: extraneous characters after end of JSON object)",
                location=self._location(self._at),
            )
        return value

    def _location(self, at: int) -> str:
        return f"{self._name}:{position(self._text, at)}" if self._name else ""

    def _fail(self, problem: str) -> NoReturn:
        line, _, column = position(self._text, self._at).partition(":")
        raise ConfigError(
            f"Unable to parse JSON as proto (INVALID_ARGUMENT: invalid JSON, near {line}:{column} "
            f"(offset {self._at}): {problem})",
            location=self._location(self._at),
        )

    def _peek(self) -> str:
        """The next character that is not blank; empty at the end."""
        match = _BLANK.match(self._text, self._at)
        self._at = match.end() if match else self._at
        return self._text[self._at : self._at + 1]

    def _unexpected(self, expected: str) -> NoReturn:
        found = self._peek()
        self._fail(f"unexpected character: '{found}'; expected '{expected}'" if found else "unexpected EOF")

    def _value(self) -> Any:
        first = self._peek()
        self._nodes += 1
        if self._nodes > MAX_NODES:
            self._fail(f"more than {MAX_NODES} values")
        if first == "{":
            return self._object()
        if first == "[":
            return self._array()
        if first in ('"', "'"):
            return self._string(first)
        for word, value in (("true", True), ("false", False), ("null", None)):
            if self._text.startswith(word, self._at):
                self._at += len(word)
                return value
        if not first or first not in "-0123456789":
            self._fail(f"unexpected character: '{first}'" if first else "unexpected EOF")
        return self._number()

    def _enter(self) -> None:
        if len(self._path) >= MAX_DEPTH:
            self._fail("JSON content was too deeply nested")
        self._at += 1

    def _object(self) -> dict[str, Any]:
        self._enter()
        pairs: list[tuple[str, Any]] = []
        while (first := self._peek()) != "}":
            if pairs:
                if first != ",":
                    self._fail("expected ','")
                self._at += 1
                first = self._peek()
                if first == "}":
                    break
            start = self._at
            if first in ('"', "'"):
                key = self._string(first)
            else:
                bare = _BARE.match(self._text, self._at)
                if bare is None:
                    self._fail("expected bare word" if first else "unexpected EOF")
                key = bare[0]
                self._at = bare.end()
            if self._peek() != ":":
                self._unexpected(":")
            self._at += 1
            self._path.append(key)
            if self._positions is not None:
                self._positions[tuple(self._path)] = start
            pairs.append((key, self._value()))
            self._path.pop()
        self._at += 1
        members = dict(pairs)
        if len(members) == len(pairs):
            return members
        repeated = Repeated(members)
        repeated.pairs = pairs
        return repeated

    def _array(self) -> list[Any]:
        self._enter()
        values: list[Any] = []
        while (first := self._peek()) != "]":
            if values:
                if first != ",":
                    self._fail("expected ','")
                self._at += 1
                if self._peek() == "]":
                    break
            self._path.append(len(values))
            if self._positions is not None:
                self._peek()
                self._positions[tuple(self._path)] = self._at
            values.append(self._value())
            self._path.pop()
        self._at += 1
        return values

    def _number(self) -> int | float:
        match = _NUMBER.match(self._text, self._at)
        whole = match[1] if match else ""
        if match is None or not whole:
            self._fail("expected a number")
        if len(whole) > 1 and whole[0] == "0":
            self._fail("number cannot have extraneous leading zero")
        if match[2] == ".":
            self._fail("number cannot have trailing period")
        following = self._text[match.end() : match.end() + 1]
        if following.isalnum() or following in ("_", "."):
            self._fail(f"unexpected character: '{following}'")
        if match[2] is None and match[3] is None:
            if len(whole) > 400:
                self._fail(f"invalid number: '{whole[:20]}...'")
            number: int | float = int(match[0])
        else:
            number = float(match[0])
            if number in (float("inf"), float("-inf")):
                self._fail(f"invalid number: '{match[0]}'")
        self._at = match.end()
        return number

    def _string(self, quote: str) -> str:
        plain = _STRING[quote]
        parts = []
        self._at += 1
        while True:
            match = plain.match(self._text, self._at)
            if match is None:
                self._fail("unexpected EOF")
            parts.append(match[0])
            self._at = match.end()
            following = self._text[self._at : self._at + 1]
            if following == quote:
                self._at += 1
                return "".join(parts)
            if not following:
                self._fail("unexpected EOF")
            parts.append(self._escape())

    def _escape(self) -> str:
        """The character behind the backslash at `at`."""
        letter = self._text[self._at + 1 : self._at + 2]
        if letter != "u":
            self._at += 2
            if letter not in _ESCAPES:
                self._fail(f"invalid escape char: '{letter}'" if letter else "unexpected EOF")
            return _ESCAPES[letter]
        code = self._unit()
        if 0xD800 <= code < 0xDC00:
            if self._text[self._at : self._at + 2] != "\\u":
                self._unexpected("\\u")
            low = self._unit()
            if not 0xDC00 <= low < 0xE000:
                self._fail("invalid low surrogate")
            code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00)
        elif 0xDC00 <= code < 0xE000:
            self._fail("unpaired low surrogate")
        return chr(code)

    def _unit(self) -> int:
        """The four hexadecimal digits of the `\\u` at `at`."""
        match = _HEX.match(self._text, self._at + 2)
        if match is None:
            self._fail("invalid Unicode escape")
        self._at += 6
        return int(match[0], 16)


def position(text: str, at: int) -> str:
    """`line:column` of an offset, both from 1."""
    return f"{text.count(chr(10), 0, at) + 1}:{at - text.rfind(chr(10), 0, at)}"
