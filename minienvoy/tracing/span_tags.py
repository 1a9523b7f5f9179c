"""What is said of every request that is traced.

Envoy: `Tracing::HttpTracerUtility::finalizeDownstreamSpan`, `finalizeUpstreamSpan`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from ..access_log.commands_stream import response_flags_text
from ..access_log.context import FormatterContext
from ..http.grpc import is_grpc
from ..http.header_map import HeaderMap, RequestHeaderMap
from ..stream_info import StreamInfo
from .custom_tag import CustomTag
from .span import Span, readable

if TYPE_CHECKING:
    from ..http.active_stream import ActiveStream

_GRPC_ERRORS: Final = frozenset((b"2", b"4", b"8", b"12", b"13", b"14", b"15"))
_EVENTS: Final = (
    ("last_downstream_rx_byte_time", "last_downstream_rx_byte_received"),
    ("first_upstream_tx_byte_time", "first_upstream_tx_byte_sent"),
    ("last_upstream_tx_byte_time", "last_upstream_tx_byte_sent"),
    ("first_upstream_rx_byte_time", "first_upstream_rx_byte_received"),
    ("last_upstream_rx_byte_time", "last_upstream_rx_byte_received"),
    ("first_downstream_tx_byte_time", "first_downstream_tx_byte_sent"),
    ("last_downstream_tx_byte_time", "last_downstream_tx_byte_sent"),
)


def tag_downstream(
    span: Span, stream: ActiveStream, custom_tags: Mapping[str, CustomTag], max_path: int, verbose: bool
) -> None:
    """Of a request as it came, whose response is over."""
    tags, headers = span.tags, stream.request_headers
    if headers is not None:
        request_id = headers.get(b"x-request-id")
        if request_id is not None:
            tags["guid:x-request-id"] = readable(request_id)
        tags["http.url"] = _url(headers, max_path)
        tags["http.method"] = readable(headers.method)
        tags["downstream_cluster"] = _or_dash(headers.get(b"x-envoy-downstream-service-cluster"))
        tags["user_agent"] = _or_dash(headers.get(b"user-agent"))
        tags["http.protocol"] = stream.protocol or "HTTP/1.1"
        peer = stream.connection.direct_remote_address
        if peer is not None:
            tags["peer.address"] = peer.path or peer.host
        client_trace_id = headers.get(b"x-client-trace-id")
        if client_trace_id is not None:
            tags["guid:x-client-trace-id"] = readable(client_trace_id)
        if is_grpc(headers.get(b"content-type")):
            tags["grpc.path"] = readable(headers.path)
            tags["grpc.authority"] = readable(headers.authority)
            tags["grpc.content_type"] = readable(headers.get(b"content-type") or b"")
            timeout = headers.get(b"grpc-timeout")
            if timeout is not None:
                tags["grpc.timeout"] = readable(timeout)
    tags["request_size"] = str(stream.bytes_received)
    tags["response_size"] = str(stream.bytes_sent)
    context = FormatterContext(stream, headers, stream.response_headers, stream.response_trailers)
    tag_common(span, stream, context, custom_tags, verbose)
    tag_grpc(span, stream.response_headers)
    tag_grpc(span, stream.response_trailers)


def tag_common(
    span: Span, info: StreamInfo, context: FormatterContext, custom_tags: Mapping[str, CustomTag], verbose: bool
) -> None:
    """What both ends of the proxy tell."""
    tags = span.tags
    tags["component"] = "proxy"
    if info.upstream_cluster_name:
        tags["upstream_cluster"] = info.upstream_cluster_name
        tags["upstream_cluster.name"] = info.upstream_cluster_alt_stat_name or info.upstream_cluster_name
    status = info.response_code
    tags["http.status_code"] = str(status or 0)
    tags["response_flags"] = response_flags_text(info)
    if verbose:
        for attribute, name in _EVENTS:
            time: float | None = getattr(info, attribute)
            if time is not None:
                span.events.append((span.start_time + time - info.start_monotonic, name))
    if not status or status >= 500:
        tags["error"] = "true"
    for name, custom in custom_tags.items():
        value = custom(context)
        if value is not None:
            tags[name] = value


def tag_grpc(span: Span, headers: HeaderMap | None) -> None:
    """How a call has ended, if these headers (or trailers) say so."""
    status = None if headers is None else headers.get(b"grpc-status")
    if headers is None or status is None:
        return
    span.tags["grpc.status_code"] = readable(status)
    message = headers.get(b"grpc-message")
    if message is not None:
        span.tags["grpc.message"] = readable(message)
    if status in _GRPC_ERRORS:
        span.tags["error"] = "true"


def _or_dash(value: bytes | None) -> str:
    return "-" if value is None else readable(value)


def _url(headers: RequestHeaderMap, max_path: int) -> str:
    path = headers.get(b"x-envoy-original-path") or headers.path
    scheme = headers.get(b"x-forwarded-proto") or b""
    return readable(scheme + b"://" + headers.authority + path[:max_path])
