"""What a compressor does to requests and to responses.

Envoy: `CompressorFilterConfig` with its `RequestDirectionConfig` and `ResponseDirectionConfig`,
`CompressorPerRouteFilterConfig`.
"""

from __future__ import annotations

from typing import Any, Final

from .....config.api import type_of
from .....config.extension import create_extension
from .....config.fields import honours
from .....config.runtime import RuntimeFeatureFlag
from .....errors import ConfigError
from .....http.ascii_number import unsigned
from .....http.header_map import HeaderMap
from .....matchers.string import compile_string_matcher
from .....stats.store import CounterValue, Scope, StatsStruct
from ....compression.compressor import COMPRESSOR_LIBRARIES, CompressorLibrary

_V3: Final = "envoy.extensions.filters.http.compressor.v3"
CONFIG_TYPE: Final = f"{_V3}.Compressor"
ROUTE_TYPE: Final = f"{_V3}.CompressorPerRoute"

honours(
    CONFIG_TYPE,
    "content_length",
    "content_type",
    "disable_on_etag_header",
    "remove_accept_encoding_header",
    "runtime_enabled",
    "compressor_library",
    "request_direction_config",
    "response_direction_config",
    "choose_first",
)
honours(f"{CONFIG_TYPE}.CommonDirectionConfig", "enabled", "min_content_length", "content_type", "content_type_matcher")
honours(f"{CONFIG_TYPE}.RequestDirectionConfig", "common_config")
honours(
    f"{CONFIG_TYPE}.ResponseDirectionConfig",
    "common_config",
    "disable_on_etag_header",
    "weaken_etag_on_compress",
    "remove_accept_encoding_header",
    "uncompressible_response_codes",
    "status_header_enabled",
)
honours(ROUTE_TYPE, "disabled", "overrides")
honours(f"{_V3}.CompressorOverrides", "response_direction_config", "compressor_library")
honours(f"{_V3}.ResponseDirectionOverrides", "remove_accept_encoding_header")

MIN_CONTENT_LENGTH: Final = 30
CONTENT_TYPES: Final = (
    "text/html",
    "text/plain",
    "text/css",
    "application/javascript",
    "application/x-javascript",
    "text/javascript",
    "text/x-javascript",
    "text/ecmascript",
    "text/js",
    "text/jscript",
    "text/x-js",
    "application/ecmascript",
    "application/x-json",
    "application/xml",
    "application/json",
    "image/svg+xml",
    "text/xml",
    "application/xhtml+xml",
    "application/grpc-web",
    "application/grpc-web+proto",
)
_CODINGS: Final = frozenset({b"gzip", b"br", b"deflate", b"compress", b"zstd"})


class CompressorStats(StatsStruct):
    """`http.<stat_prefix>.compressor.<name of the library>.<library>.request.` and `.response.`"""

    compressed: CounterValue
    not_compressed: CounterValue
    total_uncompressed_bytes: CounterValue
    total_compressed_bytes: CounterValue
    content_length_too_small: CounterValue


class ResponseCompressorStats(StatsStruct):
    """`http.<stat_prefix>.compressor.<name of the library>.<library>.`"""

    no_accept_header: CounterValue
    header_identity: CounterValue
    header_compressor_used: CounterValue
    header_compressor_overshadowed: CounterValue
    header_wildcard: CounterValue
    header_not_valid: CounterValue
    not_compressed_etag: CounterValue


class DirectionConfig:
    """Of requests, or of responses."""

    __slots__ = ("_enabled", "_matchers", "_min_length", "_runtime", "_types", "stats")

    def __init__(
        self, enabled: Any, min_length: int, types: Any, matchers: Any, path: str, server: Any, stats: CompressorStats
    ) -> None:
        """`enabled` is a `RuntimeFeatureFlag`, or None.

        Raises ConfigError: a wrong regular expression.
        """
        self._enabled = RuntimeFeatureFlag() if enabled is None else RuntimeFeatureFlag.from_proto(enabled)
        self._min_length = min_length or MIN_CONTENT_LENGTH
        self._types = frozenset(each.lower().encode() for each in types or CONTENT_TYPES)
        self._matchers = tuple(
            compile_string_matcher(each, f"{path}.content_type_matcher[{at}]") for at, each in enumerate(matchers)
        )
        self._runtime = server.runtime
        self.stats = stats

    @classmethod
    def from_common(cls, common: Any, path: str, server: Any, stats: CompressorStats) -> DirectionConfig:
        enabled = common.enabled if common.HasField("enabled") else None
        length, types = common.min_content_length.value, common.content_type
        return cls(enabled, length, types, common.content_type_matcher, f"{path}.common_config", server, stats)

    def compression_enabled(self) -> bool:
        return self._enabled.value(self._runtime.snapshot)

    def is_minimum_content_length(self, headers: HeaderMap) -> bool:
        """A body whose length is not known is long enough."""
        length = headers.get(b"content-length")
        if length is None:
            return True
        number = unsigned(length)
        if number is not None and number >= self._min_length:
            return True
        self.stats.content_length_too_small += 1
        return False

    def is_content_type_allowed(self, headers: HeaderMap) -> bool:
        """What says nothing of its type is."""
        value = headers.get(b"content-type")
        return value is None or self.allows(value)

    def allows(self, content_type: bytes) -> bool:
        kind = content_type.partition(b";")[0].strip()
        if self._matchers:
            return any(matches(kind) for matches in self._matchers)
        return kind.lower() in self._types


class ResponseDirectionConfig(DirectionConfig):
    __slots__ = (
        "disable_on_etag",
        "remove_accept_encoding",
        "response_stats",
        "status_header",
        "uncompressible_codes",
        "weaken_etag",
    )

    disable_on_etag: bool
    remove_accept_encoding: bool
    status_header: bool
    weaken_etag: bool
    uncompressible_codes: frozenset[int]
    response_stats: ResponseCompressorStats


def _response_direction(proto: Any, path: str, server: Any, scope: Scope) -> ResponseDirectionConfig:
    """As `response_direction_config` says, or else the older fields."""
    if proto.HasField("response_direction_config"):
        said = proto.response_direction_config
        where = f"{path}response_direction_config"
        made = ResponseDirectionConfig.from_common(
            said.common_config, where, server, scope.scope("response").struct(CompressorStats)
        )
        assert isinstance(made, ResponseDirectionConfig)
        made.weaken_etag = said.weaken_etag_on_compress
        made.status_header = said.status_header_enabled
        made.uncompressible_codes = frozenset(said.uncompressible_response_codes)
    else:
        said = proto
        enabled = proto.runtime_enabled if proto.HasField("runtime_enabled") else None
        stats = scope.struct(CompressorStats)
        made = ResponseDirectionConfig(enabled, proto.content_length.value, proto.content_type, (), path, server, stats)
        made.weaken_etag = made.status_header = False
        made.uncompressible_codes = frozenset()
    made.disable_on_etag = said.disable_on_etag_header
    made.remove_accept_encoding = said.remove_accept_encoding_header
    made.response_stats = scope.struct(ResponseCompressorStats)
    return made


def is_transfer_encoding_allowed(headers: HeaderMap, content_encoding: bytes) -> bool:
    """Whether the message is not compressed that way already."""
    value = headers.get(b"transfer-encoding")
    if value is None:
        return True
    tokens = {token.strip().lower() for token in value.split(b",")}
    return tokens.isdisjoint(_CODINGS) and content_encoding not in tokens


class CompressorFilterConfig:
    """Of a filter chain.

    Attributes:
        request: None: requests are left alone.
    """

    __slots__ = ("choose_first", "library", "request", "request_stats", "response")

    def __init__(self, proto: Any, path: str, server: Any, http_scope: Scope) -> None:
        """Raises ConfigError: a library that nobody knows, or a wrong regular expression."""
        self.library = compile_library(proto.compressor_library, f"{path}compressor_library")
        scope = http_scope.scope(f"compressor.{proto.compressor_library.name}.{self.library.stats_prefix}")
        self.request_stats = scope.scope("request").struct(CompressorStats)
        self.request = (
            DirectionConfig.from_common(
                proto.request_direction_config.common_config,
                f"{path}request_direction_config",
                server,
                self.request_stats,
            )
            if proto.HasField("request_direction_config")
            else None
        )
        self.response = _response_direction(proto, path, server, scope)
        self.choose_first: bool = proto.choose_first


def compile_library(proto: Any, path: str) -> CompressorLibrary:
    where = f"{path}.typed_config"
    return create_extension(COMPRESSOR_LIBRARIES.find(type_of(proto.typed_config, where), where), proto, path)


def _route_library(proto: Any, path: str) -> CompressorLibrary:
    where = f"{path}.typed_config"
    kind = type_of(proto.typed_config, where)
    try:
        entry = COMPRESSOR_LIBRARIES.find(kind, where)
    except ConfigError:
        raise ConfigError(
            f"Didn't find a registered implementation for per-route compressor type: '{kind}'", where
        ) from None
    return create_extension(entry, proto, path)


class CompressorPerRouteConfig:
    """What a route says instead; None where it says nothing.

    Attributes:
        response_enabled: whether responses are compressed.
    """

    __slots__ = ("library", "remove_accept_encoding", "response_enabled")

    def __init__(self, proto: Any, path: str) -> None:
        """Raises ConfigError: a library that nobody knows."""
        self.library: CompressorLibrary | None = None
        self.remove_accept_encoding: bool | None = None
        self.response_enabled: bool | None = None
        if proto.WhichOneof("override") == "disabled":
            self.response_enabled = False
            return
        overrides = proto.overrides
        if overrides.HasField("response_direction_config"):
            self.response_enabled = True
            direction = overrides.response_direction_config
            if direction.HasField("remove_accept_encoding_header"):
                self.remove_accept_encoding = direction.remove_accept_encoding_header.value
        if overrides.HasField("compressor_library"):
            self.library = _route_library(overrides.compressor_library, f"{path}.overrides.compressor_library")
