"""Shadows of requests that are traced.

Envoy: `Http::AsyncClient` with the options that `Router::ShadowWriterImpl` gives it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..http.header_map import RequestHeaderMap, ResponseHeaderMap
from .http_call_span import HttpCallSpan
from .shadow_writer import ShadowRequest

if TYPE_CHECKING:
    from ..http.filter_manager import FilterManager
    from ..upstream.cluster import Cluster
    from ..upstream.http_conn_pool import MakeCodec


class TracedShadowRequest(ShadowRequest):
    """Attributes:
    span: None when it is over.
    """

    __slots__ = ("_answer", "_cluster", "span")

    def __init__(
        self, cluster: Cluster, make_codec: MakeCodec, address: bytes, stream: FilterManager, timeout: float, limit: int
    ) -> None:
        super().__init__(cluster, make_codec, address, stream, timeout, limit)
        self._cluster = cluster
        self._answer: ResponseHeaderMap | None = None
        self.span: HttpCallSpan | None = None

    def start_traced(self, headers: RequestHeaderMap, end_stream: bool, sampled: bool | None) -> None:
        """Send it; `sampled` is what its policy says of its span, None for what that of the request is."""
        self.span = call = HttpCallSpan(self._stream, "mirror", self._cluster)
        if sampled is not None:
            call.span.sampled = sampled
        call.inject(headers)
        self.start(headers, end_stream)

    def on_headers(self, headers: ResponseHeaderMap, end_stream: bool) -> None:
        self._answer = headers

    def on_complete(self) -> None:
        super().on_complete()
        span, self.span = self.span, None
        if span is not None and self._answer is not None:
            span.complete(self._upstream, self._answer)

    def on_reset(self) -> None:
        super().on_reset()
        span, self.span = self.span, None
        if span is not None:
            span.break_off(self._upstream, self._answer)

    def reset(self) -> None:
        super().reset()
        span, self.span = self.span, None
        if span is not None:
            span.cancel(self._upstream, self._answer)
