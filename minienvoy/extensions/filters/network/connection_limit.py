"""`envoy.filters.network.connection_limit`: closes connections when there are too many.

Envoy: `Extensions::NetworkFilters::ConnectionLimitFilter`; docs "Connection limit". The limit is that of a filter chain
and, in Envoy, of all its workers. `delay` keeps a refused client busy; it counts as a connection for as long.
"""

from __future__ import annotations

from typing import Any

from ....config.fields import honours
from ....config.runtime import RuntimeFeatureFlag
from ....event.dispatcher import Timer
from ....network.connection import ConnectionCallbacks, ConnectionCloseType, ConnectionEvent
from ....network.filter import NETWORK_FILTERS, FilterStatus, NetworkFilterFactory, ReadFilter
from ....server.factory_context import FactoryContext
from ....stats.store import CounterValue, GaugeValue, StatsStruct

TYPE = "envoy.extensions.filters.network.connection_limit.v3.ConnectionLimit"
CLOSE_REASON = "over_connection_limit"
_GAUGE = 2**64

honours(TYPE, "stat_prefix", "max_connections", "delay", "runtime_enabled")


class ConnectionLimitStats(StatsStruct):
    """`connection_limit.<stat_prefix>.`"""

    limited_connections: CounterValue
    active_connections: GaugeValue


class ConnectionLimitConfig:
    """Shared by the connections of a filter chain.

    Attributes:
        connections: how many there are, those that wait to be closed included.
        delay: seconds until a refused connection is closed.
    """

    __slots__ = ("connections", "delay", "enabled", "max_connections", "runtime", "stat_prefix", "stats")

    def __init__(self, proto: Any, context: FactoryContext) -> None:
        self.stats = context.scope.scope(f"connection_limit.{proto.stat_prefix}").struct(ConnectionLimitStats)
        self.stat_prefix: str = proto.stat_prefix
        self.max_connections: int = proto.max_connections.value
        self.delay = proto.delay.seconds + proto.delay.nanos / 1e9
        # Not set is the same as true.
        default = not proto.HasField("runtime_enabled")
        self.enabled = RuntimeFeatureFlag() if default else RuntimeFeatureFlag.from_proto(proto.runtime_enabled)
        self.runtime = context.server.runtime
        self.connections = 0


class ConnectionLimitFilter(ReadFilter, ConnectionCallbacks):
    """One connection."""

    def __init__(self, config: ConnectionLimitConfig) -> None:
        self._config = config
        self._counted = self._rejected = False
        self._timer: Timer | None = None

    def initialize_read_filter_callbacks(self) -> None:
        self.connection.add_callbacks(self)

    def on_new_connection(self) -> FilterStatus:
        config, connection = self._config, self.connection
        if not config.enabled.value(config.runtime.snapshot):
            return FilterStatus.CONTINUE
        stats = config.stats
        stats.active_connections += 1
        self._counted = True
        config.connections += 1
        if config.connections <= config.max_connections:
            return FilterStatus.CONTINUE
        stats.limited_connections += 1
        self._rejected = True
        others = config.connections - 1
        connection.explain.decided(
            "rate_limit", CLOSE_REASON, f"{config.stat_prefix}: {others} of {config.max_connections} connections"
        )
        if config.delay:
            self._timer = connection.dispatcher.create_timer(self._close)
            self._timer.enable(config.delay)
        else:
            self._close()
        return FilterStatus.STOP_ITERATION

    def on_data(self, data: bytes, end_stream: bool) -> FilterStatus:
        return FilterStatus.STOP_ITERATION if self._rejected else FilterStatus.CONTINUE

    def on_event(self, event: ConnectionEvent) -> None:
        if event is ConnectionEvent.CONNECTED:
            return
        if self._timer is not None:
            self._timer.disable()
        stats = self._config.stats
        # Envoy's gauge counts down also for what it did not count up; below zero it starts again from above.
        stats.active_connections = (stats.active_connections - 1) % _GAUGE
        if self._counted:
            self._config.connections -= 1

    def _close(self) -> None:
        self.connection.close(ConnectionCloseType.NO_FLUSH, CLOSE_REASON)


@NETWORK_FILTERS.register("envoy.filters.network.connection_limit", TYPE)
def create_connection_limit_filter(proto: Any, context: FactoryContext) -> NetworkFilterFactory:
    config = ConnectionLimitConfig(proto, context)
    return lambda: ConnectionLimitFilter(config)
