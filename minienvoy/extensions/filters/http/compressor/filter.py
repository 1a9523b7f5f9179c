"""One stream through a compressor.

Envoy: `Extensions::HttpFilters::Compressor::CompressorFilter`.

A response is compressed if its status, type and length allow it, nothing says that it must stay as it is, and the
client accepts the coding: `vary` is told of all that could be, for caches to know. Where a header tells what was done,
the reasons are looked for one by one, and what the client accepts comes last.
"""

from __future__ import annotations

from typing import Any, Final

from .....http.conn_manager_utility import is_upgrade
from .....http.filter import (
    HTTP_FILTERS,
    UPSTREAM_HTTP_FILTERS,
    FilterDataStatus,
    FilterHeadersStatus,
    FilterTrailersStatus,
    HttpFilterFactory,
    StreamDecoderFilterCallbacks,
    StreamFilter,
)
from .....http.header_map import HeaderMap, RequestHeaderMap, ResponseHeaderMap
from .....router.filter_config import ROUTE_FILTER_CONFIGS, most_specific_config
from .....server.factory_context import FactoryContext
from .....stream_info import StructuredState
from ....compression.compressor import Compressor, CompressorLibrary
from .encoding_decision import EncodingDecision, HeaderStat, choose_encoding
from .filter_config import (
    CONFIG_TYPE,
    ROUTE_TYPE,
    CompressorFilterConfig,
    CompressorPerRouteConfig,
    CompressorStats,
    is_transfer_encoding_allowed,
)

NAME: Final = "envoy.filters.http.compressor"
_REGISTRY: Final = "compressors"
_DECISION: Final = "encoding_decision"
_VARY: Final = b"Accept-Encoding"
_STATUS_HEADER: Final = b"x-envoy-compression-status"


class _Registry(StructuredState):
    """The compressors of a stream, for the one that decides."""

    configs: list[CompressorFilterConfig]


def compress(compressor: Compressor, stats: CompressorStats, data: bytes, finish: bool) -> bytes:
    content = compressor.compress(data, finish)
    stats.total_uncompressed_bytes += len(data)
    stats.total_compressed_bytes += len(content)
    return content


class CompressorFilter(StreamFilter):
    """One stream."""

    def __init__(self, config: CompressorFilterConfig, name: str) -> None:
        self._config = config
        self._name = name
        self._accept_encoding: bytes | None = None
        self._request: Compressor | None = None
        self._response: Compressor | None = None
        self._callbacks: StreamDecoderFilterCallbacks

    @property
    def decoder_callbacks(self) -> StreamDecoderFilterCallbacks:
        return self._callbacks

    @decoder_callbacks.setter
    def decoder_callbacks(self, callbacks: StreamDecoderFilterCallbacks) -> None:
        """All of a chain register before the first of them sees anything."""
        self._callbacks = callbacks
        state = callbacks.stream_info.filter_state
        registry = state.get(_REGISTRY)
        if not isinstance(registry, _Registry):
            registry = state[_REGISTRY] = _Registry()
            registry.configs = []
        registry.configs.append(self._config)

    # -- requests

    def decode_headers(self, headers: RequestHeaderMap, end_stream: bool) -> FilterHeadersStatus:
        self._accept_encoding = headers.get(b"accept-encoding")
        route: CompressorPerRouteConfig | None = most_specific_config(self._callbacks, self._name)
        response = self._config.response
        removes = response.remove_accept_encoding
        if route is not None and route.remove_accept_encoding is not None:
            removes = route.remove_accept_encoding
        if removes and self._compresses_responses(route):
            headers.remove(b"accept-encoding")
        library = self._library(route)
        request = self._config.request
        if (
            request is not None
            and not end_stream
            and request.compression_enabled()
            and not is_upgrade(headers)
            and request.is_minimum_content_length(headers)
            and request.is_content_type_allowed(headers)
            and not headers.has(b"content-encoding")
            and is_transfer_encoding_allowed(headers, library.content_encoding)
        ):
            headers.remove(b"content-length")
            headers.set(b"content-encoding", library.content_encoding)
            self._config.request_stats.compressed += 1
            self._request = library.create()
        else:
            self._config.request_stats.not_compressed += 1
        return FilterHeadersStatus.CONTINUE

    def decode_data(self, data: bytes, end_stream: bool) -> FilterDataStatus:
        if self._request is not None:
            stats = self._config.request_stats
            self._callbacks.replace_decoded_data(compress(self._request, stats, data, end_stream))
        return FilterDataStatus.CONTINUE

    def decode_trailers(self, trailers: HeaderMap) -> FilterTrailersStatus:
        if self._request is not None:
            self._callbacks.add_decoded_data(compress(self._request, self._config.request_stats, b"", True))
        return FilterTrailersStatus.CONTINUE

    # -- responses

    def encode_headers(self, headers: ResponseHeaderMap, end_stream: bool) -> FilterHeadersStatus:
        route: CompressorPerRouteConfig | None = most_specific_config(self._callbacks, self._name)
        response = self._config.response
        enabled, library = self._compresses_responses(route), self._library(route)
        encode = self._encode_telling if response.status_header else self._encode
        if not encode(headers, end_stream, library, enabled):
            response.stats.not_compressed += 1
        return FilterHeadersStatus.CONTINUE

    def encode_data(self, data: bytes, end_stream: bool) -> FilterDataStatus:
        if self._response is not None:
            stats = self._config.response.stats
            self.encoder_callbacks.replace_encoded_data(compress(self._response, stats, data, end_stream))
        return FilterDataStatus.CONTINUE

    def encode_trailers(self, trailers: HeaderMap) -> FilterTrailersStatus:
        if self._response is not None:
            content = compress(self._response, self._config.response.stats, b"", True)
            self.encoder_callbacks.add_encoded_data(content)
        return FilterTrailersStatus.CONTINUE

    # -- inside

    def _library(self, route: CompressorPerRouteConfig | None) -> CompressorLibrary:
        return self._config.library if route is None or route.library is None else route.library

    def _compresses_responses(self, route: CompressorPerRouteConfig | None) -> bool:
        if route is not None and route.response_enabled is not None:
            return route.response_enabled
        return self._config.response.compression_enabled()

    def _encode(self, headers: ResponseHeaderMap, end_stream: bool, library: CompressorLibrary, enabled: bool) -> bool:
        response = self._config.response
        maybe = enabled and response.is_minimum_content_length(headers)
        compressible = (
            maybe
            and _may_change(headers)
            and response.is_content_type_allowed(headers)
            and self._is_etag_allowed(headers)
            and headers.status not in response.uncompressible_codes
        )
        compresses = (
            not end_stream
            and maybe
            # Its statistics are counted whatever else stands against it.
            and self._is_accept_encoding_allowed(headers, library)
            and compressible
            and is_transfer_encoding_allowed(headers, library.content_encoding)
        )
        if compresses:
            self._begin(headers, library, library)
        if compressible:
            _insert_vary(headers)
        return compresses

    def _encode_telling(
        self, headers: ResponseHeaderMap, end_stream: bool, library: CompressorLibrary, enabled: bool
    ) -> bool:
        if not enabled or not _may_change(headers):
            return False
        coding = library.content_encoding
        if not end_stream and (refusal := self._refusal(headers)):
            headers.add(_STATUS_HEADER, b"%b;%b" % (coding, refusal))
        # Envoy looks a second time, and counts what is too small again.
        if not self._is_compressible(headers):
            return False
        _insert_vary(headers)
        if (
            end_stream
            or not self._is_accept_encoding_allowed(headers, library)
            or not is_transfer_encoding_allowed(headers, coding)
        ):
            return False
        length = headers.get(b"content-length") or b""
        # Envoy, too, compresses here as the filter's own configuration says, whatever the route's library is called.
        self._begin(headers, library, self._config.library)
        headers.add(_STATUS_HEADER, b"%b;Compressed;OriginalLength=%b" % (coding, length))
        return True

    def _is_compressible(self, headers: ResponseHeaderMap) -> bool:
        response = self._config.response
        return (
            response.is_minimum_content_length(headers)
            and response.is_content_type_allowed(headers)
            and not self._is_etag_in_the_way(headers)
            and headers.status not in response.uncompressible_codes
        )

    def _refusal(self, headers: ResponseHeaderMap) -> bytes:
        """Why this response is not compressed, in the word of the header that tells it; empty if it may be."""
        response = self._config.response
        if not response.is_minimum_content_length(headers):
            return b"ContentLengthTooSmall"
        if not response.is_content_type_allowed(headers):
            return b"ContentTypeNotAllowed"
        if not self._is_etag_allowed(headers):
            return b"EtagNotAllowed"
        if headers.status in response.uncompressible_codes:
            return b"StatusCodeNotAllowed"
        return b""

    def _begin(self, headers: ResponseHeaderMap, told: CompressorLibrary, used: CompressorLibrary) -> None:
        self._sanitize_etag(headers)
        headers.remove(b"content-length")
        headers.set(b"content-encoding", told.content_encoding)
        self._config.response.stats.compressed += 1
        self._response = used.create()

    def _is_etag_allowed(self, headers: ResponseHeaderMap) -> bool:
        if self._is_etag_in_the_way(headers):
            self._config.response.response_stats.not_compressed_etag += 1
            return False
        return True

    def _is_etag_in_the_way(self, headers: ResponseHeaderMap) -> bool:
        response = self._config.response
        return response.disable_on_etag and not response.weaken_etag and headers.has(b"etag")

    def _sanitize_etag(self, headers: ResponseHeaderMap) -> None:
        """A strong tag is that of other bytes: it goes, or is made a weak one."""
        value = headers.get(b"etag")
        if value is None or value[:2] in (b"W/", b"w/"):
            return
        if self._config.response.weaken_etag:
            headers.set(b"etag", b"W/" + value)
        else:
            headers.remove(b"etag")

    def _is_accept_encoding_allowed(self, headers: ResponseHeaderMap, library: CompressorLibrary) -> bool:
        stats = self._config.response.response_stats
        accept_encoding = self._accept_encoding
        if accept_encoding is None:
            stats.no_accept_header += 1
            return False
        state = self._callbacks.stream_info.filter_state
        decision = state.get(_DECISION)
        if not isinstance(decision, EncodingDecision):
            decision = state[_DECISION] = self._decide(accept_encoding, headers, library)
        mine = decision.encoding.lower() == library.content_encoding
        if decision.stat is HeaderStat.VALID_COMPRESSOR:
            if mine:
                stats.header_compressor_used += 1
            else:
                stats.header_compressor_overshadowed += 1
        elif decision.stat is HeaderStat.IDENTITY:
            stats.header_identity += 1
        elif decision.stat is HeaderStat.WILDCARD:
            stats.header_wildcard += 1
        else:
            stats.header_not_valid += 1
        return mine

    def _decide(
        self, accept_encoding: bytes, headers: ResponseHeaderMap, library: CompressorLibrary
    ) -> EncodingDecision:
        compressors: dict[bytes, bool] = {}
        for config in self._callbacks.stream_info.filter_state[_REGISTRY].configs:
            if config.response.is_content_type_allowed(headers):
                # Of what the others' routes say nobody knows.
                known = library if config is self._config else config.library
                compressors.setdefault(known.content_encoding, config.choose_first)
        return choose_encoding(accept_encoding, compressors)


def _may_change(headers: ResponseHeaderMap) -> bool:
    """Nothing says that the response must stay as it is."""
    if headers.has(b"content-encoding") or is_upgrade(headers):
        return False
    control = headers.get(b"cache-control")
    return control is None or b"no-transform" not in (token.strip().lower() for token in control.split(b","))


def _insert_vary(headers: ResponseHeaderMap) -> None:
    vary = headers.get(b"vary")
    if vary is None:
        headers.set(b"vary", _VARY)
    elif all(token.strip() != _VARY for token in vary.split(b",")):
        headers.set(b"vary", b"%b, %b" % (vary, _VARY))


@HTTP_FILTERS.register(NAME, CONFIG_TYPE)
@UPSTREAM_HTTP_FILTERS.register(NAME, CONFIG_TYPE)
def create_compressor(proto: Any, context: FactoryContext) -> HttpFilterFactory:
    config, name = CompressorFilterConfig(proto, "", context.server, context.http_scope), context.filter_name
    return lambda: CompressorFilter(config, name)


@ROUTE_FILTER_CONFIGS.register(NAME, ROUTE_TYPE)
def create_compressor_per_route(proto: Any, path: str, server: Any) -> CompressorPerRouteConfig:
    return CompressorPerRouteConfig(proto, path)
