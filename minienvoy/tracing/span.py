"""One operation that somebody is told of: when it began and ended, and what there is to say about it.

Envoy: `Tracing::Span`. A tracer's own spans know how their context is told to the next proxy.
"""

from __future__ import annotations

from typing import Final, Protocol

from ..http.header_map import HeaderMap, RequestHeaderMap

SERVER: Final = "SERVER"
CLIENT: Final = "CLIENT"


def readable(value: bytes) -> str:
    """Text of a header, as collectors take it: they refuse what is no UTF-8, and everything that was told with it."""
    return value.decode("utf-8", "replace")


class Span:
    """Times are seconds since the epoch. This one is told to nobody (`Tracing::NullSpan`).

    Attributes:
        kind: SERVER or CLIENT.
        local_decision: whether it is sampled was for this proxy to decide, and may be decided again.
        operation: its name.
        sampled: somebody is told; if not, nothing need be said of it.
        tags: what is said, in the order in which it was first said.
        events: what happened meanwhile.
        trace_id, span_id: hexadecimal digits, as logs and headers show them; empty if there are none.
        parent_id: of the span that caused this one, or empty.
    """

    __slots__ = (
        "end_time",
        "events",
        "kind",
        "local_decision",
        "operation",
        "parent_id",
        "sampled",
        "span_id",
        "start_time",
        "tags",
        "trace_id",
    )

    def __init__(self, operation: str = "", kind: str = SERVER, start_time: float = 0.0) -> None:
        self.operation = operation
        self.kind = kind
        self.start_time = self.end_time = start_time
        self.sampled = False
        self.local_decision = True
        self.tags: dict[str, str] = {}
        self.events: list[tuple[float, str]] = []
        self.trace_id = self.span_id = self.parent_id = ""

    @property
    def duration(self) -> float:
        """Seconds from its beginning to its end."""
        return self.end_time - self.start_time

    @property
    def logged_span_id(self) -> str:
        """What `%SPAN_ID%` shows."""
        return self.span_id

    def set_operation(self, operation: str) -> None:
        self.operation = operation

    def inject_context(self, headers: HeaderMap, peer: str = "") -> None:
        """Tell the upstream which span its own belong to; `peer` is its address, if that is known."""

    def spawn_child(self, operation: str, start_time: float, kind: str) -> Span:
        """For a request to an upstream."""
        return Span(operation, kind, start_time)

    def finish(self, end_time: float) -> None:
        self.end_time = end_time

    def __repr__(self) -> str:
        return f"<Span {self.operation!r} {self.kind} trace={self.trace_id} id={self.span_id} parent={self.parent_id}>"


class Tracer(Protocol):
    """Makes the spans of the requests that come in (`Tracing::Driver`)."""

    def start_span(self, headers: RequestHeaderMap, operation: str, kind: str, start_time: float, traced: bool) -> Span:
        """`traced` is what this proxy has decided; what came with the request may overrule it."""
        ...


class NullTracer:
    """Where there is no provider: requests are sampled and named, but nobody is told."""

    def start_span(self, headers: RequestHeaderMap, operation: str, kind: str, start_time: float, traced: bool) -> Span:
        return Span(operation, kind, start_time)
