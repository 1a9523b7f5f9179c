"""JSON as Envoy's access logs write it.

Envoy: `Json::sanitize`, `Json::Utility::appendValueToString`, `Json::StringStreamer`. Input and output are `str` whose
characters are bytes: a string that is valid UTF-8 keeps its bytes, in any other each byte above 127 becomes `\\u00XX`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from json.encoder import encode_basestring
from math import copysign, isfinite, isnan
from typing import Any, Final

_NOT_PLAIN: Final = re.compile(r'[^ -~]|["\\]')


def _as_code(match: re.Match[str]) -> str:
    return f"\\u{ord(match[0]):04x}"


def json_string(text: str) -> str:
    """Quoted and escaped."""
    if text.isascii():
        return encode_basestring(text)
    try:
        text.encode("latin-1").decode("utf-8")
    except UnicodeDecodeError:
        return f'"{_NOT_PLAIN.sub(_as_code, text)}"'
    return encode_basestring(text)


def json_number(number: float) -> str:
    """The shorter of the plain and the scientific notation, plain if they are as long as each other.

    Every number of a protobuf `Value` is a double, and this is how C++ (`std::to_chars`) prints one: 100000 is `1e+05`.
    Infinity is none in JSON, and is printed all the same.
    """
    if not isfinite(number):
        return "null" if isnan(number) else str(float(number))
    number = float(number)
    sign = "-" if copysign(1.0, number) < 0 else ""
    digits, point = _digits(abs(number))
    exponent = point - 1
    scientific = digits[0] + ("." + digits[1:] if len(digits) > 1 else "")
    scientific += f"e{'-' if exponent < 0 else '+'}{abs(exponent):02d}"
    if point >= len(digits):
        # Beyond the digits that matter C++ prints the exact value of the double.
        plain = str(int(abs(number)))
    elif point > 0:
        plain = f"{digits[:point]}.{digits[point:]}"
    else:
        plain = "0." + "0" * -point + digits
    return sign + (plain if len(plain) <= len(scientific) else scientific)


def _digits(number: float) -> tuple[str, int]:
    """The shortest decimal digits that read back as `number`, and where the point stands in them."""
    mantissa, _, exponent = f"{number!r}".partition("e")
    whole, _, fraction = mantissa.partition(".")
    digits = (whole + fraction).lstrip("0")
    point = len(whole) + int(exponent or 0) - (len(whole + fraction) - len(digits))
    digits = digits.rstrip("0")
    return (digits, point) if digits else ("0", 1)


def json_value(value: Any, *, in_order: bool = False) -> str:
    """A plain value as a protobuf `Value` is printed: numbers are doubles, keys are sorted, no blanks. With `in_order`
    keys stay where they are, as those of a message do."""
    if value is None:
        return "null"
    if value is True or value is False:
        return "true" if value else "false"
    if isinstance(value, str):
        return json_string(value.encode("utf-8", "surrogateescape").decode("latin-1"))
    if isinstance(value, (int, float)):
        return json_number(value)
    if isinstance(value, Mapping):
        keys = value if in_order else sorted(value)
        shown = (f"{json_value(str(key))}:{json_value(value[key], in_order=in_order)}" for key in keys)
        return "{" + ",".join(shown) + "}"
    return "[" + ",".join(json_value(item, in_order=in_order) for item in value) + "]"
