"""Reads JSON in pieces and tells an `ObjectWriter` what is in it.

Envoy: `google::protobuf::util::converter::JsonStreamParser`. As lenient as that is (single quotes, bare keys, commas
at the end), and with its words for what is wrong: the text around the place, and a `^` below it.

What is expected next is a stack of states. A state whose token is not complete yet stays on it, and the rest of the
text waits for the next piece; a string is kept piece by piece. At the end (`finish`) nothing can be waited for any
more.
"""

from __future__ import annotations

import math
import re
from typing import Final, Protocol

VALUE, OBJECT_MID, ENTRY, ENTRY_MID, ARRAY_VALUE, ARRAY_MID = range(6)
_MAX_DEPTH: Final = 100
_CONTEXT: Final = 20
"""Bytes of the text that an error shows on both sides."""
_space = re.compile(rb"[ \t\n\v\f\r]*")
_number = re.compile(rb"[-0-9.eE+x]*")
_key = re.compile(rb"[A-Za-z_$][A-Za-z0-9_$]*")
_plain = {0x22: re.compile(rb'[^"\\]*'), 0x27: re.compile(rb"[^'\\]*")}
_float = re.compile(rb"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_integer = re.compile(rb"-?[0-9]+")
_ESCAPES: Final = {0x62: b"\b", 0x66: b"\f", 0x6E: b"\n", 0x72: b"\r", 0x74: b"\t", 0x76: b"\v"}
_WORDS: Final[tuple[tuple[bytes, bool | None], ...]] = ((b"true", True), (b"false", False), (b"null", None))
_SHORTEST_UNDECIDED: Final = 5
"""What is shorter may still become one of these words."""

Scalar = bool | int | float | str | None


class JsonError(Exception):
    """The text is no JSON; the message is bytes, because it quotes the text."""

    def __init__(self, message: bytes) -> None:
        super().__init__(message)
        self.message = message


class ObjectWriter(Protocol):
    """Is told what there is, in order. `name` is the key; empty at the top and within a list."""

    def start_object(self, name: str) -> None: ...
    def end_object(self) -> None: ...
    def start_list(self, name: str) -> None: ...
    def end_list(self) -> None: ...
    def render(self, name: str, value: Scalar) -> None: ...


class _Incomplete(Exception):
    """The rest of a token has not come yet."""


class JsonStreamParser:
    """One text."""

    __slots__ = ("_at", "_depth", "_finishing", "_key", "_quote", "_rest", "_stack", "_string", "_text", "_writer")

    def __init__(self, writer: ObjectWriter) -> None:
        self._writer = writer
        self._stack = [VALUE]
        self._rest = b""
        self._text = b""
        self._at = 0
        self._key = ""
        self._depth = 0
        self._finishing = False
        self._quote = 0
        self._string: list[bytes] = []

    @property
    def held(self) -> int:
        """Bytes that wait for what comes next."""
        return len(self._rest) + sum(map(len, self._string))

    def parse(self, chunk: bytes) -> None:
        """Raises JsonError."""
        text = self._rest + chunk
        whole = _utf8_prefix(text)
        if not whole:
            self._rest = text
            return
        self._text, self._at = text[:whole], 0
        self._run()
        self._skip_space()
        if self._at < whole and not self._stack:
            raise self._error("Parsing terminated before end of input.")
        self._rest = self._text[self._at :] + text[whole:]

    def finish(self) -> None:
        """Nothing more comes; raises JsonError if something is missing."""
        if not self._stack and not self._rest:
            return
        self._text, self._at, self._rest = self._rest, 0, b""
        if _utf8_prefix(self._text) != len(self._text):
            raise self._error("Encountered non UTF-8 code points.")
        self._finishing = True
        self._run()
        self._skip_space()
        if self._at < len(self._text):
            raise self._error("Parsing terminated before end of input.")

    # -- inside

    def _run(self) -> None:
        stack = self._stack
        while stack:
            state = stack[-1]
            try:
                if not self._quote:
                    self._skip_space()
                    if self._at == len(self._text):
                        raise self._unknown(state)
                if state == VALUE:
                    self._value()
                elif state == ARRAY_VALUE:
                    self._array_value()
                elif state == ENTRY:
                    self._entry()
                elif state == ENTRY_MID:
                    self._entry_mid()
                else:
                    self._mid(state)
            except _Incomplete:
                return

    def _skip_space(self) -> None:
        match = _space.match(self._text, self._at)
        assert match is not None
        self._at = match.end()

    def _error(self, message: str) -> JsonError:
        text, at = self._text, self._at
        begin = max(at - _CONTEXT, 0)
        return JsonError(message.encode() + b"\n" + text[begin : at + _CONTEXT] + b"\n" + b" " * (at - begin) + b"^")

    def _unknown(self, state: int) -> Exception:
        """There is nothing, or nothing that is known: it may become something unless the end has come."""
        if not self._finishing:
            return _Incomplete()
        problem = {
            VALUE: "Expected a value.",
            OBJECT_MID: "Expected , or } after key:value pair.",
            ENTRY: "Expected an object key or }.",
            ENTRY_MID: "Expected : between key:value pair.",
            ARRAY_VALUE: "Expected a value or ] within an array.",
            ARRAY_MID: "Expected , or ] after array value.",
        }[state]
        ended = self._at == len(self._text)
        return self._error(f"Unexpected end of string. {problem}" if ended else problem)

    def _value(self) -> None:
        text, at = self._text, self._at
        byte = self._quote or text[at]
        stack = self._stack
        if byte == 0x22 or byte == 0x27:
            value = self._read_string()
            stack.pop()
            self._render(value)
        elif byte == 0x2D or 0x30 <= byte <= 0x39:
            number = self._read_number()
            stack.pop()
            self._render(number)
        elif byte == 0x7B:
            self._at += 1
            key, self._key = self._key, ""
            self._writer.start_object(key)
            self._depth += 1
            if self._depth > _MAX_DEPTH:
                raise JsonError(f"Message too deep. Max recursion depth reached for key '{key}'".encode())
            stack[-1] = ENTRY
        elif byte == 0x5B:
            self._at += 1
            key, self._key = self._key, ""
            self._writer.start_list(key)
            stack[-1] = ARRAY_VALUE
        else:
            for word, meaning in _WORDS:
                if text.startswith(word, at):
                    self._at += len(word)
                    stack.pop()
                    self._render(meaning)
                    return
            if byte in b"}]:," or _key.match(text, at):
                if not self._finishing and len(text) - at < _SHORTEST_UNDECIDED:
                    raise _Incomplete
                raise self._error("Unexpected token.")
            raise self._unknown(VALUE)

    def _render(self, value: Scalar) -> None:
        key, self._key = self._key, ""
        self._writer.render(key, value)

    def _array_value(self) -> None:
        if not self._quote and self._text[self._at] == 0x5D:
            self._at += 1
            self._stack.pop()
            self._writer.end_list()
            return
        if not self._quote and self._is_unknown():
            raise self._unknown(ARRAY_VALUE)
        self._stack[-1] = ARRAY_MID
        self._stack.append(VALUE)
        try:
            self._value()
        except _Incomplete:
            self._stack.pop()
            self._stack[-1] = ARRAY_VALUE
            raise

    def _is_unknown(self) -> bool:
        """What stands here begins no token at all."""
        byte = self._text[self._at]
        return byte not in b"\"'-0123456789{}[]:," and not _key.match(self._text, self._at)

    def _mid(self, state: int) -> None:
        """Behind a value: a comma, or the end of what it is in."""
        if self._is_unknown():
            raise self._unknown(state)
        byte = self._text[self._at]
        if byte == 0x2C:
            self._at += 1
            self._stack[-1] = ENTRY if state == OBJECT_MID else ARRAY_VALUE
        elif byte == (0x7D if state == OBJECT_MID else 0x5D):
            self._at += 1
            self._stack.pop()
            if state == OBJECT_MID:
                self._depth -= 1
                self._writer.end_object()
            else:
                self._writer.end_list()
        else:
            between = "} after key:value pair" if state == OBJECT_MID else "] after array value"
            raise self._error(f"Expected , or {between}.")

    def _entry(self) -> None:
        text, at = self._text, self._at
        byte = self._quote or text[at]
        if byte == 0x7D:
            self._at += 1
            self._stack.pop()
            self._depth -= 1
            self._writer.end_object()
            return
        if byte == 0x22 or byte == 0x27:
            key = self._read_string()
        else:
            match = _key.match(text, at)
            if match is None:
                if self._is_unknown():
                    raise self._unknown(ENTRY)
                raise self._error("Expected an object key or }.")
            if not self._finishing and match.end() == len(text):
                raise _Incomplete
            self._at = match.end()
            key = match[0].decode()
            if key in ("true", "false", "null"):
                raise self._error("Expected an object key or }.")
        self._key = key
        self._stack[-1] = OBJECT_MID
        self._stack.append(ENTRY_MID)

    def _entry_mid(self) -> None:
        if self._text[self._at] == 0x3A:
            self._at += 1
            self._stack[-1] = VALUE
        elif self._is_unknown():
            raise self._unknown(ENTRY_MID)
        else:
            raise self._error("Expected : between key:value pair.")

    def _read_string(self) -> str:
        text = self._text
        if not self._quote:
            self._quote = text[self._at]
            self._at += 1
        parts = self._string
        while True:
            match = _plain[self._quote].match(text, self._at)
            assert match is not None
            if match.end() > self._at:
                parts.append(match[0])
                self._at = match.end()
            left = len(text) - self._at
            if not left or (text[self._at] == 0x5C and left == 1):
                if not self._finishing:
                    raise _Incomplete
                raise self._error("Closing quote expected in string.")
            if text[self._at] == self._quote:
                self._at += 1
                self._quote = 0
                self._string = []
                return b"".join(parts).decode()
            escaped = text[self._at + 1]
            if escaped == 0x75:
                parts.append(self._read_unicode_escape())
            else:
                parts.append(_ESCAPES.get(escaped) or bytes((escaped,)))
                self._at += 2

    def _read_unicode_escape(self) -> bytes:
        code = self._hex(self._at)
        if code is None:
            raise self._error("Illegal hex string.") if self._finishing else _Incomplete()
        size = 6
        if 0xD800 <= code < 0xDC00:
            size = 12
            if len(self._text) - self._at < 12:
                raise self._error("Missing low surrogate.") if self._finishing else _Incomplete()
            if self._text[self._at + 6 : self._at + 8] != b"\\u":
                raise self._error("Missing low surrogate.")
            low = self._hex(self._at + 6)
            assert low is not None
            if not 0xDC00 <= low < 0xE000:
                raise self._error("Invalid low surrogate.")
            code = ((code & 0x3FF) << 10 | low & 0x3FF) + 0x10000
        if 0xD800 <= code < 0xE000:
            raise self._error("Invalid unicode code point.")
        self._at += size
        return chr(code).encode()

    def _hex(self, at: int) -> int | None:
        """The number in the escape at `at`; None if not all of it is there."""
        digits = self._text[at + 2 : at + 6]
        if len(digits) < 4:
            return None
        if not re.fullmatch(rb"[0-9A-Fa-f]{4}", digits):
            raise self._error("Invalid escape sequence.")
        return int(digits, 16)

    def _read_number(self) -> int | float:
        match = _number.match(self._text, self._at)
        assert match is not None
        if match.end() == len(self._text) and not self._finishing:
            raise _Incomplete
        number = match[0]
        if not (b"." in number or b"e" in number or b"E" in number):
            digits = number.removeprefix(b"-")
            if len(digits) > 1 and digits[:1] == b"0":
                raise self._error("Octal/hex numbers are not valid JSON values.")
            if _integer.fullmatch(number) and len(number) <= 20:
                value = int(number)
                if -(1 << 63) <= value < 1 << 64:
                    self._at = match.end()
                    return value
        # What is too large is read as a double as well.
        if not _float.fullmatch(number):
            raise self._error("Unable to parse number.")
        result = float(number)
        if math.isinf(result):
            raise self._error("Number exceeds the range of double.")
        self._at = match.end()
        return result


def _utf8_prefix(text: bytes) -> int:
    """How many bytes of it are whole characters."""
    try:
        text.decode()
    except UnicodeDecodeError as problem:
        return problem.start
    return len(text)
