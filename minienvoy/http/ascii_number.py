"""Numbers in headers.

Envoy reads them with `absl::SimpleAtoi`: white space around, a plus sign and leading zeros are fine, nothing else is.
"""

from __future__ import annotations

import re
from typing import Final

_UNSIGNED: Final = re.compile(rb"[ \t\n\v\f\r]*\+?0*([0-9]{1,20})[ \t\n\v\f\r]*").fullmatch


def unsigned(value: bytes, limit: int = 2**64) -> int | None:
    """A whole number from 0 to below `limit`; None if `value` is none."""
    found = _UNSIGNED(value)
    if found is None or (number := int(found[1])) >= limit:
        return None
    return number
