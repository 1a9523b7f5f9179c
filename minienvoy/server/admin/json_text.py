"""Plain values as the JSON text that protobuf's C++ library writes, which Envoy's admin interface answers with.

Envoy: `MessageUtil::getJsonStringFromMessage`, pretty-printed.
"""

from __future__ import annotations

import re
from typing import Any, Final

# What is escaped besides quotes, backslashes and control characters: `<` and `>`, so that no browser finds a tag, and
# characters that can not be seen but change how text is read or shown.
_ESCAPED: Final = re.compile(
    '[\x00-\x1f"\\\\<>\x7f-\x9f\xad\u0600-\u0603\u06dd\u070f\u17b4\u17b5\u200b-\u200f\u2028-\u202e\u2060-\u2064'
    "\u206a-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff\U0001d173-\U0001d17a\U000e0001\U000e0020-\U000e007f]"
)
_SHORT: Final = {'"': '\\"', "\\": "\\\\", "\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t"}


def json_text(value: Any, indent: str = "\n") -> str:
    """Indented by one blank per level; empty lists and objects stay on the line.

    Raises:
        TypeError: a value that JSON does not have.
    """
    if isinstance(value, str):
        return json_string(value)
    if isinstance(value, dict):
        if not value:
            return "{}"
        inner = f"{indent} "
        items = ",".join(f"{inner}{json_string(key)}: {json_text(each, inner)}" for key, each in value.items())
        return f"{{{items}{indent}}}"
    if isinstance(value, list):
        if not value:
            return "[]"
        inner = f"{indent} "
        return f"[{','.join(f'{inner}{json_text(each, inner)}' for each in value)}{indent}]"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return _number(value)
    raise TypeError(f"{type(value).__name__} is not JSON")


def json_string(text: str) -> str:
    return f'"{_ESCAPED.sub(_escape, text)}"'


def _escape(match: re.Match[str]) -> str:
    char = match[0]
    if char in _SHORT:
        return _SHORT[char]
    code = ord(char)
    if code < 0x10000:
        return f"\\u{code:04x}"
    code -= 0x10000
    return f"\\u{0xD800 + (code >> 10):04x}\\u{0xDC00 + (code & 0x3FF):04x}"


def _number(value: float) -> str:
    """15 digits if they read back as the same number, else 17 (`SimpleDtoa`)."""
    text = f"{value:.15g}"
    return text if float(text) == value else f"{value:.17g}"
