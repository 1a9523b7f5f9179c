"""Paths as routes see them.

Envoy: `Http::PathUtil`, `PathTransformer`; docs "HTTP connection manager > normalize_path". All work on bytes and
leave the query alone.
"""

from __future__ import annotations

import re
from typing import Final

from ..lazy_pattern import lazy_pattern

_UNRESERVED: Final = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
_escaped = lazy_pattern(rb"%([0-9a-fA-F]{2})")
_marks = lazy_pattern(rb'["<>^`{|}]')
_slashes = lazy_pattern(rb"//+")
_escaped_slashes = lazy_pattern(rb"%2[fF]|%5[cC]")


def split_query(path: bytes) -> tuple[bytes, bytes]:
    """(path, query with its `?`, or empty)."""
    at = path.find(b"?")
    return (path, b"") if at < 0 else (path[:at], path[at:])


def canonical(path: bytes) -> bytes | None:
    """RFC 3986 normalisation as Chromium's URL parser does it; None if the path can not be (`%00`, relative)."""
    bare, query = split_query(path)
    if bare[:1] != b"/" or b"%00" in bare:
        return None
    bare = _escaped.sub(_unescape_unreserved, bare.replace(b"\\", b"/"))
    bare = _marks.sub(lambda match: b"%%%02X" % ord(match[0]), bare)
    if b"/." in bare:
        bare = _remove_dots(bare)
    return bare + query


def _unescape_unreserved(match: re.Match[bytes]) -> bytes:
    code = int(match[1], 16)
    return bytes((code,)) if code in _UNRESERVED else match[0]


def _remove_dots(path: bytes) -> bytes:
    kept: list[bytes] = []
    segments = path.split(b"/")[1:]
    for at, segment in enumerate(segments):
        last = at == len(segments) - 1
        # A parameter does not make a dot segment harmless: `..;x` has been a way past access rules.
        bare = segment.partition(b";")[0]
        if bare == b".":
            if last:
                kept.append(b"")
        elif bare == b"..":
            if kept:
                kept.pop()
            if last:
                kept.append(b"")
        else:
            kept.append(segment)
    return b"/" + b"/".join(kept)


def merge_slashes(path: bytes) -> bytes:
    """Each run of slashes becomes one; where nothing else is left, the first and the last one stay."""
    bare, query = split_query(path)
    if b"//" not in bare:
        return path
    return (_slashes.sub(b"/", bare) if bare.strip(b"/") else b"//") + query


def has_escaped_slashes(path: bytes) -> bool:
    return _escaped_slashes.search(split_query(path)[0]) is not None


def unescape_slashes(path: bytes) -> bytes:
    bare, query = split_query(path)
    return _escaped_slashes.sub(lambda match: b"/" if match[0][1:2] == b"2" else b"\\", bare) + query
