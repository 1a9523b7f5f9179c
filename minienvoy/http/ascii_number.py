"""Numbers in headers.

Envoy reads whole ones with `absl::SimpleAtoi`: white space around, a plus sign and leading zeros are fine, nothing else
is. Others it reads with `absl::SimpleAtod`, which knows exponents, hexadecimal digits, infinity and NaN.
"""

from __future__ import annotations

import math
import re
from typing import Final

from ..lazy_pattern import lazy_pattern

_UNSIGNED: Final = lazy_pattern(rb"[ \t\n\v\f\r]*\+?0*([0-9]{1,20})[ \t\n\v\f\r]*")


def unsigned(value: bytes, limit: int = 2**64) -> int | None:
    """A whole number from 0 to below `limit`; None if `value` is none."""
    found = _UNSIGNED.fullmatch(value)
    if found is None or (number := int(found[1])) >= limit:
        return None
    return number


_DECIMAL: Final = lazy_pattern(rb"[+-]?(?:(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?|inf(?:inity)?|nan)", re.I)
_HEXADECIMAL: Final = lazy_pattern(rb"[+-]?0x(?:[0-9a-f]+\.?[0-9a-f]*|\.[0-9a-f]+)(?:p[+-]?\d{1,6})?", re.I)
_MAX_DIGITS: Final = 400


def double(value: bytes) -> float | None:
    """A number; None if `value` is none. White space around it is fine."""
    value = value.strip(b" \t\n\v\f\r")
    if len(value) > _MAX_DIGITS:
        return None
    if _DECIMAL.fullmatch(value) is not None:
        return float(value)
    if _HEXADECIMAL.fullmatch(value) is None:
        return None
    try:
        return float.fromhex(value.decode())
    except OverflowError:
        return -math.inf if value[:1] == b"-" else math.inf
