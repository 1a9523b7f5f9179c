"""The span of a call that the proxy makes on behalf of a request that is traced.

Envoy: the `child_span_` of `Http::AsyncRequestSharedImpl`, the `current_span_` of `Grpc::AsyncRequestImpl`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..http.header_map import HeaderMap
from .span import CLIENT, Span

if TYPE_CHECKING:
    from ..stream_info import StreamInfo


class CallSpan:
    """The child of the span of `stream`, which has one.

    Attributes:
        span: what there is to be said of the call.
        start_monotonic: when it was made.
    """

    __slots__ = ("_over", "_stream", "span", "start_monotonic")

    def __init__(self, stream: Any, operation: str) -> None:
        self._stream = stream
        self._over = False
        parent: Span = stream.active_span
        self.start_monotonic: float = stream.dispatcher.monotonic_time()
        start = parent.start_time + self.start_monotonic - stream.start_monotonic
        self.span = parent.spawn_child(operation, start, CLIENT)

    def inject(self, headers: HeaderMap) -> None:
        """Tell whoever is called of it."""
        self.span.inject_context(headers)

    def tag(self, name: str, value: str) -> None:
        self.span.tags[name] = value

    def finish(self) -> None:
        """The call is over."""
        if self._over:
            return
        self._over = True
        stream = self._stream
        now = stream.dispatcher.monotonic_time()
        self.span.finish(self.span.start_time + now - self.start_monotonic)
        tracing = stream.config.tracing
        if tracing is not None:
            tracing.note(self.span)


class GrpcCallSpan(CallSpan):
    """Of a gRPC call; its client says how it ends."""

    __slots__ = ()

    def __init__(self, stream: StreamInfo, method: str, cluster: str, authority: str = "") -> None:
        """`method` is `package.Service/Method`."""
        super().__init__(stream, f"async {method.replace('/', '.')} egress")
        self.span.tags.update(upstream_cluster=cluster, upstream_address=authority or cluster, component="proxy")

    def fail(self) -> None:
        self.tag("error", "true")

    def end(self, status: int) -> None:
        """The call has ended with this status, and whoever made it is about to hear of it."""
        self.tag("grpc.status_code", str(status))
        if status:
            self.fail()

    def cancel(self) -> None:
        """Whoever made the call has given it up."""
        self.tag("status", "canceled")
        self.finish()
