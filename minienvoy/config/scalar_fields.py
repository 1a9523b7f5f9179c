"""Scalar fields: what a JSON or YAML value means to a field of each type.

Envoy: protobuf's C++ JSON parser in its legacy mode (`json/internal/parser.cc`); the refusals are in its words.
"""

from __future__ import annotations

import base64
import binascii
import math
import re
from collections.abc import Callable
from typing import Any

from ..lazy_pattern import lazy_pattern

_NUMBER = lazy_pattern(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?", re.ASCII)
_HEX_NUMBER = lazy_pattern(r"([-+]?)0[xX]([0-9a-fA-F]+)", re.ASCII)
_INFINITE = lazy_pattern(r"[-+]?(inf(inity)?|nan)", re.ASCII | re.IGNORECASE)
_BOOLS = {**dict.fromkeys(("true", "t", "yes", "y", "1"), True), **dict.fromkeys(("false", "f", "no", "n", "0"), False)}
"""What a string means to a bool field, in any case (`absl::SimpleAtob`)."""
_BASE64 = lazy_pattern(r"[A-Za-z0-9+/]*", re.ASCII)


class WrongValue(Exception):
    """A scalar converter's refusal; the filler adds where."""


class UnknownEnum(Exception):
    """An enum name that does not exist; the filler collects it."""

    def __init__(self, name: str, known: tuple[str, ...]) -> None:
        super().__init__(name)
        self.name = name
        self.known = known


# google.protobuf.FieldDescriptor.TYPE_*: importing the class to name them costs more than the whole schema.
_TYPE_NAMES = {
    1: "double",
    2: "float",
    3: "int64",
    4: "uint64",
    5: "int32",
    6: "fixed64",
    7: "fixed32",
    8: "bool",
    9: "string",
    12: "bytes",
    13: "uint32",
    15: "sfixed32",
    16: "sfixed64",
    17: "sint32",
    18: "sint64",
}
_RANGES = {
    "int32": (-(2**31), 2**31 - 1),
    "uint32": (0, 2**32 - 1),
    "int64": (-(2**63), 2**63 - 1),
    "uint64": (0, 2**64 - 1),
}
_RANGE_OF = {
    **dict.fromkeys(("int32", "sint32", "sfixed32"), _RANGES["int32"]),
    **dict.fromkeys(("uint32", "fixed32"), _RANGES["uint32"]),
    **dict.fromkeys(("int64", "sint64", "sfixed64"), _RANGES["int64"]),
    **dict.fromkeys(("uint64", "fixed64"), _RANGES["uint64"]),
}


def type_text(field: Any) -> str:
    """How protobuf's parser calls the type in its errors."""
    if field.message_type is not None:
        return f"message {field.message_type.full_name}"
    if field.enum_type is not None:
        return f"enum {field.enum_type.full_name}"
    return _TYPE_NAMES[field.type]


def converter(field: Any) -> Callable[[Any], Any]:
    """What turns a reader's value into the field's; raises `WrongValue` or `UnknownEnum`."""
    if field.enum_type is not None:
        return _enum(field.enum_type)
    name = _TYPE_NAMES[field.type]
    if name in _RANGE_OF:
        return _integer(*_RANGE_OF[name])
    return {"string": _to_string, "bool": _to_bool, "bytes": _to_bytes, "double": _to_double, "float": _to_float}[name]


def default(converter: Callable[[Any], Any]) -> Any:
    """What null means in a list."""
    empty: dict[Any, Any] = {_to_string: "", _to_bool: False, _to_bytes: b"", _to_double: 0.0, _to_float: 0.0}
    return empty.get(converter, 0)


def _to_string(value: Any) -> str:
    if isinstance(value, str):
        return value
    raise WrongValue(f"unexpected character: '{first_character(value)}'; expected '\"'")


def _to_bool(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    if isinstance(value, str):
        meant = _BOOLS.get(value.lower())
        if meant is not None:
            return meant
    raise WrongValue("expected 'true' or 'false'")


def _to_bytes(value: Any) -> bytes:
    padded = _to_string(value).replace("-", "+").replace("_", "/")
    text = padded.rstrip("=")
    # Padding may be left out; what there is of it must make the length a multiple of four.
    half_padded = text != padded and (len(padded) % 4 or len(padded) - len(text) > 2)
    if not _BASE64.fullmatch(text) or len(text) % 4 == 1 or half_padded:
        raise WrongValue("corrupt base64")
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4))
    except binascii.Error:
        raise WrongValue("corrupt base64") from None


def _to_double(value: Any) -> float:
    if isinstance(value, str):
        text = value.strip()
        match = _HEX_NUMBER.fullmatch(text)
        if match and len(text) < 300:
            return float(int(match[1] + match[2], 16))
        if not (_NUMBER.fullmatch(text) or _INFINITE.fullmatch(text)):
            raise WrongValue("non-number characters in quoted number")
        return float(text)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise WrongValue("expected number or string")
    try:
        return float(value)
    except OverflowError:
        raise WrongValue("invalid number") from None


def _to_float(value: Any) -> float:
    number = _to_double(value)
    if math.isfinite(number) and abs(number) > 3.4028235677973366e38:
        raise WrongValue("JSON number out of range for float")
    return number


def _integer(low: int, high: int) -> Callable[[Any], int]:
    def to_integer(value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, (int, float, str)):
            raise WrongValue("expected number or string")
        number: float = value if not isinstance(value, str) else _number(value)
        if isinstance(number, float):
            if not number.is_integer():
                raise WrongValue("expected integer, but JSON number had fractional part")
            number = int(number)
        if not low <= number <= high:
            fits = isinstance(value, str) and -(2**63) <= number < 2**64
            raise WrongValue("integer out of range" if fits else "JSON number out of range for int")
        return number

    return to_integer


def _number(text: str) -> float:
    """An integer field's quoted number: decimal, hexadecimal, or a float without a fraction."""
    if text != text.strip():
        raise WrongValue("non-number characters in quoted number")
    match = _HEX_NUMBER.fullmatch(text)
    if match and len(text) < 40:
        return int(match[1] + match[2], 16)
    if len(text) > 400 or not _NUMBER.fullmatch(text):
        raise WrongValue(f"invalid number: '{text[:100]}'")
    if text.lstrip("+-").isdigit():
        return int(text)
    number = float(text)
    if not math.isfinite(number):
        raise WrongValue(f"invalid number: '{text}'")
    return number


def _enum(enum_type: Any) -> Callable[[Any], int]:
    names = {value.name: value.number for value in enum_type.values}
    for value in enum_type.values:
        names.setdefault(value.name.lower(), value.number)
    to_int32 = _integer(*_RANGES["int32"])

    def to_enum(value: Any) -> int:
        if not isinstance(value, str):
            return to_int32(value)
        number = names.get(value)
        if number is None:
            number = names.get(value.lower())
        if number is None and re.fullmatch(r"[-+]?\d{1,10}", value, re.ASCII):
            number = int(value)
        if number is None or not -(2**31) <= number < 2**31:
            raise UnknownEnum(value, tuple(known.name for known in enum_type.values))
        return number

    return to_enum


def first_character(value: Any) -> str:
    """What the JSON text of `value` begins with, for protobuf's `unexpected character`."""
    if isinstance(value, dict):
        return "{"
    if isinstance(value, list):
        return "["
    if isinstance(value, str):
        return '"'
    if value is None:
        return "n"
    return str(value).lower()[:1]
