"""Headers as scripts see and change them: pseudo-headers are among them.

Envoy: `HeaderMapWrapper`, `Http::HeaderMapImpl`.
"""

from __future__ import annotations

from typing import Any, Final

from .....http.ascii_number import unsigned
from .....http.header_map import (
    CASED,
    SUSPECT,
    Entry,
    HeaderMap,
    RequestHeaderMap,
    ResponseHeaderMap,
    entry,
    is_valid_value,
    suspect,
    without_controls,
)

_PSEUDO: Final = {
    b":path": "path",
    b":method": "method",
    b":scheme": "scheme",
    b":authority": "authority",
    b"host": "authority",
}
_STATUS: Final = b":status"


def all_headers(headers: HeaderMap) -> tuple[bytes, ...]:
    """Names and values one after the other, pseudo-headers first."""
    found: list[bytes] = []
    if isinstance(headers, RequestHeaderMap):
        for name in headers.pseudo_order:
            value = headers.get(name)
            if value:
                found += (name, value)
    elif isinstance(headers, ResponseHeaderMap):
        found += (_STATUS, b"%d" % headers.status)
    for item in headers.entries:
        found += (item[0], item[1])
    return tuple(found)


def add_header(headers: HeaderMap, name: bytes, value: bytes) -> None:
    """Another one of that name; where there can only be one, its value is appended to."""
    if isinstance(headers, RequestHeaderMap) and name in _PSEUDO:
        old: bytes = getattr(headers, _PSEUDO[name])
        _set_pseudo(headers, name, old + b"," + value if old else value)
    elif name[:1] != b":":
        headers.append_entry(_made(headers, name, value))
    elif name == _STATUS and isinstance(headers, ResponseHeaderMap):
        replace_header(headers, name, value)


def replace_header(headers: HeaderMap, name: bytes, value: bytes) -> None:
    """The only one of that name."""
    if isinstance(headers, RequestHeaderMap) and name in _PSEUDO:
        _set_pseudo(headers, name, value)
    elif name == _STATUS and isinstance(headers, ResponseHeaderMap):
        status = unsigned(value, 1000)
        if status is not None:
            headers.status = status
    elif name[:1] != b":":
        headers.remove(name)
        headers.add_entry(_made(headers, name, value))


def remove_header(headers: HeaderMap, name: bytes) -> None:
    """All of that name."""
    if isinstance(headers, RequestHeaderMap) and name in _PSEUDO:
        _set_pseudo(headers, name, b"")
    else:
        headers.remove(name)


def _set_pseudo(headers: RequestHeaderMap, name: bytes, value: bytes) -> None:
    setattr(headers, _PSEUDO[name], value)
    if not is_valid_value(value) or not headers.method:
        headers.seen |= SUSPECT  # no upstream is sent such a thing


def _made(headers: HeaderMap, name: bytes, value: bytes) -> Entry:
    """What a request can not have is found out before it is sent; a response has blanks in its place."""
    if isinstance(headers, ResponseHeaderMap):
        return entry(name, without_controls(value))
    return suspect(entry(name, value))


def set_reason(headers: HeaderMap, phrase: bytes) -> None:
    """What stands behind the status of an HTTP/1 response."""
    if not isinstance(headers, ResponseHeaderMap):
        return
    if not headers.seen & CASED:
        headers.key_formatter = OwnReason()
        headers.seen |= CASED
    headers.key_formatter.reason = without_controls(phrase)


class OwnReason:
    """Writes names as they are (`StatefulHeaderKeyFormatter`)."""

    __slots__ = ("reason",)

    reason: bytes

    def __call__(self, name: bytes) -> bytes:
        return name


def pairs_of(flat: tuple[Any, ...]) -> list[tuple[bytes, bytes]]:
    """Names and values that Lua gives one after the other."""
    return list(zip(flat[::2], flat[1::2], strict=True))
