"""Finished spans, until they are sent: when there are enough of them, and from time to time.

Envoy: the part of `OpenTelemetry::Tracer` that flushes; statistics `tracing.opentelemetry.*`, runtime keys
`tracing.opentelemetry.min_flush_spans` and `.flush_interval_ms`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from ....config.api import message_class
from ....stats.store import CounterValue, StatsStruct
from ....tracing.span import CLIENT, readable
from ....version import version
from .resource import Attributes

if TYPE_CHECKING:
    from ....server.factory_context import ServerContext
    from ...common.otlp_exporter import OtlpExporter
    from .tracer import OpenTelemetrySpan

_REQUEST: Final = "opentelemetry.proto.collector.trace.v1.ExportTraceServiceRequest"
_SERVER_KIND: Final = 2
_CLIENT_KIND: Final = 3
_ERROR: Final = 2
_SERVER_ERRORS: Final = frozenset((2, 4, 12, 13, 14, 15))
"""The gRPC statuses that are a server's fault."""


class OpenTelemetryTracerStats(StatsStruct):
    """`tracing.opentelemetry.*`."""

    spans_sent: CounterValue
    spans_dropped: CounterValue
    timer_flushed: CounterValue


class SpanBuffer:
    """Of one tracer; its timer runs from `start` until `close`. `max_size` is how many spans may wait."""

    def __init__(
        self, server: ServerContext, exporter: OtlpExporter | None, attributes: Attributes, scoped: bool, max_size: int
    ) -> None:
        """`scoped`: the library that makes the spans is told of, which is this proxy."""
        self._runtime = server.runtime
        self._exporter = exporter
        self._max_size = max_size
        self._request = message_class(_REQUEST)
        template = self._request()
        resource = template.resource_spans.add()
        for name, value in attributes.items():
            _set(resource.resource.attributes, name, value)
        scope = resource.scope_spans.add()
        if scoped:
            scope.scope.name, scope.scope.version = "envoy", version()
        self._template = template.SerializeToString()
        self.stats = server.stats.scope("tracing.opentelemetry").struct(OpenTelemetryTracerStats)
        self._spans: list[OpenTelemetrySpan] = []
        self._timer = server.dispatcher.create_timer(self._on_timer)

    def start(self) -> None:
        self._enable_timer()

    def add(self, span: OpenTelemetrySpan) -> None:
        if len(self._spans) >= self._max_size:
            self.stats.spans_dropped += 1
            self.flush()
            return
        self._spans.append(span)
        if len(self._spans) >= self._runtime_integer("min_flush_spans", 5):
            self.flush()

    def flush(self) -> None:
        spans, self._spans = self._spans, []
        if not spans:
            return
        self.stats.spans_sent += len(spans)
        if self._exporter is None:
            return
        request = self._request.FromString(self._template)
        told = request.resource_spans[0].scope_spans[0].spans
        for span in spans:
            _fill(told.add(), span)
        self._exporter.export(request.SerializeToString())

    def close(self) -> None:
        self._timer.disable()
        if self._exporter is not None:
            self._exporter.close()

    def _on_timer(self) -> None:
        # Envoy's main thread has a buffer of its own, whose timer counts as well.
        self.stats.timer_flushed += 2
        self.flush()
        self._enable_timer()

    def _enable_timer(self) -> None:
        self._timer.enable(max(self._runtime_integer("flush_interval_ms", 5000), 1) / 1000)

    def _runtime_integer(self, name: str, default: int) -> int:
        return self._runtime.snapshot.get_integer(f"tracing.opentelemetry.{name}", default)


def _nanoseconds(seconds: float) -> int:
    return round(seconds * 1_000_000) * 1000


def _set(attributes: Any, name: str, value: str) -> None:
    attribute = attributes.add()
    attribute.key = name
    attribute.value.string_value = value


def _fill(told: Any, span: OpenTelemetrySpan) -> None:
    """A span as OTLP has it."""
    told.trace_id = bytes.fromhex(span.trace_id)
    told.span_id = bytes.fromhex(span.span_id)
    told.parent_span_id = bytes.fromhex(span.parent_id)
    told.trace_state = readable(span.trace_state.encode("latin-1"))
    told.name = span.operation
    told.kind = _CLIENT_KIND if span.kind == CLIENT else _SERVER_KIND
    # Sampled; it is known whether the parent is remote; and it is.
    told.flags = 0x301 if span.remote_parent else 0x101
    told.start_time_unix_nano = _nanoseconds(span.start_time)
    told.end_time_unix_nano = _nanoseconds(span.end_time)
    for name, value in span.tags.items():
        if name:
            _set(told.attributes, name, value)
    for time, name in span.events:
        event = told.events.add()
        event.time_unix_nano, event.name = _nanoseconds(time), name
    if span.tags.status is not None:
        told.status.code = span.tags.status


def status_of_http(value: str, kind: str) -> int | None:
    """What a status code says of a span: an error is one for who calls if it is 4xx, too."""
    code = int(value) if value.isdigit() else 0
    return _ERROR if code >= (400 if kind == CLIENT else 500) else None


def status_of_grpc(value: str, kind: str) -> int:
    """Which calls have failed is a matter of who is asked, too."""
    code = int(value) if value.isdigit() else 0
    failed = code != 0 if kind == CLIENT else code in _SERVER_ERRORS
    return _ERROR if failed else 0
