"""`envoy.filters.http.grpc_web`: gRPC for browsers, which see no trailers.

Envoy: `Extensions::HttpFilters::GrpcWeb::GrpcWebFilter`; docs "gRPC-Web", and the protocol's own description. Trailers
become a last frame of the body, marked by 0x80; the text form is all of that in base64.
"""

from __future__ import annotations

import base64
import binascii
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
from ....http.grpc import http_to_grpc_status, is_grpc, percent_encode
from ....http.header_map import HeaderMap, RequestHeaderMap, ResponseHeaderMap
from ....server.factory_context import FactoryContext
from ....stats.store import Scope
from ..common.grpc_counts import charge, counts_of, service_and_method

CONFIG_TYPE: Final = "envoy.extensions.filters.http.grpc_web.v3.GrpcWeb"
_BINARY: Final = (b"application/grpc-web", b"application/grpc-web+proto")
_TEXT: Final = (b"application/grpc-web-text", b"application/grpc-web-text+proto")
_TRAILERS: Final = 0x80
_MAX_WORDS: Final = 16384
"""Bytes of a body in several pieces that become a `grpc-message`; what comes in one piece becomes one as a whole."""

honours(CONFIG_TYPE)


class GrpcWebFilter(StreamFilter):
    """One stream."""

    def __init__(self, clusters: Any, other_statuses: set[bytes]) -> None:
        self._clusters = clusters
        self._other_statuses = other_statuses
        self._scope: Scope | None = None
        self._prefix = ""
        self._is_web = self._text_request = self._text_response = False
        self._encoded = b""
        self._frames = b""
        self._refused: ResponseHeaderMap | None = None
        """Headers of a response that is no gRPC; its body becomes the message."""
        self._words: list[bytes] = []
        self._words_size = 0

    def decode_headers(self, headers: RequestHeaderMap, end_stream: bool) -> FilterHeadersStatus:
        kind = headers.get(b"content-type")
        if kind not in _BINARY and kind not in _TEXT:
            return FilterHeadersStatus.CONTINUE
        self._is_web = True
        # What the proxy itself answers is made into what the client understands on its way back.
        self.decoder_callbacks.stream_info.told_client_speaks_grpc(False)
        called = service_and_method(headers.path)
        if called is not None:
            self._scope = counts_of(self.decoder_callbacks, self._clusters, "grpc-web")
            self._prefix = f"{called[0]}.{called[1]}."
        # The length of the body is about to change.
        headers.remove(b"content-length")
        headers.set(b"content-type", b"application/grpc")
        self._text_request = kind in _TEXT
        self._text_response = headers.get(b"accept") in _TEXT
        headers.set(b"te", b"trailers")
        if not headers.has(b"grpc-accept-encoding"):
            headers.set(b"grpc-accept-encoding", b"identity")
        return FilterHeadersStatus.CONTINUE

    def decode_data(self, data: bytes, end_stream: bool) -> FilterDataStatus:
        if not self._text_request:
            return FilterDataStatus.CONTINUE
        encoded = self._encoded + data
        whole = len(encoded) // 4 * 4
        self._encoded = encoded[whole:]
        problem = "_bad_size" if end_stream and self._encoded else ""
        if not problem:
            try:
                decoded = base64.b64decode(encoded[:whole], validate=True)
            except binascii.Error:
                decoded = b""
            # Padding stands at the end alone, and nothing is left over in it.
            if base64.b64encode(decoded) == encoded[:whole]:
                self.decoder_callbacks.replace_decoded_data(decoded)
                return FilterDataStatus.CONTINUE if decoded or end_stream else FilterDataStatus.STOP_ITERATION_NO_BUFFER
        self.decoder_callbacks.send_local_reply(
            400, "Bad gRPC-web request, invalid base64 data.", f"grpc_base_64_decode_failed{problem}"
        )
        return FilterDataStatus.STOP_ITERATION_NO_BUFFER

    def encode_headers(self, headers: ResponseHeaderMap, end_stream: bool) -> FilterHeadersStatus:
        if not self._is_web:
            return FilterHeadersStatus.CONTINUE
        if self._scope is not None:
            charge(self._scope, self._prefix, headers, self._other_statuses)
        content_type = headers.get(b"content-type")
        is_call = headers.status == 200 and (is_grpc(content_type) or _is_web(content_type))
        headers.set(b"content-type", b"application/grpc-web%b+proto" % (b"-text" if self._text_response else b""))
        # Trailers become part of the body.
        headers.remove(b"content-length")
        if is_call or end_stream:
            return FilterHeadersStatus.CONTINUE
        self._refused = headers
        return FilterHeadersStatus.STOP_ITERATION

    def encode_data(self, data: bytes, end_stream: bool) -> FilterDataStatus:
        if self._refused is not None:
            # What is above the limit is dropped at the end, but no more of it comes here.
            if end_stream or self._words_size < _MAX_WORDS:
                self._words.append(data)
                self._words_size += len(data)
            if end_stream:
                self._tell_refusal(self._refused)
                self.encoder_callbacks.inject_encoded_data(b"", True)
            return FilterDataStatus.STOP_ITERATION_NO_BUFFER
        if not self._is_web or not self._text_response:
            return FilterDataStatus.CONTINUE
        self.encoder_callbacks.inject_encoded_data(self._encode_frames(data), end_stream)
        return FilterDataStatus.STOP_ITERATION_NO_BUFFER

    def _tell_refusal(self, headers: ResponseHeaderMap) -> None:
        words = self._words[0] if len(self._words) == 1 else b"".join(self._words)[:_MAX_WORDS]
        headers.set(b"grpc-message", percent_encode(words))
        headers.set(b"grpc-status", b"%d" % http_to_grpc_status(headers.status))
        headers.add(b"content-length", b"0")

    def _encode_frames(self, data: bytes) -> bytes:
        """Messages are encoded each by itself; the rest waits for more."""
        data = self._frames + data
        encoded: list[bytes] = []
        end = 0
        while len(data) - end >= 5:
            following = end + 5 + int.from_bytes(data[end + 1 : end + 5], "big")
            if following > len(data):
                break
            encoded.append(base64.b64encode(data[end:following]))
            end = following
        self._frames = data[end:]
        return b"".join(encoded)

    def encode_trailers(self, trailers: HeaderMap) -> FilterTrailersStatus:
        if not self._is_web:
            return FilterTrailersStatus.CONTINUE
        if self._scope is not None:
            charge(self._scope, self._prefix, trailers, self._other_statuses)
        if self._refused is not None:
            self._tell_refusal(self._refused)
            return FilterTrailersStatus.CONTINUE
        block = b"".join(b"%b:%b\r\n" % (item[0], item[1]) for item in trailers.entries)
        last = bytes([_TRAILERS]) + len(block).to_bytes(4, "big") + block
        self.encoder_callbacks.add_encoded_data(base64.b64encode(last) if self._text_response else last)
        trailers.entries.clear()
        trailers.seen = 0
        return FilterTrailersStatus.CONTINUE


def _is_web(content_type: bytes | None) -> bool:
    """Whether a response is gRPC-Web already."""
    return content_type is not None and content_type.partition(b";")[0].rstrip().lower() in _BINARY


@HTTP_FILTERS.register("envoy.filters.http.grpc_web", CONFIG_TYPE)
def create_grpc_web(proto: Any, context: FactoryContext) -> HttpFilterFactory:
    clusters = context.server.cluster_manager.clusters
    other_statuses: set[bytes] = set()
    return lambda: GrpcWebFilter(clusters, other_statuses)
