"""Base64 and JSON as tokens and keys have them, where anything may come from a stranger.

Envoy: `absl::WebSafeBase64Unescape`, protobuf's `JsonStringToMessage` into a `Struct`: a number is a double, a name
that stands twice is an error, and the reader is as lenient as that of configurations.
"""

from __future__ import annotations

import binascii
import json
import re
from math import isinf
from typing import Any, Final

from .....config.json_reader import MAX_DEPTH, Repeated, read_json
from .....errors import ConfigError

_BASE64URL: Final = re.compile(rb"([A-Za-z0-9_-]*)(={0,2})")
_UNSAFE: Final = re.compile("[<>\x7f-\x9f\u00ad\u2028\u2029]")
_BLANKS: Final = re.compile(rb"[ \t\n\v\f\r]+")
_STANDARD: Final = bytes.maketrans(b"-_", b"+/")


def base64url_decode(text: bytes) -> bytes | None:
    """None if it is not that. Blanks do not matter; padding may be missing, but must be right if it is there."""
    match = _BASE64URL.fullmatch(text) or _BASE64URL.fullmatch(_BLANKS.sub(b"", text))
    if match is None:
        return None
    digits, padding = match[1], match[2]
    missing = -len(digits) % 4
    if missing == 3 or (padding and len(padding) != missing):
        return None
    return binascii.a2b_base64(digits.translate(_STANDARD) + b"=" * missing)


def read_object(data: bytes) -> dict[str, Any] | None:
    """A JSON object with its numbers as floats; None if it is something else."""
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return None
    if text.count("{") + text.count("[") <= MAX_DEPTH and "\\u" not in text:
        try:
            value = json.loads(
                text,
                object_pairs_hook=_members,
                parse_int=_number,
                parse_float=_number,
                parse_constant=_number,
            )
        except ValueError:
            pass
        else:
            return value if isinstance(value, dict) else None
    try:
        value = _plain(read_json(text))
    except (ConfigError, ValueError, OverflowError):
        return None
    return value if isinstance(value, dict) else None


def write_json(value: Any) -> str:
    """As protobuf's `MessageToJsonString` writes a `Value`."""
    if isinstance(value, dict):
        return "{" + ",".join(f"{write_json(name)}:{write_json(each)}" for name, each in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(write_json, value)) + "]"
    if isinstance(value, str):
        return _UNSAFE.sub(_escaped, json.dumps(value, ensure_ascii=False))
    if isinstance(value, float):
        text = f"{value:.15g}"
        return text if float(text) == value else f"{value:.17g}"
    return json.dumps(value)


def _escaped(match: re.Match[str]) -> str:
    return f"\\u{ord(match[0]):04x}"


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a name stands twice")
    return members


def _number(text: str) -> float:
    number = float(text)
    if isinf(number) or number != number:
        raise ValueError("no double")
    return number


def _plain(value: Any) -> Any:
    if isinstance(value, bool):
        return value
    if isinstance(value, int):
        return float(value)
    if isinstance(value, Repeated):
        raise ValueError("a name stands twice")
    if isinstance(value, dict):
        return {name: _plain(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_plain(each) for each in value]
    return value
