"""The calls that scripts make.

Envoy: `makeHttpCall`, `StreamHandleWrapper::doHttpCall`; docs "httpCall()".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .....http.header_map import HeaderMap, RequestHeaderMap, ResponseHeaderMap
from .....server.async_services import async_client
from .....upstream.async_client import StreamOptions
from .headers import add_header, replace_header

if TYPE_CHECKING:
    from .....router.http_call_span import HttpCallSpan
    from .....server.factory_context import ServerContext
    from .....upstream.cluster import Cluster
    from .stream_handle import StreamHandle


class _Nobody:
    """Who does not care."""

    def on_success(self, headers: ResponseHeaderMap, body: bytes, trailers: HeaderMap | None) -> None:
        """It has come too late for the script anyway."""

    def on_failure(self) -> None:
        """Likewise."""


def send_call(
    server: ServerContext,
    handle: StreamHandle,
    cluster_name: str,
    pairs: list[tuple[bytes, bytes]],
    body: bytes | None,
    timeout: float,
    asynchronous: bool,
    sampled: bool | None,
    duplicates: bool,
    send_xff: bool,
) -> tuple[Any, ...]:
    """Send a request to a cluster; the handle is told what comes of it, unless it is asynchronous.

    `timeout` is seconds, 0 for none. Without `sampled` its span is sampled if that of the stream is.
    """
    headers = RequestHeaderMap(b"", b"", b"")
    for name, value in pairs:
        add_header(headers, name, value)
    if body is not None:
        replace_header(headers, b"content-length", b"%d" % len(body))
    cluster = server.cluster_manager.get(cluster_name)
    assert cluster is not None, "the script is told before"
    span = _span(handle, cluster, sampled)
    if span is not None:
        span.inject(headers)
    options = StreamOptions(send_xff=send_xff)
    client = async_client(server)
    if asynchronous:
        client.send(cluster_name, headers, body or b"", _Nobody(), timeout, options=options, span=span)
        return (True,)
    handle.begin_call(duplicates)
    call = client.send(cluster_name, headers, body or b"", handle, timeout, options=options, span=span)
    return handle.wait_for_call(call)


def _span(handle: StreamHandle, cluster: Cluster, sampled: bool | None) -> HttpCallSpan | None:
    stream = handle.filter.decoder_callbacks.stream_info
    if stream.active_span is None:
        return None
    from .....router.http_call_span import HttpCallSpan

    span = HttpCallSpan(stream, f"async {cluster.name} egress", cluster)
    if sampled is not None:
        span.span.sampled = sampled
    return span
