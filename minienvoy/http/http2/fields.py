"""From decompressed fields to header maps: what HTTP says of messages, whoever framed them.

Envoy: nghttp2's `nghttp2_http.c` and `Http2::ConnectionImpl::onHeader`, `checkHeaderNameForUnderscores`; RFC 9113
section 8.

A field becomes an `Entry` once, when it enters the compression table or is read as a literal; what is wrong with it, or
special about it, is a bit of its kind. A message is judged by the bits of all its fields together: nearly all have
none of them.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from ..header_map import CASED, JOINED, KIND, RESPONSE_JOINED, Entry, RequestHeaderMap, entry, join_repeated
from .hpack import STATIC_TABLE

INVALID_FIELD: Final = "http2.invalid.header.field"
MESSAGING_RULE: Final = "http2.violation.of.messaging.rule"

UNDERSCORE: Final = 1 << len(KIND)
"""As the HTTP/1 codec's: the name has an underscore. The bit above it is `header_map.CASED`."""
PSEUDO: Final = 1 << (len(KIND) + 2)
INVALID: Final = 1 << (len(KIND) + 3)
COOKIE: Final = 1 << (len(KIND) + 4)
NO_HOST: Final = 1 << (len(KIND) + 5)
"""A `host` that names none: that makes a request invalid; a response may say what it likes."""

HOST: Final = KIND[b"host"]
TE: Final = KIND[b"te"]
CONTENT_LENGTH: Final = KIND[b"content-length"]
UPGRADE: Final = KIND[b"upgrade"]
CONNECTION_HEADERS: Final = (
    KIND[b"connection"] | KIND[b"keep-alive"] | KIND[b"proxy-connection"] | KIND[b"transfer-encoding"] | UPGRADE
)
"""They are about one HTTP/1 connection."""
_EXAMINED: Final = INVALID | COOKIE | HOST | CONTENT_LENGTH | PSEUDO | UNDERSCORE

NO_TRAILER: Final = PSEUDO | INVALID

_is_name = re.compile(rb"[!#$%&'*+\-.^_`|~0-9a-z]+").fullmatch
_is_value = re.compile(rb"[\t\x20-\x7e\x80-\xff]*").fullmatch
_is_method = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+").fullmatch
_is_path = re.compile(rb"[\x21-\x7e\x80-\xff]+").fullmatch
_is_scheme = re.compile(rb"[A-Za-z][A-Za-z0-9+\-.]*").fullmatch
_is_authority = re.compile(rb"[A-Za-z0-9\-._~%!$&'()*+,;=:\[\]]+").fullmatch
_is_status = re.compile(rb"[1-9][0-9]{2}").fullmatch
_is_length = re.compile(rb"[0-9]{1,18}").fullmatch

_CHECKS: Final = {
    b":method": _is_method,
    b":path": _is_path,
    b":scheme": _is_scheme,
    b":authority": _is_authority,
    b":status": _is_status,
    b":protocol": _is_value,
    b"content-length": _is_length,
    b"te": re.compile(rb"(?i:trailers)").fullmatch,
}

_ENTRIES: Final[dict[tuple[bytes, bytes], Entry]] = {}
_MAX_ENTRIES: Final = 4096
_MAX_LINE: Final = 128


def _judge(name: bytes, value: bytes) -> Entry:
    kind = KIND.get(name, 0)
    if name[:1] == b":":
        check = _CHECKS.get(name)
        kind = PSEUDO if check is not None and check(value) else PSEUDO | INVALID
        return name, value, b"", kind
    check = _CHECKS.get(name, _is_value)
    if _is_name(name) is None or check(value) is None or kind & CONNECTION_HEADERS:
        kind |= INVALID
    if b"_" in name:
        kind |= UNDERSCORE
    if name == b"cookie":
        kind |= COOKIE
    elif name == b"host" and _is_authority(value) is None:
        kind |= NO_HOST
    return name, value, b"%b: %b\r\n" % (name, value), kind


def make_entry(name: bytes, value: bytes) -> Entry:
    """The field as an entry, with what has to be known about it in its kind."""
    key = (name, value)
    known = _ENTRIES.get(key)
    if known is None:
        known = _judge(name, value)
        if len(name) + len(value) <= _MAX_LINE:
            if len(_ENTRIES) >= _MAX_ENTRIES:
                _ENTRIES.clear()
            _ENTRIES[key] = known
    return known


STATIC_ENTRIES: Final = [_judge(b"", b""), *(_judge(name, value) for name, value in STATIC_TABLE)]


class MessageError(Exception):
    """The message is framed well and is no HTTP.

    Attributes:
        details: `http2.invalid.header.field` or `http2.violation.of.messaging.rule`.
    """

    def __init__(self, details: str) -> None:
        self.details = details
        super().__init__(details)


class Http2RequestHeaderMap(RequestHeaderMap):
    """A request that came over HTTP/2."""

    __slots__ = ("pseudo_order",)

    pseudo_order: tuple[bytes, ...]  # type: ignore[misc]

    def copy(self) -> RequestHeaderMap:
        copied = Http2RequestHeaderMap(self.method, self.path, self.authority, self.entries[:], self.seen, self.scheme)
        copied.pseudo_order = self.pseudo_order
        if self.seen & CASED:
            copied.key_formatter = self.key_formatter
        return copied


class RequestHead(NamedTuple):
    """What a header block came to; shared by every request that sends the same block.

    Attributes:
        authority: None if there is none.
        order: the pseudo-headers in the order in which they came, which is the order in which they go on.
        content_length: -1 if none is announced.
        protocol: of an extended CONNECT, else empty.
    """

    method: bytes
    path: bytes
    authority: bytes | None
    scheme: bytes
    entries: list[Entry]
    seen: int
    content_length: int
    order: tuple[bytes, ...]
    protocol: bytes


class ResponseHead(NamedTuple):
    """Likewise, of a response."""

    status: int
    entries: list[Entry]
    seen: int
    content_length: int


_OF_REQUESTS: Final = (INVALID | PSEUDO | NO_HOST, CONTENT_LENGTH | HOST, HOST, JOINED)
_OF_RESPONSES: Final = (INVALID | PSEUDO, CONTENT_LENGTH, 0, RESPONSE_JOINED)
"""Kinds that may not be there; that may be there once; that are taken out; that are one however often they come."""


def _regular(
    fields: list[Entry], begin: int, rules: tuple[int, int, int, int]
) -> tuple[list[Entry], int, int, bytes | None]:
    """The fields after the pseudo-headers: (entries, seen, content length, host)."""
    invalid, single, taken, joined = rules
    entries = fields[begin:]
    seen = repeated = 0
    for item in entries:
        kind = item[3]
        repeated |= seen & kind
        seen |= kind
    length, host = -1, None
    if seen & _EXAMINED:
        if seen & invalid or repeated & single:
            raise MessageError(INVALID_FIELD)
        if seen & CONTENT_LENGTH:
            length = next(int(item[1]) for item in entries if item[3] & CONTENT_LENGTH)
        if seen & COOKIE:
            entries = _join_cookies(entries, bool(repeated & COOKIE))
        if seen & taken:
            host = next(item[1] for item in entries if item[3] & HOST)
            entries = [item for item in entries if not item[3] & HOST]
            seen &= ~HOST
        seen &= ~COOKIE
    if repeated & joined:
        entries = join_repeated(entries, repeated & joined)
    return entries, seen, length, host


def _join_cookies(entries: list[Entry], several: bool) -> list[Entry]:
    """The crumbs of a cookie make one header again (RFC 9113, 8.2.3), which Envoy puts last."""
    crumbs = [item for item in entries if item[3] & COOKIE]
    rest = [item for item in entries if not item[3] & COOKIE]
    if several:
        rest.append(entry(b"cookie", b"; ".join([item[1] for item in crumbs])))
    else:
        name, value, line, _ = crumbs[0]
        rest.append((name, value, line, 0))
    return rest


def _is_no_path(path: bytes, method: bytes, scheme: bytes) -> bool:
    if path[:1] == b"/" or (path == b"*" and method == b"OPTIONS"):
        return False
    return scheme.lower() in (b"http", b"https")


def request_head(fields: list[Entry], allow_connect: bool) -> RequestHead:
    """The request that `fields` make.

    Raises:
        MessageError: they make none.
    """
    pseudo: dict[bytes, bytes] = {}
    begin = 0
    for name, value, _, kind in fields:
        if not kind & PSEUDO:
            break
        begin += 1
        wrong = name in pseudo or name == b":status" or (name == b":protocol" and not (allow_connect and value))
        if kind & INVALID or wrong:
            raise MessageError(INVALID_FIELD)
        pseudo[name] = value
    entries, seen, length, host = _regular(fields, begin, _OF_REQUESTS)
    method, path, scheme = pseudo.get(b":method"), pseudo.get(b":path"), pseudo.get(b":scheme")
    authority = pseudo.get(b":authority")
    protocol = pseudo.get(b":protocol", b"")
    if method is None or (authority is None and host is None):
        raise MessageError(MESSAGING_RULE)
    if method == b"CONNECT" and not protocol:
        if path is not None or scheme is not None or authority is None:
            raise MessageError(MESSAGING_RULE)
        path, scheme = b"", b"http"
    elif path is None or scheme is None or (protocol and method != b"CONNECT") or _is_no_path(path, method, scheme):
        raise MessageError(MESSAGING_RULE)
    return RequestHead(
        method,
        path,
        host if authority is None else authority,
        scheme.lower(),
        entries,
        seen,
        length,
        tuple(pseudo),
        protocol,
    )


def response_head(fields: list[Entry]) -> ResponseHead:
    """The response that `fields` make.

    Raises:
        MessageError: they make none.
    """
    if not fields:
        raise MessageError(MESSAGING_RULE)
    name, value, _, kind = fields[0]
    if not kind & PSEUDO:
        raise MessageError(MESSAGING_RULE)
    if kind & INVALID or name != b":status":
        raise MessageError(INVALID_FIELD)
    status = int(value)
    if status == 101:
        raise MessageError(INVALID_FIELD)
    entries, seen, length, _ = _regular(fields, 1, _OF_RESPONSES)
    if seen & CONTENT_LENGTH and (status == 204 or status < 200):
        # RFC 9110 8.6 forbids it; many servers say nothing by it in a 204, which is looked over.
        if status != 204 or length:
            raise MessageError(INVALID_FIELD)
        entries = [item for item in entries if not item[3] & CONTENT_LENGTH]
        seen &= ~CONTENT_LENGTH
    return ResponseHead(status, entries, seen, length)


def trailer_entries(fields: list[Entry], invalid: int = NO_TRAILER) -> list[Entry]:
    """Trailers; those of a request may not be `NO_HOST` either.

    Raises:
        MessageError: there is a pseudo-header among them, a bad field or a length.
    """
    seen = 0
    for item in fields:
        seen |= item[3]
    if seen & invalid:
        raise MessageError(INVALID_FIELD)
    if seen & CONTENT_LENGTH:
        raise MessageError(MESSAGING_RULE)
    return [(item[0], item[1], item[2], item[3] & ~COOKIE) for item in fields] if seen & COOKIE else fields[:]
