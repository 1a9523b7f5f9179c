"""Values of metadata on their way to Lua and back.

Envoy: `Filters::Common::Lua::MetadataMapHelper`. They go as a list of tokens: `{` with a number of members, `[` with a
number of elements, and `'` before a text; numbers, booleans and nil stand for themselves.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any


def tokens_of(value: Any) -> tuple[Any, ...]:
    """What Lua makes the value of."""
    tokens: list[Any] = []
    _encode(value, tokens)
    return tuple(tokens)


def _encode(value: Any, tokens: list[Any]) -> None:
    if isinstance(value, Mapping):
        tokens += (b"{", len(value))
        for key, each in value.items():
            tokens.append(key.encode("utf-8", "surrogateescape"))
            _encode(each, tokens)
    elif isinstance(value, str):
        tokens += (b"'", value.encode("utf-8", "surrogateescape"))
    elif isinstance(value, Sequence):
        tokens += (b"[", len(value))
        for each in value:
            _encode(each, tokens)
    else:
        tokens.append(value)


def value_of(tokens: Iterator[Any]) -> Any:
    """A plain value from what Lua has made of its own; there nil is `n`."""
    token = next(tokens)
    if token == b"{":
        count = next(tokens)
        return {_text(next(tokens)): value_of(tokens) for _ in range(count)}
    if token == b"[":
        count = next(tokens)
        return [value_of(tokens) for _ in range(count)]
    if token == b"'":
        return _text(next(tokens))
    if token == b"n":
        return None
    return token if isinstance(token, bool) else _number(token)


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def _number(value: float) -> float:
    return float(value)
