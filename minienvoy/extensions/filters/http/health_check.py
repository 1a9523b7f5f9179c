"""`envoy.filters.http.health_check`: answers who asks whether this proxy, or what stands behind it, is well.

Envoy: `source/extensions/filters/http/health_check/`; docs "Health check filter".

A request that the matchers want is a health check. What is done with it:

    the server fails (/healthcheck/fail)        503
    pass_through_mode, without cache            goes on to the upstream
    pass_through_mode, cache_time               the first goes on, its answer is given to all until `cache_time` is over
    cluster_min_healthy_percentages             503 if one of the clusters has too few healthy hosts, else 200
    otherwise                                   200

Every answer to a check names this server's cluster; while the server fails, every other answer says so.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, cast

from ....config.fields import honours
from ....errors import ConfigError
from ....http.filter import (
    HTTP_FILTERS,
    FilterDataStatus,
    FilterHeadersStatus,
    FilterTrailersStatus,
    HttpFilterFactory,
    StreamFilter,
)
from ....http.header_map import HeaderMap, RequestHeaderMap, ResponseHeaderMap
from ....matchers.header import compile_header_matchers, matches_all
from ....stats.store import CounterValue, StatsStruct
from ....stream_info import ResponseFlag
from ....upstream.duration import duration_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ....event.dispatcher import Dispatcher
    from ....matchers.header import HeaderMatcher
    from ....server.factory_context import FactoryContext
    from ....upstream.cluster_manager import ClusterManager

CONFIG_TYPE = "envoy.extensions.filters.http.health_check.v3.HealthCheck"

honours(
    CONFIG_TYPE,
    "pass_through_mode",
    "cache_time",
    "headers",
    whole=("cluster_min_healthy_percentages",),
)


class FailingServer(Protocol):
    """As much of the server as is asked."""

    @property
    def health_check_failed(self) -> bool: ...


class HealthCheckFilterStats(StatsStruct):
    """`http.PREFIX.health_check.*`: the checks that the filter has answered itself."""

    cached_response: CounterValue
    degraded: CounterValue
    failed: CounterValue
    failed_cluster_empty: CounterValue
    failed_cluster_not_found: CounterValue
    failed_cluster_unhealthy: CounterValue
    ok: CounterValue
    request_total: CounterValue


class HealthCheckCache:
    """The answer that is given until `valid_until` (monotonic seconds)."""

    __slots__ = ("degraded", "lasts", "status", "valid_until")

    def __init__(self, lasts: float) -> None:
        self.lasts = lasts
        self.status = 200
        self.degraded = False
        self.valid_until = 0.0


class HealthCheckSettings:
    """Shared by the filters of one chain."""

    __slots__ = (
        "cache",
        "cluster_manager",
        "matchers",
        "min_healthy",
        "pass_through",
        "server",
        "service_cluster",
        "stats",
    )

    def __init__(
        self,
        server: FailingServer,
        cluster_manager: ClusterManager,
        service_cluster: str,
        matchers: tuple[HeaderMatcher, ...],
        stats: HealthCheckFilterStats,
        pass_through: bool,
        cache: HealthCheckCache | None = None,
        min_healthy: Mapping[str, float] | None = None,
    ) -> None:
        self.server = server
        self.cluster_manager = cluster_manager
        self.service_cluster = service_cluster.encode()
        self.matchers = matchers
        self.stats = stats
        self.pass_through = pass_through
        self.cache = cache
        self.min_healthy = min_healthy or {}

    def look_at_clusters(self) -> tuple[int, str]:
        """The status of the answer, and its details."""
        stats = self.stats
        for name, percent in self.min_healthy.items():
            cluster = self.cluster_manager.get(name)
            if cluster is None:
                stats.failed_cluster_not_found += 1
                return 503, "health_check_failed_no_cluster_found"
            endpoint = cluster.stats.endpoint
            total = endpoint.membership_total
            if not total:
                if percent:
                    stats.failed_cluster_empty += 1
                    return 503, "health_check_failed_cluster_empty"
            # Envoy leaves out what is behind the point: half of three hosts is one. Degraded hosts do their work.
            elif endpoint.membership_healthy + endpoint.membership_degraded < int(total * percent / 100.0):
                stats.failed_cluster_unhealthy += 1
                return 503, "health_check_failed_cluster_unhealthy"
        return 200, "health_check_ok_cluster_healthy"


class HealthCheckFilter(StreamFilter):
    __slots__ = ("_asked", "_handling", "_settings")

    def __init__(self, settings: HealthCheckSettings) -> None:
        self._settings = settings
        self._asked = self._handling = False

    def decode_headers(self, headers: RequestHeaderMap, end_stream: bool) -> FilterHeadersStatus:
        settings = self._settings
        if not matches_all(settings.matchers, headers):
            return FilterHeadersStatus.CONTINUE
        self._asked = True
        info = self.decoder_callbacks.stream_info
        info.is_health_check = True
        if info.active_span is not None:
            # Nobody wants to read of it.
            info.active_span.sampled = False
            info.trace_reason = "not_traceable"
        cache = settings.cache
        self._handling = (
            not settings.pass_through
            or settings.server.health_check_failed
            or (cache is not None and self._now(self.decoder_callbacks.dispatcher) < cache.valid_until)
        )
        if not self._handling:
            return FilterHeadersStatus.CONTINUE
        if end_stream:
            self._answer()
        return FilterHeadersStatus.STOP_ITERATION

    def decode_data(self, data: bytes, end_stream: bool) -> FilterDataStatus:
        if not self._handling:
            return FilterDataStatus.CONTINUE
        if end_stream:
            self._answer()
        return FilterDataStatus.STOP_ITERATION_NO_BUFFER

    def decode_trailers(self, trailers: HeaderMap) -> FilterTrailersStatus:
        if not self._handling:
            return FilterTrailersStatus.CONTINUE
        self._answer()
        return FilterTrailersStatus.STOP_ITERATION

    def encode_headers(self, headers: ResponseHeaderMap, end_stream: bool) -> FilterHeadersStatus:
        settings = self._settings
        if self._asked:
            cache = settings.cache
            if cache is not None:
                cache.status = headers.status
                cache.degraded = headers.has(b"x-envoy-degraded")
                now = self._now(self.encoder_callbacks.dispatcher)
                if now >= cache.valid_until:
                    cache.valid_until = now + cache.lasts
            headers.set(b"x-envoy-upstream-healthchecked-cluster", settings.service_cluster)
        if settings.server.health_check_failed and (self._handling or not self._asked):
            headers.set(b"x-envoy-immediate-health-check-fail", b"true")
        return FilterHeadersStatus.CONTINUE

    # -- inside

    @staticmethod
    def _now(dispatcher: Dispatcher) -> float:
        return dispatcher.monotonic_time()

    def _answer(self) -> None:
        settings, callbacks = self._settings, self.decoder_callbacks
        status, degraded, details = 200, False, "health_check_ok"
        stats = settings.stats
        stats.request_total += 1
        if settings.server.health_check_failed:
            status, details = 503, "health_check_failed"
        elif settings.cache is not None:
            status, degraded = settings.cache.status, settings.cache.degraded
            details = "health_check_cached"
            stats.cached_response += 1
        elif settings.min_healthy:
            status, details = settings.look_at_clusters()
        if degraded:
            stats.degraded += 1
        if 200 <= status < 300:
            stats.ok += 1
        else:
            stats.failed += 1
            callbacks.stream_info.response_flags |= ResponseFlag.FAILED_LOCAL_HEALTH_CHECK

        def modify(headers: ResponseHeaderMap) -> None:
            if degraded:
                headers.set(b"x-envoy-degraded", b"")

        callbacks.send_local_reply(status, "", details, modify)


@HTTP_FILTERS.register("envoy.filters.http.health_check", CONFIG_TYPE)
def create_health_check_filter(config: Any, context: FactoryContext) -> HttpFilterFactory:
    pass_through = config.pass_through_mode.value
    cache_time = duration_of(config, "cache_time", 0.0)
    if not pass_through and cache_time:
        raise ConfigError("cache_time_ms must not be set when path_through_mode is disabled", "cache_time")
    settings = HealthCheckSettings(
        cast(FailingServer, context.server),
        context.server.cluster_manager,
        context.server.service_cluster,
        compile_header_matchers(config.headers, "headers"),
        context.http_scope.scope("health_check").struct(HealthCheckFilterStats),
        pass_through,
        HealthCheckCache(cache_time) if cache_time else None,
        {name: each.value for name, each in sorted(config.cluster_min_healthy_percentages.items())},
    )
    return partial(HealthCheckFilter, settings)
