"""What an API server said: JSON, a field of it, and which of two versions is older.

No Envoy counterpart. Nothing here trusts that an answer is what it should be.
"""

from __future__ import annotations

import gc
from typing import Any

from .objects import version_number


def parsed(text: bytes) -> Any:
    """What the JSON says; None if it is none."""
    from orjson import JSONDecodeError, loads

    # A page makes a hundred thousand dicts, none of them garbage: looking for garbage would take longer than reading.
    collecting = gc.isenabled()
    gc.disable()
    try:
        return loads(text)
    except JSONDecodeError:
        return None
    finally:
        if collecting:
            gc.enable()


def text_of(item: Any, field: str) -> str:
    value = item.get(field) if isinstance(item, dict) else None
    return value if isinstance(value, str) else ""


def code_of(status: Any) -> int:
    value = status.get("code")
    return value if isinstance(value, int) else 500


def is_older(version: str, than: str) -> bool:
    """Whether the one is before the other; versions that are no numbers can not be compared."""
    number, other = version_number(version), version_number(than)
    return number is not None and other is not None and number < other
