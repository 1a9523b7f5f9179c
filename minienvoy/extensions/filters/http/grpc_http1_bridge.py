"""`envoy.filters.http.grpc_http1_bridge`: unary gRPC for clients that speak HTTP/1.1, and so know no trailers.

Envoy: `Extensions::HttpFilters::GrpcHttp1Bridge::Http1BridgeFilter`; docs "gRPC HTTP/1.1 bridge". The response waits
for its trailers, whose status becomes headers; what is no success is a 503. With `upgrade_protobuf_to_grpc` a client
may send a plain protobuf message: it is put into a frame, and the answer taken out of one.
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
from ....http.grpc import FRAME_HEADER_SIZE, frame_header, is_grpc
from ....http.header_map import HeaderMap, RequestHeaderMap, ResponseHeaderMap
from ....server.factory_context import FactoryContext

CONFIG_TYPE: Final = "envoy.extensions.filters.http.grpc_http1_bridge.v3.Config"

honours(CONFIG_TYPE, "upgrade_protobuf_to_grpc", "ignore_query_parameters")


class GrpcHttp1BridgeFilter(StreamFilter):
    """One stream; `_framing` while there is a frame to put around the request, and to take from the response."""

    def __init__(self, upgrades_protobuf: bool, ignores_query: bool) -> None:
        self._upgrades_protobuf = upgrades_protobuf
        self._ignores_query = ignores_query
        self._bridging = self._framing = self._paused = False
        self._message: list[bytes] = []
        self._message_size = 0
        self._headers: ResponseHeaderMap | None = None
        self._size = 0

    # -- the request

    def decode_headers(self, headers: RequestHeaderMap, end_stream: bool) -> FilterHeadersStatus:
        callbacks = self.decoder_callbacks
        if self._upgrades_protobuf and headers.get(b"content-type") == b"application/x-protobuf":
            self._framing = True
            callbacks.stream_info.told_client_speaks_grpc(False)
            headers.set(b"content-type", b"application/grpc")
            headers.remove(b"content-length")
            callbacks.clear_route_cache()
        http1 = callbacks.stream_info.protocol in ("HTTP/1.0", "HTTP/1.1")
        self._bridging = http1 and is_grpc(headers.get(b"content-type"))
        if self._bridging and self._ignores_query:
            headers.path = headers.path.partition(b"?")[0]
        return FilterHeadersStatus.CONTINUE

    def decode_data(self, data: bytes, end_stream: bool) -> FilterDataStatus:
        if not self._bridging or not self._framing:
            return FilterDataStatus.CONTINUE
        self._message.append(data)
        self._message_size += len(data)
        callbacks = self.decoder_callbacks
        if end_stream:
            message, self._message = b"".join(self._message), []
            callbacks.replace_decoded_data(frame_header(len(message)) + message)
            if self._paused:
                self._paused = False
                callbacks.on_decoder_filter_below_write_buffer_low_watermark()
            return FilterDataStatus.CONTINUE
        # Where Envoy's own buffer is full its client waits, and so does this one; for its timeouts, as it were.
        if not self._paused and self._message_size > callbacks.decoder_buffer_limit > 0:
            self._paused = True
            callbacks.on_decoder_filter_above_write_buffer_high_watermark()
        return FilterDataStatus.STOP_ITERATION_NO_BUFFER

    # -- the response

    def encode_headers(self, headers: ResponseHeaderMap, end_stream: bool) -> FilterHeadersStatus:
        if not self._bridging or end_stream:
            return FilterHeadersStatus.CONTINUE
        self._headers = headers
        return FilterHeadersStatus.STOP_ITERATION

    def encode_data(self, data: bytes, end_stream: bool) -> FilterDataStatus:
        if self._headers is None or end_stream:
            return FilterDataStatus.CONTINUE
        if self._framing:
            self._framing = False
            data = data[FRAME_HEADER_SIZE:]
            self.encoder_callbacks.replace_encoded_data(data)
        self._size += len(data)
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

    def on_destroy(self) -> None:
        self._message.clear()


@HTTP_FILTERS.register("envoy.filters.http.grpc_http1_bridge", CONFIG_TYPE)
def create_grpc_http1_bridge(proto: Any, context: FactoryContext) -> HttpFilterFactory:
    upgrades, ignores = proto.upgrade_protobuf_to_grpc, proto.ignore_query_parameters
    return lambda: GrpcHttp1BridgeFilter(upgrades, ignores)
