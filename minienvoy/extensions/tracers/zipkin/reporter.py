"""Sends finished spans to the collector, some at a time.

Envoy: `Zipkin::ReporterImpl`; statistics `tracing.zipkin.*`. A buffer is sent when it is full (`min_flush_spans`) and
every `flush_interval_ms`; a collector that is away costs the spans that are told to it, and nothing else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ....http.header_map import HeaderMap, ResponseHeaderMap
from ....http.http2.fields import Http2RequestHeaderMap
from ....server.async_services import async_client
from ....stats.store import CounterValue, StatsStruct

if TYPE_CHECKING:
    from ....server.factory_context import ServerContext
    from ....server.http_service_headers import HttpServiceHeaders
    from ....upstream.async_client import AsyncStream
    from .serializer import JsonSerializer, ProtobufSerializer
    from .tracer import ZipkinSpan


class ZipkinTracerStats(StatsStruct):
    """`tracing.zipkin.*`."""

    spans_sent: CounterValue
    timer_flushed: CounterValue
    reports_skipped_no_cluster: CounterValue
    reports_sent: CounterValue
    reports_dropped: CounterValue
    reports_failed: CounterValue


class Reporter:
    """Of one tracer; its timer runs from `start` until `close`."""

    def __init__(
        self,
        server: ServerContext,
        cluster: str,
        host: bytes,
        path: bytes,
        serializer: JsonSerializer | ProtobufSerializer,
        headers: HttpServiceHeaders | None = None,
    ) -> None:
        """`headers` are added to what is sent."""
        self._server = server
        self._cluster, self._host, self._path = cluster, host, path
        self._serializer = serializer
        self._headers = headers
        self.stats = server.stats.scope("tracing.zipkin").struct(ZipkinTracerStats)
        self._spans: list[ZipkinSpan] = []
        self._under_way: set[_Report] = set()
        self._timer = server.dispatcher.create_timer(self._on_timer)

    def start(self) -> None:
        self._enable_timer()

    def report(self, span: ZipkinSpan) -> None:
        self._spans.append(span)
        if len(self._spans) >= self._runtime_integer("min_flush_spans", 5):
            self.flush()

    def flush(self) -> None:
        spans, self._spans = self._spans, []
        self.stats.spans_sent += len(spans)
        if self._server.cluster_manager.get(self._cluster) is None:
            self.stats.reports_skipped_no_cluster += 1
            return
        headers = Http2RequestHeaderMap(b"POST", self._path, self._host)
        headers.pseudo_order = (b":method", b":path", b":authority", b":scheme")
        headers.add(b"content-type", self._serializer.content_type)
        if self._headers is not None:
            self._headers.apply(headers)
        timeout = self._runtime_integer("request_timeout", 5000) / 1000
        report = _Report(self)
        self._under_way.add(report)
        # Its length is not told: it is sent as Envoy sends it, in chunks.
        report.stream = stream = async_client(self._server).start(self._cluster, report, timeout)
        stream.send_headers(headers, False)
        stream.send_data(self._serializer.serialize(spans), True)

    def close(self) -> None:
        self._timer.disable()
        for report in tuple(self._under_way):
            report.cancel()

    def on_report_over(self, report: _Report) -> None:
        self._under_way.discard(report)

    def _on_timer(self) -> None:
        # Envoy's main thread has a buffer of its own, whose timer counts as well.
        self.stats.timer_flushed += 2
        if self._spans:
            self.flush()
        self._enable_timer()

    def _enable_timer(self) -> None:
        self._timer.enable(max(self._runtime_integer("flush_interval_ms", 5000), 1) / 1000)

    def _runtime_integer(self, name: str, default: int) -> int:
        return self._server.runtime.snapshot.get_integer(f"tracing.zipkin.{name}", default)


class _Report:
    """One request to the collector."""

    def __init__(self, reporter: Reporter) -> None:
        self._reporter = reporter
        self._status = 0
        self.stream: AsyncStream | None = None

    def on_headers(self, headers: ResponseHeaderMap, end_stream: bool) -> None:
        self._status = headers.status

    def on_data(self, data: bytes, end_stream: bool) -> None:
        """Nobody reads what a collector has to say."""

    def on_trailers(self, trailers: HeaderMap) -> None:
        """Nor how it ends."""

    def on_complete(self) -> None:
        stats = self._reporter.stats
        if self._status == 202:
            stats.reports_sent += 1
        else:
            stats.reports_dropped += 1
        self._reporter.on_report_over(self)

    def on_reset(self) -> None:
        self._reporter.stats.reports_failed += 1
        self._reporter.on_report_over(self)

    def cancel(self) -> None:
        if self.stream is not None:
            self.stream.reset()
        self._reporter.on_report_over(self)
