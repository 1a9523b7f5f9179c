"""What an HTTP connection manager was told of tracing, and what it does about it.

Envoy: `Http::TracingConnectionManagerConfig`, `ConnectionManagerUtility::mutateTracingRequestHeader`,
`ConnectionManagerImpl::ActiveStream::traceRequest`; docs "Tracing".

Whether a request is traced is decided in this order: its id says so already; its client asks (`x-client-trace-id`) or
a service inside asks (`x-envoy-force-trace`); chance, which the id decides as well, so that all proxies on its way
agree. `overall_sampling` has the last word.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from ..access_log.context import FormatterContext
from ..config.fields import honours
from ..config.runtime import FractionalPercent, RuntimeFractionalPercent
from ..explain.explanation import NO_EXPLANATION
from ..http.header_map import RequestHeaderMap, ResponseHeaderMap
from ..record import record
from .custom_tag import CustomTag, compile_custom_tags, compile_text
from .span import CLIENT, SERVER, NullTracer, Span, Tracer, readable
from .span_tags import tag_downstream
from .trace_reason import (
    CLIENT_FORCED,
    NOT_TRACEABLE,
    SAMPLING,
    SERVICE_FORCED,
    request_id_number,
    set_trace_reason,
    trace_reason_of,
)

if TYPE_CHECKING:
    from ..access_log.context import Sources
    from ..config.runtime import Loader
    from ..http.active_stream import ActiveStream

HCM: Final = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"

honours(
    f"{HCM}.Tracing",
    "client_sampling",
    "random_sampling",
    "overall_sampling",
    "verbose",
    "max_path_tag_length",
    "custom_tags",
    "provider",
    "spawn_upstream_span",
    "operation",
    "upstream_operation",
    "no_context_propagation",
)
honours("envoy.config.trace.v3.Tracing.Http", "name", "typed_config")
honours(
    "envoy.config.route.v3.Tracing",
    "client_sampling",
    "random_sampling",
    "overall_sampling",
    "custom_tags",
    "operation",
    "upstream_operation",
)
honours("envoy.config.route.v3.Decorator", "operation", "propagate")
honours("envoy.type.v3.Percent", "value")

Text = Callable[[FormatterContext], str]


@record
class Sampling:
    """Which requests are traced."""

    client: RuntimeFractionalPercent
    random: RuntimeFractionalPercent
    overall: RuntimeFractionalPercent

    @classmethod
    def from_hcm(cls, proto: Any) -> Sampling:
        """Percentages; by chance they count in hundredths."""
        client = int(proto.client_sampling.value) if proto.HasField("client_sampling") else 100
        return cls(
            RuntimeFractionalPercent(FractionalPercent(client, 100), "tracing.client_enabled"),
            RuntimeFractionalPercent(FractionalPercent(_hundredths(proto, "random_sampling"), 10000), _RANDOM),
            RuntimeFractionalPercent(FractionalPercent(_hundredths(proto, "overall_sampling"), 10000), _OVERALL),
        )

    @classmethod
    def from_route(cls, proto: Any) -> Sampling:
        def fraction(field: str, key: str) -> RuntimeFractionalPercent:
            default = FractionalPercent(100, 100)
            if proto.HasField(field):
                default = FractionalPercent.from_proto(getattr(proto, field))
            return RuntimeFractionalPercent(default, key)

        return cls(
            fraction("client_sampling", "tracing.client_enabled"),
            fraction("random_sampling", _RANDOM),
            fraction("overall_sampling", _OVERALL),
        )


_RANDOM: Final = "tracing.random_sampling"
_OVERALL: Final = "tracing.global_enabled"


def _hundredths(proto: Any, field: str) -> int:
    return round(getattr(proto, field).value * 100) if proto.HasField(field) else 10000


@record
class RouteTracing:
    """What a route says: `decorated` is the operation of its decorator, `told` what others are told of that."""

    sampling: Sampling | None = None
    custom_tags: dict[str, CustomTag] | None = None
    operation: Text | None = None
    upstream_operation: Text | None = None
    decorated: str = ""
    told: bytes = b""

    @classmethod
    def from_proto(cls, route: Any, path: str, sources: Sources | None) -> RouteTracing | None:
        """Of a `Route`; None if it says nothing of tracing."""
        if not (route.HasField("tracing") or route.HasField("decorator")):
            return None
        proto, decorator, here = route.tracing, route.decorator, f"{path}.tracing"
        propagates = not decorator.HasField("propagate") or decorator.propagate.value
        return cls(
            Sampling.from_route(proto) if route.HasField("tracing") else None,
            compile_custom_tags(proto.custom_tags, f"{here}.custom_tags", sources),
            _text(proto, "operation", here, sources),
            _text(proto, "upstream_operation", here, sources),
            decorator.operation,
            decorator.operation.encode() if propagates else b"",
        )


def _text(proto: Any, field: str, path: str, sources: Sources | None) -> Text | None:
    text = getattr(proto, field)
    return compile_text(text, f"{path}.{field}", sources) if text else None


_NOTHING: Final = RouteTracing()


class ConnectionManagerTracing:
    """Shared by the streams of a filter chain.

    Attributes:
        propagates_context: upstreams are told which span they belong to.
        spawns: every attempt has a span of its own, of `child_kind`.
    """

    def __init__(
        self,
        proto: Any,
        path: str,
        *,
        tracer: Tracer | None,
        egress: bool,
        runtime: Loader,
        draw: Callable[[], int],
        node: Any,
        decided_by_request_id: bool = True,
        packs_reason: bool = True,
        sources: Sources | None = None,
        spans: deque[Span] | None = None,
    ) -> None:
        """Of `HttpConnectionManager.Tracing`; `spans` is where they are kept for whoever embeds this proxy."""
        self._spans = spans
        self._tracer = tracer or NullTracer()
        self._egress = egress
        self._runtime = runtime
        self._draw = draw
        self._node_id, self._zone = node.id, node.locality.zone
        self._sampling = Sampling.from_hcm(proto)
        self._packs = packs_reason
        self._uses_request_id = decided_by_request_id
        self._max_path = proto.max_path_tag_length.value if proto.HasField("max_path_tag_length") else 256
        self.verbose: bool = proto.verbose
        self._custom_tags = compile_custom_tags(proto.custom_tags, f"{path}.custom_tags", sources)
        self._operation = _text(proto, "operation", path, sources)
        self._upstream_operation = _text(proto, "upstream_operation", path, sources)
        self.spawns: bool = proto.spawn_upstream_span.value
        # Where attempts have spans of their own, they are the clients.
        self._kind = CLIENT if egress and not self.spawns else SERVER
        self.child_kind = CLIENT if self.spawns else self._kind
        self.propagates_context: bool = not proto.no_context_propagation

    # -- a request

    def start(self, stream: ActiveStream, headers: RequestHeaderMap) -> Span:
        """Decide whether a request is traced, and begin its span."""
        route = self._of_route(stream)
        if not stream.recreated:
            stream.trace_reason = self._decide(stream, headers, route.sampling or self._sampling)
        reason = stream.trace_reason
        stream.is_traced = traced = reason != NOT_TRACEABLE
        operation = f"egress {readable(headers.authority)}" if self._egress else "ingress"
        span = self._tracer.start_span(headers, operation, self._kind, stream.start_time, traced)
        stream.active_span = span
        self._tag_node(span)
        self._name(stream, headers, span, route)
        if stream.explain is not NO_EXPLANATION:
            sampled = "sampled" if span.sampled else "not sampled"
            stream.explain.decided("trace", span.trace_id or "no trace", f"{reason}, {sampled}")
        return span

    def refresh(self, stream: ActiveStream) -> None:
        """A filter had the route found again: what that says takes the place of what another route has said."""
        span, headers = stream.active_span, stream.request_headers
        if span is None or headers is None:
            return
        route = self._of_route(stream)
        if not stream.recreated:
            stream.trace_reason = self._decide(stream, headers, route.sampling or self._sampling)
        stream.is_traced = stream.trace_reason != NOT_TRACEABLE
        if span.local_decision and span.sampled != stream.is_traced:
            span.sampled = stream.is_traced
            self._tag_node(span)
        if self._has_format(route):
            return
        if route.decorated:
            span.set_operation(route.decorated)
        if self._egress:
            self._tell_upstream(headers, route)
        elif stream.decorated_operation is not None:
            stream.decorated_operation = route.told

    def _tag_node(self, span: Span) -> None:
        if span.sampled:
            span.tags["node_id"] = self._node_id
            span.tags["zone"] = self._zone

    def _has_format(self, route: RouteTracing) -> bool:
        """Operations by formats are told when all is known, and decorators of all sides are left alone."""
        return route.operation is not None or self._operation is not None

    def _name(self, stream: ActiveStream, headers: RequestHeaderMap, span: Span, route: RouteTracing) -> None:
        if self._has_format(route):
            return
        decorated = route.decorated
        if decorated:
            span.set_operation(decorated)
        if self._egress:
            self._tell_upstream(headers, route)
            return
        told = headers.get(b"x-envoy-decorator-operation")
        if told is not None:
            headers.remove(b"x-envoy-decorator-operation")
            if told:
                span.set_operation(readable(told))
                stream.decorated_operation = None
                return
        stream.decorated_operation = route.told

    @staticmethod
    def _tell_upstream(headers: RequestHeaderMap, route: RouteTracing) -> None:
        if route.told:
            headers.set(b"x-envoy-decorator-operation", route.told)

    def on_response(self, stream: ActiveStream, headers: ResponseHeaderMap) -> None:
        """The two ends of a request tell each other what they call it."""
        if stream.active_span is None or self._has_format(self._of_route(stream)):
            # A request that was refused has no route, and none is to be found for it now.
            return
        if not self._egress:
            if stream.decorated_operation:
                headers.set(b"x-envoy-decorator-operation", stream.decorated_operation)
            return
        told = headers.get(b"x-envoy-decorator-operation")
        if told is not None:
            if told:
                stream.active_span.set_operation(readable(told))
            headers.remove(b"x-envoy-decorator-operation")

    def finish(self, stream: ActiveStream, span: Span, now: float) -> None:
        """The stream is over, at `now` (monotonic)."""
        if span.sampled:
            stream.describe()
            route = self._of_route(stream)
            tag_downstream(span, stream, self.custom_tags(stream), self._max_path, self.verbose)
            self._name_by(route.operation or self._operation, span, _context_of(stream))
        span.finish(span.start_time + now - stream.start_monotonic)
        self.note(span)

    def note(self, span: Span) -> None:
        """A span is over."""
        if self._spans is not None and span.sampled:
            self._spans.append(span)

    # -- for whoever asks an upstream

    def custom_tags(self, stream: ActiveStream) -> dict[str, CustomTag]:
        own = self._of_route(stream).custom_tags
        return {**self._custom_tags, **own} if own else self._custom_tags

    def name_attempt(self, stream: ActiveStream, span: Span, context: FormatterContext) -> None:
        """An attempt is over: if there is a format for its name, this is what that tells."""
        self._name_by(self._of_route(stream).upstream_operation or self._upstream_operation, span, context)

    # -- inside

    @staticmethod
    def _name_by(operation: Text | None, span: Span, context: FormatterContext) -> None:
        text = operation(context) if operation is not None else ""
        if text:
            span.set_operation(text)

    def _of_route(self, stream: ActiveStream) -> RouteTracing:
        found: RouteTracing | None = getattr(stream.route(), "tracing", None)
        return _NOTHING if found is None else found

    def _decide(self, stream: ActiveStream, headers: RequestHeaderMap, sampling: Sampling) -> str:
        if not self._uses_request_id:
            return SAMPLING
        number = request_id_number(headers)
        if number is None:
            return NOT_TRACEABLE
        snapshot, number = self._runtime.snapshot, number % 10000
        before = reason = trace_reason_of(headers) if self._packs else NOT_TRACEABLE
        if reason == NOT_TRACEABLE:
            if headers.has(b"x-client-trace-id") and snapshot.fraction_enabled(sampling.client, self._draw()):
                reason = CLIENT_FORCED
            elif headers.has(b"x-envoy-force-trace"):
                reason = SERVICE_FORCED
            elif snapshot.fraction_enabled(sampling.random, number):
                reason = SAMPLING
        if reason != NOT_TRACEABLE and not snapshot.fraction_enabled(sampling.overall, number):
            reason = NOT_TRACEABLE
        if reason != before and self._packs:
            set_trace_reason(headers, reason)
        return reason


def _context_of(stream: ActiveStream) -> FormatterContext:
    return FormatterContext(stream, stream.request_headers, stream.response_headers, stream.response_trailers)
