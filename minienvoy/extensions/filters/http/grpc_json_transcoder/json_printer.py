"""Prints the bytes of a message as JSON.

Envoy: `google::protobuf::json_internal` (`BinaryToJsonStream`). It is printed what is there: a zero that was sent is
shown, the entries of a map come in the order in which they were sent.
"""

from __future__ import annotations

import base64
import math
import re
import struct
from typing import Any, Final

from .....record import record
from .data_piece import simple_dtoa, simple_ftoa
from .types import (
    BOOL,
    BYTES,
    DOUBLE,
    ENUM,
    FIXED32,
    FIXED64,
    FLOAT,
    GROUP,
    INT32,
    INT64,
    MESSAGE,
    SFIXED32,
    SFIXED64,
    SINT32,
    SINT64,
    STRING,
    UINT32,
    UINT64,
    URL_PREFIX,
    FieldType,
    MessageType,
    TypeHelper,
)
from .well_known import ANY, LIST_VALUE, STRUCT, VALUE
from .wire import BYTES as WIRE_BYTES
from .wire import FIXED32 as WIRE_FIXED32
from .wire import FIXED64 as WIRE_FIXED64
from .wire import START_GROUP, VARINT, WireError, fields, read_varint

_TIMESTAMP: Final = "google.protobuf.Timestamp"
_DURATION: Final = "google.protobuf.Duration"
_FIELD_MASK: Final = "google.protobuf.FieldMask"
_NULL_VALUE: Final = "google.protobuf.NullValue"
_WRAPPERS: Final = frozenset(
    f"google.protobuf.{kind}Value"
    for kind in ("Double", "Float", "Int64", "UInt64", "Int32", "UInt32", "Bool", "String", "Bytes")
)
_WELL_KNOWN: Final = _WRAPPERS | {ANY, STRUCT, VALUE, LIST_VALUE, _TIMESTAMP, _DURATION, _FIELD_MASK}
_MIN_TIME: Final = -62135596800
_MAX_TIME: Final = 253402300799
_MAX_DURATION: Final = 3652500 * 86400
_MAX_NANOS: Final = 999_999_999
_MAX_DEPTH: Final = 100
_WIRE_TYPES: Final = {
    DOUBLE: WIRE_FIXED64,
    FIXED64: WIRE_FIXED64,
    SFIXED64: WIRE_FIXED64,
    FLOAT: WIRE_FIXED32,
    FIXED32: WIRE_FIXED32,
    SFIXED32: WIRE_FIXED32,
    STRING: WIRE_BYTES,
    BYTES: WIRE_BYTES,
    MESSAGE: WIRE_BYTES,
}
# What JavaScript or HTML might take for something else is escaped, beside what JSON demands.
_escaped = re.compile(
    '[\x00-\x1f\x7f-\x9f"\\\\<>\xad\u0600-\u0603\u06dd\u070f\u17b4\u17b5\u200b-\u200f\u2028-\u202e\u2060-\u2064'
    "\u206a-\u206f\ufeff\ufff9-\ufffb\U0001d173-\U0001d17a\U000e0001\U000e0020-\U000e007f]"
)
_SHORT: Final = {"\n": "\\n", "\r": "\\r", "\t": "\\t", '"': '\\"', "\f": "\\f", "\b": "\\b", "\\": "\\\\"}

Values = dict[int, list[Any]]
"""What a message has, by the number of the field."""


class PrintError(Exception):
    """These bytes can not be shown as JSON; the message and the status `code` are Envoy's."""

    def __init__(self, message: str, code: str = "INVALID_ARGUMENT") -> None:
        super().__init__(message)
        self.code = code


@record
class PrintOptions:
    """`PrintOptions` of the configuration, as far as they are about one message."""

    add_whitespace: bool
    always_print_primitive_fields: bool
    always_print_enums_as_ints: bool
    preserve_proto_field_names: bool


def print_json(types: TypeHelper, message: MessageType, data: bytes, options: PrintOptions) -> bytes:
    """Raises PrintError."""
    printer = _Printer(types, options)
    try:
        printer.message(message, _parse(message, data, 0), top=True)
    except WireError as problem:
        raise PrintError(str(problem)) from None
    printer.new_line()
    return "".join(printer.out).encode()


def _parse(message: MessageType, data: bytes, depth: int) -> Values:
    if depth > _MAX_DEPTH:
        raise WireError("allowed depth exceeded")
    values: Values = {}
    for number, kind, raw in fields(data):
        field = message.by_number.get(number)
        if field is None:
            continue
        if kind == START_GROUP:
            raise WireError(f"field number {number} is not a group")
        expected = _WIRE_TYPES.get(field.kind, VARINT)
        if kind != expected:
            if kind != WIRE_BYTES or not isinstance(raw, bytes):
                width = {VARINT: "varint", WIRE_FIXED64: "type 64-bit", WIRE_FIXED32: "32-bit"}[kind]
                raise WireError(f"field type {field.kind} (number {number}) does not support {width} fields")
            # Packed: more numbers than one, where the field is a list.
            for value in _unpacked(field, expected, raw):
                _insert(values, field, value)
            continue
        _insert(values, field, _value(field, raw, depth))
    return values


def _insert(values: Values, field: FieldType, value: Any) -> None:
    number = field.number
    if number not in values:
        values[number] = [value]
    elif field.repeated:
        values[number].append(value)
    else:
        raise WireError(f"repeated entries for singular field number {number}")


def _unpacked(field: FieldType, kind: int, data: bytes) -> list[Any]:
    values = []
    at = 0
    while at < len(data):
        raw: int | bytes
        if kind == VARINT:
            raw, at = read_varint(data, at, len(data))
        else:
            size = 8 if kind == WIRE_FIXED64 else 4
            if at + size > len(data):
                raise WireError("unexpected EOF")
            raw = data[at : at + size]
            at += size
        values.append(_value(field, raw, 0))
    return values


def _value(field: FieldType, raw: int | bytes, depth: int) -> Any:
    kind = field.kind
    if isinstance(raw, int):
        if kind in (INT32, ENUM):
            raw &= 0xFFFFFFFF
            return raw - (1 << 32) if raw >> 31 else raw
        if kind == INT64:
            return raw - (1 << 64) if raw >> 63 else raw
        if kind == UINT32:
            return raw & 0xFFFFFFFF
        if kind == BOOL:
            if raw > 1:
                raise WireError(f"bad value for bool: \\x{raw & 0xFF:02x}")
            return bool(raw)
        if kind in (SINT32, SINT64):
            if kind == SINT32:
                raw &= 0xFFFFFFFF
            return raw >> 1 ^ -(raw & 1)
        return raw
    if kind == MESSAGE:
        inner = field.message
        assert inner is not None
        return _parse(inner, raw, depth + 1)
    if kind == STRING:
        try:
            return raw.decode()
        except UnicodeDecodeError:
            if field.is_proto3:
                raise WireError("proto3 strings must be UTF-8") from None
            return raw.decode("utf-8", "surrogateescape")
    if kind == DOUBLE:
        return struct.unpack("<d", raw)[0]
    if kind == FLOAT:
        return struct.unpack("<f", raw)[0]
    if kind in (FIXED32, FIXED64, SFIXED32, SFIXED64):
        return int.from_bytes(raw, "little", signed=kind in (SFIXED32, SFIXED64))
    return raw


class _Printer:
    def __init__(self, types: TypeHelper, options: PrintOptions) -> None:
        self.out: list[str] = []
        self._types = types
        self._options = options
        self._indent = 0

    def new_line(self) -> None:
        if self._options.add_whitespace:
            self.out.append("\n" + " " * self._indent)

    def message(self, kind: MessageType, values: Values, top: bool = False) -> None:
        name = kind.full_name
        if name not in _WELL_KNOWN:
            self._open("{")
            self._close("}", self._fields(kind, values, first=True))
        elif name == ANY:
            self._any(values)
        elif name in _WRAPPERS:
            field = kind.fields[0]
            self._scalar(field, values[1][0] if 1 in values else field.default)
        elif name == VALUE:
            self._dynamic(kind, values)
        elif name == STRUCT:
            self._map(kind.by_number[1], values.get(1, []))
        elif name == LIST_VALUE:
            self._list(kind.by_number[1], values.get(1, []))
        elif name == _TIMESTAMP:
            self._timestamp(*_seconds_and_nanos(values))
        elif name == _DURATION:
            self._duration(*_seconds_and_nanos(values))
        else:
            self.out.append(f'"{",".join(_camel_case(path) for path in values.get(1, []))}"')

    def _open(self, bracket: str) -> None:
        self.out.append(bracket)
        self._indent += 1

    def _close(self, bracket: str, empty: bool) -> None:
        self._indent -= 1
        if not empty:
            self.new_line()
        self.out.append(bracket)

    def _separate(self, first: bool) -> bool:
        if not first:
            self.out.append(",")
        self.new_line()
        return False

    def _colon(self) -> None:
        self.out.append(": " if self._options.add_whitespace else ":")

    def _fields(self, kind: MessageType, values: Values, first: bool) -> bool:
        options = self._options
        for field in kind.fields:
            found = values.get(field.number)
            if found is None:
                if not options.always_print_primitive_fields or not (field.repeated or field.implicit):
                    continue
            elif not field.repeated and _is_empty_value(field, found[0]):
                continue
            first = self._separate(first)
            self.out.append(_quoted(field.name if options.preserve_proto_field_names else field.json_name))
            self._colon()
            if field.is_map:
                self._map(field, found or [])
            elif field.repeated:
                self._list(field, found or [])
            else:
                self._scalar(field, field.default if found is None else found[0])
        return first

    def _list(self, field: FieldType, values: list[Any]) -> None:
        self._open("[")
        first = True
        for value in values:
            if not _is_empty_value(field, value):
                first = self._separate(first)
                self._scalar(field, value)
        self._close("]", first)

    def _map(self, field: FieldType, entries: list[Values]) -> None:
        entry = field.message
        assert entry is not None
        key_field, value_field = entry.by_number[1], entry.by_number[2]
        self._open("{")
        first = True
        for each in entries:
            value = each[2][0] if 2 in each else value_field.default if value_field.message is None else {}
            if _is_empty_value(value_field, value):
                continue
            first = self._separate(first)
            key = each[1][0] if 1 in each else key_field.default
            self.out.append(_quoted(str(key).lower() if isinstance(key, bool) else str(key)))
            self._colon()
            self._scalar(value_field, value)
        self._close("}", first)

    def _scalar(self, field: FieldType, value: Any) -> None:
        kind = field.kind
        if kind == MESSAGE:
            inner = field.message
            assert inner is not None
            self.message(inner, value)
        elif kind == STRING:
            self.out.append(_quoted(value))
        elif kind in (INT64, UINT64, SINT64, FIXED64, SFIXED64):
            self.out.append(f'"{value}"')
        elif kind == BOOL:
            self.out.append("true" if value else "false")
        elif kind == ENUM:
            self._enum(field, value)
        elif kind in (DOUBLE, FLOAT):
            if math.isfinite(value):
                self.out.append(simple_dtoa(value) if kind == DOUBLE else simple_ftoa(value))
            else:
                self.out.append(f'"{simple_dtoa(value)}"')
        elif kind == BYTES:
            self.out.append(f'"{base64.b64encode(value).decode()}"')
        elif kind == GROUP:
            self.out.append("null")
        else:
            self.out.append(str(value))

    def _enum(self, field: FieldType, value: int) -> None:
        enum = field.enum
        assert enum is not None
        if enum.full_name == _NULL_VALUE:
            self.out.append("null")
        elif self._options.always_print_enums_as_ints or value not in enum.name_of:
            self.out.append(str(value))
        else:
            self.out.append(_quoted(enum.name_of[value]))

    # -- well-known types

    def _dynamic(self, kind: MessageType, values: Values) -> None:
        """`Value`."""
        for number in range(1, 7):
            if number not in values:
                continue
            value = values[number][0]
            if number == 1:
                self.out.append("null")
            elif number == 2 and not math.isfinite(value):
                what = "nan" if math.isnan(value) else "infinity"
                why = "because it would be parsed as a string"
                raise PrintError(f"google.protobuf.Value cannot encode double values for {what}, {why}")
            else:
                self._scalar(kind.by_number[number], value)
            return

    def _any(self, values: Values) -> None:
        url, content = values.get(1), values.get(2)
        if url is None:
            if content is not None:
                raise PrintError("broken Any: missing type URL")
            self.out.append("{}")
            return
        self._open("{")
        self.new_line()
        self.out.append('"@type"')
        self._colon()
        self.out.append(_quoted(url[0]))
        found = self._types.resolve_url(url[0])
        if isinstance(found, str):
            raise PrintError(found, "NOT_FOUND" if url[0].startswith(URL_PREFIX) else "INVALID_ARGUMENT")
        inner = _parse(found, content[0] if content else b"", 0)
        if found.full_name in _WELL_KNOWN:
            self._separate(first=False)
            self.out.append('"value"')
            self._colon()
            self.message(found, inner)
        else:
            self._fields(found, inner, first=False)
        self._close("}", empty=False)

    def _timestamp(self, seconds: int, nanos: int) -> None:
        if seconds < _MIN_TIME:
            raise PrintError("minimum acceptable time value is 0001-01-01T00:00:00Z")
        if seconds > _MAX_TIME:
            raise PrintError("maximum acceptable time value is 9999-12-31T23:59:59Z")
        if not 0 <= nanos <= _MAX_NANOS:
            raise PrintError("nanos must be in range [0, +999,999,999]")
        days, rest = divmod(seconds - _MIN_TIME, 86400)
        year, month, day = _date(days)
        time = f"{rest // 3600:02d}:{rest // 60 % 60:02d}:{rest % 60:02d}"
        self.out.append(f'"{year:04d}-{month:02d}-{day:02d}T{time}{_fraction(nanos)}Z"')

    def _duration(self, seconds: int, nanos: int) -> None:
        if abs(seconds) > _MAX_DURATION or abs(nanos) > _MAX_NANOS:
            raise PrintError("duration out of range")
        if seconds and nanos and (seconds < 0) != (nanos < 0):
            raise PrintError("nanos and seconds signs do not match")
        sign = "-" if seconds < 0 or nanos < 0 else ""
        self.out.append(f'"{sign}{abs(seconds)}{_fraction(abs(nanos))}s"')


def _date(days: int) -> tuple[int, int, int]:
    """Year, month and day, `days` after 0001-01-01."""
    from datetime import date

    found = date.fromordinal(days + 1)
    return found.year, found.month, found.day


def _seconds_and_nanos(values: Values) -> tuple[int, int]:
    return values.get(1, [0])[0], values.get(2, [0])[0]


def _fraction(nanos: int) -> str:
    """Three, six or nine digits, or none."""
    if not nanos:
        return ""
    digits = f"{nanos:09d}"
    while digits.endswith("000"):
        digits = digits[:-3]
    return f".{digits}"


def _is_empty_value(field: FieldType, value: Any) -> bool:
    """A `Value` in which nothing is set says nothing, and is left out."""
    return field.kind == MESSAGE and not value and field.type_url.endswith(f"/{VALUE}")


def _camel_case(path: str) -> str:
    """Paths of a mask, of which nothing is refused."""
    out = []
    underscore = False
    for character in path:
        if character == "_":
            underscore = True
            continue
        if underscore:
            lower = "a" <= character <= "z"
            out.append(character.upper() if lower else character if character.isdigit() else f"_{character}")
        else:
            out.append(character)
        underscore = False
    return "".join(out)


def _quoted(value: str) -> str:
    return f'"{_escaped.sub(_escape, _without_stray_bytes(value))}"'


def _without_stray_bytes(value: str) -> str:
    """A blank for each byte that was no UTF-8."""
    return re.sub("[\udc80-\udcff]", " ", value) if any("\udc80" <= c <= "\udcff" for c in value) else value


def _escape(match: re.Match[str]) -> str:
    character = match[0]
    short = _SHORT.get(character)
    if short is not None:
        return short
    code = ord(character)
    if code < 0x10000:
        return f"\\u{code:04x}"
    code -= 0x10000
    return f"\\u{0xD800 | code >> 10:04x}\\u{0xDC00 | code & 0x3FF:04x}"
