"""`envoy.filters.http.decompressor`: takes the content coding off bodies.

Envoy: `Extensions::HttpFilters::Decompressor::DecompressorFilter`; docs "Decompressor". What a body was and has become
is told in trailers. Upstreams are told that the coding is accepted.
"""

from __future__ import annotations

from typing import Any, Final

from ....config.api import type_of
from ....config.extension import create_extension
from ....config.fields import honours
from ....config.runtime import RuntimeFeatureFlag
from ....http.filter import (
    HTTP_FILTERS,
    FilterDataStatus,
    FilterHeadersStatus,
    FilterTrailersStatus,
    HttpFilterFactory,
    StreamFilter,
)
from ....http.header_map import HeaderMap, RequestHeaderMap, ResponseHeaderMap
from ....server.factory_context import FactoryContext, ServerContext
from ....stats.store import CounterValue, Scope, StatsStruct
from ...compression.decompressor import DECOMPRESSOR_LIBRARIES, Decompressor

NAME: Final = "envoy.filters.http.decompressor"
CONFIG_TYPE: Final = "envoy.extensions.filters.http.decompressor.v3.Decompressor"

honours(CONFIG_TYPE, "decompressor_library", "request_direction_config", "response_direction_config")
honours(f"{CONFIG_TYPE}.CommonDirectionConfig", "enabled", "ignore_no_transform_header")
honours(f"{CONFIG_TYPE}.RequestDirectionConfig", "common_config", "advertise_accept_encoding")
honours(f"{CONFIG_TYPE}.ResponseDirectionConfig", "common_config")


class DecompressorStats(StatsStruct):
    """`http.<stat_prefix>.decompressor.<name of the library>.<library>.request.` and `.response.`"""

    decompressed: CounterValue
    not_decompressed: CounterValue
    total_uncompressed_bytes: CounterValue
    total_compressed_bytes: CounterValue


class DirectionConfig:
    """Of requests, or of responses."""

    __slots__ = ("_enabled", "_ignores_no_transform", "_runtime", "stats")

    def __init__(self, common: Any, server: ServerContext, stats: DecompressorStats) -> None:
        self._enabled = (
            RuntimeFeatureFlag.from_proto(common.enabled) if common.HasField("enabled") else RuntimeFeatureFlag()
        )
        self._runtime = server.runtime
        self._ignores_no_transform: bool = common.ignore_no_transform_header
        self.stats = stats

    def decompression_enabled(self) -> bool:
        return self._enabled.value(self._runtime.snapshot)

    def should_decompress(self, headers: HeaderMap, content_encoding: bytes) -> bool:
        """Whether the coding is the one that was applied last, and nothing says that it must stay."""
        if not self.decompression_enabled():
            return False
        if not self._ignores_no_transform:
            control = headers.get(b"cache-control")
            if control is not None and b"no-transform" in (each.strip().lower() for each in control.split(b",")):
                return False
        coding = headers.get(b"content-encoding")
        return coding is not None and coding.partition(b",")[0].strip().lower() == content_encoding


class DecompressorFilterConfig:
    """Of a filter chain."""

    __slots__ = ("_server", "_trailer_prefix", "advertises", "library", "library_stats", "request", "response")

    def __init__(self, proto: Any, server: ServerContext, http_scope: Scope) -> None:
        """Raises ConfigError: a library that nobody knows."""
        path, given = "decompressor_library", proto.decompressor_library
        where = f"{path}.typed_config"
        entry = DECOMPRESSOR_LIBRARIES.find(type_of(given.typed_config, where), where)
        self.library = create_extension(entry, given, path)
        scope = http_scope.scope(f"decompressor.{given.name}.{self.library.stats_prefix}")
        self.library_stats = scope.scope("decompressor_library").struct(self.library.stats)
        request, response = proto.request_direction_config, proto.response_direction_config
        self.request = DirectionConfig(request.common_config, server, scope.scope("request").struct(DecompressorStats))
        self.response = DirectionConfig(
            response.common_config, server, scope.scope("response").struct(DecompressorStats)
        )
        self.advertises: bool = (
            request.advertise_accept_encoding.value if request.HasField("advertise_accept_encoding") else True
        )
        self._server = server
        self._trailer_prefix = f"x-envoy-decompressor-{given.name.lower()}".encode()

    def trailer_names(self) -> tuple[bytes, bytes]:
        """As in Envoy, the first filter of the process that is used names the trailers of all."""
        prefix = self._trailer_prefix
        return self._server.singleton(
            DecompressorFilterConfig, lambda: (prefix + b"-compressed-bytes", prefix + b"-uncompressed-bytes")
        )

    def accepting(self, accept_encoding: bytes) -> bytes:
        """What the upstream is told to be accepted: what the client says, and the coding without a weight."""
        mine = self.library.content_encoding
        others = [token for each in accept_encoding.split(b",") if (token := each.strip())]
        kept = [token for token in others if token.partition(b";")[0].strip() != mine]
        return b",".join([*kept, mine])


class _Body:
    """One that is decompressed."""

    __slots__ = ("_compressed", "_decompressor", "_names", "_stats", "_uncompressed")

    def __init__(self, decompressor: Decompressor, stats: DecompressorStats, names: tuple[bytes, bytes]) -> None:
        self._decompressor = decompressor
        self._stats = stats
        self._names = names
        self._compressed = self._uncompressed = 0
        stats.decompressed += 1

    def decompress(self, data: bytes) -> bytes:
        content = self._decompressor.decompress(data)
        self._compressed += len(data)
        self._uncompressed += len(content)
        self._stats.total_compressed_bytes += len(data)
        self._stats.total_uncompressed_bytes += len(content)
        return content

    def report_total_bytes(self, trailers: HeaderMap) -> None:
        compressed, uncompressed = self._names
        trailers.add(compressed, b"%d" % self._compressed)
        trailers.add(uncompressed, b"%d" % self._uncompressed)


class DecompressorFilter(StreamFilter):
    """One stream."""

    def __init__(self, config: DecompressorFilterConfig) -> None:
        self._config = config
        self._names = config.trailer_names()
        self._request: _Body | None = None
        self._response: _Body | None = None

    def decode_headers(self, headers: RequestHeaderMap, end_stream: bool) -> FilterHeadersStatus:
        config = self._config
        if config.advertises and config.response.decompression_enabled():
            headers.set(b"accept-encoding", config.accepting(headers.get(b"accept-encoding") or b""))
        if not end_stream:
            self._request = self._begin(config.request, headers)
        return FilterHeadersStatus.CONTINUE

    def decode_data(self, data: bytes, end_stream: bool) -> FilterDataStatus:
        body = self._request
        if body is not None:
            trailers = self.decoder_callbacks.add_decoded_trailers() if end_stream else None
            self.decoder_callbacks.replace_decoded_data(body.decompress(data))
            if trailers is not None:
                body.report_total_bytes(trailers)
        return FilterDataStatus.CONTINUE

    def decode_trailers(self, trailers: HeaderMap) -> FilterTrailersStatus:
        if self._request is not None:
            self._request.report_total_bytes(trailers)
        return FilterTrailersStatus.CONTINUE

    def encode_headers(self, headers: ResponseHeaderMap, end_stream: bool) -> FilterHeadersStatus:
        if not end_stream:
            self._response = self._begin(self._config.response, headers)
        return FilterHeadersStatus.CONTINUE

    def encode_data(self, data: bytes, end_stream: bool) -> FilterDataStatus:
        body = self._response
        if body is not None:
            trailers = self.encoder_callbacks.add_encoded_trailers() if end_stream else None
            self.encoder_callbacks.replace_encoded_data(body.decompress(data))
            if trailers is not None:
                body.report_total_bytes(trailers)
        return FilterDataStatus.CONTINUE

    def encode_trailers(self, trailers: HeaderMap) -> FilterTrailersStatus:
        if self._response is not None:
            self._response.report_total_bytes(trailers)
        return FilterTrailersStatus.CONTINUE

    def _begin(self, direction: DirectionConfig, headers: HeaderMap) -> _Body | None:
        library = self._config.library
        if not direction.should_decompress(headers, library.content_encoding):
            direction.stats.not_decompressed += 1
            return None
        headers.remove(b"content-length")
        _, comma, others = (headers.get(b"content-encoding") or b"").partition(b",")
        if comma:
            headers.set(b"content-encoding", others.strip())
        else:
            headers.remove(b"content-encoding")
        return _Body(library.create(self._config.library_stats), direction.stats, self._names)


@HTTP_FILTERS.register(NAME, CONFIG_TYPE)
def create_decompressor(proto: Any, context: FactoryContext) -> HttpFilterFactory:
    config = DecompressorFilterConfig(proto, context.server, context.http_scope)
    return lambda: DecompressorFilter(config)
