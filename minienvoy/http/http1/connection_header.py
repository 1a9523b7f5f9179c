"""What `connection` and `upgrade` ask of this hop.

Envoy: `Http::Utility::sanitizeConnectionHeader`, `Utility::isUpgrade`, `Http1::ConnectionImpl`'s treatment of h2c.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from ...errors import CodecProtocolError
from ..header_map import HeaderMap

_NEVER_NOMINATED: Final = frozenset((b"x-forwarded-for", b"x-forwarded-host", b"x-forwarded-proto"))
_MAX_NOMINATED: Final = 10
_NOTHING: Final = frozenset((b"", b"keep-alive", b"close"))
_NO_NAMES: Final = frozenset((b"", b"keep-alive", b"close", b"te"))


def connection_tokens(headers: HeaderMap) -> list[bytes]:
    """What `connection` lists, in lower case, in order; empty ones are dropped."""
    value = headers.joined(b"connection")
    if value is None:
        return []
    return [token for token in map(bytes.strip, value.lower().split(b",")) if token]


def take_upgrade(headers: HeaderMap) -> bool:
    """True if these headers ask for, or grant, another protocol. If they do not, `upgrade` is taken out.

    h2c is nothing that is offered: such a request is served as what it is without the upgrade.
    """
    tokens = connection_tokens(headers)
    if b"upgrade" not in tokens:
        if (headers.get(b"upgrade") or b"").lower() != b"connect-udp":  # of which the path is looked at all the same
            headers.remove(b"upgrade")
        return False
    upgrade = headers.joined(b"upgrade")
    if upgrade is None:
        return False
    if upgrade.lower() != b"h2c":
        return True
    headers.remove(b"upgrade")
    headers.remove(b"http2-settings")
    kept = [token for token in tokens if token not in (b"upgrade", b"http2-settings")]
    if kept:
        headers.set(b"connection", b",".join(kept))
    else:
        headers.remove(b"connection")
    return False


def ignore_upgrades(headers: HeaderMap, ignored: Sequence[Callable[[bytes], bool]]) -> None:
    """Take the upgrades that one of `ignored` matches out of what is asked for."""
    offered = [token.strip() for token in (headers.joined(b"upgrade") or b"").split(b",")]
    kept = [token for token in offered if token and not any(matches(token) for matches in ignored)]
    if kept:
        headers.set(b"upgrade", b",".join(kept))
        return
    headers.remove(b"upgrade")
    tokens = [token for token in connection_tokens(headers) if token != b"upgrade"]
    if tokens:
        headers.set(b"connection", b",".join(tokens))
    else:
        headers.remove(b"connection")


def sanitize_connection_header(headers: HeaderMap) -> bool:
    """Drop what `connection` nominates; True if that is `host`, which is not among the entries.

    `te` stays: what may go on of it is the connection manager's business, but in capitals it is known only here.

    Raises:
        CodecProtocolError: it nominates what the proxy itself relies on, or too much.
    """
    value = headers.get(b"connection")
    if value is None or (value.lower() in _NOTHING and len(headers.get_all(b"connection")) == 1):
        return False
    tokens = connection_tokens(headers)
    if len(tokens) >= _MAX_NOMINATED:
        raise CodecProtocolError("http1.connection_header_rejected")
    for token in tokens:
        if token in _NO_NAMES:
            if token == b"te" and b"trailers" in map(bytes.strip, (headers.get(b"te") or b"").lower().split(b",")):
                headers.set(b"te", b"trailers")
            continue
        if token in _NEVER_NOMINATED or token[:1] == b":":
            raise CodecProtocolError("http1.connection_header_rejected")
        headers.remove(token)
    return b"host" in tokens
