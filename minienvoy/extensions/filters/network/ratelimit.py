"""`envoy.filters.network.ratelimit`: asks a service that counts connections of all proxies whether there are too many.

Envoy: `Extensions::NetworkFilters::RateLimitFilter::Filter`; docs "Rate limit" of network filters. It asks when a
client has connected; until the service has answered nothing of the client is read.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from ....access_log.context import FormatterContext
from ....access_log.formatter import Formatter, compile_format
from ....config.fields import honours
from ....network.connection import ConnectionCallbacks, ConnectionCloseType, ConnectionEvent
from ....network.filter import NETWORK_FILTERS, FilterStatus, NetworkFilterFactory, ReadFilter
from ....record import record
from ....router.rate_limit import Descriptor
from ....stats.store import CounterValue, GaugeValue, StatsStruct
from ..common.ratelimit import Limit, LimitStatus, RateLimitClient

if TYPE_CHECKING:
    from ....server.factory_context import FactoryContext, ServerContext
    from ....stream_info import StreamInfo
    from ....upstream.grpc_client import GrpcStream

NAME: Final = "envoy.filters.network.ratelimit"
TYPE: Final = "envoy.extensions.filters.network.ratelimit.v3.RateLimit"
OVER_LIMIT: Final = "ratelimit_close_over_limit"
FAILURE: Final = "ratelimit_error_failure_mode_connection_close"
_DESCRIPTOR: Final = "envoy.extensions.common.ratelimit.v3.RateLimitDescriptor"

honours(TYPE, "stat_prefix", "domain", "descriptors", "timeout", "failure_mode_deny", "rate_limit_service")
honours(
    _DESCRIPTOR,
    "entries",
    ignored={
        "limit": "Envoy does not tell the service",
        "hits_addend": "Envoy does not tell the service",
        "is_negative_hits": "Envoy does not tell the service",
    },
)
honours(f"{_DESCRIPTOR}.Entry", "key", "value")


class InstanceStats(StatsStruct):
    """`ratelimit.<stat_prefix>.`"""

    cx_closed: CounterValue
    error: CounterValue
    failure_mode_allowed: CounterValue
    ok: CounterValue
    over_limit: CounterValue
    total: CounterValue
    active: GaugeValue


@record
class RateLimitConfig:
    """Shared by the connections of a filter chain; the values of descriptors are formats."""

    server: ServerContext
    stats: InstanceStats
    client: RateLimitClient
    domain: str
    descriptors: tuple[tuple[tuple[str, Formatter], ...], ...]
    failure_mode_deny: bool
    draw: Any

    @classmethod
    def from_proto(cls, proto: Any, context: FactoryContext) -> RateLimitConfig:
        """Raises ConfigError."""
        server = context.server
        descriptors = tuple(
            tuple(
                (one.key, compile_format(one.value, server, path=f"descriptors[{at}].entries[{number}].value"))
                for number, one in enumerate(each.entries)
            )
            for at, each in enumerate(proto.descriptors)
        )
        return cls(
            server,
            context.scope.scope(f"ratelimit.{proto.stat_prefix}").struct(InstanceStats),
            RateLimitClient(proto, server),
            proto.domain,
            descriptors,
            proto.failure_mode_deny,
            server.random.stream(f"{NAME}.{proto.stat_prefix}").getrandbits,
        )

    def holds(self, runtime_key: str) -> bool:
        """Draw."""
        return self.server.runtime.snapshot.feature_enabled(f"ratelimit.{runtime_key}", 100, self.draw(64))

    def descriptors_of(self, stream: StreamInfo) -> list[Descriptor]:
        context = FormatterContext(stream, None, None)
        return [
            Descriptor(tuple((key, formatter.format(context)) for key, formatter in each)) for each in self.descriptors
        ]


class RateLimitFilter(ReadFilter, ConnectionCallbacks):
    """One connection."""

    def __init__(self, config: RateLimitConfig) -> None:
        self._config = config
        self._call: GrpcStream | None = None
        self._asking = self._starting = False

    def on_new_connection(self) -> FilterStatus:
        connection, config = self.connection, self._config
        if not config.holds("tcp_filter_enabled"):
            return FilterStatus.CONTINUE
        config.stats.active += 1
        config.stats.total += 1
        connection.add_callbacks(self)
        self._asking = self._starting = True
        stream = connection.stream_info
        call = config.client.limit(self, config.domain, config.descriptors_of(stream), stream)
        self._starting = False
        if not self._asking:
            return FilterStatus.CONTINUE
        self._call = call
        return FilterStatus.STOP_ITERATION

    def on_event(self, event: ConnectionEvent) -> None:
        if event is ConnectionEvent.CONNECTED:
            return
        call, self._call = self._call, None
        if self._asking:
            self._asking = False
            self._config.stats.active -= 1
            if call is not None:
                call.reset()

    def complete(self, limit: Limit) -> None:
        connection, config = self.connection, self._config
        self._asking, self._call = False, None
        config.stats.active -= 1
        connection.explain.decided("rate_limit", limit.status.name.lower().replace("_", " "), NAME)
        if limit.dynamic_metadata:
            metadata = connection.stream_info.dynamic_metadata
            metadata[NAME] = {**metadata.get(NAME, {}), **limit.dynamic_metadata}
        if limit.status is LimitStatus.OK:
            config.stats.ok += 1
        elif limit.status is LimitStatus.ERROR:
            config.stats.error += 1
        else:
            config.stats.over_limit += 1
        if limit.status is LimitStatus.OVER_LIMIT and config.holds("tcp_filter_enforcing"):
            self._close(OVER_LIMIT)
            return
        if limit.status is LimitStatus.ERROR:
            if config.failure_mode_deny:
                self._close(FAILURE)
                return
            config.stats.failure_mode_allowed += 1
        if not self._starting:
            connection.continue_reading(self)

    def _close(self, reason: str) -> None:
        self._config.stats.cx_closed += 1
        self.connection.close(ConnectionCloseType.NO_FLUSH, reason)


@NETWORK_FILTERS.register(NAME, TYPE)
def create_rate_limit_filter(proto: Any, context: FactoryContext) -> NetworkFilterFactory:
    config = RateLimitConfig.from_proto(proto, context)
    return lambda: RateLimitFilter(config)
