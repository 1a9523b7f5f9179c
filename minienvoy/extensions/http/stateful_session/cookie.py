"""Sessions in a cookie: it holds the address of the upstream and when the session is over.

Envoy: `Http::StatefulSession::Cookie::CookieBasedSessionStateFactory`; docs "Stateful session". The value is the base64
of a small message, `address` and `expires` (seconds of a monotonic clock); a bare address is understood too.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from ....config.fields import honours
from ....errors import ConfigError
from ....http.header_map import RequestHeaderMap, ResponseHeaderMap
from ....http.stateful_session import SESSION_STATES, SessionState, SessionStateFactory
from ....matchers.cookie import parse_cookies
from ....router.hash_policy import cookie_attributes

if TYPE_CHECKING:
    from ....event.dispatcher import Dispatcher

TYPE: Final = "envoy.extensions.http.stateful_session.cookie.v3.CookieBasedSessionState"
honours(TYPE, "cookie")
honours("envoy.type.http.v3.Cookie", "name", "ttl", "path", "attributes")
honours("envoy.type.http.v3.CookieAttribute", "name", "value")

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


class CookieSessions:
    """Makes the states of the requests of one filter."""

    __slots__ = ("_after", "_now", "_path", "name", "ttl")

    def __init__(self, name: bytes, ttl: int, path: bytes, after: bytes, now: Callable[[], float]) -> None:
        self.name = name
        self.ttl = ttl
        self._path = path
        self._after = after
        self._now = now

    def __call__(self, headers: RequestHeaderMap) -> SessionState | None:
        if not self._concerns(headers.path):
            return None
        value = parse_cookies(headers.get_all(b"cookie")).get(self.name)
        return CookieSessionState(self, self._address(value) if value else None)

    def set_cookie(self, address: str) -> bytes:
        """The `set-cookie` for a session with the host at `address`."""
        message = b"\x0a" + _varint(len(address)) + address.encode()
        if self.ttl:
            message += b"\x10" + _varint(int(self._now() + self.ttl))
        return b'%b="%b"%b; HttpOnly' % (self.name, base64.b64encode(message), self._after)

    def _concerns(self, request_path: bytes) -> bool:
        """As a browser would send the cookie: `/a` is for `/a`, `/a/b` and `/a?b`."""
        path = self._path
        if path in (b"", b"/"):
            return True
        if not request_path.startswith(path):
            return False
        return path.endswith(b"/") or request_path[len(path) : len(path) + 1] in (b"", b"/", b"?", b"#")

    def _address(self, value: bytes) -> str | None:
        try:
            decoded = base64.b64decode(value, validate=True)
        except (binascii.Error, ValueError):
            return None
        fields = _parsed(decoded)
        if fields is None:
            return decoded.decode("latin-1") or None
        address, expires = fields
        if expires and int(self._now()) > expires:
            return None
        return address or None


class CookieSessionState:
    __slots__ = ("_sessions", "upstream_address")

    def __init__(self, sessions: CookieSessions, upstream_address: str | None) -> None:
        self._sessions = sessions
        self.upstream_address = upstream_address

    def on_update(self, host_address: str, headers: ResponseHeaderMap) -> bool:
        if host_address == self.upstream_address:
            return False
        headers.add(b"set-cookie", self._sessions.set_cookie(host_address))
        return True


def _varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes((*encoded, value))


def _parsed(data: bytes) -> tuple[str, int] | None:
    """`address` and `expires` of the message; None if it is none."""
    address, expires, at = "", 0, 0
    while at < len(data):
        key, at = _read_varint(data, at)
        field, kind = key >> 3, key & 7
        if not field:
            return None
        if kind == _VARINT:
            number, at = _read_varint(data, at)
            expires = number if field == 2 else expires
        elif kind == _BYTES:
            size, at = _read_varint(data, at)
            if at + size > len(data):
                return None
            address = data[at : at + size].decode("utf-8", "replace") if field == 1 else address
            at += size
        elif kind in (_FIXED64, _FIXED32):
            at += 8 if kind == _FIXED64 else 4
        else:
            return None
        if at > len(data):
            return None
    return address, expires


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    """The number and where it ends, which is beyond `data` if it is cut off or too long."""
    value = shift = 0
    while at < len(data) and shift < 70:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at += 1
        shift += 7
        if byte < 0x80:
            return value, at
    return 0, len(data) + 1


@SESSION_STATES.register("envoy.http.stateful_session.cookie", TYPE)
def create_cookie_sessions(config: Any, dispatcher: Dispatcher) -> SessionStateFactory:
    cookie = config.cookie
    if not cookie.name:
        raise ConfigError("Cookie key cannot be empty for cookie based stateful sessions", "cookie.name")
    return CookieSessions(
        cookie.name.encode(),
        cookie.ttl.seconds,
        cookie.path.encode(),
        cookie_attributes(cookie),
        dispatcher.monotonic_time,
    )
