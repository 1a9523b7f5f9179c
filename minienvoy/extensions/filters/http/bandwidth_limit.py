"""`envoy.filters.http.bandwidth_limit`: lets bodies go on no faster than configured.

Envoy: `Extensions::HttpFilters::BandwidthLimitFilter::BandwidthLimiter`; docs "Bandwidth limit". All streams of a
filter chain, or of a route with settings of its own, take from one bucket, in both directions. Trailers may tell the
client how long it took.
"""

from __future__ import annotations

from math import ceil
from typing import Any, Final

from ....config.fields import honours
from ....config.runtime import RuntimeFeatureFlag
from ....errors import ConfigError
from ....event.token_bucket import LazyTokenBucket
from ....http.filter import (
    HTTP_FILTERS,
    FilterDataStatus,
    FilterHeadersStatus,
    FilterTrailersStatus,
    HttpFilterFactory,
    StreamFilter,
)
from ....http.header_map import HeaderMap, RequestHeaderMap, ResponseHeaderMap
from ....router.filter_config import ROUTE_FILTER_CONFIGS, most_specific_config
from ....server.factory_context import FactoryContext, ServerContext
from ....stats.histogram import MillisecondsHistogram
from ....stats.store import CounterValue, GaugeValue, StatsStruct
from .common.stream_rate_limiter import FILL_INTERVAL, KIBIBYTE, StreamRateLimiter

NAME = "envoy.filters.http.bandwidth_limit"
CONFIG_TYPE = "envoy.extensions.filters.http.bandwidth_limit.v3.BandwidthLimit"
REQUEST: Final = 1
RESPONSE: Final = 2

honours(
    CONFIG_TYPE,
    "stat_prefix",
    "enable_mode",
    "limit_kbps",
    "fill_interval",
    "runtime_enabled",
    "enable_response_trailers",
    "response_trailer_prefix",
)


class BandwidthLimitStats(StatsStruct):
    """`<stat_prefix>.http_bandwidth_limit.`"""

    request_enabled: CounterValue
    request_enforced: CounterValue
    request_incoming_total_size: CounterValue
    request_allowed_total_size: CounterValue
    response_enabled: CounterValue
    response_enforced: CounterValue
    response_incoming_total_size: CounterValue
    response_allowed_total_size: CounterValue
    request_pending: GaugeValue
    request_incoming_size: GaugeValue
    request_allowed_size: GaugeValue
    response_pending: GaugeValue
    response_incoming_size: GaugeValue
    response_allowed_size: GaugeValue
    request_transfer_duration: MillisecondsHistogram
    response_transfer_duration: MillisecondsHistogram


class BandwidthLimitConfig:
    """Of a filter chain, or of a route.

    Attributes:
        mode: `REQUEST`, `RESPONSE`, both or 0.
        limit: bytes a second.
        fill_interval: seconds between two portions.
        trailers: prefix of the names of trailers; None: there are none.
    """

    __slots__ = ("_enabled", "_runtime", "bucket", "fill_interval", "limit", "mode", "stats", "trailers")

    def __init__(self, proto: Any, server: ServerContext) -> None:
        self.mode: int = proto.enable_mode
        self.limit: int = proto.limit_kbps.value * KIBIBYTE
        interval = proto.fill_interval
        self.fill_interval = (
            interval.seconds + interval.nanos / 1e9 if proto.HasField("fill_interval") else FILL_INTERVAL
        )
        self.bucket = LazyTokenBucket(self.limit, self.limit, server.dispatcher.monotonic_time)
        self.bucket.reset(int(self.limit * self.fill_interval))
        default = not proto.HasField("runtime_enabled")
        self._enabled = RuntimeFeatureFlag() if default else RuntimeFeatureFlag.from_proto(proto.runtime_enabled)
        self._runtime = server.runtime
        scope = server.stats.scope(f"{proto.stat_prefix}.http_bandwidth_limit")
        self.stats = scope.struct(BandwidthLimitStats)
        prefix = f"{proto.response_trailer_prefix}-" if proto.response_trailer_prefix else ""
        self.trailers = f"{prefix}bandwidth-" if proto.enable_response_trailers else None

    def limits(self, direction: int) -> bool:
        return bool(self.mode & direction) and self._enabled.value(self._runtime.snapshot)


class _Direction:
    """One body: its limiter, and how long it takes.

    Attributes:
        duration: milliseconds from the first data to the end; None before that.
        delay: milliseconds of it that the limit is to blame for.
    """

    __slots__ = ("_config", "_name", "_now", "_start", "delay", "duration", "limiter", "pending")

    def __init__(self, config: BandwidthLimitConfig, name: str, now: Any) -> None:
        self._config = config
        self._name = name
        self._now = now
        self._start = 0.0
        self.pending = False
        self.delay = 0.0
        self.duration: int | None = None
        self.limiter: StreamRateLimiter | None = None
        self._count("enabled", 1)

    def on_data(self, size: int) -> None:
        if not self.pending and self.duration is None:
            self.pending = True
            self._start = self._now()
            self._count("pending", 1)
        setattr(self._config.stats, f"{self._name}_incoming_size", size)
        self._count("incoming_total_size", size)

    def on_portion(self, size: int, left: bool) -> None:
        setattr(self._config.stats, f"{self._name}_allowed_size", size)
        self._count("allowed_total_size", size)
        if left:
            self._count("enforced", 1)
            self.delay += self._config.fill_interval * 1000

    def finish(self) -> bool:
        """The body is complete; True the first time."""
        if not self.pending:
            return False
        self.pending = False
        self.duration = int((self._now() - self._start) * 1000)
        getattr(self._config.stats, f"{self._name}_transfer_duration").record(self.duration)
        self._count("pending", -1)
        return True

    def tell(self, trailers: HeaderMap, prefix: str) -> None:
        for what, milliseconds in (("delay", self.duration), ("filter-delay", ceil(self.delay))):
            if milliseconds:
                trailers.set(f"{prefix}{self._name}-{what}-ms".encode(), b"%d" % milliseconds)

    def _count(self, name: str, by: int) -> None:
        stats, name = self._config.stats, f"{self._name}_{name}"
        setattr(stats, name, getattr(stats, name) + by)


class BandwidthLimiter(StreamFilter):
    """One stream."""

    def __init__(self, config: BandwidthLimitConfig, name: str) -> None:
        self._config = config
        self._name = name
        self._request: _Direction | None = None
        self._response: _Direction | None = None
        self._trailers: HeaderMap | None = None

    def decode_headers(self, headers: RequestHeaderMap, end_stream: bool) -> FilterHeadersStatus:
        callbacks = self.decoder_callbacks
        own = most_specific_config(callbacks, self._name, BandwidthLimitConfig)
        if own is not None:
            self._config = own
        if self._config.limits(REQUEST):
            self._request = made = self._direction("request", callbacks)
            made.limiter = self._limiter(
                made,
                callbacks.on_decoder_filter_above_write_buffer_high_watermark,
                callbacks.on_decoder_filter_below_write_buffer_low_watermark,
                self._write_request,
                self._proceed_request,
            )
        return FilterHeadersStatus.CONTINUE

    def decode_data(self, data: bytes, end_stream: bool) -> FilterDataStatus:
        request = self._request
        if request is None or request.limiter is None:
            return FilterDataStatus.CONTINUE
        request.on_data(len(data))
        request.limiter.write_data(data, end_stream)
        return FilterDataStatus.STOP_ITERATION_NO_BUFFER

    def decode_trailers(self, trailers: HeaderMap) -> FilterTrailersStatus:
        request = self._request
        if request is not None and request.limiter is not None:
            if request.limiter.on_trailers():
                return FilterTrailersStatus.STOP_ITERATION
            request.finish()
        return FilterTrailersStatus.CONTINUE

    def encode_headers(self, headers: ResponseHeaderMap, end_stream: bool) -> FilterHeadersStatus:
        callbacks = self.encoder_callbacks
        if self._config.limits(RESPONSE):
            self._response = made = self._direction("response", callbacks)
            made.limiter = self._limiter(
                made,
                callbacks.on_encoder_filter_above_write_buffer_high_watermark,
                callbacks.on_encoder_filter_below_write_buffer_low_watermark,
                self._write_response,
                self._proceed_response,
            )
        return FilterHeadersStatus.CONTINUE

    def encode_data(self, data: bytes, end_stream: bool) -> FilterDataStatus:
        response = self._response
        if response is None or response.limiter is None:
            return FilterDataStatus.CONTINUE
        response.on_data(len(data))
        adds_trailers = end_stream and self._config.trailers is not None
        if adds_trailers:
            self._trailers = self.encoder_callbacks.add_encoded_trailers()
        response.limiter.write_data(data, end_stream, trailers=adds_trailers)
        return FilterDataStatus.STOP_ITERATION_NO_BUFFER

    def encode_trailers(self, trailers: HeaderMap) -> FilterTrailersStatus:
        response = self._response
        if response is not None and response.limiter is not None:
            self._trailers = trailers
            if response.limiter.on_trailers():
                return FilterTrailersStatus.STOP_ITERATION
            self._finish_response()
        return FilterTrailersStatus.CONTINUE

    def on_destroy(self) -> None:
        for direction in (self._request, self._response):
            if direction is not None and direction.limiter is not None:
                # Envoy goes on counting as pending what is never finished.
                direction.limiter.destroy()

    # -- inside

    def _direction(self, name: str, callbacks: Any) -> _Direction:
        return _Direction(self._config, name, callbacks.dispatcher.monotonic_time)

    def _limiter(self, direction: _Direction, pause: Any, resume: Any, write: Any, proceed: Any) -> StreamRateLimiter:
        config, callbacks = self._config, self.decoder_callbacks
        return StreamRateLimiter(
            callbacks.dispatcher,
            config.limit,
            callbacks.downstream_connection.buffer_limit,
            pause,
            resume,
            write,
            proceed,
            direction.on_portion,
            config.bucket,
            config.fill_interval,
        )

    def _write_request(self, data: bytes, end_stream: bool) -> None:
        if end_stream and self._request is not None:
            self._request.finish()
        self.decoder_callbacks.inject_decoded_data(data, end_stream)

    def _proceed_request(self) -> None:
        if self._request is not None:
            self._request.finish()
        self.decoder_callbacks.continue_decoding()

    def _write_response(self, data: bytes, end_stream: bool) -> None:
        if end_stream:
            self._finish_response()
        self.encoder_callbacks.inject_encoded_data(data, end_stream)

    def _proceed_response(self) -> None:
        self._finish_response()
        self.encoder_callbacks.continue_encoding()

    def _finish_response(self) -> None:
        response, prefix = self._response, self._config.trailers
        if response is not None and response.finish() and self._trailers is not None and prefix is not None:
            if self._request is not None:
                self._request.tell(self._trailers, prefix)
            response.tell(self._trailers, prefix)


@HTTP_FILTERS.register(NAME, CONFIG_TYPE)
def create_bandwidth_limiter(proto: Any, context: FactoryContext) -> HttpFilterFactory:
    config, name = BandwidthLimitConfig(proto, context.server), context.filter_name
    return lambda: BandwidthLimiter(config, name)


@ROUTE_FILTER_CONFIGS.register(NAME, CONFIG_TYPE)
def create_bandwidth_limit_settings(proto: Any, path: str, server: ServerContext) -> BandwidthLimitConfig:
    if not proto.HasField("limit_kbps"):
        raise ConfigError("limit must be set for per route filter config", path)
    return BandwidthLimitConfig(proto, server)
