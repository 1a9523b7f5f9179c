"""`envoy.tracers.zipkin`: spans as Zipkin has them, which Jaeger and others understand, too.

Envoy: `Zipkin::Driver`, `Zipkin::Tracer`, `Zipkin::Span`. The name of a span is the host of its request, until somebody
names it. A request that another proxy has a span for shares it (`shared_span_context`) or gets a child of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from ....config.fields import honours
from ....errors import ConfigError
from ....http.header_map import HeaderMap, RequestHeaderMap
from ....server.async_services import HttpUriConfig
from ....tracing.span import SERVER, Span, readable
from ....tracing.tracer_manager import TRACERS
from .reporter import Reporter
from .serializer import JsonSerializer, ProtobufSerializer
from .span_context import SpanContext, extract_context, extract_sampled, inject_context

if TYPE_CHECKING:
    from ....server.factory_context import ServerContext

CONFIG_TYPE: Final = "envoy.config.trace.v3.ZipkinConfig"

honours(
    CONFIG_TYPE,
    "collector_cluster",
    "collector_endpoint",
    "collector_hostname",
    "collector_service",
    "trace_id_128bit",
    "shared_span_context",
    "trace_context_option",
    "timestamp_trace_ids",
    values={"collector_endpoint_version": ("HTTP_JSON", "HTTP_PROTO")},
    ignored={"split_spans_for_request": "Envoy was seen to make the same spans"},
)
_JSON: Final = 1
_WITH_W3C: Final = 1


class ZipkinSpan(Span):
    """Attributes:
    shared: somebody else may have told of the other half of it.
    """

    __slots__ = ("_context", "_tracer", "shared")

    def __init__(
        self, tracer: ZipkinTracer, operation: str, kind: str, start_time: float, context: SpanContext, sampled: bool
    ) -> None:
        super().__init__(operation, kind, start_time)
        self._tracer = tracer
        self._context = context
        self.sampled = sampled
        self.shared = kind == SERVER and tracer.shared_span_context
        high, trace_id, span_id, parent_id = context
        self.trace_id = f"{high:016x}{trace_id:016x}" if high else f"{trace_id:016x}"
        self.span_id = f"{span_id:016x}"
        self.parent_id = f"{parent_id:016x}" if parent_id else ""

    @property
    def logged_span_id(self) -> str:
        # Envoy's span of this tracer does not tell it.
        return ""

    def inject_context(self, headers: HeaderMap, peer: str = "") -> None:
        w3c = self._tracer.with_w3c
        inject_context(headers, self.trace_id, self.span_id, self.parent_id, self.sampled, w3c)

    def spawn_child(self, operation: str, start_time: float, kind: str) -> Span:
        child = self._tracer.context_below(self._context, kind)
        return ZipkinSpan(self._tracer, operation, kind, start_time, child, self.sampled)

    def finish(self, end_time: float) -> None:
        super().finish(end_time)
        if self.sampled:
            # The time at which a server has sent, or a client has received.
            self.events.append((end_time, "ss" if self.kind == SERVER else "cr"))
            self._tracer.reporter.report(self)


class ZipkinTracer:
    """Attributes:
    shared_span_context: both ends of a call tell of the same span.
    with_w3c: `traceparent` is read where there is no B3, and told beside it.
    """

    def __init__(self, config: Any, server: ServerContext) -> None:
        self._dispatcher = server.dispatcher
        self._random = server.random.stream("tracing.zipkin")
        self._wide: bool = config.trace_id_128bit
        self._timestamps: bool = config.timestamp_trace_ids
        self.shared_span_context = not config.HasField("shared_span_context") or bool(config.shared_span_context.value)
        self.with_w3c: bool = config.trace_context_option == _WITH_W3C
        self.reporter = _reporter(config, server)

    def start_span(self, headers: RequestHeaderMap, operation: str, kind: str, start_time: float, traced: bool) -> Span:
        name = readable(headers.authority)
        sampled = extract_sampled(headers, self.with_w3c)
        local = sampled is None
        if sampled is None:
            sampled = traced
        try:
            caller = extract_context(headers, self.with_w3c)
        except ValueError:
            # Who can not be understood is not told of either.
            return Span(name, kind, start_time)
        if caller is None:
            number = self.new_id()
            context = SpanContext(self._high() if self._wide else 0, number, number)
        else:
            context = self.context_below(caller, kind)
        span = ZipkinSpan(self, name, kind, start_time, context, sampled)
        span.local_decision = local
        return span

    def new_id(self) -> int:
        return self._random.getrandbits(64) or 1

    def context_below(self, caller: SpanContext, kind: str) -> SpanContext:
        """Who serves may share the span of who calls."""
        if kind == SERVER and self.shared_span_context:
            return caller
        return SpanContext(caller.trace_id_high, caller.trace_id, self.new_id(), caller.span_id)

    def start(self) -> None:
        self.reporter.start()

    def close(self) -> None:
        self.reporter.close()

    def _high(self) -> int:
        number = self.new_id()
        if self._timestamps:
            return (int(self._dispatcher.wall_time()) & 0xFFFFFFFF) << 32 | number & 0xFFFFFFFF
        return number


def _reporter(config: Any, server: ServerContext) -> Reporter:
    if not config.collector_endpoint_version:
        raise ConfigError(
            "Using the default now-deprecated value DEPRECATED_AND_UNAVAILABLE_DO_NOT_USE for enum "
            "'envoy.config.trace.v3.ZipkinConfig.collector_endpoint_version'",
            "collector_endpoint_version",
            remedy="say HTTP_JSON or HTTP_PROTO",
        )
    make = JsonSerializer if config.collector_endpoint_version == _JSON else ProtobufSerializer
    serializer = make(server.service_cluster, server.local_address)
    if config.HasField("collector_service"):
        service = HttpUriConfig.from_service(config.collector_service, "collector_service", server)
        _check_cluster(service.cluster, "collector_service.http_uri.cluster", server)
        # How long it may take is what the runtime says.
        return Reporter(server, service.cluster, service.host, service.path, serializer, service.headers)
    if not config.collector_cluster or not config.collector_endpoint:
        field = "collector_endpoint" if config.collector_cluster else "collector_cluster"
        raise ConfigError(
            "collector_cluster and collector_endpoint must be specified when not using collector_service", field
        )
    _check_cluster(config.collector_cluster, "collector_cluster", server)
    host = config.collector_hostname or config.collector_cluster
    return Reporter(server, config.collector_cluster, host.encode(), config.collector_endpoint.encode(), serializer)


def _check_cluster(name: str, path: str, server: ServerContext) -> None:
    if server.cluster_manager.get(name) is None:
        raise ConfigError(f"envoy.tracers.zipkin: unknown cluster '{name}'", path)


@TRACERS.register("envoy.tracers.zipkin", CONFIG_TYPE)
def create_zipkin_tracer(config: Any, server: ServerContext) -> ZipkinTracer:
    return ZipkinTracer(config, server)
