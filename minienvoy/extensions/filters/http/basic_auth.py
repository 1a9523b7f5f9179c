"""`envoy.filters.http.basic_auth`: lets in who knows the password of a user.

Envoy: `Extensions::HttpFilters::BasicAuth::BasicAuthFilter`; docs "Basic Auth"; RFC 7617. Users are lines as
`htpasswd -s` writes them: `name:{SHA}` and a SHA-1 in base64; no other hash is known.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from binascii import Error
from collections.abc import Mapping
from hashlib import sha1
from hmac import compare_digest
from typing import TYPE_CHECKING, Any, Final

from ....config.data_source import read_data_source
from ....config.fields import honours
from ....errors import ConfigError
from ....http.filter import HTTP_FILTERS, FilterHeadersStatus, HttpFilterFactory, StreamDecoderFilter
from ....http.header_map import RequestHeaderMap, ResponseHeaderMap, entry, suspect
from ....record import record
from ....router.filter_config import ROUTE_FILTER_CONFIGS, most_specific_config
from ....stats.store import CounterValue, StatsStruct

if TYPE_CHECKING:
    from ....server.factory_context import FactoryContext, ServerContext

NAME: Final = "envoy.filters.http.basic_auth"
_TYPE: Final = "envoy.extensions.filters.http.basic_auth.v3"
CONFIG_TYPE: Final = f"{_TYPE}.BasicAuth"
ROUTE_TYPE: Final = f"{_TYPE}.BasicAuthPerRoute"

honours(
    CONFIG_TYPE,
    "users",
    "forward_username_header",
    "authentication_header",
    "allow_missing",
    "emit_dynamic_metadata",
    "realm",
)
honours(ROUTE_TYPE, "users", "realm")

UNAUTHORIZED: Final = 401
_SCHEME: Final = b"Basic "
_SHA: Final = "{SHA}"
_HASH_LENGTH: Final = 28


class BasicAuthStats(StatsStruct):
    """`http.<stat_prefix>.basic_auth.`"""

    allowed: CounterValue
    denied: CounterValue


def read_users(source: Any, path: str) -> dict[bytes, bytes]:
    """Names and hashes, from a `DataSource` with lines of `htpasswd`.

    Raises:
        ConfigError: a line that is none, or a name that comes twice.
    """
    users: dict[bytes, bytes] = {}
    for line in read_data_source(source, path, allow_empty=False).decode("latin-1").split("\n"):
        if not line or line.startswith("#"):
            continue
        name, colon, hashed = line.partition(":")
        problem = ""
        if not colon:
            problem = "invalid htpasswd format, username:password is expected"
        elif not name or not hashed:
            problem = "empty user name or password"
        elif name.encode("latin-1") in users:
            problem = "duplicate users"
        elif not hashed.startswith(_SHA):
            problem = "unsupported htpasswd format: please use {SHA}"
        elif len(hashed) - len(_SHA) != _HASH_LENGTH:
            problem = "invalid htpasswd format, invalid SHA hash length"
        if problem:
            raise ConfigError(f"basic auth: {problem}", path)
        users[name.encode("latin-1")] = hashed[len(_SHA) :].encode("latin-1")
    return users


def decode_base64(text: bytes) -> bytes:
    """With or without padding; empty if it is none (`Base64::decodeWithoutPadding`)."""
    plain = text[:-2] if text.endswith(b"==") else text.removesuffix(b"=")
    try:
        decoded = b64decode(plain + b"=" * (-len(plain) % 4), validate=True)
    except Error:
        return b""
    # The bits that are left over have to be zero.
    return decoded if b64encode(decoded).rstrip(b"=") == plain else b""


@record
class RouteSettings:
    """Of a route, in the place of the filter's own."""

    users: Mapping[bytes, bytes]
    realm: bytes


@record
class BasicAuthConfig:
    """Of the filter; an empty `realm` is the URL of the request."""

    stats: BasicAuthStats
    own: RouteSettings
    forward_username_header: bytes
    authentication_header: bytes
    allow_missing: bool
    emits_metadata: bool


class BasicAuthFilter(StreamDecoderFilter):
    """One stream."""

    def __init__(self, config: BasicAuthConfig, name: str) -> None:
        self._config = config
        self._name = name

    def decode_headers(self, headers: RequestHeaderMap, end_stream: bool) -> FilterHeadersStatus:
        config = self._config
        settings: RouteSettings = most_specific_config(self.decoder_callbacks, self._name) or config.own
        given = headers.get(config.authentication_header)
        if given is None or not given.startswith(_SCHEME):
            if config.allow_missing:
                return FilterHeadersStatus.CONTINUE
            if given is None:
                return self._deny(headers, settings, "Missing username and password.", "no_credential")
            return self._deny(headers, settings, "Expected 'Basic' authentication scheme.", "invalid_scheme")
        name, colon, password = decode_base64(given[len(_SCHEME) :]).partition(b":")
        if not colon:
            return self._deny(headers, settings, "Invalid basic credential format.", "invalid_format")
        hashed = b64encode(sha1(password, usedforsecurity=False).digest())
        if not compare_digest(settings.users.get(name, b""), hashed):
            return self._deny(headers, settings, "Invalid username/password combination.", "invalid_credential")
        if config.forward_username_header:
            headers.remove(config.forward_username_header)
            headers.add_entry(suspect(entry(config.forward_username_header, name)))
        if config.emits_metadata:
            metadata = self.decoder_callbacks.stream_info.dynamic_metadata
            metadata[NAME] = {**metadata.get(NAME, {}), "username": name.decode("latin-1")}
        config.stats.allowed += 1
        return FilterHeadersStatus.CONTINUE

    def _deny(self, headers: RequestHeaderMap, settings: RouteSettings, body: str, details: str) -> FilterHeadersStatus:
        self._config.stats.denied += 1
        realm = settings.realm or b"%b://%b%b" % (headers.scheme, headers.authority, headers.path)

        def modify(response: ResponseHeaderMap) -> None:
            response.add(b"www-authenticate", b'Basic realm="%b"' % realm)

        text = f"User authentication failed. {body}"
        self.decoder_callbacks.send_local_reply(UNAUTHORIZED, text, f"{details}_for_basic_auth", modify)
        return FilterHeadersStatus.STOP_ITERATION


@HTTP_FILTERS.register(NAME, CONFIG_TYPE)
def create_basic_auth_filter(proto: Any, context: FactoryContext) -> HttpFilterFactory:
    config = BasicAuthConfig(
        context.http_scope.scope("basic_auth").struct(BasicAuthStats),
        RouteSettings(read_users(proto.users, "users"), proto.realm.encode()),
        proto.forward_username_header.lower().encode(),
        proto.authentication_header.lower().encode() or b"authorization",
        proto.allow_missing,
        proto.emit_dynamic_metadata,
    )
    name = context.filter_name
    return lambda: BasicAuthFilter(config, name)


@ROUTE_FILTER_CONFIGS.register(NAME, ROUTE_TYPE)
def create_route_settings(proto: Any, path: str, server: ServerContext) -> RouteSettings:
    """Raises ConfigError below `path`."""
    return RouteSettings(read_users(proto.users, f"{path}.users"), proto.realm.encode())
