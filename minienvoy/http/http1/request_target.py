"""The request line, and whom a request is for.

Envoy: `Http1::BalsaParser::OnRequestFirstLineInput`, `ServerConnectionImpl::handlePath`, `Utility::Url`,
`HeaderUtility::authorityIsValid`; RFC 9112 3.

A target comes in one of four forms:

    /path?query          origin form: the authority is in `host`;
    http://a:80/path     absolute form: the target's authority replaces `host`, only the path goes on;
    a:80                 authority form, of CONNECT: there is no path;
    *                    asterisk form, of OPTIONS.
"""

from __future__ import annotations

import re
from typing import Final

from ...errors import CodecProtocolError
from ...lazy_pattern import lazy_pattern
from ..header_map import RequestHeaderMap
from .header_lines import CODEC_ERROR, TOKEN

METHODS: Final = frozenset(
    b"ACL BIND CHECKOUT CONNECT COPY DELETE GET HEAD LINK LOCK MERGE MKACTIVITY MKCALENDAR MKCOL MOVE MSEARCH NOTIFY "
    b"OPTIONS PATCH POST PROPFIND PROPPATCH PURGE PUT QUERY REBIND REPORT SEARCH SOURCE SUBSCRIBE TRACE UNBIND UNLINK "
    b"UNLOCK UNSUBSCRIBE".split()
)
"""What Envoy's parser takes; anything else is a 400."""

INVALID_URL: Final = "http1.invalid_url"

_BLANKS: Final = rb"[ \t\r]"
_request_line = lazy_pattern(
    rb"(" + TOKEN + rb")" + _BLANKS + rb"+([^ \t\r]+)(?:" + _BLANKS + rb"+HTTP/([0-9]\.[0-9]))?" + _BLANKS + rb"*"
)

_HOST: Final = rb"[A-Za-z0-9!$%&'()*+,\-.:;=@\[\]_~]"
_PATH: Final = rb"[\x21-\x7e]*"
_TARGET: Final = rb"[/*]" + _PATH + rb"|%b(?:(?!@@)" + _HOST + rb")*(?:[/?]" + _PATH + rb")?"
_target = lazy_pattern(_TARGET.replace(rb"%b", rb"[A-Za-z][A-Za-z0-9+.\-]*://"))
_connect_target = lazy_pattern(_TARGET.replace(rb"%b", b""))

_absolute_form = lazy_pattern(
    rb"([A-Za-z][A-Za-z0-9+.\-]*)://(?:[A-Za-z0-9!$%&'()*+,\-.:;=_~]*@)?"
    rb"((?:[A-Za-z0-9.\-]+|\[[0-9A-Fa-f:.]+\])(?::([0-9]+))?)((?:[/?]" + _PATH + rb")?)"
)
_authority_form = lazy_pattern(rb"(?:[A-Za-z0-9.\-]+|\[[0-9A-Fa-f:.]+\]):([0-9]+)")
_is_authority = re.compile(_HOST + rb"*").fullmatch

_AUTHORITIES: Final[set[bytes]] = set()
_MAX_AUTHORITIES: Final = 1024
_MAX_AUTHORITY: Final = 256


class AbsoluteFormHeaderMap(RequestHeaderMap):
    """Of a request whose target named the scheme: that is known before the path is."""

    __slots__ = ()
    pseudo_order = (b":authority", b":scheme", b":path", b":method")


def parse_request_line(line: bytes, any_method: bool = False) -> tuple[bytes, bytes, bytes | None]:
    """(method, target, version as in `1.1`); HTTP/0.9 has no version. `any_method` takes every token for a method.

    Raises:
        CodecProtocolError: it is no request line.
    """
    match = _request_line.fullmatch(line)
    if match is None or not (any_method or match[1] in METHODS):
        raise CodecProtocolError(CODEC_ERROR)
    method, target, version = match.groups()
    if (_connect_target if method == b"CONNECT" else _target).fullmatch(target) is None:
        raise CodecProtocolError(CODEC_ERROR)
    return method, target, version


def split_absolute_form(target: bytes) -> tuple[bytes, bytes, bytes]:
    """(scheme in lower case, authority, path) of `http://user@host:port/path`; raises CodecProtocolError."""
    url = parse_url(target)
    if url is None:
        raise CodecProtocolError(INVALID_URL)
    if url[0] not in (b"http", b"https"):
        raise CodecProtocolError("http1.invalid_scheme")
    return url


def parse_url(url: bytes) -> tuple[bytes, bytes, bytes] | None:
    """(scheme in lower case, authority without a user, path with query and fragment), or None (`Utility::Url`)."""
    match = _absolute_form.fullmatch(url)
    if match is None or not _is_port(match[3]):
        return None
    return match[1].lower(), match[2], match[4] or b"/"


def check_authority_form(target: bytes) -> None:
    """CONNECT needs a host and a port; raises CodecProtocolError."""
    match = _authority_form.fullmatch(target)
    if match is None or not _is_port(match[1]):
        raise CodecProtocolError(INVALID_URL)


def _is_port(digits: bytes | None) -> bool:
    if digits is None:
        return True
    significant = digits.lstrip(b"0")
    return len(significant) <= 5 and int(significant or b"0") <= 65535


def check_authority(authority: bytes) -> None:
    """Refuse what can not be a host and port; an empty one is fine. The last 1,024 good ones are remembered."""
    if authority in _AUTHORITIES:
        return
    if _is_authority(authority) is None:
        raise CodecProtocolError("http.invalid_authority")
    if len(authority) <= _MAX_AUTHORITY:
        if len(_AUTHORITIES) >= _MAX_AUTHORITIES:
            _AUTHORITIES.clear()
        _AUTHORITIES.add(authority)
