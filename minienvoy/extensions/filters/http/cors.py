"""`envoy.filters.http.cors`: tells browsers which origins may read what, and answers their preflights.

Envoy: `Extensions::HttpFilters::Cors::CorsFilter`; docs "CORS". The filter itself has nothing to configure. Policies
are those of the route, its virtual host and its route configuration, as configurations of this filter, or else those of
the older `cors` fields of routes and virtual hosts; what the most specific one does not say, the next one does. Whether
the filter is on at all, though, is said by the most specific one alone.
"""

from __future__ import annotations

from typing import Any, Final

from ....config.fields import honours
from ....explain.explanation import NO_EXPLANATION
from ....http.filter import HTTP_FILTERS, FilterHeadersStatus, HttpFilterFactory, StreamFilter
from ....http.header_map import RequestHeaderMap, ResponseHeaderMap
from ....router.cors_policy import FILTER_POLICY, CorsPolicy
from ....router.filter_config import ROUTE_FILTER_CONFIGS
from ....server.factory_context import FactoryContext
from ....stats.store import CounterValue, StatsStruct

NAME: Final = "envoy.filters.http.cors"
TYPE: Final = "envoy.extensions.filters.http.cors.v3.Cors"
DETAILS: Final = "cors_response"

honours(TYPE)


class CorsStats(StatsStruct):
    """`http.<stat_prefix>.cors.`"""

    origin_valid: CounterValue
    origin_invalid: CounterValue


class CorsFilter(StreamFilter):
    """One stream."""

    def __init__(self, stats: CorsStats, name: str) -> None:
        self._stats = stats
        self._name = name
        self._policies: tuple[CorsPolicy, ...] = ()
        self._origin = b""
        """Set if the response is to be about it."""

    def decode_headers(self, headers: RequestHeaderMap, end_stream: bool) -> FilterHeadersStatus:
        callbacks = self.decoder_callbacks
        route = callbacks.route()
        if route is None or route.direct_response is not None:
            return FilterHeadersStatus.CONTINUE
        own = tuple(each for each in route.per_filter_configs(self._name)[::-1] if isinstance(each, CorsPolicy))
        self._policies = policies = own or route.cors_policies
        if not policies:
            return FilterHeadersStatus.CONTINUE
        first = policies[0]
        if not first.is_enabled() and not first.is_shadow_enabled():
            return FilterHeadersStatus.CONTINUE
        origin = headers.get(b"origin")
        if not origin:
            return FilterHeadersStatus.CONTINUE
        allowed = self._allows(origin)
        if allowed:
            self._stats.origin_valid += 1
        else:
            self._stats.origin_invalid += 1
        # Envoy draws anew: of a request whose origin has been counted it may still be decided that it is let alone.
        enforced = not first.is_shadow_enabled() or first.is_enabled()
        if callbacks.explain is not NO_EXPLANATION:
            verdict = ("" if enforced else "shadow ") + ("allowed" if allowed else "not allowed")
            callbacks.explain.decided("cors", verdict, f"origin {origin.decode('latin-1')}")
        if not enforced:
            return FilterHeadersStatus.CONTINUE
        if allowed:
            self._origin = origin
        if headers.method != b"OPTIONS" or not headers.get(b"access-control-request-method"):
            return FilterHeadersStatus.CONTINUE
        if not allowed and self._answer("forward_not_matching_preflights", True):
            return FilterHeadersStatus.CONTINUE
        callbacks.encode_headers(self._preflight_response(headers), True, DETAILS)
        return FilterHeadersStatus.STOP_ITERATION

    def encode_headers(self, headers: ResponseHeaderMap, end_stream: bool) -> FilterHeadersStatus:
        if self._origin:
            headers.set(b"access-control-allow-origin", self._origin)
            if self._answer("allow_credentials", False):
                headers.set(b"access-control-allow-credentials", b"true")
            if exposed := self._value("expose_headers"):
                headers.set(b"access-control-expose-headers", exposed)
        return FilterHeadersStatus.CONTINUE

    def _preflight_response(self, request: RequestHeaderMap) -> ResponseHeaderMap:
        """Whatever the origin is, it is told what would be allowed to others."""
        response = ResponseHeaderMap(200)
        if self._origin:
            response.add(b"access-control-allow-origin", self._origin)
        if self._answer("allow_credentials", False):
            response.add(b"access-control-allow-credentials", b"true")
        if methods := self._value("allow_methods"):
            asked = request.get(b"access-control-request-method") or b""
            response.add(b"access-control-allow-methods", asked if methods == b"*" else methods)
        if names := self._value("allow_headers"):
            asked = request.get(b"access-control-request-headers") or b""
            response.add(b"access-control-allow-headers", asked if names == b"*" else names)
        if age := self._value("max_age"):
            response.add(b"access-control-max-age", age)
        private = request.get(b"access-control-request-private-network") == b"true"
        if private and self._answer("allow_private_network_access", False):
            response.add(b"access-control-allow-private-network", b"true")
        return response

    def _allows(self, origin: bytes) -> bool:
        return next((policy.allows(origin) for policy in self._policies if policy.origins), False)

    def _value(self, field: str) -> bytes:
        """Of the most specific policy that has one."""
        return next((value for policy in self._policies if (value := getattr(policy, field))), b"")

    def _answer(self, field: str, default: bool) -> bool:
        answers = (getattr(policy, field) for policy in self._policies)
        return next((answer for answer in answers if answer is not None), default)


@HTTP_FILTERS.register(NAME, TYPE)
def create_cors_filter(proto: Any, context: FactoryContext) -> HttpFilterFactory:
    stats, name = context.http_scope.scope("cors").struct(CorsStats), context.filter_name
    return lambda: CorsFilter(stats, name)


@ROUTE_FILTER_CONFIGS.register(NAME, FILTER_POLICY)
def create_cors_policy(proto: Any, path: str, server: Any) -> CorsPolicy:
    return CorsPolicy.from_proto(proto, path, server)
