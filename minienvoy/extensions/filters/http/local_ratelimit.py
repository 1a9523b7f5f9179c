"""`envoy.filters.http.local_ratelimit`: refuses requests of which there are too many, without asking anybody.

Envoy: `Extensions::HttpFilters::LocalRateLimitFilter::Filter`; docs "Local rate limit". `filter_enabled` says for how
many requests tokens are taken at all, `filter_enforced` how many of those without a token are refused; by default it
is none. A route may have settings, and so a bucket, of its own. What descriptors a request has, `rate_limits` of its
route and virtual host say, or of the filter itself (router/rate_limit.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from ....config.fields import honours
from ....config.runtime import RuntimeFractionalPercent
from ....errors import ConfigError
from ....explain.explanation import NO_EXPLANATION
from ....http.filter import HTTP_FILTERS, FilterHeadersStatus, HttpFilterFactory, StreamFilter
from ....http.header_map import RequestHeaderMap, ResponseHeaderMap
from ....record import record
from ....router.filter_config import ROUTE_FILTER_CONFIGS, most_specific_config
from ....router.header_parser import HeaderParser
from ....router.rate_limit import Descriptor, RateLimitPolicy, Subject, embedded_limits
from ....server.factory_context import FactoryContext, ServerContext
from ....stats.store import CounterValue, StatsStruct
from ....stream_info import ResponseFlag
from ..common.local_ratelimit import (
    MAX_DYNAMIC_DESCRIPTORS,
    BucketSettings,
    LocalRateLimiter,
    Verdict,
    descriptor_settings,
    local_cluster_share,
)

NAME = "envoy.filters.http.local_ratelimit"
CONFIG_TYPE = "envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit"
BODY = DETAILS = "local_rate_limited"
RESOURCE_EXHAUSTED: Final = 8
TOO_MANY_REQUESTS: Final = 429
_INCLUDE, _IGNORE = 1, 2  # of `VhRateLimitsOptions`

honours(
    CONFIG_TYPE,
    "stat_prefix",
    "status",
    "token_bucket",
    "filter_enabled",
    "filter_enforced",
    "request_headers_to_add_when_not_enforced",
    "response_headers_to_add",
    "descriptors",
    "stage",
    "local_rate_limit_per_downstream_connection",
    "local_cluster_rate_limit",
    "enable_x_ratelimit_headers",
    "vh_rate_limits",
    "always_consume_default_token_bucket",
    "rate_limited_as_resource_exhausted",
    "rate_limits",
    "max_dynamic_descriptors",
    "enable_retry_after_header",
)
honours("envoy.type.v3.HttpStatus", "code")


class LocalRateLimitStats(StatsStruct):
    """`<stat_prefix>.http_local_rate_limit.`"""

    enabled: CounterValue
    enforced: CounterValue
    ok: CounterValue
    rate_limited: CounterValue
    shadow_mode: CounterValue


@record
class LocalRateLimitConfig:
    """Of the filter, or of a route.

    Attributes:
        limiter: None: each connection has its own, which `make_limiter` makes.
        has_descriptors: whether it is worth finding out what descriptors a request has.
    """

    server: ServerContext
    stats: LocalRateLimitStats
    stat_prefix: str
    limiter: LocalRateLimiter | None
    make_limiter: Any
    status: int
    enabled: RuntimeFractionalPercent
    enforced: RuntimeFractionalPercent
    draw: Any
    request_headers: HeaderParser | None
    response_headers: HeaderParser | None
    has_descriptors: bool
    rate_limits: RateLimitPolicy | None
    stage: int
    virtual_host_limits: int
    x_ratelimit_headers: bool
    retry_after: bool
    grpc_status: int | None

    @classmethod
    def from_proto(cls, proto: Any, server: ServerContext, path: str = "", *, of_route: bool = False) -> Any:
        """Raises ConfigError below `path`."""

        def at(field: str) -> str:
            return f"{path}.{field}" if path else field

        bucket = None
        if proto.HasField("token_bucket"):
            bucket = BucketSettings.from_proto(proto.token_bucket, at("token_bucket"))
        elif of_route:
            raise ConfigError("local rate limit token bucket must be set for per filter configs", path)
        descriptors = descriptor_settings(proto.descriptors, at("descriptors"))
        share = None
        per_connection = proto.local_rate_limit_per_downstream_connection
        if proto.HasField("local_cluster_rate_limit"):
            if per_connection:
                raise ConfigError(
                    "local_cluster_rate_limit is set and local_rate_limit_per_downstream_connection is set to true",
                    at("local_cluster_rate_limit"),
                )
            share = local_cluster_share(server.cluster_manager, at("local_cluster_rate_limit"))
        always = not proto.HasField("always_consume_default_token_bucket")
        limit = proto.max_dynamic_descriptors.value if proto.HasField("max_dynamic_descriptors") else 0

        def make_limiter() -> LocalRateLimiter:
            return LocalRateLimiter(
                server.dispatcher.monotonic_time,
                bucket,
                descriptors,
                always_consume_default=always or proto.always_consume_default_token_bucket.value,
                max_dynamic_descriptors=limit or MAX_DYNAMIC_DESCRIPTORS,
                share=share,
            )

        stats = server.stats.scope(f"{proto.stat_prefix}.http_local_rate_limit").struct(LocalRateLimitStats)
        code = proto.status.code
        return cls(
            server=server,
            stats=stats,
            stat_prefix=proto.stat_prefix,
            limiter=None if per_connection else make_limiter(),
            make_limiter=make_limiter,
            status=code if code >= 400 else TOO_MANY_REQUESTS,
            enabled=RuntimeFractionalPercent.from_proto(proto.filter_enabled),
            enforced=RuntimeFractionalPercent.from_proto(proto.filter_enforced),
            draw=server.random.stream(f"{proto.stat_prefix}.http_local_rate_limit").getrandbits,
            request_headers=HeaderParser.from_proto(
                proto.request_headers_to_add_when_not_enforced, (), at("request_headers"), server
            ),
            response_headers=HeaderParser.from_proto(proto.response_headers_to_add, (), at("response_headers"), server),
            has_descriptors=bool(descriptors),
            rate_limits=embedded_limits(proto.rate_limits, at("rate_limits"), server),
            stage=proto.stage,
            virtual_host_limits=proto.vh_rate_limits,
            x_ratelimit_headers=bool(proto.enable_x_ratelimit_headers),
            retry_after=proto.enable_retry_after_header,
            grpc_status=RESOURCE_EXHAUSTED if proto.rate_limited_as_resource_exhausted else None,
        )

    def holds(self, fraction: RuntimeFractionalPercent) -> bool:
        """Draw."""
        return self.server.runtime.snapshot.fraction_enabled(fraction, self.draw(64))


class LocalRateLimitFilter(StreamFilter):
    """One stream."""

    def __init__(self, config: LocalRateLimitConfig, name: str) -> None:
        self.config = config
        self._name = name
        self._verdict: Verdict | None = None
        self._limited = False

    def decode_headers(self, headers: RequestHeaderMap, end_stream: bool) -> FilterHeadersStatus:
        callbacks = self.decoder_callbacks
        own = most_specific_config(callbacks, self._name)
        if own is not None:
            self.config = own
        config = self.config
        if not config.holds(config.enabled):
            return FilterHeadersStatus.CONTINUE
        stats = config.stats
        stats.enabled += 1
        descriptors = self._descriptors(headers) if config.has_descriptors else ()
        self._verdict = verdict = self._limiter().request_allowed(descriptors)
        if callbacks.explain is not NO_EXPLANATION:
            self._explain(verdict, descriptors)
        if verdict.allowed:
            if verdict.shadow:
                stats.rate_limited += 1
                stats.shadow_mode += 1
            else:
                stats.ok += 1
            return FilterHeadersStatus.CONTINUE
        stats.rate_limited += 1
        if not config.holds(config.enforced):
            if config.request_headers is not None:
                config.request_headers.evaluate(headers, callbacks.stream_info, headers, None)
            return FilterHeadersStatus.CONTINUE
        stats.enforced += 1

        def modify(response: ResponseHeaderMap) -> None:
            if config.response_headers is not None:
                config.response_headers.evaluate(response, callbacks.stream_info, headers, response)
            if config.retry_after and verdict.bucket is not None:
                response.add(b"retry-after", b"%d" % max(1, verdict.bucket.reset_seconds))

        self._limited = True
        callbacks.send_local_reply(config.status, BODY, DETAILS, modify, config.grpc_status)
        return FilterHeadersStatus.STOP_ITERATION

    def encode_headers(self, headers: ResponseHeaderMap, end_stream: bool) -> FilterHeadersStatus:
        if self._limited:
            # Not earlier: what makes the reply does not see the flag in Envoy.
            self.encoder_callbacks.stream_info.set_response_flag(ResponseFlag.RATE_LIMITED)
        verdict = self._verdict
        if verdict is None or verdict.bucket is None:
            return FilterHeadersStatus.CONTINUE
        told = None if verdict.descriptor is None else verdict.descriptor.x_ratelimit_headers
        if self.config.x_ratelimit_headers if told is None else told:
            bucket = verdict.bucket
            headers.add(b"x-ratelimit-limit", b"%d" % bucket.max_tokens)
            headers.add(b"x-ratelimit-remaining", b"%d" % bucket.remaining_tokens)
            headers.add(b"x-ratelimit-reset", b"%d" % bucket.reset_seconds)
        return FilterHeadersStatus.CONTINUE

    def _limiter(self) -> LocalRateLimiter:
        config = self.config
        if config.limiter is not None:
            return config.limiter
        # Envoy keeps one for a connection, whichever settings were the first to need it.
        state = self.decoder_callbacks.downstream_connection.stream_info.filter_state
        limiter: LocalRateLimiter | None = state.get(NAME)
        if limiter is None:
            limiter = state[NAME] = config.make_limiter()
        return limiter

    def _descriptors(self, headers: RequestHeaderMap) -> Sequence[Descriptor]:
        config, callbacks = self.config, self.decoder_callbacks
        route: Any = callbacks.route()
        subject = Subject(headers, callbacks.stream_info, route, config.server.service_cluster)
        if config.rate_limits is not None:
            own = (each.descriptor_with_hits(subject) for each in config.rate_limits.entries)
            return [each for each in own if each is not None]
        if route is None or not route.cluster_name:
            return ()
        policies = [route.rate_limits]
        if route.include_virtual_host_rate_limits or config.virtual_host_limits == _INCLUDE:
            policies.append(route.virtual_host_rate_limits)
        elif config.virtual_host_limits != _IGNORE and route.rate_limits is None:
            policies = [route.virtual_host_rate_limits]
        made = [
            limit.descriptor(subject)
            for policy in policies
            if policy is not None
            for limit in policy.of_stage(config.stage)
            if not limit.disable_key
        ]
        return [each for each in made if each is not None]

    def _explain(self, verdict: Verdict, descriptors: Sequence[Descriptor]) -> None:
        bucket = verdict.bucket
        left = "no bucket" if bucket is None else f"{bucket.remaining_tokens} of {bucket.max_tokens} tokens left"
        shown = [", ".join(f"{key}={value}" for key, value in each.entries) for each in descriptors]
        of = f" for {'; '.join(shown)}" if shown else ""
        self.decoder_callbacks.explain.decided(
            "rate_limit", "allowed" if verdict.allowed else "over limit", f"{self.config.stat_prefix}: {left}{of}"
        )


@HTTP_FILTERS.register(NAME, CONFIG_TYPE)
def create_local_rate_limit_filter(proto: Any, context: FactoryContext) -> HttpFilterFactory:
    config, name = LocalRateLimitConfig.from_proto(proto, context.server), context.filter_name
    return lambda: LocalRateLimitFilter(config, name)


@ROUTE_FILTER_CONFIGS.register(NAME, CONFIG_TYPE)
def create_local_rate_limit_settings(proto: Any, path: str, server: ServerContext) -> Any:
    return LocalRateLimitConfig.from_proto(proto, server, path, of_route=True)
