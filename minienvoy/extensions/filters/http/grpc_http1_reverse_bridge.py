"""`envoy.filters.http.grpc_http1_reverse_bridge`: gRPC for upstreams that speak HTTP/1.1 and know nothing of gRPC.

Envoy: `Extensions::HttpFilters::GrpcHttp1ReverseBridge::Filter`; docs "gRPC HTTP/1.1 reverse bridge". Unary calls only:
the upstream is asked with a content type of its own, and its status becomes the `grpc-status` in the trailers. With
`withhold_grpc_frames` it never sees the five bytes before a message: they are taken from the request and put before the
response, which is held back until its length is known, unless the upstream tells it in a header.
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
from ....http.grpc import FRAME_HEADER_SIZE, frame_header, http_to_grpc_status, is_grpc
from ....http.header_map import HeaderMap, RequestHeaderMap, ResponseHeaderMap
from ....record import record
from ....router.filter_config import ROUTE_FILTER_CONFIGS, most_specific_config
from ....server.factory_context import FactoryContext

NAME: Final = "envoy.filters.http.grpc_http1_reverse_bridge"
CONFIG_TYPE: Final = "envoy.extensions.filters.http.grpc_http1_reverse_bridge.v3.FilterConfig"
ROUTE_TYPE: Final = "envoy.extensions.filters.http.grpc_http1_reverse_bridge.v3.FilterConfigPerRoute"
_UNKNOWN: Final = 2
_RESOURCE_EXHAUSTED: Final = 8
_INTERNAL: Final = 13
MAX_HELD: Final = 64 << 20
"""Bytes of a response that are held back at most; Envoy has no limit here."""

honours(CONFIG_TYPE, "content_type", "withhold_grpc_frames", "response_size_header")
honours(ROUTE_TYPE, "disabled")


@record
class ReverseBridgeSettings:
    """`size_header` tells the length of a response; None: it is held back to be measured."""

    name: str
    content_type: bytes
    withholds_frames: bool
    size_header: bytes | None

    @classmethod
    def from_proto(cls, proto: Any, name: str) -> ReverseBridgeSettings:
        return cls(
            name=name,
            content_type=proto.content_type.encode(),
            withholds_frames=proto.withhold_grpc_frames,
            size_header=proto.response_size_header.lower().encode() or None,
        )


class GrpcHttp1ReverseBridgeFilter(StreamFilter):
    """One stream."""

    def __init__(self, settings: ReverseBridgeSettings) -> None:
        self._settings = settings
        self._bridging = False
        self._content_type = b""
        self._request_frame_taken = self._response_frame_added = False
        self._status = b"0"
        self._length = 0
        self._sent = 0
        self._held: list[bytes] = []

    # -- the request

    def decode_headers(self, headers: RequestHeaderMap, end_stream: bool) -> FilterHeadersStatus:
        content_type = headers.get(b"content-type")
        if end_stream or content_type is None or not is_grpc(content_type):
            return FilterHeadersStatus.CONTINUE
        settings = self._settings
        if most_specific_config(self.decoder_callbacks, settings.name):
            return FilterHeadersStatus.CONTINUE
        self._bridging = True
        self._content_type = content_type
        self.decoder_callbacks.stream_info.told_client_speaks_grpc(True)
        headers.set(b"content-type", settings.content_type)
        headers.set(b"accept", settings.content_type)
        if settings.withholds_frames:
            _adjust_length(headers, -FRAME_HEADER_SIZE)
        self.decoder_callbacks.clear_route_cache()
        return FilterHeadersStatus.CONTINUE

    def decode_data(self, data: bytes, end_stream: bool) -> FilterDataStatus:
        if not self._bridging or not self._settings.withholds_frames or self._request_frame_taken:
            return FilterDataStatus.CONTINUE
        if len(data) < FRAME_HEADER_SIZE:
            self.decoder_callbacks.send_local_reply(
                200, "invalid request body", "grpc_bridge_data_too_small", grpc_status=_UNKNOWN
            )
            return FilterDataStatus.STOP_ITERATION_NO_BUFFER
        self._request_frame_taken = True
        self.decoder_callbacks.replace_decoded_data(data[FRAME_HEADER_SIZE:])
        return FilterDataStatus.CONTINUE

    # -- the response

    def encode_headers(self, headers: ResponseHeaderMap, end_stream: bool) -> FilterHeadersStatus:
        if not self._bridging:
            return FilterHeadersStatus.CONTINUE
        settings = self._settings
        content_type = headers.get(b"content-type")
        if (content_type or b"") != settings.content_type:
            told = b"no content-type header" if content_type is None else b"unsupported content-type " + content_type
            problem = b"envoy reverse bridge: upstream responded with %b, status code %d" % (told, headers.status)
            return self._refuse(problem, _UNKNOWN, "grpc_bridge_content_type_wrong")
        headers.set(b"content-type", self._content_type)
        if settings.withholds_frames:
            if settings.size_header is None:
                _adjust_length(headers, FRAME_HEADER_SIZE)
            else:
                told_size = (headers.get(settings.size_header) or b"").partition(b",")[0].strip()
                if not told_size.isdigit():
                    problem = b"envoy reverse bridge: upstream did not set content length"
                    return self._refuse(problem, _INTERNAL, "grpc_bridge_content_length_missing")
                self._length = int(told_size)
                headers.set(b"content-length", b"%d" % (self._length + FRAME_HEADER_SIZE))
        # A 200 is a success here, whatever gRPC says of it.
        self._status = b"%d" % (0 if headers.status == 200 else http_to_grpc_status(headers.status))
        headers.status = 200
        if end_stream and settings.withholds_frames:
            self.encoder_callbacks.add_encoded_data(frame_header(0))
            headers.set(b"content-length", b"%d" % FRAME_HEADER_SIZE)
            self.encoder_callbacks.add_encoded_trailers().set(b"grpc-status", self._status)
        return FilterHeadersStatus.CONTINUE

    def encode_data(self, data: bytes, end_stream: bool) -> FilterDataStatus:
        if not self._bridging:
            return FilterDataStatus.CONTINUE
        self._sent += len(data)
        settings = self._settings
        callbacks = self.encoder_callbacks
        if settings.withholds_frames:
            if settings.size_header is None:
                if not end_stream:
                    return self._hold(data)
                callbacks.replace_encoded_data(self._framed() + data)
            elif not self._response_frame_added:
                self._response_frame_added = True
                callbacks.replace_encoded_data(frame_header(self._length) + data)
        if end_stream:
            if settings.withholds_frames and settings.size_header is not None and self._sent != self._length:
                problem = "envoy reverse bridge: upstream set incorrect content length"
                callbacks.send_local_reply(200, problem, "grpc_bridge_content_length_wrong", grpc_status=_INTERNAL)
                return FilterDataStatus.STOP_ITERATION_NO_BUFFER
            callbacks.add_encoded_trailers().set(b"grpc-status", self._status)
        return FilterDataStatus.CONTINUE

    def encode_trailers(self, trailers: HeaderMap) -> FilterTrailersStatus:
        if self._bridging:
            trailers.set(b"grpc-status", self._status)
            if self._settings.withholds_frames and self._settings.size_header is None:
                self.encoder_callbacks.add_encoded_data(self._framed())
        return FilterTrailersStatus.CONTINUE

    def _hold(self, data: bytes) -> FilterDataStatus:
        if self._sent > MAX_HELD:
            problem = "envoy reverse bridge: upstream sent too much"
            self.encoder_callbacks.send_local_reply(
                200, problem, "response_payload_too_large", grpc_status=_RESOURCE_EXHAUSTED
            )
        else:
            self._held.append(data)
        return FilterDataStatus.STOP_ITERATION_NO_BUFFER

    def _framed(self) -> bytes:
        """The five bytes for all of the response, and what has been held back of it."""
        held, self._held = b"".join(self._held), []
        return frame_header(self._sent) + held

    def _refuse(self, problem: bytes, grpc_status: int, details: str) -> FilterHeadersStatus:
        self._bridging = False
        self.decoder_callbacks.send_local_reply(200, problem, details, grpc_status=grpc_status)
        return FilterHeadersStatus.STOP_ITERATION


def _adjust_length(headers: HeaderMap, by: int) -> None:
    length = headers.get(b"content-length")
    if length is not None and length.isdigit() and int(length):
        headers.set(b"content-length", b"%d" % (int(length) + by))


@HTTP_FILTERS.register(NAME, CONFIG_TYPE)
def create_grpc_http1_reverse_bridge(proto: Any, context: FactoryContext) -> HttpFilterFactory:
    settings = ReverseBridgeSettings.from_proto(proto, context.filter_name)
    return lambda: GrpcHttp1ReverseBridgeFilter(settings)


@ROUTE_FILTER_CONFIGS.register(NAME, ROUTE_TYPE)
def is_disabled(proto: Any, path: str, server: Any) -> bool:
    return bool(proto.disabled)
