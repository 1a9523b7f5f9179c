"""`envoy.filters.http.fault`: delays requests, answers them with an error, slows responses down.

Envoy: `Extensions::HttpFilters::Fault::FaultFilter`; docs "Fault Injection". Whether and how is configured, or left to
headers (`x-envoy-fault-...`); a route may have settings of its own, and runtime keys may change each figure, also for
the requests of one downstream cluster only (`fault.http.<cluster>. ...`).

A delayed request may still be aborted when the delay is over. A fault counts against `max_active_faults` only when it
is certain to happen.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ....config.api import struct_to_dict
from ....config.fields import honours
from ....config.runtime import FractionalPercent, Loader, RuntimeFractionalPercent
from ....event.dispatcher import Timer
from ....explain.explanation import NO_EXPLANATION
from ....http.filter import (
    HTTP_FILTERS,
    FilterDataStatus,
    FilterHeadersStatus,
    FilterTrailersStatus,
    HttpFilterFactory,
    StreamFilter,
)
from ....http.header_map import HeaderMap, RequestHeaderMap
from ....matchers.header import HeaderMatcher, compile_header_matchers, matches_all
from ....record import record
from ....router.filter_config import ROUTE_FILTER_CONFIGS, most_specific_config
from ....server.factory_context import FactoryContext
from ....stats.store import Counter, CounterValue, GaugeValue, Scope, StatsStruct
from ....stream_info import ResponseFlag
from ..common.fault_config import FaultAbort, FaultDelay, FaultRateLimit, FaultShare
from .common.stream_rate_limiter import StreamRateLimiter

NAME = "envoy.filters.http.fault"
CONFIG_TYPE = "envoy.extensions.filters.http.fault.v3.HTTPFault"
BODY = "fault filter abort"
DETAILS = "fault_filter_abort"
NO_LIMIT = 2**64 - 1

honours(
    CONFIG_TYPE,
    "delay",
    "abort",
    "upstream_cluster",
    "headers",
    "downstream_nodes",
    "max_active_faults",
    "response_rate_limit",
    "delay_percent_runtime",
    "abort_percent_runtime",
    "delay_duration_runtime",
    "abort_http_status_runtime",
    "max_active_faults_runtime",
    "response_rate_limit_percent_runtime",
    "abort_grpc_status_runtime",
    "disable_downstream_cluster_stats",
    "filter_metadata",
)


class FaultFilterStats(StatsStruct):
    """`http.<stat_prefix>.fault.`"""

    aborts_injected: CounterValue
    delays_injected: CounterValue
    faults_overflow: CounterValue
    response_rl_injected: CounterValue
    active_faults: GaugeValue


@record
class FaultSettings:
    """Of the filter, or of a route."""

    delay: FaultDelay | None
    abort: FaultAbort | None
    rate_limit: FaultRateLimit | None
    upstream_cluster: str
    headers: tuple[HeaderMatcher, ...]
    downstream_nodes: frozenset[bytes]
    max_active_faults: int
    delay_percent_key: str
    abort_percent_key: str
    delay_duration_key: str
    abort_http_status_key: str
    abort_grpc_status_key: str
    max_active_faults_key: str
    rate_limit_percent_key: str
    downstream_cluster_stats: bool
    metadata: Mapping[str, Any]

    @classmethod
    def from_proto(cls, proto: Any, path: str = "") -> FaultSettings:
        headers = f"{path}.headers" if path else "headers"
        return cls(
            FaultDelay.from_proto(proto.delay) if proto.HasField("delay") else None,
            FaultAbort.from_proto(proto.abort) if proto.HasField("abort") else None,
            FaultRateLimit.from_proto(proto.response_rate_limit) if proto.HasField("response_rate_limit") else None,
            proto.upstream_cluster,
            compile_header_matchers(proto.headers, headers),
            frozenset(node.encode() for node in proto.downstream_nodes),
            proto.max_active_faults.value if proto.HasField("max_active_faults") else NO_LIMIT,
            proto.delay_percent_runtime or "fault.http.delay.fixed_delay_percent",
            proto.abort_percent_runtime or "fault.http.abort.abort_percent",
            proto.delay_duration_runtime or "fault.http.delay.fixed_duration_ms",
            proto.abort_http_status_runtime or "fault.http.abort.http_status",
            proto.abort_grpc_status_runtime or "fault.http.abort.grpc_status",
            proto.max_active_faults_runtime or "fault.http.max_active_faults",
            proto.response_rate_limit_percent_runtime or "fault.http.rate_limit.response_percent",
            not proto.disable_downstream_cluster_stats,
            struct_to_dict(proto.filter_metadata) if proto.HasField("filter_metadata") else {},
        )


class FaultFilterConfig:
    """Shared by the filters of one chain."""

    __slots__ = ("_downstream", "draw", "name", "runtime", "scope", "settings", "stats")

    def __init__(self, settings: FaultSettings, context: FactoryContext) -> None:
        server = context.server
        self.settings = settings
        self.name = context.filter_name
        self.runtime: Loader = server.runtime
        self.scope: Scope = context.http_scope.scope("fault")
        self.stats = self.scope.struct(FaultFilterStats)
        self.draw = server.random.stream(f"{context.http_scope.prefix}fault").getrandbits
        self._downstream: dict[tuple[str, str], Counter] = {}

    def count_downstream(self, cluster: str, what: str) -> None:
        counter = self._downstream.get((cluster, what))
        if counter is None:
            counter = self._downstream[cluster, what] = self.scope.scope(cluster).counter(what)
        counter.value += 1


class FaultFilter(StreamFilter):
    """One stream."""

    def __init__(self, config: FaultFilterConfig) -> None:
        self.config = config
        self.settings = config.settings
        self._delay_timer: Timer | None = None
        self._limiter: StreamRateLimiter | None = None
        self._active = False
        self._downstream_cluster = ""
        self._headers: RequestHeaderMap | None = None

    # -- the request

    def decode_headers(self, headers: RequestHeaderMap, end_stream: bool) -> FilterHeadersStatus:
        own = most_specific_config(self.decoder_callbacks, self.config.name, FaultSettings)
        if own is not None:
            self.settings = own
        if not self._concerns(headers):
            return FilterHeadersStatus.CONTINUE
        self._headers = headers
        self._downstream_cluster = (headers.get(b"x-envoy-downstream-service-cluster") or b"").decode("latin-1")
        self._limit_response(headers)
        delay = self._delay(headers)
        if delay:
            self._delay_timer = self.decoder_callbacks.dispatcher.create_timer(self._on_delay_over)
            self._delay_timer.enable(delay)
            self._count("delays_injected")
            self._mark(ResponseFlag.DELAY_INJECTED)
            if self.decoder_callbacks.explain is not NO_EXPLANATION:
                self.decoder_callbacks.explain.decided("fault", "delay", f"injected for {delay:g} s")
            return FilterHeadersStatus.STOP_ITERATION
        return FilterHeadersStatus.STOP_ITERATION if self._abort(headers) else FilterHeadersStatus.CONTINUE

    def decode_data(self, data: bytes, end_stream: bool) -> FilterDataStatus:
        if self._delay_timer is None:
            return FilterDataStatus.CONTINUE
        return FilterDataStatus.STOP_ITERATION_AND_WATERMARK

    def decode_trailers(self, trailers: HeaderMap) -> FilterTrailersStatus:
        return FilterTrailersStatus.CONTINUE if self._delay_timer is None else FilterTrailersStatus.STOP_ITERATION

    # -- the response

    def encode_data(self, data: bytes, end_stream: bool) -> FilterDataStatus:
        if self._limiter is None:
            return FilterDataStatus.CONTINUE
        self._limiter.write_data(data, end_stream)
        return FilterDataStatus.STOP_ITERATION_NO_BUFFER

    def encode_trailers(self, trailers: HeaderMap) -> FilterTrailersStatus:
        if self._limiter is not None and self._limiter.on_trailers():
            return FilterTrailersStatus.STOP_ITERATION
        return FilterTrailersStatus.CONTINUE

    def on_destroy(self) -> None:
        if self._delay_timer is not None:
            self._delay_timer.disable()
            self._delay_timer = None
        if self._limiter is not None:
            self._limiter.destroy()
        if self._active:
            self._active = False
            self.config.stats.active_faults -= 1

    # -- inside

    def _concerns(self, headers: RequestHeaderMap) -> bool:
        settings = self.settings
        if settings.upstream_cluster:
            route = self.decoder_callbacks.route()
            if route is None or route.cluster_name != settings.upstream_cluster:
                return False
        nodes = settings.downstream_nodes
        if nodes and headers.get(b"x-envoy-downstream-service-node") not in nodes:
            return False
        return matches_all(settings.headers, headers)

    def _happens(self, share: FaultShare, headers: RequestHeaderMap, key: str, cluster_key: str = "") -> bool:
        """Draw; the key of a downstream cluster takes the place of the general one."""
        if cluster_key and self._downstream_cluster:
            key = f"fault.http.{self._downstream_cluster}.{cluster_key}"
        fraction: FractionalPercent = share.of(headers)
        snapshot = self.config.runtime.snapshot
        return snapshot.fraction_enabled(RuntimeFractionalPercent(fraction, key), self.config.draw(64))

    def _figure(self, key: str, cluster_key: str, default: int) -> int:
        """A number that runtime may change, for everybody and then for the downstream cluster."""
        snapshot = self.config.runtime.snapshot
        value = snapshot.get_integer(key, default)
        if self._downstream_cluster:
            value = snapshot.get_integer(f"fault.http.{self._downstream_cluster}.{cluster_key}", value)
        return value

    def _delay(self, headers: RequestHeaderMap) -> float:
        """Seconds, 0 for none."""
        settings = self.settings
        delay = settings.delay
        if delay is None or not self._happens(
            delay.share, headers, settings.delay_percent_key, "delay.fixed_delay_percent"
        ):
            return 0.0
        milliseconds = delay.milliseconds(headers)
        if milliseconds is None:
            return 0.0
        milliseconds = self._figure(settings.delay_duration_key, "delay.fixed_duration_ms", milliseconds)
        if not milliseconds or not self._activate():
            return 0.0
        return milliseconds / 1000

    def _abort(self, headers: RequestHeaderMap) -> bool:
        """Whether the request has been answered."""
        settings = self.settings
        abort = settings.abort
        if abort is None or not self._happens(abort.share, headers, settings.abort_percent_key, "abort.abort_percent"):
            return False
        http_status, grpc_status = abort.http_status(headers), None
        if http_status is not None:
            http_status = self._figure(settings.abort_http_status_key, "abort.http_status", http_status)
        else:
            grpc_status = abort.grpc_status(headers)
            if grpc_status is None:
                return False
            grpc_status = self._figure(settings.abort_grpc_status_key, "abort.grpc_status", grpc_status)
            http_status = 200
        if not self._activate():
            return False
        self._count("aborts_injected")
        self._mark(ResponseFlag.FAULT_INJECTED)
        callbacks = self.decoder_callbacks
        if callbacks.explain is not NO_EXPLANATION:
            callbacks.explain.decided("fault", "abort", f"injected with status {http_status}")
        callbacks.send_local_reply(http_status, abort.body or BODY, DETAILS, None, grpc_status)
        return True

    def _limit_response(self, headers: RequestHeaderMap) -> None:
        limit = self.settings.rate_limit
        if limit is None or not self._happens(limit.share, headers, self.settings.rate_limit_percent_key):
            return
        rate = limit.bytes_per_second(headers)
        if rate is None or not self._activate():
            return
        self.config.stats.response_rl_injected += 1
        callbacks = self.encoder_callbacks
        self._limiter = StreamRateLimiter(
            callbacks.dispatcher,
            rate,
            callbacks.downstream_connection.buffer_limit,
            callbacks.on_encoder_filter_above_write_buffer_high_watermark,
            callbacks.on_encoder_filter_below_write_buffer_low_watermark,
            callbacks.inject_encoded_data,
            callbacks.continue_encoding,
        )
        if callbacks.explain is not NO_EXPLANATION:
            callbacks.explain.decided("fault", "response rate limit", f"injected with {rate} bytes a second")

    def _activate(self) -> bool:
        """Count this stream among the faults that are active, unless there are enough of them."""
        if self._active:
            return True
        settings, stats = self.settings, self.config.stats
        limit = self.config.runtime.snapshot.get_integer(settings.max_active_faults_key, settings.max_active_faults)
        if stats.active_faults >= limit:
            stats.faults_overflow += 1
            return False
        stats.active_faults += 1
        self._active = True
        return True

    def _on_delay_over(self) -> None:
        self._delay_timer = None
        if self._headers is not None and not self._abort(self._headers):
            self.decoder_callbacks.continue_decoding()

    def _count(self, what: str) -> None:
        stats = self.config.stats
        setattr(stats, what, getattr(stats, what) + 1)
        if self._downstream_cluster and self.settings.downstream_cluster_stats:
            self.config.count_downstream(self._downstream_cluster, what)

    def _mark(self, flag: int) -> None:
        info = self.decoder_callbacks.stream_info
        info.set_response_flag(flag)
        info.dynamic_metadata.setdefault(NAME, {}).update(self.settings.metadata)


@HTTP_FILTERS.register(NAME, CONFIG_TYPE)
def create_fault_filter(proto: Any, context: FactoryContext) -> HttpFilterFactory:
    config = FaultFilterConfig(FaultSettings.from_proto(proto), context)
    return lambda: FaultFilter(config)


@ROUTE_FILTER_CONFIGS.register(NAME, CONFIG_TYPE)
def create_fault_settings(proto: Any, path: str, server: Any) -> FaultSettings:
    return FaultSettings.from_proto(proto, path)
