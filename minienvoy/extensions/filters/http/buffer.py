"""`envoy.filters.http.buffer`: holds a request back until all of it is there.

Envoy: `Extensions::HttpFilters::BufferFilter::BufferFilter`; docs "Buffer". A request that is larger than
`max_request_bytes` is answered with 413; one that had no length gets one. A route may have another limit, or none.
"""

from __future__ import annotations

from typing import Any

from ....config.fields import honours
from ....http.filter import (
    HTTP_FILTERS,
    UPSTREAM_HTTP_FILTERS,
    FilterDataStatus,
    FilterHeadersStatus,
    FilterTrailersStatus,
    HttpFilterFactory,
    StreamDecoderFilter,
)
from ....http.header_map import HeaderMap, RequestHeaderMap
from ....router.filter_config import ROUTE_FILTER_CONFIGS, most_specific_config
from ....server.factory_context import FactoryContext

NAME = "envoy.filters.http.buffer"
CONFIG_TYPE = "envoy.extensions.filters.http.buffer.v3.Buffer"
ROUTE_TYPE = "envoy.extensions.filters.http.buffer.v3.BufferPerRoute"
DISABLED = 0
"""In place of a limit, which is never less than 1."""

honours(CONFIG_TYPE, "max_request_bytes")
honours(ROUTE_TYPE, "disabled", "buffer")


class BufferFilter(StreamDecoderFilter):
    """One stream; `limit` is in bytes."""

    def __init__(self, limit: int, name: str) -> None:
        self._limit = limit
        self._name = name
        self._headers: RequestHeaderMap | None = None
        self._size = 0

    def decode_headers(self, headers: RequestHeaderMap, end_stream: bool) -> FilterHeadersStatus:
        if end_stream:
            return FilterHeadersStatus.CONTINUE
        own = most_specific_config(self.decoder_callbacks, self._name, int)
        if own is not None:
            self._limit = own
        if self._limit == DISABLED:
            return FilterHeadersStatus.CONTINUE
        self.decoder_callbacks.set_decoder_buffer_limit(self._limit)
        self._headers = headers
        return FilterHeadersStatus.STOP_ITERATION

    def decode_data(self, data: bytes, end_stream: bool) -> FilterDataStatus:
        self._size += len(data)
        if end_stream or self._headers is None:
            self._tell_length()
            return FilterDataStatus.CONTINUE
        return FilterDataStatus.STOP_ITERATION_AND_BUFFER

    def decode_trailers(self, trailers: HeaderMap) -> FilterTrailersStatus:
        self._tell_length()
        return FilterTrailersStatus.CONTINUE

    def _tell_length(self) -> None:
        if self._headers is not None and not self._headers.has(b"content-length"):
            self._headers.add(b"content-length", b"%d" % self._size)


@HTTP_FILTERS.register(NAME, CONFIG_TYPE)
@UPSTREAM_HTTP_FILTERS.register(NAME, CONFIG_TYPE)
def create_buffer_filter(proto: Any, context: FactoryContext) -> HttpFilterFactory:
    limit, name = proto.max_request_bytes.value, context.filter_name
    return lambda: BufferFilter(limit, name)


@ROUTE_FILTER_CONFIGS.register(NAME, ROUTE_TYPE)
def create_buffer_settings(proto: Any, path: str, server: Any) -> int:
    return DISABLED if proto.disabled else int(proto.buffer.max_request_bytes.value)
