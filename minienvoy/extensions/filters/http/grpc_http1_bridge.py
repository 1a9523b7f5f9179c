"""`envoy.filters.http.grpc_http1_bridge`: unary gRPC for clients that speak HTTP/1.1, and so know no trailers.

Envoy: `Extensions::HttpFilters::GrpcHttp1Bridge::Http1BridgeFilter`; docs "gRPC HTTP/1.1 bridge". The response waits
for its trailers, whose status becomes headers; what is no success is a 503.
"""

from __future__ import annotations

from typing import Any, Final

from ....config.fields import honours
from ....http.filter import (
    HTTP_FILTERS,
    FilterDataStatus,
    FilterHeadersStatus,
    FilterTrailersStatus,
    HttpFilterFactory,
    StreamFilter,
)
from ....http.grpc import is_grpc
from ....http.header_map import HeaderMap, RequestHeaderMap, ResponseHeaderMap
from ....server.factory_context import FactoryContext

CONFIG_TYPE: Final = "envoy.extensions.filters.http.grpc_http1_bridge.v3.Config"

honours(CONFIG_TYPE)


class GrpcHttp1BridgeFilter(StreamFilter):
    """One stream."""

    def __init__(self) -> None:
        self._bridging = False
        self._headers: ResponseHeaderMap | None = None
        self._size = 0

    def decode_headers(self, headers: RequestHeaderMap, end_stream: bool) -> FilterHeadersStatus:
        http1 = self.decoder_callbacks.stream_info.protocol in ("HTTP/1.0", "HTTP/1.1")
        self._bridging = http1 and is_grpc(headers.get(b"content-type"))
        return FilterHeadersStatus.CONTINUE

    def encode_headers(self, headers: ResponseHeaderMap, end_stream: bool) -> FilterHeadersStatus:
        if not self._bridging or end_stream:
            return FilterHeadersStatus.CONTINUE
        self._headers = headers
        return FilterHeadersStatus.STOP_ITERATION

    def encode_data(self, data: bytes, end_stream: bool) -> FilterDataStatus:
        self._size += len(data)
        if self._headers is None or end_stream:
            return FilterDataStatus.CONTINUE
        return FilterDataStatus.STOP_ITERATION_AND_BUFFER

    def encode_trailers(self, trailers: HeaderMap) -> FilterTrailersStatus:
        headers = self._headers
        if headers is not None:
            status, message = trailers.get(b"grpc-status"), trailers.get(b"grpc-message")
            if status is not None:
                if not status.isdigit() or int(status):
                    headers.status = 503
                headers.set(b"grpc-status", status)
            if message is not None:
                headers.set(b"grpc-message", message)
            # The client knows how long it is.
            headers.set(b"content-length", b"%d" % self._size)
        return FilterTrailersStatus.CONTINUE


@HTTP_FILTERS.register("envoy.filters.http.grpc_http1_bridge", CONFIG_TYPE)
def create_grpc_http1_bridge(proto: Any, context: FactoryContext) -> HttpFilterFactory:
    return GrpcHttp1BridgeFilter
