"""What the well-known types of protobuf look like in JSON, on the way in.

Envoy: the type renderers of `ProtoStreamObjectWriter`. Each writes the fields of a message that was started for it, or
raises ConversionError.
"""

from __future__ import annotations

import re
from calendar import timegm
from collections.abc import Callable
from datetime import datetime
from typing import Final

from .data_piece import ConversionError, shown
from .json_stream_parser import Scalar
from .proto_writer import ProtoWriter

ANY: Final = "google.protobuf.Any"
STRUCT: Final = "google.protobuf.Struct"
VALUE: Final = "google.protobuf.Value"
LIST_VALUE: Final = "google.protobuf.ListValue"
_MIN_SECONDS: Final = -62135596800
_MAX_SECONDS: Final = 253402300799
_MAX_DURATION: Final = 315576000000
_DURATION_LIMITS: Final = "Duration value exceeds limits"
_time = re.compile(r"(\d{4,5})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)(?:\.(\d*))?(?:Z|([+-])(\d\d):(\d\d))")
_offset = re.compile(r"[+-]\d\d:\d\d$")


def render_value(writer: ProtoWriter, value: Scalar) -> None:
    """`Value`: of the kind that JSON says."""
    if value is None:
        writer.render("null_value", None)
    elif isinstance(value, bool):
        writer.render("bool_value", value)
    elif isinstance(value, str):
        writer.render("string_value", value)
    else:
        writer.render("number_value", value)


def render_wrapper(writer: ProtoWriter, value: Scalar) -> None:
    if value is not None:
        writer.render("value", value)


def _text_of(value: Scalar, kind: str) -> str | None:
    if value is None or isinstance(value, str):
        return value
    raise ConversionError(f"Invalid data type for {kind}, value is {shown(value)}")


def render_timestamp(writer: ProtoWriter, value: Scalar) -> None:
    """RFC 3339."""
    text = _text_of(value, "timestamp")
    if text is None:
        return
    if not text.endswith("Z") and not _offset.search(text):
        raise ConversionError("Illegal timestamp format; timestamps must end with 'Z' or have a valid timezone offset.")
    match = _time.fullmatch(text)
    try:
        if match is None:
            raise ValueError
        year, month, day, hour, minute, second = (int(group) for group in match.groups()[:6])
        # A year of five digits is a time, but not one that can be told.
        datetime(min(year, 9999), month, day, hour, minute, min(second, 59))
    except ValueError:
        raise ConversionError("Invalid time format: Failed to parse input") from None
    limits = "Timestamp value exceeds limits"
    nanos = _nanos(match[7] or "", "Invalid time format, failed to parse nano seconds", limits)
    if year > 9999:
        raise ConversionError(limits)
    seconds = timegm((year, month, day, hour, minute, second))
    if match[8]:
        offset = int(match[9]) * 3600 + int(match[10]) * 60
        seconds += -offset if match[8] == "+" else offset
    if not _MIN_SECONDS <= seconds <= _MAX_SECONDS:
        raise ConversionError(limits)
    writer.render("seconds", seconds)
    writer.render("nanos", nanos)


def render_duration(writer: ProtoWriter, value: Scalar) -> None:
    """Seconds with `s` behind them."""
    text = _text_of(value, "duration")
    if text is None:
        return
    if not text.endswith("s"):
        raise ConversionError("Illegal duration format; duration must end with 's'")
    whole, _, fraction = text[:-1].removeprefix("-").partition(".")
    if not re.fullmatch(r"\+?\d+", whole) or int(whole) >= 1 << 64:
        raise ConversionError("Invalid duration format, failed to parse seconds")
    sign = -1 if text.startswith("-") else 1
    nanos = _nanos(fraction, "Invalid duration format, failed to parse nano seconds", _DURATION_LIMITS)
    if int(whole) > _MAX_DURATION:
        raise ConversionError(_DURATION_LIMITS)
    writer.render("seconds", sign * int(whole))
    writer.render("nanos", sign * nanos)


def _nanos(digits: str, unreadable: str, too_many: str) -> int:
    if digits and not re.fullmatch(r"\d+", digits):
        raise ConversionError(unreadable)
    if len(digits) > 9 and digits.strip("0"):
        raise ConversionError(too_many)
    return int(digits.ljust(9, "0")[:9]) if digits else 0


def render_field_mask(writer: ProtoWriter, value: Scalar) -> None:
    """Paths with commas between them; `a(b,c)` is `a.b,a.c`."""
    text = _text_of(value, "field mask")
    if text is None:
        return
    prefixes = [""]
    last = ""
    for part in re.split(r"([,()])", text):
        if part == "(":
            prefixes.append(last)
        elif part == ")":
            if len(prefixes) == 1:
                raise ConversionError(f"Invalid FieldMask '{text}'. Cannot find matching '(' for all ')'.")
            prefixes.pop()
        elif part not in ("", ","):
            last = f"{prefixes[-1]}.{part}" if prefixes[-1] else part
            continue
        if part != "(" and last:
            writer.render("paths", snake_case(last))
        if part != "(":
            last = ""
    if last:
        writer.render("paths", snake_case(last))
    if len(prefixes) > 1:
        raise ConversionError(f"Invalid FieldMask '{text}'. Cannot find matching ')' for all '('.")


def snake_case(path: str) -> str:
    """`aB.cDE` as `a_b.c_de`."""
    out = []
    for at, character in enumerate(path):
        if "A" <= character <= "Z":
            before = path[at - 1] if at else "."
            after = path[at + 1 : at + 2]
            if before not in "._" and (not "A" <= before <= "Z" or "a" <= after <= "z"):
                out.append("_")
            character = character.lower()
        out.append(character)
    return "".join(out)


RENDERERS: Final[dict[str, Callable[[ProtoWriter, Scalar], None]]] = {
    "google.protobuf.Timestamp": render_timestamp,
    "google.protobuf.Duration": render_duration,
    "google.protobuf.FieldMask": render_field_mask,
    VALUE: render_value,
    **{
        f"google.protobuf.{kind}Value": render_wrapper
        for kind in ("Double", "Float", "Int64", "UInt64", "Int32", "UInt32", "Bool", "String", "Bytes")
    },
}
