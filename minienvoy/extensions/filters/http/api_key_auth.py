"""`envoy.filters.http.api_key_auth`: lets in who knows a key, and knows by it whose it is.

Envoy: `Extensions::HttpFilters::ApiKeyAuth::ApiKeyAuthFilter`; docs "API Key Auth". Keys are looked for in headers,
parameters of the query and cookies, in the order of the sources; the first that has one counts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from ....config.fields import honours
from ....errors import ConfigError
from ....http.filter import HTTP_FILTERS, FilterHeadersStatus, HttpFilterFactory, StreamDecoderFilter
from ....http.header_map import RequestHeaderMap, entry, suspect
from ....http.query_parameters import parse_query, replace_query
from ....matchers.cookie import parse_cookies
from ....record import record
from ....router.filter_config import ROUTE_FILTER_CONFIGS, most_specific_config
from ....stats.store import CounterValue, StatsStruct

if TYPE_CHECKING:
    from ....server.factory_context import FactoryContext, ServerContext

NAME: Final = "envoy.filters.http.api_key_auth"
_TYPE: Final = "envoy.extensions.filters.http.api_key_auth.v3"
CONFIG_TYPE: Final = f"{_TYPE}.ApiKeyAuth"
ROUTE_TYPE: Final = f"{_TYPE}.ApiKeyAuthPerRoute"

honours(CONFIG_TYPE, "credentials", "key_sources", "forwarding")
honours(ROUTE_TYPE, "credentials", "key_sources", "forwarding", "allowed_clients")
honours(f"{_TYPE}.Credential", "key", "client")
honours(f"{_TYPE}.KeySource", "header", "query", "cookie")
honours(f"{_TYPE}.Forwarding", "header", "hide_credentials")

UNAUTHORIZED: Final = 401
FORBIDDEN: Final = 403
_BEARER: Final = b"Bearer "


class ApiKeyAuthStats(StatsStruct):
    """`http.<stat_prefix>.api_key_auth.`"""

    allowed: CounterValue
    unauthorized: CounterValue
    forbidden: CounterValue


@record
class KeySource:
    """`find` gives the key, empty if there is none; `hide` takes it out of the request."""

    find: Callable[[RequestHeaderMap], bytes]
    hide: Callable[[RequestHeaderMap], object]

    @classmethod
    def from_proto(cls, proto: Any, path: str) -> KeySource:
        """Raises ConfigError: it names no place."""
        if proto.header:
            header = proto.header.lower().encode()
            return cls(
                lambda headers: (headers.get(header) or b"").removeprefix(_BEARER),
                lambda headers: headers.remove(header),
            )
        if proto.query:
            parameter = proto.query.encode()
            return cls(lambda headers: _parameter(headers, parameter), lambda headers: _hide(headers, parameter))
        if proto.cookie:
            cookie = proto.cookie.encode()
            return cls(
                lambda headers: parse_cookies(headers.get_all(b"cookie")).get(cookie, b""),
                lambda headers: _hide_cookie(headers, cookie),
            )
        raise ConfigError("One of 'header'/'query'/'cookie' must be set.", path)


def _parameter(headers: RequestHeaderMap, name: bytes) -> bytes:
    return parse_query(headers.path, decode=True).get(name, [b""])[0]


def _hide(headers: RequestHeaderMap, name: bytes) -> None:
    parameters = parse_query(headers.path, decode=True)
    if parameters.pop(name, None) is not None:
        headers.path = replace_query(headers.path, parameters)


def _hide_cookie(headers: RequestHeaderMap, name: bytes) -> None:
    pairs = [pair.strip() for value in headers.get_all(b"cookie") for pair in value.split(b";")]
    kept = [pair for pair in pairs if pair.partition(b"=")[0] != name]
    if len(kept) == len(pairs):
        return
    headers.remove(b"cookie")
    if kept:
        headers.add(b"cookie", b"; ".join(kept))


@record
class Settings:
    """Of the filter or of a route; what a route does not say the filter does (None), but for `forwarding`.

    Attributes:
        credentials: clients by their keys.
        forwarding: the header that tells the client, empty for none, and whether keys are taken out of the request.
        allowed_clients: empty for all.
    """

    credentials: Mapping[bytes, bytes] | None
    sources: tuple[KeySource, ...] | None
    forwarding: tuple[bytes, bool] | None
    allowed_clients: frozenset[bytes] = frozenset()

    @classmethod
    def from_proto(cls, proto: Any, path: str) -> Settings:
        """Raises ConfigError below `path`."""
        credentials: dict[bytes, bytes] = {}
        for at, each in enumerate(proto.credentials):
            if credentials.setdefault(each.key.encode(), each.client.encode()) != each.client.encode():
                raise ConfigError("Duplicated API key.", f"{path}credentials[{at}].key")
        sources = tuple(
            KeySource.from_proto(each, f"{path}key_sources[{at}]") for at, each in enumerate(proto.key_sources)
        )
        forwarding = None
        if proto.HasField("forwarding"):
            forwarding = (proto.forwarding.header.lower().encode(), proto.forwarding.hide_credentials)
        return cls(credentials or None, sources or None, forwarding)


class ApiKeyAuthFilter(StreamDecoderFilter):
    """One stream."""

    def __init__(self, own: Settings, stats: ApiKeyAuthStats, name: str) -> None:
        self._own = own
        self._stats = stats
        self._name = name

    def decode_headers(self, headers: RequestHeaderMap, end_stream: bool) -> FilterHeadersStatus:
        own = self._own
        route: Settings = most_specific_config(self.decoder_callbacks, self._name) or own
        sources, credentials = route.sources or own.sources, route.credentials or own.credentials
        if sources is None:
            return self._refuse(UNAUTHORIZED, "Client authentication failed.", "missing_key_sources")
        if credentials is None:
            return self._refuse(UNAUTHORIZED, "Client authentication failed.", "missing_credentials")
        key = next((found for each in sources if (found := each.find(headers))), b"")
        if not key:
            return self._refuse(UNAUTHORIZED, "Client authentication failed.", "missing_api_key")
        client = credentials.get(key)
        if client is None:
            return self._refuse(UNAUTHORIZED, "Client authentication failed.", "unknown_api_key")
        if route.allowed_clients and client not in route.allowed_clients:
            return self._refuse(FORBIDDEN, "Client is forbidden.", "client_not_allowed")
        # Of this a route has nothing from the filter.
        header, hides = route.forwarding or (b"", False)
        if header:
            headers.remove(header)
            headers.add_entry(suspect(entry(header, client)))
        if hides:
            for each in sources:
                each.hide(headers)
        self._stats.allowed += 1
        return FilterHeadersStatus.CONTINUE

    def _refuse(self, status: int, body: str, details: str) -> FilterHeadersStatus:
        if status == FORBIDDEN:
            self._stats.forbidden += 1
        else:
            self._stats.unauthorized += 1
        self.decoder_callbacks.send_local_reply(status, body, details)
        return FilterHeadersStatus.STOP_ITERATION


@HTTP_FILTERS.register(NAME, CONFIG_TYPE)
def create_api_key_auth_filter(proto: Any, context: FactoryContext) -> HttpFilterFactory:
    own, name = Settings.from_proto(proto, ""), context.filter_name
    stats = context.http_scope.scope("api_key_auth").struct(ApiKeyAuthStats)
    return lambda: ApiKeyAuthFilter(own, stats, name)


@ROUTE_FILTER_CONFIGS.register(NAME, ROUTE_TYPE)
def create_route_settings(proto: Any, path: str, server: ServerContext) -> Settings:
    """Raises ConfigError below `path`."""
    made = Settings.from_proto(proto, f"{path}.")
    allowed = frozenset(each.encode() for each in proto.allowed_clients)
    return Settings(made.credentials, made.sources, made.forwarding, allowed)
