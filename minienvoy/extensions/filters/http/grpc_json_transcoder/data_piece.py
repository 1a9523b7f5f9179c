"""A value of JSON, of a path or of a query as the value of a field of some kind.

Envoy: `google::protobuf::util::converter::DataPiece`. Strings may stand for numbers, and numbers for one another if
nothing is lost. What does not fit is told as Envoy tells it: by the value alone.
"""

from __future__ import annotations

import base64
import binascii
import math
import re
import struct
from typing import Final

from .json_stream_parser import Scalar
from .types import (
    BOOL,
    BYTES,
    DOUBLE,
    ENUM,
    FIXED32,
    FIXED64,
    FLOAT,
    INT32,
    INT64,
    SFIXED32,
    SFIXED64,
    SINT32,
    SINT64,
    STRING,
    UINT32,
    UINT64,
    EnumType,
    FieldType,
)
from .wire import varint, zigzag

_integer = re.compile(r"[\t\n\v\f\r]*[+-]?[0-9]+[\t\n\v\f\r]*")
_float = re.compile(r"[\t\n\v\f\r]*[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?[\t\n\v\f\r]*")
_MAX_FLOAT: Final = 3.4028234663852886e38
_TRUE: Final = ("true", "t", "yes", "y", "1")
_FALSE: Final = ("false", "f", "no", "n", "0")
_SPECIAL: Final = {"Infinity": math.inf, "-Infinity": -math.inf, "NaN": math.nan}


class ConversionError(Exception):
    """A value is none of its field; the message is the value as Envoy shows it."""


def shown(value: Scalar) -> str:
    """As errors quote it (`ValueAsStringOrDefault`)."""
    if isinstance(value, str):
        return f'"{value}"'
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    return simple_dtoa(value) if isinstance(value, float) else str(value)


def simple_dtoa(value: float) -> str:
    """A double with as few digits as bring it back: 15, or 17 (`io::SimpleDtoa`)."""
    if math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    if math.isnan(value):
        return "NaN"
    short = f"{value:.15g}"
    return short if float(short) == value else f"{value:.17g}"


def simple_ftoa(value: float) -> str:
    """A float with as few digits as bring it back: 6, or 9 (`io::SimpleFtoa`)."""
    short = f"{value:.6g}"
    return short if to_single(float(short)) == value else f"{value:.9g}"


def to_single(value: float) -> float:
    """Rounded to a float of 32 bits."""
    single: float = struct.unpack("<f", struct.pack("<f", value))[0]
    return single


def to_int(value: Scalar, low: int, high: int) -> int:
    """A whole number in a range."""
    if isinstance(value, bool) or value is None:
        raise ConversionError(shown(value))
    if isinstance(value, str):
        if not _integer.fullmatch(value) or len(value) > 40 or (not low and "-" in value):
            raise ConversionError(shown(value))
        number = int(value)
    elif isinstance(value, float):
        if not value.is_integer():
            raise ConversionError(shown(value))
        number = int(value)
    else:
        number = value
    if not low <= number <= high:
        raise ConversionError(shown(value))
    return number


def to_double(value: Scalar) -> float:
    if isinstance(value, str):
        if value in _SPECIAL:
            return _SPECIAL[value]
        if _float.fullmatch(value):
            number = float(value)
            if not math.isinf(number):
                return number
        raise ConversionError(shown(value))
    if isinstance(value, bool) or value is None:
        raise ConversionError(shown(value))
    return float(value)


def to_float(value: Scalar) -> float:
    number = to_double(value)
    if math.isfinite(number) and abs(number) > _MAX_FLOAT:
        # It may still be the largest float when it is rounded.
        try:
            number = to_single(number)
        except OverflowError:
            raise ConversionError(shown(value)) from None
    return number


def to_bool(value: Scalar) -> bool:
    if isinstance(value, bool):
        return value
    if isinstance(value, str):
        word = value.lower()
        if word in _TRUE or word in _FALSE:
            return word in _TRUE
    raise ConversionError(shown(value))


def to_string(value: Scalar) -> bytes:
    if not isinstance(value, str):
        raise ConversionError(shown(value))
    return value.encode("utf-8", "surrogateescape")


def to_bytes(value: Scalar) -> bytes:
    """From base64 of either alphabet, with or without its padding, but nothing else."""
    if isinstance(value, str):
        source = value.encode("utf-8", "surrogateescape")
        bare = source.rstrip(b"=")
        if len(source) - len(bare) < 3 and (len(source) == len(bare) or not len(source) % 4):
            padded = bare + b"=" * (-len(bare) % 4)
            for decode, encode in (
                (base64.urlsafe_b64decode, base64.urlsafe_b64encode),
                (base64.standard_b64decode, base64.standard_b64encode),
            ):
                try:
                    decoded = decode(padded)
                except binascii.Error:
                    continue
                if encode(decoded).rstrip(b"=") == bare:
                    return decoded
    raise ConversionError(shown(value))


def to_enum(value: Scalar, enum: EnumType, ignores_case: bool) -> int:
    if value is None:
        return 0
    if not isinstance(value, str):
        return to_int(value, -(1 << 31), (1 << 31) - 1)
    number = enum.number_of.get(value)
    if number is not None:
        return number
    try:
        number = to_int(value, -(1 << 31), (1 << 31) - 1)
    except ConversionError:
        number = None
    if number is not None and number in enum.name_of:
        return number
    if ignores_case:
        number = enum.number_of.get("".join("_" if c == "-" else c.upper() if c.isascii() else c for c in value))
        if number is not None:
            return number
    raise ConversionError(shown(value))


def encoded(field: FieldType, value: Scalar, ignores_case: bool) -> bytes:
    """The value as it stands behind its tag; raises ConversionError."""
    kind = field.kind
    if kind in (STRING, BYTES):
        content = to_string(value) if kind == STRING else to_bytes(value)
        return varint(len(content)) + content
    if kind == INT32:
        return varint(to_int(value, -(1 << 31), (1 << 31) - 1))
    if kind == INT64:
        return varint(to_int(value, -(1 << 63), (1 << 63) - 1))
    if kind == UINT32:
        return varint(to_int(value, 0, (1 << 32) - 1))
    if kind == UINT64:
        return varint(to_int(value, 0, (1 << 64) - 1))
    if kind == BOOL:
        return b"\1" if to_bool(value) else b"\0"
    if kind == DOUBLE:
        return struct.pack("<d", to_double(value))
    if kind == FLOAT:
        return struct.pack("<f", to_float(value))
    if kind == ENUM:
        assert field.enum is not None
        return varint(to_enum(value, field.enum, ignores_case))
    if kind == SINT32:
        return varint(zigzag(to_int(value, -(1 << 31), (1 << 31) - 1)))
    if kind == SINT64:
        return varint(zigzag(to_int(value, -(1 << 63), (1 << 63) - 1)))
    if kind == FIXED32:
        return to_int(value, 0, (1 << 32) - 1).to_bytes(4, "little")
    if kind == FIXED64:
        return to_int(value, 0, (1 << 64) - 1).to_bytes(8, "little")
    if kind == SFIXED32:
        return to_int(value, -(1 << 31), (1 << 31) - 1).to_bytes(4, "little", signed=True)
    assert kind == SFIXED64, kind
    return to_int(value, -(1 << 63), (1 << 63) - 1).to_bytes(8, "little", signed=True)
