"""`envoy.tracers.skywalking`: spans as SkyWalking has them.

Envoy: `Tracers::SkyWalking::Driver`, `Tracer`, `Span`. What turns out not to be worth telling is told all the same,
and marked so that nobody analyses it. Only an attempt that has a span of its own tells the next proxy (`sw8`).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

from .... import logger
from ....config.fields import honours
from ....http.header_map import HeaderMap, RequestHeaderMap
from ....tracing.span import Span, readable
from ....tracing.tracer_manager import TRACERS
from .segment import Segment, SpanContext
from .trace_segment_reporter import TraceSegmentReporter

if TYPE_CHECKING:
    from ....server.factory_context import ServerContext

CONFIG_TYPE: Final = "envoy.config.trace.v3.SkyWalkingConfig"
_DEFAULT_NAME: Final = "EnvoyProxy"
_DEFAULT_SIZE: Final = 1024
_HEADER: Final = b"sw8"
_NAMES: Final = {"http.url": "url", "http.status_code": "status_code"}
_PEER: Final = "peer.address"
_log: Final = logger.get("tracing")

honours(CONFIG_TYPE, "grpc_service", "client_config")
honours("envoy.config.trace.v3.ClientConfig", "service_name", "instance_name", "backend_token", "max_cache_size")


class _Tags(dict[str, str]):
    """Remembers also what was said before: SkyWalking is told everything."""

    def __init__(self) -> None:
        super().__init__()
        self.said: list[tuple[str, str]] = []

    def __setitem__(self, name: str, value: str) -> None:
        super().__setitem__(name, value)
        self.said.append((name, value))


class SkyWalkingSpan(Span):
    """Attributes:
    number, parent_number: within the segment; -1 is nobody.
    is_exit: it leads out of this proxy.
    skip_analysis: nobody is to count it.
    finished: it is over.
    """

    __slots__ = ("_said", "_segment", "_tracer", "finished", "is_exit", "number", "parent_number", "skip_analysis")

    def __init__(
        self,
        tracer: SkyWalkingTracer,
        segment: Segment,
        operation: str,
        kind: str,
        start_time: float,
        parent: SkyWalkingSpan | None = None,
    ) -> None:
        super().__init__(operation, kind, start_time)
        self._said = _Tags()
        self.tags = self._said
        self._tracer = tracer
        self._segment = segment
        self.number = len(segment.spans)
        self.parent_number = -1 if parent is None else parent.number
        self.is_exit = parent is not None
        self.finished = False
        self.skip_analysis = False
        segment.spans.append(self)

    @property
    def sampled(self) -> bool:
        """Everything is told, whatever was decided."""
        return True

    @sampled.setter
    def sampled(self, sampled: bool) -> None:
        if hasattr(self, "skip_analysis") and not sampled:
            self.skip_analysis = True

    @property
    def peer(self) -> str:
        return self.tags.get(_PEER, "")

    @property
    def is_error(self) -> bool:
        return "error" in self.tags

    def told_tags(self) -> Iterator[tuple[str, str]]:
        return ((_NAMES.get(name, name), value) for name, value in self._said.said if name != _PEER)

    def set_operation(self, operation: str) -> None:
        """Spans are called by the path of their request, whatever a route calls it."""

    def inject_context(self, headers: HeaderMap, peer: str = "") -> None:
        authority = ""
        if isinstance(headers, RequestHeaderMap):
            authority = readable(headers.authority)
            if self.is_exit:
                # It may have been rewritten.
                self.operation = readable(headers.path)
        value = self._segment.header(peer or authority)
        if value is not None:
            headers.set(_HEADER, value)

    def spawn_child(self, operation: str, start_time: float, kind: str) -> Span:
        return SkyWalkingSpan(self._tracer, self._segment, self.operation, kind, start_time, self)

    def finish(self, end_time: float) -> None:
        super().finish(end_time)
        self.finished = True
        if self._segment.complete:
            self._tracer.reporter.report(self._segment.serialize())


class SkyWalkingTracer:
    def __init__(self, config: Any, server: ServerContext) -> None:
        """Raises ConfigError."""
        client, node = config.client_config, server.node
        self._service = client.service_name or server.service_cluster or _DEFAULT_NAME
        self._instance = client.instance_name or node.id or _DEFAULT_NAME
        size = client.max_cache_size.value if client.HasField("max_cache_size") else _DEFAULT_SIZE
        self._new_id = server.random.uuid4("tracing.skywalking")
        self.reporter = TraceSegmentReporter(config.grpc_service, client.backend_token, size, server)

    def start_span(self, headers: RequestHeaderMap, operation: str, kind: str, start_time: float, traced: bool) -> Span:
        told = headers.get(_HEADER)
        caller = None
        if told is not None:
            headers.remove(_HEADER)
            try:
                caller = SpanContext.from_header(told)
            except ValueError as error:
                _log.debug(f"the caller of a request says nothing that can be understood: {error}")
        elif not traced:
            return Span(operation, kind, start_time)
        trace_id = self._new_id() if caller is None else caller.trace_id
        segment = Segment(trace_id, self._new_id(), self._service, self._instance, caller)
        span = SkyWalkingSpan(self, segment, readable(headers.path), kind, start_time)
        span.local_decision = caller is None
        return span

    def start(self) -> None:
        self.reporter.start()

    def close(self) -> None:
        self.reporter.close()


@TRACERS.register("envoy.tracers.skywalking", CONFIG_TYPE)
def create_skywalking_tracer(config: Any, server: ServerContext) -> SkyWalkingTracer:
    return SkyWalkingTracer(config, server)
