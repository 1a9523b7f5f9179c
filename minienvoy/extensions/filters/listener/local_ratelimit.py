"""`envoy.filters.listener.local_ratelimit`: closes sockets that come too fast, before anything is known of them.

Envoy: `Extensions::ListenerFilters::LocalRateLimit::Filter`; docs "Local rate limit" (listener filter).
"""

from __future__ import annotations

from typing import Any

from ....config.fields import honours
from ....network.filter import LISTENER_FILTERS, FilterStatus, ListenerFilter, ListenerFilterFactory
from ....network.socket import ConnectionSocket
from ....server.factory_context import FactoryContext
from ..network.local_ratelimit import LocalRateLimitConfig

TYPE = "envoy.extensions.filters.listener.local_ratelimit.v3.LocalRateLimit"

honours(TYPE, "stat_prefix", "token_bucket", "runtime_enabled")


class LocalRateLimitListenerFilter(ListenerFilter):
    """One socket."""

    def __init__(self, config: LocalRateLimitConfig) -> None:
        self._config = config

    def on_accept(self, socket: ConnectionSocket) -> FilterStatus:
        if self._config.can_create_connection():
            return FilterStatus.CONTINUE
        self.callbacks.close()
        return FilterStatus.STOP_ITERATION


@LISTENER_FILTERS.register("envoy.filters.listener.local_ratelimit", TYPE)
def create_local_rate_limit_filter(proto: Any, context: FactoryContext) -> ListenerFilterFactory:
    config = LocalRateLimitConfig(proto, context, "listener_local_ratelimit")
    return lambda: LocalRateLimitListenerFilter(config)
