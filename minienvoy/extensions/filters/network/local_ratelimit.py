"""`envoy.filters.network.local_ratelimit`: closes connections that come too fast.

Envoy: `Extensions::NetworkFilters::LocalRateLimitFilter::Filter`; docs "Local rate limit" (network filter). A
connection costs a token. Filters with the same `share_key` and the same bucket take from one.
"""

from __future__ import annotations

from typing import Any

from ....config.fields import honours
from ....config.runtime import RuntimeFeatureFlag
from ....network.connection import ConnectionCloseType
from ....network.filter import NETWORK_FILTERS, FilterStatus, NetworkFilterFactory, ReadFilter
from ....server.factory_context import FactoryContext
from ....stats.store import CounterValue, StatsStruct
from ....stream_info import ResponseFlag
from ..common.local_ratelimit import BucketSettings, LocalRateLimiter

TYPE = "envoy.extensions.filters.network.local_ratelimit.v3.LocalRateLimit"
CLOSE_REASON = "local_ratelimit_close_over_limit"

honours(TYPE, "stat_prefix", "token_bucket", "runtime_enabled", "share_key")


class LocalRateLimitStats(StatsStruct):
    """`local_rate_limit.<stat_prefix>.`"""

    rate_limited: CounterValue


class LocalRateLimitConfig:
    """Shared by the connections of a filter chain; also what the listener filter needs."""

    __slots__ = ("_enabled", "_limiter", "_runtime", "stat_prefix", "stats")

    def __init__(self, proto: Any, context: FactoryContext, scope: str, share_key: str = "") -> None:
        """Raises ConfigError for a bucket that fills too often."""
        bucket = BucketSettings.from_proto(proto.token_bucket, "token_bucket")
        server = context.server

        def make() -> LocalRateLimiter:
            return LocalRateLimiter(server.dispatcher.monotonic_time, bucket)

        self._limiter = server.singleton((TYPE, share_key, bucket), make) if share_key else make()
        default = not proto.HasField("runtime_enabled")
        self._enabled = RuntimeFeatureFlag() if default else RuntimeFeatureFlag.from_proto(proto.runtime_enabled)
        self._runtime = server.runtime
        self.stat_prefix: str = proto.stat_prefix
        self.stats = context.scope.scope(f"{scope}.{proto.stat_prefix}").struct(LocalRateLimitStats)

    def can_create_connection(self) -> bool:
        """Take a token; count the connection if there is none."""
        if not self._enabled.value(self._runtime.snapshot) or self._limiter.request_allowed().allowed:
            return True
        self.stats.rate_limited += 1
        return False


class LocalRateLimitFilter(ReadFilter):
    """One connection."""

    def __init__(self, config: LocalRateLimitConfig) -> None:
        self._config = config

    def on_new_connection(self) -> FilterStatus:
        config, connection = self._config, self.connection
        if config.can_create_connection():
            return FilterStatus.CONTINUE
        connection.explain.decided("rate_limit", CLOSE_REASON, f"{config.stat_prefix}: no token left")
        connection.stream_info.set_response_flag(ResponseFlag.UPSTREAM_RETRY_LIMIT_EXCEEDED)
        connection.close(ConnectionCloseType.NO_FLUSH, CLOSE_REASON)
        return FilterStatus.STOP_ITERATION


@NETWORK_FILTERS.register("envoy.filters.network.local_ratelimit", TYPE)
def create_local_rate_limit_filter(proto: Any, context: FactoryContext) -> NetworkFilterFactory:
    config = LocalRateLimitConfig(proto, context, "local_rate_limit", proto.share_key)
    return lambda: LocalRateLimitFilter(config)
