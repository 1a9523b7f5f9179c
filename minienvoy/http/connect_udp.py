"""Requests for a UDP tunnel: whom they are for stands in their path.

Envoy: `HeaderUtility::rewriteAuthorityForConnectUdp` (RFC 9298 3.1, the default template). To the rest of the proxy
such a request is an upgrade as any other; a route can not end it here, for there is no UDP upstream.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ..lazy_pattern import lazy_pattern

if TYPE_CHECKING:
    from .header_map import RequestHeaderMap

_TARGET: Final = lazy_pattern(rb"/\.well-known/masque/udp/([!-.0-~]+)/([!-.0-~]+)/")


def is_connect_udp(headers: RequestHeaderMap) -> bool:
    return (headers.get(b"upgrade") or b"").lower() == b"connect-udp"


def rewrite_authority(headers: RequestHeaderMap) -> bool:
    """False if the path names no target."""
    target = _TARGET.fullmatch(headers.path)
    if target is None:
        return False
    # Here, for hardly anybody asks for such a tunnel, and every start would pay for it.
    from urllib.parse import unquote_to_bytes

    host = unquote_to_bytes(target[1])
    if b"%" in host:
        # The zone of an IPv6 address means nothing here.
        return False
    port = unquote_to_bytes(target[2])
    headers.authority = b"[%b]:%b" % (host, port) if b":" in host else b"%b:%b" % (host, port)
    return True
