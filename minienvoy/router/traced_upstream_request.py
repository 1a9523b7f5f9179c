"""Attempts of requests that are traced.

Envoy: what `Router::UpstreamRequest` does with its `span_`, and with the span of the request where an attempt has none
of its own. These take the place of `UpstreamRequest` in a connection manager that traces requests.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..access_log.context import FormatterContext
from ..http.codec import StreamResetReason
from ..http.header_map import HeaderMap, ResponseHeaderMap
from ..tracing.connection_manager_tracing import ConnectionManagerTracing
from ..tracing.span import Span
from ..tracing.span_tags import tag_common, tag_grpc
from .upstream_log import AttemptInfo, LoggedUpstreamRequest
from .upstream_request import RESET_REASONS, UpstreamRequest

if TYPE_CHECKING:
    from ..upstream.codec_client import CodecClient
    from ..upstream.conn_pool import PoolFailureReason
    from ..upstream.host import Host
    from .router import Router


class TracedUpstreamRequest(UpstreamRequest):
    """Attributes:
    span: of this attempt, or None; what there is to be said of it is in `story`.
    """

    # It has a dictionary: two bases with slots of their own could not be combined.

    answer: ResponseHeaderMap | None
    span: Span | None
    story: AttemptInfo
    tracing: ConnectionManagerTracing | None
    trailers: HeaderMap | None

    def __init__(self, router: Router, host: Host) -> None:
        super().__init__(router, host)
        self.span = None
        self.answer = None
        self.trailers = None
        stream: Any = router.stream
        tracing: ConnectionManagerTracing | None = stream.config.tracing
        self.tracing = tracing
        parent: Span | None = stream.active_span
        if tracing is None or parent is None or not (tracing.spawns or router.config.start_child_span):
            return
        dispatcher = stream.dispatcher
        name = f"router {router.cluster.observability_name} egress"
        start = parent.start_time + dispatcher.monotonic_time() - stream.start_monotonic
        self.span = span = parent.spawn_child(name, start, tracing.child_kind)
        info = self.story = AttemptInfo()
        info.start_time, info.start_monotonic = start, dispatcher.monotonic_time()
        info.connection = stream.connection
        route = router.route_entry
        info.route_name, info.virtual_host_name = route.name, route.virtual_host_name
        info.route_metadata, info.virtual_host_metadata = route.metadata, route.virtual_host_metadata
        info.upstream_cluster_name = route.cluster_name
        info.upstream_cluster_alt_stat_name = stream.upstream_cluster_alt_stat_name
        info.cluster_metadata = router.cluster.metadata
        info.active_span = span
        attempts = router.attempts
        if attempts is not None and attempts.count > 1:
            span.tags["retry.count"] = str(attempts.count - 1)

    def on_pool_ready(self, client: CodecClient) -> None:
        stream = self._router.stream
        span = self.span
        if span is not None:
            info = self.story
            info.upstream_host = self.host
            info.protocol = info.upstream_protocol = client.codec.protocol
            info.first_upstream_tx_byte_time = stream.dispatcher.monotonic_time()
        else:
            span = stream.active_span
        if span is not None and self.tracing is not None and self.tracing.propagates_context:
            span.inject_context(self._router.request_headers, self.host.address.text)
        super().on_pool_ready(client)

    def on_pool_failure(self, reason: PoolFailureReason, details: str, host: Host | None) -> None:
        if self.span is not None:
            self.story.upstream_host = host
        self._fail(RESET_REASONS[reason])
        super().on_pool_failure(reason, details, host)

    def decode_headers(self, headers: ResponseHeaderMap, end_stream: bool) -> None:
        if self.span is not None:
            info = self.story
            info.response_code = headers.status
            info.first_upstream_rx_byte_time = self._router.stream.dispatcher.monotonic_time()
            self.answer = ResponseHeaderMap(headers.status, headers.entries[:], headers.seen)
            if self.span.sampled:
                tag_grpc(self.span, headers)
            if end_stream:
                self._finish()
        super().decode_headers(headers, end_stream)

    def decode_data(self, data: bytes, end_stream: bool) -> None:
        if end_stream and self.span is not None:
            self._finish()
        super().decode_data(data, end_stream)

    def decode_trailers(self, trailers: HeaderMap) -> None:
        self.trailers = trailers
        if self.span is not None:
            if self.span.sampled:
                tag_grpc(self.span, trailers)
            self._finish()
        super().decode_trailers(trailers)

    def on_reset_stream(self, reason: StreamResetReason, details: str) -> None:
        if not self.done:
            self._fail(reason)
        super().on_reset_stream(reason, details)

    def note(self, flag: int) -> None:
        super().note(flag)
        if self.span is not None:
            self.story.set_response_flag(flag)

    def reset(self) -> None:
        if self.span is not None and not self.done:
            self.span.tags["canceled"] = "true"
            self._finish()
        super().reset()

    # -- inside

    def _fail(self, reason: StreamResetReason) -> None:
        # That module needs this one to be made.
        from .router_replies import RESET_FLAGS

        span = self.span
        if span is None:
            return
        span.tags["error"] = "true"
        span.tags["error.reason"] = reason.value
        self.story.set_response_flag(RESET_FLAGS[reason])
        self._finish()

    def _finish(self) -> None:
        span, tracing = self.span, self.tracing
        if span is None or tracing is None:
            return
        self.span = None
        router = self._router
        stream: Any = router.stream
        info = self.story
        now = stream.dispatcher.monotonic_time()
        if span.sampled:
            if router.request_complete:
                info.last_upstream_tx_byte_time = stream.last_upstream_tx_byte_time
            if self.answer is not None:
                info.last_upstream_rx_byte_time = now
            span.tags["http.protocol"] = info.protocol or "-"
            host = info.upstream_host
            if host is not None:
                span.tags["upstream_address"] = span.tags["peer.address"] = str(host.address)
            context = FormatterContext(info, router.request_headers, self.answer, self.trailers)
            tag_common(span, info, context, tracing.custom_tags(stream), tracing.verbose)
            tracing.name_attempt(stream, span, context)
        span.finish(info.start_time + now - info.start_monotonic)
        tracing.note(span)


class LoggedTracedUpstreamRequest(TracedUpstreamRequest, LoggedUpstreamRequest):
    """An attempt that has an access log of its own as well."""
