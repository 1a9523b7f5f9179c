"""The span of an HTTP request that the proxy makes on behalf of a request that is traced.

Envoy: the `child_span_` of `Http::AsyncRequestSharedImpl`. It is the child of the request's own span, whoever asks for
spans of attempts, and has no tags of the configuration.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..access_log.context import FormatterContext
from ..http.header_map import ResponseHeaderMap
from ..stream_info import ResponseFlag
from ..tracing.call_span import CallSpan
from ..tracing.span_tags import tag_common
from .router_replies import RESET_FLAGS
from .upstream_log import AttemptInfo

if TYPE_CHECKING:
    from ..upstream.async_client import AsyncStream
    from ..upstream.cluster import Cluster


class HttpCallSpan(CallSpan):
    """One of `complete`, `break_off` and `cancel` is the last that is said of it."""

    __slots__ = ("_cluster",)

    def __init__(self, stream: Any, operation: str, cluster: Cluster) -> None:
        super().__init__(stream, operation)
        self._cluster = cluster

    def tag_response(self, headers: ResponseHeaderMap | None) -> None:
        """What whoever asks says of the answer (`onBeforeFinalizeUpstreamSpan`); None: there is none, or it broke."""

    def complete(self, upstream: AsyncStream, headers: ResponseHeaderMap) -> None:
        """There is an answer, be it one of this proxy's own."""
        info = AttemptInfo()
        if upstream.timed_out:
            info.set_response_flag(ResponseFlag.UPSTREAM_REQUEST_TIMEOUT)
        elif upstream.no_host:
            info.set_response_flag(ResponseFlag.NO_HEALTHY_UPSTREAM)
        elif upstream.reset_reason is not None:
            info.set_response_flag(RESET_FLAGS[upstream.reset_reason])
        self._describe(upstream, info, headers, whole=True)

    def break_off(self, upstream: AsyncStream | None, headers: ResponseHeaderMap | None) -> None:
        """The answer is not whole; `headers` are what there is of it."""
        info = AttemptInfo()
        self.tag("error.reason", "Reset")
        info.set_response_flag(ResponseFlag.UPSTREAM_PROTOCOL_ERROR)
        self._describe(upstream, info, headers, whole=False)

    def cancel(self, upstream: AsyncStream, headers: ResponseHeaderMap | None = None) -> None:
        """Nobody waits for an answer any more."""
        self.tag("canceled", "true")
        self._describe(upstream, AttemptInfo(), headers, whole=False)

    def _describe(
        self, upstream: AsyncStream | None, info: AttemptInfo, headers: ResponseHeaderMap | None, *, whole: bool
    ) -> None:
        span, cluster = self.span, self._cluster
        self.tag_response(headers if whole else None)
        if span.sampled:
            info.response_code = None if headers is None else headers.status
            info.upstream_cluster_name, info.upstream_cluster_alt_stat_name = cluster.name, cluster.observability_name
            host = None if upstream is None else upstream.host
            info.upstream_host = host
            # Envoy's client does not know what its connections speak.
            span.tags["http.protocol"] = "HTTP/1.1"
            if host is not None:
                span.tags["upstream_address"] = span.tags["peer.address"] = str(host.address)
            tag_common(span, info, FormatterContext(info), {}, False)
        self.finish()
