"""`envoy.filters.http.match_delegate`: a filter that a match tree skips for some requests.

Envoy: `Common::Http::MatchDelegate::DelegatingStreamFilter`, `MatchDelegateConfig`; message `ExtensionWithMatcher`. The
tree is asked with what has come, until it knows: a filter that sees requests only is asked with their headers and
trailers, one that sees responses only with those of responses. As long as the tree does not know the filter takes part.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, cast

from ....config.extension import create_extension, find_extension
from ....config.fields import honours
from ....errors import ConfigError
from ....http.filter import (
    HTTP_FILTERS,
    TERMINAL_FILTERS,
    UPSTREAM_HTTP_FILTERS,
    UPSTREAM_TERMINAL_FILTERS,
    FilterDataStatus,
    FilterHeadersStatus,
    FilterTrailersStatus,
    HttpFilterFactory,
    StreamDecoderFilter,
    StreamDecoderFilterCallbacks,
    StreamEncoderFilter,
    StreamEncoderFilterCallbacks,
    StreamFilter,
)
from ....http.header_map import HeaderMap, RequestHeaderMap, ResponseHeaderMap
from ....http.matching import HTTP_CUSTOM_MATCHERS, HTTP_INPUTS, HttpMatchingData
from ....matchers.match_tree import INSUFFICIENT, MatchContext, Step, compile_match_tree
from ....registry import Registry
from ....server.factory_context import FactoryContext

NAME: Final = "envoy.filters.http.match_delegate"
TYPE: Final = "envoy.extensions.common.matching.v3.ExtensionWithMatcher"
SKIP_TYPE: Final = "envoy.extensions.filters.common.matcher.action.v3.SkipFilter"

honours(TYPE, "matcher", "xds_matcher", "extension_config")
honours(SKIP_TYPE)

_SKIP: Final = "skip"


class MatchState:
    """What the tree says of one stream.

    Attributes:
        skips: the filter takes no part from now on.
    """

    __slots__ = ("_data", "_decided", "_tree", "skips")

    def __init__(self, tree: Step) -> None:
        self._tree = tree
        self._data: HttpMatchingData | None = None
        self._decided = self.skips = False

    def skips_with(self, callbacks: Any, name: str, headers: HeaderMap) -> bool:
        """Whether the filter takes no part now that `headers` have come, which the data call `name`."""
        if self._decided:
            return self.skips
        data = self._data
        if data is None:
            data = self._data = HttpMatchingData(callbacks.stream_info, None)
        setattr(data, name, headers)
        found = self._tree(data)
        if found is not INSUFFICIENT:
            self._decided, self.skips = True, found is _SKIP
            self._data = None
        return self.skips


class DelegatingDecoderFilter(StreamDecoderFilter):
    """In place of a filter that sees requests."""

    _inner: Any
    _state: MatchState

    def __init__(self, inner: Any, state: MatchState) -> None:
        self._inner = inner
        self._state = state

    @property
    def decoder_callbacks(self) -> StreamDecoderFilterCallbacks:
        return cast(StreamDecoderFilterCallbacks, self._inner.decoder_callbacks)

    @decoder_callbacks.setter
    def decoder_callbacks(self, callbacks: StreamDecoderFilterCallbacks) -> None:
        self._inner.decoder_callbacks = callbacks

    def decode_headers(self, headers: RequestHeaderMap, end_stream: bool) -> FilterHeadersStatus:
        if self._state.skips_with(self.decoder_callbacks, "request_headers", headers):
            return FilterHeadersStatus.CONTINUE
        return cast(FilterHeadersStatus, self._inner.decode_headers(headers, end_stream))

    def decode_data(self, data: bytes, end_stream: bool) -> FilterDataStatus:
        if self._state.skips:
            return FilterDataStatus.CONTINUE
        return cast(FilterDataStatus, self._inner.decode_data(data, end_stream))

    def decode_trailers(self, trailers: HeaderMap) -> FilterTrailersStatus:
        if self._state.skips_with(self.decoder_callbacks, "request_trailers", trailers):
            return FilterTrailersStatus.CONTINUE
        return cast(FilterTrailersStatus, self._inner.decode_trailers(trailers))

    def on_destroy(self) -> None:
        self._inner.on_destroy()


class DelegatingEncoderFilter(StreamEncoderFilter):
    """In place of a filter that sees responses."""

    _inner: Any
    _state: MatchState

    def __init__(self, inner: Any, state: MatchState) -> None:
        self._inner = inner
        self._state = state

    @property
    def encoder_callbacks(self) -> StreamEncoderFilterCallbacks:
        return cast(StreamEncoderFilterCallbacks, self._inner.encoder_callbacks)

    @encoder_callbacks.setter
    def encoder_callbacks(self, callbacks: StreamEncoderFilterCallbacks) -> None:
        self._inner.encoder_callbacks = callbacks

    def encode_headers(self, headers: ResponseHeaderMap, end_stream: bool) -> FilterHeadersStatus:
        if self._state.skips_with(self.encoder_callbacks, "response_headers", headers):
            return FilterHeadersStatus.CONTINUE
        return cast(FilterHeadersStatus, self._inner.encode_headers(headers, end_stream))

    def encode_data(self, data: bytes, end_stream: bool) -> FilterDataStatus:
        if self._state.skips:
            return FilterDataStatus.CONTINUE
        return cast(FilterDataStatus, self._inner.encode_data(data, end_stream))

    def encode_trailers(self, trailers: HeaderMap) -> FilterTrailersStatus:
        if self._state.skips_with(self.encoder_callbacks, "response_trailers", trailers):
            return FilterTrailersStatus.CONTINUE
        return cast(FilterTrailersStatus, self._inner.encode_trailers(trailers))

    def on_destroy(self) -> None:
        self._inner.on_destroy()


class DelegatingFilter(DelegatingDecoderFilter, DelegatingEncoderFilter, StreamFilter):
    """In place of a filter that sees both."""


def _delegate_of(inner: Any) -> Callable[[Any, MatchState], Any]:
    if not isinstance(inner, StreamEncoderFilter):
        return DelegatingDecoderFilter
    return DelegatingFilter if isinstance(inner, StreamDecoderFilter) else DelegatingEncoderFilter


def _compile_action(config: Any, path: str) -> str:
    kind = config.typed_config.type_url.rpartition("/")[2]
    if kind != SKIP_TYPE:
        problem = f"Didn't find a registered implementation for '{config.name}' with type URL: '{kind}'"
        raise ConfigError(problem, f"{path}.typed_config", remedy=f"the action there is: {SKIP_TYPE}")
    return _SKIP


@HTTP_FILTERS.register(NAME, TYPE)
def create_match_delegate(proto: Any, context: FactoryContext) -> HttpFilterFactory:
    return _create(proto, context, HTTP_FILTERS)


@UPSTREAM_HTTP_FILTERS.register(NAME, TYPE)
def create_upstream_match_delegate(proto: Any, context: FactoryContext) -> HttpFilterFactory:
    return _create(proto, context, UPSTREAM_HTTP_FILTERS)


def _create(
    proto: Any, context: FactoryContext, registry: Registry[Callable[[Any, Any], HttpFilterFactory]]
) -> HttpFilterFactory:
    field = "xds_matcher" if proto.HasField("xds_matcher") else "matcher"
    entry = find_extension(registry, proto.extension_config, "extension_config")
    if entry.name in TERMINAL_FILTERS or entry.name in UPSTREAM_TERMINAL_FILTERS:
        raise ConfigError("a filter that answers requests can not be skipped", "extension_config")
    make = create_extension(entry, proto.extension_config, "extension_config", context)
    # A filter without a tree takes part in everything, as one whose tree is empty.
    tree = compile_match_tree(
        getattr(proto, field),
        field,
        MatchContext(HTTP_INPUTS, HTTP_CUSTOM_MATCHERS, _compile_action, context.server),
    )

    def create() -> Any:
        inner = make()
        return _delegate_of(inner)(inner, MatchState(tree))

    return create
