"""`envoy.tracers.opentelemetry`: spans as OpenTelemetry has them.

Envoy: `OpenTelemetry::Driver`, `OpenTelemetry::Tracer`, `OpenTelemetry::Span`. A span is sampled if its request is
traced and either its caller's span was sampled or, if there is a sampler, that says so.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from .... import logger
from ....config.fields import honours
from ....errors import ConfigError
from ....http.header_map import HeaderMap, RequestHeaderMap
from ....tracing.span import CLIENT, Span
from ....tracing.tracer_manager import TRACERS
from ...common.otlp_exporter import OtlpExporter, OtlpGrpcExporter, OtlpHttpExporter, user_agent
from .resource import resource_attributes
from .samplers import create_sampler
from .span_buffer import SpanBuffer, status_of_grpc, status_of_http
from .span_context import SpanContext, extract_context, inject_context

if TYPE_CHECKING:
    from ....server.factory_context import ServerContext

CONFIG_TYPE: Final = "envoy.config.trace.v3.OpenTelemetryConfig"
_MAX_CACHE_SIZE: Final = 1024
_METHOD: Final = "opentelemetry.proto.collector.trace.v1.TraceService/Export"
_log: Final = logger.get("tracing")

honours(
    CONFIG_TYPE,
    "grpc_service",
    "http_service",
    "sampler",
    "max_cache_size",
    "set_instrumentation_scope",
)


class _Tags(dict[str, str]):
    """What is said of a span, some of which says how it has ended: `status` is 2 for an error, 0 for nothing of the
    kind, None if there was no word of it. What is said later of the same does not unsay an error of HTTP."""

    __slots__ = ("_kind", "status")

    def __init__(self, kind: str) -> None:
        self._kind = kind
        self.status: int | None = None

    def __setitem__(self, name: str, value: str) -> None:
        super().__setitem__(name, value)
        if name == "http.status_code":
            found = status_of_http(value, self._kind)
            self.status = self.status if found is None else found
        elif name == "grpc.status_code":
            self.status = status_of_grpc(value, self._kind)


class OpenTelemetrySpan(Span):
    """Attributes:
    remote_parent: another process has the span that caused this one.
    """

    __slots__ = ("_tracer", "remote_parent", "trace_state")

    tags: _Tags

    def __init__(
        self,
        tracer: OpenTelemetryTracer,
        operation: str,
        kind: str,
        start_time: float,
        parent: SpanContext | None,
        trace_id: str,
    ) -> None:
        super().__init__(operation, kind, start_time)
        self.tags = _Tags(kind)
        self._tracer = tracer
        self.trace_id = trace_id
        self.span_id = tracer.new_id()
        self.parent_id = "" if parent is None else parent.span_id
        self.trace_state = "" if parent is None else parent.trace_state
        self.remote_parent = False

    def context(self) -> SpanContext:
        return SpanContext(self.trace_id, self.span_id, self.sampled, self.trace_state)

    def inject_context(self, headers: HeaderMap, peer: str = "") -> None:
        inject_context(headers, self.context())

    def spawn_child(self, operation: str, start_time: float, kind: str) -> Span:
        # Whoever asks for it: an attempt is a client.
        return self._tracer.start_child(self.context(), operation, CLIENT, start_time, self.sampled)

    def finish(self, end_time: float) -> None:
        super().finish(end_time)
        if self.sampled:
            self._tracer.buffer.add(self)


class OpenTelemetryTracer:
    def __init__(self, config: Any, server: ServerContext) -> None:
        self._random = server.random.stream("tracing.opentelemetry")
        self._sampler = create_sampler(config.sampler, "sampler") if config.HasField("sampler") else None
        scoped = not config.HasField("set_instrumentation_scope") or config.set_instrumentation_scope.value
        size = config.max_cache_size.value if config.HasField("max_cache_size") else _MAX_CACHE_SIZE
        self.buffer = SpanBuffer(server, _exporter(config, server), resource_attributes(config), scoped, size)

    def start_span(self, headers: RequestHeaderMap, operation: str, kind: str, start_time: float, traced: bool) -> Span:
        try:
            caller = extract_context(headers)
        except ValueError:
            # Who can not be understood is not told of either.
            return Span(operation, kind, start_time)
        if caller is not None:
            span = self.start_child(caller, operation, kind, start_time, traced)
            span.remote_parent = True
            span.local_decision = False
            return span
        span = OpenTelemetrySpan(self, operation, kind, start_time, None, self.new_id() + self.new_id())
        span.local_decision = self._sampler is None
        span.sampled = traced and (self._sampler is None or self._sampler.should_sample(None, span.trace_id))
        return span

    def start_child(
        self, parent: SpanContext, operation: str, kind: str, start_time: float, traced: bool
    ) -> OpenTelemetrySpan:
        """A span that `parent` has caused."""
        span = OpenTelemetrySpan(self, operation, kind, start_time, parent, parent.trace_id)
        if self._sampler is None:
            span.sampled = traced and parent.sampled
        else:
            span.sampled = traced and self._sampler.should_sample(parent, parent.trace_id)
        return span

    def new_id(self) -> str:
        return f"{self._random.getrandbits(64) or 1:016x}"

    def start(self) -> None:
        self.buffer.start()

    def close(self) -> None:
        self.buffer.close()


def _exporter(config: Any, server: ServerContext) -> OtlpExporter:
    if config.HasField("grpc_service") == config.HasField("http_service"):
        raise ConfigError(
            "OpenTelemetry Tracer must have exactly one of gRPC, HTTP, or custom exporter configured.", "grpc_service"
        )
    if config.HasField("grpc_service"):
        over_grpc = OtlpGrpcExporter(config.grpc_service, "grpc_service", server, _METHOD, _log)
        over_grpc.say(b"user-agent", user_agent())
        return over_grpc
    return OtlpHttpExporter(config.http_service, "http_service", server, _log)


@TRACERS.register("envoy.tracers.opentelemetry", CONFIG_TYPE)
def create_opentelemetry_tracer(config: Any, server: ServerContext) -> OpenTelemetryTracer:
    return OpenTelemetryTracer(config, server)
