"""Shadows of requests that are traced.

Envoy: the `child_span_` of `Http::AsyncRequestSharedImpl`, by the options that `Router::ShadowWriterImpl` is given. It
is the child of the request's own span, whoever asks for spans of attempts, and has no tags of the configuration.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..access_log.context import FormatterContext
from ..http.header_map import RequestHeaderMap, ResponseHeaderMap
from ..stream_info import ResponseFlag
from ..tracing.span import CLIENT, Span
from ..tracing.span_tags import tag_common
from .router_replies import RESET_FLAGS
from .shadow_writer import ShadowRequest
from .upstream_log import AttemptInfo

if TYPE_CHECKING:
    from ..http.filter_manager import FilterManager
    from ..upstream.cluster import Cluster
    from ..upstream.http_conn_pool import MakeCodec


class TracedShadowRequest(ShadowRequest):
    """Attributes:
    span: None when it is over.
    """

    __slots__ = ("_cluster", "_info", "span")

    def __init__(
        self, cluster: Cluster, make_codec: MakeCodec, address: bytes, stream: FilterManager, timeout: float, limit: int
    ) -> None:
        super().__init__(cluster, make_codec, address, stream, timeout, limit)
        self._cluster = cluster
        self._info = AttemptInfo()
        self.span: Span | None = None

    def start_traced(self, headers: RequestHeaderMap, end_stream: bool, parent: Span, sampled: bool | None) -> None:
        """Send it, as the child of `parent`; `sampled` is what its policy says, None for what `parent` is."""
        stream: Any = self._stream
        info = self._info
        info.start_monotonic = stream.dispatcher.monotonic_time()
        info.start_time = parent.start_time + info.start_monotonic - stream.start_monotonic
        self.span = span = parent.spawn_child("mirror", info.start_time, CLIENT)
        if sampled is not None:
            span.sampled = sampled
        span.inject_context(headers)
        self.start(headers, end_stream)

    def on_headers(self, headers: ResponseHeaderMap, end_stream: bool) -> None:
        self._info.response_code = headers.status

    def on_complete(self) -> None:
        super().on_complete()
        upstream = self._upstream
        if upstream.timed_out:
            self._info.set_response_flag(ResponseFlag.UPSTREAM_REQUEST_TIMEOUT)
        elif upstream.no_host:
            self._info.set_response_flag(ResponseFlag.NO_HEALTHY_UPSTREAM)
        elif upstream.reset_reason is not None:
            self._info.set_response_flag(RESET_FLAGS[upstream.reset_reason])
        self._finish()

    def on_reset(self) -> None:
        super().on_reset()
        if self.span is not None:
            self.span.tags["error.reason"] = "Reset"
        self._info.set_response_flag(ResponseFlag.UPSTREAM_PROTOCOL_ERROR)
        self._finish()

    def reset(self) -> None:
        super().reset()
        if self.span is not None:
            self.span.tags["canceled"] = "true"
            self._finish()

    def _finish(self) -> None:
        span, self.span = self.span, None
        if span is None:
            return
        stream: Any = self._stream
        info, tracing, cluster = self._info, stream.config.tracing, self._cluster
        now = stream.dispatcher.monotonic_time()
        if span.sampled:
            info.upstream_cluster_name, info.upstream_cluster_alt_stat_name = cluster.name, cluster.observability_name
            host = self._upstream.host
            info.upstream_host = host
            # Envoy's client does not know what its connections speak.
            span.tags["http.protocol"] = "HTTP/1.1"
            if host is not None:
                span.tags["upstream_address"] = span.tags["peer.address"] = str(host.address)
            tag_common(span, info, FormatterContext(info), {}, False)
        span.finish(info.start_time + now - info.start_monotonic)
        if tracing is not None:
            tracing.note(span)
