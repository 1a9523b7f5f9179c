"""What of a request decides where it goes, for balancers that hash and for weighted clusters.

Envoy: `Http::HashPolicyImpl`; docs "Hash policy". Several policies are combined; one that finds nothing says nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

from ..config.fields import honours
from ..http.header_map import RequestHeaderMap
from ..matchers.cookie import parse_cookies
from ..matchers.query_parameter import parse_query
from ..matchers.regex import compile_substitution
from ..upstream import xx_hash

if TYPE_CHECKING:
    from ..stream_info import StreamInfo

_HASH_POLICY: Final = "envoy.config.route.v3.RouteAction.HashPolicy"

honours(_HASH_POLICY, "header", "cookie", "connection_properties", "query_parameter", "filter_state", "terminal")
honours(f"{_HASH_POLICY}.Header", "header_name", "regex_rewrite")
honours(f"{_HASH_POLICY}.Cookie", "name", "ttl", "path", "attributes")
honours(f"{_HASH_POLICY}.CookieAttribute", "name", "value")
honours(f"{_HASH_POLICY}.ConnectionProperties", "source_ip")
honours(f"{_HASH_POLICY}.QueryParameter", "name")
honours(f"{_HASH_POLICY}.FilterState", "key")

SetCookie = Callable[[bytes], None]
HashMethod = Callable[[RequestHeaderMap, "StreamInfo", "SetCookie | None"], "int | None"]

_MASK: Final = 2**64 - 1


class HashPolicy:
    """The `hash_policy` of a route, or of a balancer."""

    __slots__ = ("_methods",)

    def __init__(self, protos: Sequence[Any], path: str) -> None:
        """Raises ConfigError for a wrong regular expression."""
        self._methods = tuple((_method(each, f"{path}[{at}]"), each.terminal) for at, each in enumerate(protos))

    def generate_hash(self, headers: RequestHeaderMap, stream: StreamInfo, set_cookie: SetCookie | None) -> int | None:
        """0 to 2**64 - 1, or None if there is nothing to hash. `set_cookie` takes the value of a `set-cookie`."""
        value: int | None = None
        for method, terminal in self._methods:
            new = method(headers, stream, set_cookie)
            if new is not None:
                # Rotated, so that two that are alike do not cancel each other out.
                old = 0 if value is None else ((value << 1) | (value >> 63)) & _MASK
                value = old ^ new
            if terminal and value is not None:
                break
        return value


def _method(proto: Any, path: str) -> HashMethod:
    kind = proto.WhichOneof("policy_specifier")
    if kind == "header":
        return _header(proto.header, f"{path}.header")
    if kind == "cookie":
        return _cookie(proto.cookie)
    if kind == "query_parameter":
        name = proto.query_parameter.name.encode()
        return lambda headers, stream, set_cookie: _hash_of(parse_query(headers.path).get(name))
    if kind == "connection_properties":
        return _source_ip if proto.connection_properties.source_ip else _nothing
    key = proto.filter_state.key
    return lambda headers, stream, set_cookie: hash_of_filter_state(stream, key)


def _nothing(headers: RequestHeaderMap, stream: StreamInfo, set_cookie: SetCookie | None) -> int | None:
    return None


def _hash_of(value: bytes | None) -> int | None:
    return None if value is None else xx_hash.xx_hash64(value)


def hash_of_filter_state(stream: StreamInfo, key: str) -> int | None:
    """None if there is no such object."""
    value = stream.state(key)
    return None if value is None else xx_hash.xx_hash64(value if isinstance(value, bytes) else str(value).encode())


def hash_of_source_ip(stream: StreamInfo) -> int | None:
    """Of the client's address without its port; None where it has none, as on a unix socket."""
    address = stream.connection.remote_address
    return xx_hash.xx_hash64(address.host.encode()) if address is not None and address.host else None


def _source_ip(headers: RequestHeaderMap, stream: StreamInfo, set_cookie: SetCookie | None) -> int | None:
    return hash_of_source_ip(stream)


def _header(proto: Any, path: str) -> HashMethod:
    name = proto.header_name.lower().encode()
    rewrite: Callable[[bytes], bytes] | None = None
    if proto.HasField("regex_rewrite"):
        rewrite = compile_substitution(proto.regex_rewrite, f"{path}.regex_rewrite")

    def method(headers: RequestHeaderMap, stream: StreamInfo, set_cookie: SetCookie | None) -> int | None:
        values = headers.get_all(name)
        if not values:
            return None
        if rewrite is not None:
            values = [rewrite(value) for value in values]
        # Their order in the request does not matter.
        return xx_hash.xx_hash64_of_all(sorted(values))

    return method


def cookie_attributes(proto: Any) -> bytes:
    """What stands behind the value in a `set-cookie`, by a message with `ttl`, `path` and `attributes`."""
    after = b""
    if proto.ttl.seconds:
        after += b"; Max-Age=%d" % proto.ttl.seconds
    if proto.path:
        after += b"; Path=" + proto.path.encode()
    for each in proto.attributes:
        after += b"; " + each.name.encode() + (b"=" + each.value.encode() if each.value else b"")
    return after


def _cookie(proto: Any) -> HashMethod:
    name = proto.name.encode()
    lasting = proto.HasField("ttl")
    after = cookie_attributes(proto)

    def method(headers: RequestHeaderMap, stream: StreamInfo, set_cookie: SetCookie | None) -> int | None:
        value = parse_cookies(headers.get_all(b"cookie")).get(name)
        if not value:
            if not lasting or set_cookie is None:
                return None
            ends = (stream.connection.remote_address, stream.connection.local_address)
            value = b"%016x" % xx_hash.xx_hash64("".join(map(str, ends)).encode())
            set_cookie(b'%b="%b"%b; HttpOnly' % (name, value, after))
        return xx_hash.xx_hash64(value)

    return method
