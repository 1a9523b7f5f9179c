"""`envoy.filters.http.ratelimit`: asks a service that counts requests of all proxies whether there are too many.

Envoy: `Extensions::HttpFilters::RateLimitFilter::Filter`; docs "Rate limit". What the service is asked about are the
descriptors that `rate_limits` make of the request (router/rate_limit.py); without any it is not asked. If nobody can be
asked the request goes on, unless `failure_mode_deny` says otherwise. Limits that apply when the stream is done are told
to the service then, and nobody waits for what it says.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from ....config.fields import honours
from ....config.runtime import RuntimeFractionalPercent
from ....http.filter import (
    HTTP_FILTERS,
    FilterDataStatus,
    FilterHeadersStatus,
    FilterTrailersStatus,
    HttpFilterFactory,
    StreamFilter,
)
from ....http.header_map import HeaderMap, RequestHeaderMap, ResponseHeaderMap, entry, suspect
from ....record import record
from ....router.filter_config import ROUTE_FILTER_CONFIGS, most_specific_config
from ....router.header_parser import HeaderParser
from ....router.rate_limit import Descriptor, RateLimitPolicy, Subject, embedded_limits
from ....stream_info import ResponseFlag
from ..common.ratelimit import MAX_HITS, Limit, LimitStatus, NobodyListens, RateLimitClient
from .ratelimit_headers import retry_after, x_ratelimit_headers

if TYPE_CHECKING:
    from ....server.factory_context import FactoryContext, ServerContext
    from ....upstream.cluster import Cluster
    from ....upstream.grpc_client import GrpcStream

NAME: Final = "envoy.filters.http.ratelimit"
_TYPE: Final = "envoy.extensions.filters.http.ratelimit.v3"
CONFIG_TYPE: Final = f"{_TYPE}.RateLimit"
ROUTE_TYPE: Final = f"{_TYPE}.RateLimitPerRoute"
HITS_ADDEND: Final = "envoy.ratelimit.hits_addend"
RATE_LIMITED: Final = "request_rate_limited"
ERROR: Final = "rate_limiter_error"
RESOURCE_EXHAUSTED: Final = 8
TOO_MANY_REQUESTS: Final = 429
INTERNAL_SERVER_ERROR: Final = 500
_INCLUDE, _IGNORE = 1, 2  # of `VhRateLimitsOptions`

honours(
    CONFIG_TYPE,
    "domain",
    "stage",
    "request_type",
    "timeout",
    "failure_mode_deny",
    "rate_limited_as_resource_exhausted",
    "rate_limit_service",
    "enable_x_ratelimit_headers",
    "disable_x_envoy_ratelimited_header",
    "rate_limited_status",
    "response_headers_to_add",
    "status_on_error",
    "stat_prefix",
    "filter_enabled",
    "filter_enforced",
    "failure_mode_deny_percent",
    "rate_limits",
    "metadata_namespace",
    "enable_retry_after_header",
)
honours(
    ROUTE_TYPE,
    "vh_rate_limits",
    "rate_limits",
    "domain",
    ignored={"override_option": "Envoy does not look at it either"},
)
honours("envoy.type.v3.HttpStatus", "code")


@record
class RateLimitConfig:
    """Of the filter.

    Attributes:
        request_type: `internal`, `external`, or anything else for both.
        enabled, enforced: None leaves it to the runtime.
        denies: for which share of requests a failure is a denial; None: `failure_mode_deny` says it.
        limits: in place of those of routes; None if there are none.
        counter_prefix: below `cluster.<name>.`.
    """

    server: ServerContext
    client: RateLimitClient
    domain: str
    stage: int
    request_type: str
    failure_mode_deny: bool
    denies: RuntimeFractionalPercent | None
    enabled: RuntimeFractionalPercent | None
    enforced: RuntimeFractionalPercent | None
    grpc_status: int | None
    x_ratelimit_headers: bool
    ratelimited_header: bool
    retry_after: bool
    status: int
    status_on_error: int
    response_headers: HeaderParser | None
    limits: RateLimitPolicy | None
    counter_prefix: str
    metadata_namespace: str
    draw: Any

    @classmethod
    def from_proto(cls, proto: Any, context: FactoryContext) -> RateLimitConfig:
        """Raises ConfigError."""
        server = context.server
        status, on_error = proto.rate_limited_status.code, proto.status_on_error.code

        def fraction(name: str) -> RuntimeFractionalPercent | None:
            return RuntimeFractionalPercent.from_proto(getattr(proto, name)) if proto.HasField(name) else None

        return cls(
            server=server,
            client=RateLimitClient(proto, server),
            domain=proto.domain,
            stage=proto.stage,
            request_type=proto.request_type,
            failure_mode_deny=proto.failure_mode_deny,
            denies=fraction("failure_mode_deny_percent"),
            enabled=fraction("filter_enabled"),
            enforced=fraction("filter_enforced"),
            grpc_status=RESOURCE_EXHAUSTED if proto.rate_limited_as_resource_exhausted else None,
            x_ratelimit_headers=bool(proto.enable_x_ratelimit_headers),
            ratelimited_header=not proto.disable_x_envoy_ratelimited_header,
            retry_after=proto.enable_retry_after_header,
            status=status if status >= 400 else TOO_MANY_REQUESTS,
            status_on_error=on_error if on_error >= 400 else INTERNAL_SERVER_ERROR,
            response_headers=HeaderParser.from_proto(proto.response_headers_to_add, (), "response_headers", server),
            limits=embedded_limits(proto.rate_limits, "rate_limits", server, may_override=True),
            counter_prefix=f"ratelimit.{proto.stat_prefix}." if proto.stat_prefix else "ratelimit.",
            metadata_namespace=proto.metadata_namespace or NAME,
            draw=server.random.stream(f"{NAME}.{context.filter_name}").getrandbits,
        )

    def holds(self, fraction: RuntimeFractionalPercent | None, runtime_key: str) -> bool:
        """Draw; `runtime_key` is asked if there is no fraction, and is a percentage."""
        snapshot = self.server.runtime.snapshot
        if fraction is not None:
            return snapshot.fraction_enabled(fraction, self.draw(64))
        return snapshot.feature_enabled(f"ratelimit.{runtime_key}", 100, self.draw(64))

    def denies_failure(self) -> bool:
        """Draw."""
        if self.denies is None:
            return self.failure_mode_deny
        return self.server.runtime.snapshot.fraction_enabled(self.denies, self.draw(64))


@record
class RouteSettings:
    """Of a route; `limits` of None and an empty `domain` leave it to the filter."""

    virtual_host_limits: int
    limits: RateLimitPolicy | None
    domain: str


@ROUTE_FILTER_CONFIGS.register(NAME, ROUTE_TYPE)
def create_route_settings(proto: Any, path: str, server: ServerContext) -> RouteSettings:
    """Raises ConfigError below `path`."""
    limits = embedded_limits(proto.rate_limits, f"{path}.rate_limits", server, may_override=True)
    return RouteSettings(proto.vh_rate_limits, limits, proto.domain)


class RateLimitFilter(StreamFilter):
    """One stream."""

    def __init__(self, config: RateLimitConfig, name: str) -> None:
        self._config = config
        self._name = name
        self._headers: RequestHeaderMap | None = None
        self._route: Any = None
        self._settings: RouteSettings | None = None
        self._cluster: Cluster | None = None
        self._descriptors: Sequence[Descriptor] = ()
        self._call: GrpcStream | None = None
        self._asking = self._starting = False
        self._response_headers: list[tuple[bytes, bytes]] = []

    # -- the request

    def decode_headers(self, headers: RequestHeaderMap, end_stream: bool) -> FilterHeadersStatus:
        self._headers = headers
        config = self._config
        if not config.holds(config.enabled, "http_filter_enabled") or not self._is_meant(headers):
            return FilterHeadersStatus.CONTINUE
        self._look_at_route()
        self._descriptors = self._populate(stream_done=False)
        if not self._descriptors:
            return FilterHeadersStatus.CONTINUE
        self._asking = self._starting = True
        stream = self.decoder_callbacks.stream_info
        call = config.client.limit(self, self._domain(), self._descriptors, stream, headers, self._hits_addend())
        self._starting = False
        if not self._asking:
            return FilterHeadersStatus.CONTINUE
        self._call = call
        return FilterHeadersStatus.STOP_ITERATION

    def decode_data(self, data: bytes, end_stream: bool) -> FilterDataStatus:
        return FilterDataStatus.STOP_ITERATION_AND_WATERMARK if self._asking else FilterDataStatus.CONTINUE

    def decode_trailers(self, trailers: HeaderMap) -> FilterTrailersStatus:
        return FilterTrailersStatus.STOP_ITERATION if self._asking else FilterTrailersStatus.CONTINUE

    def on_destroy(self) -> None:
        call, self._call = self._call, None
        if self._asking:
            self._asking = False
            if call is not None:
                call.reset()
        elif self._headers is not None:
            descriptors = self._populate(stream_done=True)
            if descriptors:
                stream = self.decoder_callbacks.stream_info
                self._config.client.limit(
                    NobodyListens(),
                    self._domain(),
                    descriptors,
                    stream,
                    self._headers,
                    self._hits_addend(),
                    traced=False,
                )

    def _is_meant(self, headers: RequestHeaderMap) -> bool:
        wanted = self._config.request_type
        if wanted not in ("internal", "external"):
            return True
        return (headers.get(b"x-envoy-internal") == b"true") is (wanted == "internal")

    def _look_at_route(self) -> None:
        """Once: what is told when the stream is done is told by the same route."""
        callbacks = self.decoder_callbacks
        route: Any = callbacks.route()
        if route is not None and route.cluster_name:
            self._cluster = self._config.server.cluster_manager.get(route.cluster_name)
            self._route = route
            self._settings = most_specific_config(callbacks, self._name)

    def _domain(self) -> str:
        return (self._settings.domain if self._settings is not None else "") or self._config.domain

    def _hits_addend(self) -> int:
        """What other filters have left for this one."""
        value = str((self.decoder_callbacks.stream_info._filter_state or {}).get(HITS_ADDEND, ""))
        return min(int(value), MAX_HITS) if value.isascii() and value.isdigit() else 0

    def _populate(self, *, stream_done: bool) -> Sequence[Descriptor]:
        route, config, headers = self._route, self._config, self._headers
        if route is None or self._cluster is None or headers is None:
            return ()
        stream = self.decoder_callbacks.stream_info
        subject = Subject(headers, stream, route, config.server.service_cluster)
        own = (self._settings.limits if self._settings is not None else None) or config.limits
        if own is not None:
            made = [
                limit.descriptor_with_hits(subject)
                for limit in own.entries
                if limit.apply_on_stream_done is stream_done
            ]
            return [each for each in made if each is not None]
        made = [
            limit.descriptor(subject)
            for policy in self._policies(route)
            for limit in policy.of_stage(config.stage)
            if limit.apply_on_stream_done is stream_done and self._is_on(limit.disable_key)
        ]
        return [each for each in made if each is not None]

    def _policies(self, route: Any) -> list[RateLimitPolicy]:
        """Of the route, and of its virtual host if that is included or the route has none."""
        option = self._settings.virtual_host_limits if self._settings is not None else 0
        policies = [route.rate_limits]
        if route.include_virtual_host_rate_limits or option == _INCLUDE:
            policies.append(route.virtual_host_rate_limits)
        elif option != _IGNORE and route.rate_limits is None:
            policies = [route.virtual_host_rate_limits]
        return [each for each in policies if each is not None]

    def _is_on(self, disable_key: str) -> bool:
        return not disable_key or self._config.holds(None, f"{disable_key}.http_filter_enabled")

    # -- what the service says

    def complete(self, limit: Limit) -> None:
        self._asking, self._call = False, None
        config, callbacks = self._config, self.decoder_callbacks
        callbacks.explain.decided("rate_limit", limit.status.name.lower().replace("_", " "), self._name)
        if limit.dynamic_metadata:
            metadata, name = callbacks.stream_info.dynamic_metadata, config.metadata_namespace
            metadata[name] = {**metadata.get(name, {}), **limit.dynamic_metadata}
        self._charge(limit.status.name.lower())
        self._response_headers = headers = limit.response_headers
        over = limit.status is LimitStatus.OVER_LIMIT
        if over:
            if self._cluster is not None:
                self._cluster.code_stats.charge_response(config.status, True)
            if config.ratelimited_header:
                headers.append((b"x-envoy-ratelimited", b"true"))
        headers += x_ratelimit_headers(limit.statuses, self._descriptors, config.x_ratelimit_headers)
        if over and config.holds(config.enforced, "http_filter_enforcing"):
            if config.retry_after:
                headers.append(retry_after(limit.statuses))
            self._deny(limit)
        elif limit.status is LimitStatus.ERROR and config.denies_failure():
            callbacks.stream_info.set_response_flag(ResponseFlag.RATE_LIMIT_SERVICE_ERROR)
            callbacks.send_local_reply(config.status_on_error, limit.body, ERROR)
        else:
            if limit.status is LimitStatus.ERROR:
                self._charge("failure_mode_allowed")
            self._go_on(limit)

    def _deny(self, limit: Limit) -> None:
        config, callbacks = self._config, self.decoder_callbacks
        request, stream = self._headers, callbacks.stream_info
        wanted, self._response_headers = self._response_headers, []

        def modify(headers: ResponseHeaderMap) -> None:
            for name, value in wanted:
                headers.append_entry(entry(name, value))
            if config.response_headers is not None:
                config.response_headers.evaluate(headers, stream, request, headers)

        stream.set_response_flag(ResponseFlag.RATE_LIMITED)
        callbacks.send_local_reply(config.status, limit.body, RATE_LIMITED, modify, config.grpc_status)

    def _go_on(self, limit: Limit) -> None:
        if self._starting:
            # As in Envoy: what is known at once changes nothing.
            return
        if self._headers is not None:
            for name, value in limit.request_headers:
                self._headers.append_entry(suspect(entry(name, value)))
        self.decoder_callbacks.continue_decoding()

    def _charge(self, counter: str) -> None:
        if self._cluster is not None:
            self._cluster.stats.scope.counter(self._config.counter_prefix + counter).add(1)

    # -- the response

    def encode_headers(self, headers: ResponseHeaderMap, end_stream: bool) -> FilterHeadersStatus:
        wanted, self._response_headers = self._response_headers, []
        for name, value in wanted:
            headers.append_entry(entry(name, value))
        return FilterHeadersStatus.CONTINUE


@HTTP_FILTERS.register(NAME, CONFIG_TYPE)
def create_rate_limit_filter(proto: Any, context: FactoryContext) -> HttpFilterFactory:
    config, name = RateLimitConfig.from_proto(proto, context), context.filter_name
    return lambda: RateLimitFilter(config, name)
