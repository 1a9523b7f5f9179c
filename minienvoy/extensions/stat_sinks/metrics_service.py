"""`envoy.stat_sinks.metrics_service`: a stream of gRPC that is sent what Prometheus would read.

Envoy: `MetricsService::MetricsServiceSink`, `GrpcMetricsStreamerImpl`, `MetricsFlusher`. Who this proxy is stands in
the first message of a stream. A stream that ends is begun anew with the next flush, and what the service does not take
while too much waits is lost.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Final

from ...config.api import message_class
from ...config.fields import honours
from ...errors import ConfigError
from ...server.async_services import GrpcServiceConfig
from ...server.stat_sinks import STAT_SINKS, tag_producer
from ...stats.flush import MetricSnapshot
from ...stats.histogram import QUANTILES, Histogram
from ...stream_info import StreamInfo

if TYPE_CHECKING:
    from ...server.server import Server
    from ...upstream.grpc_client import GrpcStream

CONFIG_TYPE: Final = "envoy.config.metrics.v3.MetricsServiceConfig"
_METHOD: Final = "envoy.service.metrics.v3.MetricsService/StreamMetrics"
_COUNTER, _GAUGE, _SUMMARY, _HISTOGRAM = 0, 1, 2, 4
_WITHOUT_HISTOGRAMS, _WITHOUT_SUMMARIES = 1, 2

honours(
    CONFIG_TYPE,
    "grpc_service",
    "report_counters_as_deltas",
    "emit_tags_as_labels",
    "histogram_emit_mode",
    "batch_size",
    values={"transport_api_version": ("AUTO", "V3")},
)

Tagged = Callable[[MetricSnapshot, str], tuple[str, tuple[tuple[str, str], ...]]]


class MetricsServiceSink:
    wants_samples = False

    def __init__(self, config: Any, server: Server) -> None:
        """Of a `MetricsServiceConfig`; raises ConfigError."""
        service = GrpcServiceConfig.from_proto(config.grpc_service, "grpc_service", server)
        if service.channel is None and server.cluster_manager.get(service.cluster) is None:
            where = "grpc_service.envoy_grpc.cluster_name"
            raise ConfigError(f"Unknown gRPC client cluster '{service.cluster}'", where)
        self._client = service.client(server)
        self._metadata = service.call_metadata(StreamInfo())
        self._node = server.node
        self._deltas: bool = config.report_counters_as_deltas.value
        self._histograms = config.histogram_emit_mode != _WITHOUT_HISTOGRAMS
        self._summaries = config.histogram_emit_mode != _WITHOUT_SUMMARIES
        self._batch: int = config.batch_size
        self._message = message_class("envoy.service.metrics.v3.StreamMetricsMessage")
        self._family = message_class("io.prometheus.client.MetricFamily")
        self._tags = tag_producer(server) if config.emit_tags_as_labels else None
        self._stream: GrpcStream | None = None
        self._full = False

    def flush(self, snapshot: MetricSnapshot) -> None:
        families = list(self._families(snapshot))
        size = self._batch or max(len(families), 1)
        for at in range(0, len(families) or 1, size):
            self._send(families[at : at + size])

    def close(self) -> None:
        stream, self._stream = self._stream, None
        if stream is not None:
            stream.reset()

    def on_receive_message(self, message: bytes) -> None:
        """Nobody reads what the service has to say."""

    def on_remote_close(self, status: int, message: str) -> None:
        self._stream = None

    # -- inside

    def _send(self, families: list[Any]) -> None:
        message = self._message(envoy_metrics=families)
        stream = self._stream
        if stream is None:
            self._full = False
            stream = self._stream = self._client.start(_METHOD, self, 0.0, self._metadata)
            if self._stream is None or stream.stream is None or stream.stream.done:
                # There was nobody, which has been told already.
                self._stream = None
                return
            stream.stream.above_watermark = self._on_watermark
            message.identifier.node.CopyFrom(self._node)
        elif self._full:
            return
        stream.send(message.SerializeToString())

    def _on_watermark(self, above: bool) -> None:
        self._full = above

    def _families(self, snapshot: MetricSnapshot) -> Iterator[Any]:
        hosts = snapshot.host_metrics
        for counter in snapshot.counters:
            if counter.sample.used or counter.sample.name in hosts:
                family, metric = self._metric(snapshot, counter.sample.name, _COUNTER)
                metric.counter.value = counter.delta if self._deltas else counter.sample.value
                yield family
        for gauge in snapshot.gauges:
            if gauge.used or gauge.name in hosts:
                family, metric = self._metric(snapshot, gauge.name, _GAUGE)
                metric.gauge.value = gauge.value
                yield family
        for name, histogram in snapshot.histograms:
            if histogram.used:
                yield from self._histogram(snapshot, name, histogram)

    def _histogram(self, snapshot: MetricSnapshot, name: str, histogram: Histogram) -> Iterator[Any]:
        found = histogram.interval_statistics()
        if self._summaries:
            family, metric = self._metric(snapshot, name, _SUMMARY)
            metric.summary.sample_count, metric.summary.sample_sum = found.sample_count, found.sample_sum
            for quantile, value in zip(QUANTILES, found.quantiles(), strict=True):
                metric.summary.quantile.add(quantile=quantile, value=value)
            yield family
        if self._histograms:
            family, metric = self._metric(snapshot, name, _HISTOGRAM)
            metric.histogram.sample_count, metric.histogram.sample_sum = found.sample_count, found.sample_sum
            for bound, count in zip(found.supported_buckets, found.computed_buckets(), strict=True):
                metric.histogram.bucket.add(upper_bound=bound, cumulative_count=count)
            yield family

    def _metric(self, snapshot: MetricSnapshot, name: str, kind: int) -> tuple[Any, Any]:
        family = self._family(type=kind)
        metric = family.metric.add(timestamp_ms=int(snapshot.wall_time * 1000))
        if self._tags is None:
            family.name = name
            return family, metric
        host = snapshot.host_metrics.get(name)
        if host is not None:
            family.name, pairs = host.tag_extracted_name, host.tags
        else:
            tagged = self._tags.tagged(name)
            family.name, pairs = tagged.name, tuple((tag.name, tag.value) for tag in tagged.tags)
        for key, value in pairs:
            metric.label.add(name=key, value=value)
        return family, metric


@STAT_SINKS.register("envoy.stat_sinks.metrics_service", CONFIG_TYPE)
def create_metrics_service_sink(config: Any, server: Server) -> MetricsServiceSink:
    return MetricsServiceSink(config, server)
