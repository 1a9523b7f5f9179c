"""Keys that are fetched from their issuer.

Envoy: `Extensions::HttpFilters::Common::JwksFetcher`, `JwksAsyncFetcher`; docs "JWT Authentication". A request that
finds no keys, or old ones, fetches them; `async_fetch` has them fetched before anybody asks, again and again.
"""

from __future__ import annotations

import re
import weakref
from collections.abc import Callable
from math import inf
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from .....config.fields import honours
from .....errors import ConfigError
from .....http.header_map import HeaderMap, RequestHeaderMap, ResponseHeaderMap
from .....server.async_services import HTTP_RETRY_ON, HttpUriConfig, async_client, core_retry_policy, retries_by
from .....stats.store import CounterValue, StatsStruct
from .....upstream.async_client import DEFAULT_OPTIONS, StreamOptions
from .....upstream.duration import duration_of
from .keys import KeySet
from .status import Refusal

if TYPE_CHECKING:
    from .....server.factory_context import ServerContext
    from .....upstream.async_client import AsyncStream

_PACKAGE: Final = "envoy.extensions.filters.http.jwt_authn.v3"
honours(f"{_PACKAGE}.RemoteJwks", "http_uri", "cache_duration", "async_fetch", "retry_policy")
honours(f"{_PACKAGE}.JwksAsyncFetch", "fast_listener", "failed_refetch_duration")

DEFAULT_CACHE_SECONDS: Final = 600.0
DEFAULT_REFETCH_SECONDS: Final = 1.0
MAX_RESPONSE: Final = 1 << 20
"""Of bytes; more are no set of keys."""
_USER_AGENT: Final = b"Go-browser"
"""As Envoy calls itself here."""
_BLANK: Final = re.compile(r"[\x00-\x20\x7f]")
_AHEAD: Final = 5.0
"""Seconds that keys are fetched anew before they would be old."""


class JwtStats(StatsStruct):
    """`http.<stat_prefix>.jwt_authn.`"""

    allowed: CounterValue
    cors_preflight_bypassed: CounterValue
    denied: CounterValue
    jwks_fetch_failed: CounterValue
    jwks_fetch_success: CounterValue
    jwt_cache_hit: CounterValue
    jwt_cache_miss: CounterValue


def _scheme(uri: str) -> str:
    """Empty if nothing can be fetched there; Envoy takes others for `http`."""
    try:
        parts = urlsplit(uri)
        usable = bool(parts.scheme) and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return ""
    if not usable or _BLANK.search(uri) is not None:
        return ""
    return "https" if parts.scheme == "https" else "http"


class Fetch:
    """One request for the keys; `done` is told once whether they came."""

    def __init__(self, remote: RemoteKeys, done: Callable[[KeySet | None], None]) -> None:
        self._done: Callable[[KeySet | None], None] | None = done
        headers = RequestHeaderMap(b"GET", remote.uri.path, remote.uri.host, scheme=remote.scheme)
        headers.add(b"user-agent", _USER_AGENT)
        self._stream: AsyncStream | None = None
        client = async_client(remote.server)
        stream = client.send(remote.uri.cluster, headers, b"", self, remote.uri.timeout, MAX_RESPONSE, remote.options)
        if self._done is not None:
            self._stream = stream

    @property
    def running(self) -> bool:
        return self._done is not None

    def cancel(self) -> None:
        """Nothing is told any more."""
        self._done = None
        stream, self._stream = self._stream, None
        if stream is not None:
            stream.reset()

    def on_success(self, headers: ResponseHeaderMap, body: bytes, trailers: HeaderMap | None) -> None:
        keys = None
        if headers.status == 200 and body:
            try:
                keys = KeySet(body)
            except Refusal:
                keys = None
        self._finish(keys)

    def on_failure(self) -> None:
        self._finish(None)

    def _finish(self, keys: KeySet | None) -> None:
        done, self._done, self._stream = self._done, None, None
        if done is not None:
            done(keys)


class RemoteKeys:
    """Of one provider.

    Attributes:
        keys: those that are fresh enough, or None.
    """

    def __init__(self, proto: Any, path: str, name: str, server: ServerContext, stats: JwtStats) -> None:
        """Raises ConfigError: a URI that is none, or retries that make no sense."""
        uri: str = proto.http_uri.uri
        scheme = _scheme(uri)
        if not scheme:
            raise ConfigError(f"Provider '{name}' has an invalid URI: '{uri}'", f"{path}.http_uri.uri")
        self.uri = HttpUriConfig.from_proto(proto.http_uri, f"{path}.http_uri")
        self.scheme = scheme.encode()
        self.server = server
        self.options = DEFAULT_OPTIONS
        if proto.HasField("retry_policy"):
            policy = core_retry_policy(proto.retry_policy, f"{path}.retry_policy", HTTP_RETRY_ON)
            self.options = StreamOptions(retries=retries_by(policy, server))
        self._stats = stats
        self._lasts = duration_of(proto, "cache_duration", DEFAULT_CACHE_SECONDS)
        self._keys: KeySet | None = None
        self._until = -inf
        self._ahead: AheadFetcher | None = None
        if proto.HasField("async_fetch"):
            again = duration_of(proto.async_fetch, "failed_refetch_duration", DEFAULT_REFETCH_SECONDS)
            self._ahead = AheadFetcher(self, again)
            server.begin(self._ahead.start)

    @property
    def keys(self) -> KeySet | None:
        if self._ahead is None and self.server.dispatcher.monotonic_time() >= self._until:
            return None
        return self._keys

    def fetch(self, done: Callable[[KeySet | None], None]) -> Fetch:
        """Ask for them now."""

        def finished(keys: KeySet | None) -> None:
            if keys is None:
                self._stats.jwks_fetch_failed += 1
            else:
                self._stats.jwks_fetch_success += 1
                self._keep(keys)
            done(keys)

        return Fetch(self, finished)

    def _keep(self, keys: KeySet) -> None:
        self._keys = keys
        self._until = self.server.dispatcher.monotonic_time() + self._lasts

    @property
    def renewed_after(self) -> float:
        return self._lasts - _AHEAD if self._lasts > _AHEAD else self._lasts


class AheadFetcher:
    """Fetches the keys before they are asked for; ends when the filter's configuration is gone."""

    def __init__(self, remote: RemoteKeys, again: float) -> None:
        self._remote = weakref.ref(remote)
        self._again = again
        reference = weakref.WeakMethod(self.start)

        def fire() -> None:
            start = reference()
            if start is not None:
                start()

        self._timer = remote.server.dispatcher.create_timer(fire)

    def start(self) -> None:
        remote = self._remote()
        if remote is not None:
            remote.fetch(self._finished)

    def _finished(self, keys: KeySet | None) -> None:
        remote = self._remote()
        if remote is not None:
            self._timer.enable(self._again if keys is None else remote.renewed_after)
