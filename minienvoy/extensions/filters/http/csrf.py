"""`envoy.filters.http.csrf`: refuses requests that change something and come from another site.

Envoy: `Extensions::HttpFilters::Csrf::CsrfFilter`; docs "CSRF". Where a request comes from is what `origin` says, or
else `referer`; it may come from its own host, and from the `additional_origins`.
"""

from __future__ import annotations

import re
from typing import Any, Final

from ....config.fields import honours
from ....config.runtime import Loader, RuntimeFractionalPercent
from ....http.filter import HTTP_FILTERS, FilterHeadersStatus, HttpFilterFactory, StreamDecoderFilter
from ....http.header_map import RequestHeaderMap
from ....matchers.string import compile_string_matcher
from ....router.filter_config import ROUTE_FILTER_CONFIGS, most_specific_config
from ....server.factory_context import FactoryContext
from ....stats.store import CounterValue, StatsStruct

NAME: Final = "envoy.filters.http.csrf"
TYPE: Final = "envoy.extensions.filters.http.csrf.v3.CsrfPolicy"

honours(TYPE, "filter_enabled", "shadow_enabled", "additional_origins")

_CHANGES: Final = frozenset({b"POST", b"PUT", b"DELETE", b"PATCH"})
_URL: Final = re.compile(rb"[a-zA-Z]+://(?:[^/?#@]*@)?([^/?#@]+)")


class CsrfStats(StatsStruct):
    """`http.<stat_prefix>.csrf.`"""

    missing_source_origin: CounterValue
    request_invalid: CounterValue
    request_valid: CounterValue


class CsrfPolicy:
    """Of the filter, or of a route."""

    __slots__ = ("_draw", "_enabled", "_origins", "_runtime", "_shadow")

    def __init__(self, proto: Any, path: str, server: Any) -> None:
        """Raises ConfigError: a wrong regular expression."""
        path = f"{path}." if path else ""
        self._enabled = RuntimeFractionalPercent.from_proto(proto.filter_enabled)
        self._shadow = (
            RuntimeFractionalPercent.from_proto(proto.shadow_enabled) if proto.HasField("shadow_enabled") else None
        )
        self._origins = tuple(
            compile_string_matcher(each, f"{path}additional_origins[{at}]")
            for at, each in enumerate(proto.additional_origins)
        )
        self._runtime: Loader = server.runtime
        self._draw = server.random.stream("csrf").getrandbits

    def enabled(self) -> bool:
        return self._runtime.snapshot.fraction_enabled(self._enabled, self._draw(64))

    def shadow_enabled(self) -> bool:
        return self._shadow is not None and self._runtime.snapshot.fraction_enabled(self._shadow, self._draw(64))

    def accepts(self, origin: bytes, target: bytes) -> bool:
        return origin == target or any(matches(origin) for matches in self._origins)


def host_and_port(url: bytes) -> bytes:
    """Of a URL; what is none is taken as it is."""
    found = _URL.match(url)
    return url if found is None else found[1]


def source_origin(headers: RequestHeaderMap) -> bytes:
    """Empty if it is not known; a browser that does not tell says `null`."""
    origin = headers.get(b"origin")
    if origin == b"null":
        return b""
    return host_and_port(origin or headers.get(b"referer") or b"")


class CsrfFilter(StreamDecoderFilter):
    """One stream."""

    def __init__(self, policy: CsrfPolicy, stats: CsrfStats, name: str) -> None:
        self._policy = policy
        self._stats = stats
        self._name = name

    def decode_headers(self, headers: RequestHeaderMap, end_stream: bool) -> FilterHeadersStatus:
        if headers.method not in _CHANGES:
            return FilterHeadersStatus.CONTINUE
        policy: CsrfPolicy = most_specific_config(self.decoder_callbacks, self._name, CsrfPolicy) or self._policy
        enabled = policy.enabled()
        if not enabled and not policy.shadow_enabled():
            return FilterHeadersStatus.CONTINUE
        origin = source_origin(headers)
        if not origin:
            self._stats.missing_source_origin += 1
        elif policy.accepts(origin, host_and_port(headers.authority)):
            self._stats.request_valid += 1
            return FilterHeadersStatus.CONTINUE
        else:
            self._stats.request_invalid += 1
        if not enabled:
            return FilterHeadersStatus.CONTINUE
        self.decoder_callbacks.send_local_reply(403, "Invalid origin", "csrf_origin_mismatch")
        return FilterHeadersStatus.STOP_ITERATION


@HTTP_FILTERS.register(NAME, TYPE)
def create_csrf_filter(proto: Any, context: FactoryContext) -> HttpFilterFactory:
    policy, name = CsrfPolicy(proto, "", context.server), context.filter_name
    stats = context.http_scope.scope("csrf").struct(CsrfStats)
    return lambda: CsrfFilter(policy, stats, name)


@ROUTE_FILTER_CONFIGS.register(NAME, TYPE)
def create_csrf_policy(proto: Any, path: str, server: Any) -> CsrfPolicy:
    return CsrfPolicy(proto, path, server)
