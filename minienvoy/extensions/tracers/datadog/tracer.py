"""`envoy.tracers.datadog`: spans as Datadog has them.

Envoy: `Tracers::Datadog::Tracer`, `Tracers::Datadog::Span`, and what `dd-trace-cpp` does below them. Every trace is
told to the agent, with a priority that says whether anybody wants it; the agent says what part of them it wants.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Final

from ....config.fields import honours
from ....errors import ConfigError
from ....http.header_map import HeaderMap, RequestHeaderMap
from ....tracing.span import Span
from ....tracing.tracer_manager import TRACERS
from ....version import BUILD_TYPE, ENVOY_VERSION, REVISION, REVISION_STATUS, SSL_VERSION
from .agent import Agent, Unsigned
from .propagation import TAGS_PREFIX, Extracted, extract, inject

if TYPE_CHECKING:
    from ....server.factory_context import ServerContext

CONFIG_TYPE: Final = "envoy.config.trace.v3.DatadogConfig"
honours(CONFIG_TYPE, "collector_cluster", "service_name", "collector_hostname")

_NAME: Final = "envoy.proxy"
_USER_KEEP, _USER_DROP = 2, -1
_KEEP, _DROP = 1, 0
_BY_DEFAULT, _BY_AGENT, _BY_HAND = 0, 1, 4
"""Who has decided: `_dd.p.dm` says it, with a minus."""
_DECISION: Final = f"{TAGS_PREFIX}dm"
_KNUTH: Final = 1111111111111111111
_MASK: Final = (1 << 64) - 1


class Trace:
    """What the spans of one request share (`datadog::tracing::TraceSegment`).

    Attributes:
        priority: None until somebody has to know.
        rate: the part of the traces of which this one is, where that was decided by it.
    """

    __slots__ = (
        "_tracer",
        "caller",
        "high",
        "origin",
        "others",
        "priority",
        "rate",
        "spans",
        "tags",
        "too_many",
        "trace_id",
    )

    def __init__(self, tracer: DatadogTracer, high: int, trace_id: int, caller: Extracted | None) -> None:
        self._tracer = tracer
        self.high, self.trace_id = high, trace_id
        self.caller = caller
        self.priority = None if caller is None else caller.priority
        self.origin = "" if caller is None else caller.origin
        self.others = "" if caller is None else caller.other_vendors
        self.tags = {f"{TAGS_PREFIX}tid": f"{high:016x}"} if caller is None else dict(caller.tags)
        self.rate: float | None = None
        self.too_many = False
        self.spans: list[DatadogSpan] = []

    def override(self, priority: int) -> None:
        self.rate = None
        self._decide(priority, _BY_HAND)

    def decided(self) -> int:
        """The priority, which is decided now if that has not been done."""
        if self.priority is None:
            rate = self._tracer.rate()
            self.rate = 1.0 if rate is None else rate
            wanted = self.trace_id * _KNUTH & _MASK < self.rate * (1 << 64)
            if rate is not None:
                self.tags[f"{TAGS_PREFIX}ksr"] = f"{rate:.6g}"
            return self._decide(_KEEP if wanted else _DROP, _BY_DEFAULT if rate is None else _BY_AGENT)
        return self.priority

    def _decide(self, priority: int, by: int) -> int:
        self.priority = priority
        sampling_rate = self.tags.pop(f"{TAGS_PREFIX}ksr", None)
        self.tags.pop(_DECISION, None)
        if priority > 0:
            self.tags[_DECISION] = f"-{by}"
        if sampling_rate is not None and by == _BY_AGENT:
            self.tags[f"{TAGS_PREFIX}ksr"] = sampling_rate
        return priority

    def inject(self, headers: HeaderMap, span_id: int) -> None:
        priority = self.decided()
        fits = inject(headers, self.high, self.trace_id, span_id, priority, self.origin, self.tags, self.others)
        self.too_many = self.too_many or not fits

    def finish(self) -> None:
        """A span is over; when all are, the agent is told."""
        if all(span.finished for span in self.spans):
            self.decided()
            self._tracer.agent.report([self._told(span) for span in self.spans])

    def _told(self, span: DatadogSpan) -> dict[str, Any]:
        tracer = self._tracer
        meta = {name: value for name, value in span.tags.items() if name != "error"}
        if "error.reason" in meta:
            meta["error.message"] = meta["error.reason"]
        meta |= tracer.meta
        metrics = {"process_id": float(tracer.process_id)}
        if self.origin:
            meta["_dd.origin"] = self.origin
        if span is self.spans[0]:
            meta |= self.tags
            if self.too_many:
                meta["_dd.propagation_error"] = "inject_max_size"
            if self.caller is not None and self.caller.last_datadog_parent is not None:
                meta["_dd.parent_id"] = self.caller.last_datadog_parent
            metrics["_sampling_priority_v1"] = float(self.priority or 0)
            if self.rate is not None:
                metrics["_dd.agent_psr"] = self.rate
        return {
            "service": tracer.service,
            "name": _NAME,
            "resource": span.operation,
            "trace_id": Unsigned(self.trace_id),
            "span_id": Unsigned(span.number),
            "parent_id": Unsigned(span.parent_number),
            "start": Unsigned(round(span.start_time * 1_000_000) * 1000),
            "duration": Unsigned(max(0, round(span.duration * 1e9))),
            "error": int("error" in span.tags),
            "meta": meta,
            "metrics": metrics,
            "type": "web",
        }


class DatadogSpan(Span):
    """Attributes:
    number, parent_number: of 64 bits; 0 is nobody.
    finished: it is over.
    """

    __slots__ = ("_made", "_trace", "_tracer", "finished", "number", "parent_number")

    def __init__(
        self, tracer: DatadogTracer, trace: Trace, number: int, parent: int, operation: str, kind: str, start: float
    ) -> None:
        super().__init__(operation, kind, start)
        self._tracer = tracer
        self._trace = trace
        self.number, self.parent_number = number, parent
        self.finished = False
        trace.spans.append(self)

    @property
    def sampled(self) -> bool:
        """Everything is told; its priority says whether anybody wants it."""
        return True

    @sampled.setter
    def sampled(self, sampled: bool) -> None:
        if hasattr(self, "finished"):
            self._trace.override(_USER_KEEP if sampled else _USER_DROP)

    def inject_context(self, headers: HeaderMap, peer: str = "") -> None:
        self._trace.inject(headers, self.number)

    def spawn_child(self, operation: str, start_time: float, kind: str) -> Span:
        number = self._tracer.new_id()
        return DatadogSpan(self._tracer, self._trace, number, self.number, operation, kind, start_time)

    def finish(self, end_time: float) -> None:
        super().finish(end_time)
        self.finished = True
        self._trace.finish()


class DatadogTracer:
    """Attributes:
    meta: what is said of every span.
    """

    def __init__(self, config: Any, server: ServerContext) -> None:
        """Raises ConfigError: there is no such cluster."""
        if server.cluster_manager.get(config.collector_cluster) is None:
            raise ConfigError(
                f"envoy.tracers.datadog: unknown cluster '{config.collector_cluster}'", "collector_cluster"
            )
        self._dispatcher = server.dispatcher
        self._random = server.random.stream("tracing.datadog")
        self.service: str = config.service_name
        self.process_id = os.getpid()
        build = f"{REVISION}/{ENVOY_VERSION}/{REVISION_STATUS}/{BUILD_TYPE}/{SSL_VERSION}"
        runtime_id = server.random.uuid4("tracing.datadog.runtime_id")()
        self.meta = {"language": "cpp", "runtime-id": runtime_id, "version": f"envoy {build}"}
        self.agent = Agent(server, config.collector_cluster, config.collector_hostname or config.collector_cluster)

    def start_span(self, headers: RequestHeaderMap, operation: str, kind: str, start_time: float, traced: bool) -> Span:
        caller = extract(headers)
        number = self.new_id()
        if caller is None:
            high = (int(self._dispatcher.wall_time()) & 0xFFFFFFFF) << 32
            trace = Trace(self, high, number, None)
        else:
            trace = Trace(self, caller.high, caller.trace_id, caller)
        parent = 0 if caller is None else caller.parent_id
        span = DatadogSpan(self, trace, number, parent, operation, kind, start_time)
        span.local_decision = trace.priority is None
        if trace.priority is None and not traced:
            trace.override(_USER_DROP)
        return span

    def new_id(self) -> int:
        return self._random.getrandbits(63) or 1

    def rate(self) -> float | None:
        """What part of the traces the agent wants; None if it has not said."""
        rates = self.agent.rates
        return rates.get(f"service:{self.service},env:", rates.get("service:,env:"))

    def start(self) -> None:
        self.agent.start()

    def close(self) -> None:
        self.agent.close()


@TRACERS.register("envoy.tracers.datadog", CONFIG_TYPE)
def create_datadog_tracer(config: Any, server: ServerContext) -> DatadogTracer:
    return DatadogTracer(config, server)
