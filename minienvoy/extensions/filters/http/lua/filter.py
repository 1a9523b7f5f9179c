"""Runs the two functions of a script.

Envoy: `HttpFilters::Lua::Filter`; docs "Lua". A script that goes wrong is logged and counted, and the stream goes on as
if it had ended there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from ..... import logger
from .....http.filter import (
    HTTP_FILTERS,
    FilterDataStatus,
    FilterHeadersStatus,
    FilterTrailersStatus,
    HttpFilterFactory,
    StreamFilter,
)
from .....router.filter_config import ROUTE_FILTER_CONFIGS, most_specific_config
from .filter_config import PER_ROUTE_TYPE, TYPE, LuaConfig, LuaPerRoute, PerLuaCodeSetup
from .stream_handle import DecoderSide, EncoderSide, StreamHandle

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .....http.header_map import HeaderMap, RequestHeaderMap, ResponseHeaderMap
    from .....server.factory_context import FactoryContext, ServerContext

NAME: Final = "envoy.filters.http.lua"

log = logger.get("lua")


class LuaFilter(StreamFilter):
    """One stream.

    Attributes:
        request_headers: as they are now, for scripts that ask while the response comes back.
        destroyed: the stream is over.
    """

    request_headers: RequestHeaderMap | None = None
    destroyed = False

    def __init__(self, config: LuaConfig) -> None:
        self.config = config
        self._per_route: LuaPerRoute | None = None
        self._request: StreamHandle | None = None
        self._response: StreamHandle | None = None

    def decode_headers(self, headers: RequestHeaderMap, end_stream: bool) -> FilterHeadersStatus:
        self.request_headers = headers
        setup = self._code_setup()
        if setup is None or setup.on_request is None:
            return FilterHeadersStatus.CONTINUE
        handle = self._request = StreamHandle(self, setup, DecoderSide(self), headers, end_stream)
        self.config.stats.executions += 1
        return handle.start(setup.on_request)

    def decode_data(self, data: bytes, end_stream: bool) -> FilterDataStatus:
        return FilterDataStatus.CONTINUE if self._request is None else self._request.on_data(data, end_stream)

    def decode_trailers(self, trailers: HeaderMap) -> FilterTrailersStatus:
        return FilterTrailersStatus.CONTINUE if self._request is None else self._request.on_trailers(trailers)

    def encode_headers(self, headers: ResponseHeaderMap, end_stream: bool) -> FilterHeadersStatus:
        setup = self._code_setup()
        if setup is None or setup.on_response is None:
            return FilterHeadersStatus.CONTINUE
        handle = self._response = StreamHandle(self, setup, EncoderSide(self), headers, end_stream)
        self.config.stats.executions += 1
        return handle.start(setup.on_response)

    def encode_data(self, data: bytes, end_stream: bool) -> FilterDataStatus:
        return FilterDataStatus.CONTINUE if self._response is None else self._response.on_data(data, end_stream)

    def encode_trailers(self, trailers: HeaderMap) -> FilterTrailersStatus:
        return FilterTrailersStatus.CONTINUE if self._response is None else self._response.on_trailers(trailers)

    def on_destroy(self) -> None:
        self.destroyed = True
        self._end_scripts()

    def script_error(self, problem: str) -> None:
        """A script has gone wrong: neither of the two goes on."""
        self.config.stats.errors += 1
        log.error(f"script log: {problem}")
        self._end_scripts()

    def context(self) -> Mapping[str, Any]:
        """What `filterContext()` gives."""
        if self._per_route is not None and self._per_route.context is not None:
            return self._per_route.context
        return self.config.context

    def _code_setup(self) -> PerLuaCodeSetup | None:
        own: LuaPerRoute | None = most_specific_config(self.decoder_callbacks, self.config.name, LuaPerRoute)
        self._per_route = own
        if own is not None:
            if own.disabled:
                return None
            if own.name:
                return self.config.by_name.get(own.name)
            if own.setup is not None:
                return own.setup
        return self.config.default

    def _end_scripts(self) -> None:
        for handle in (self._request, self._response):
            if handle is not None:
                handle.end()
        self._request = self._response = None


@HTTP_FILTERS.register(NAME, TYPE)
def create_lua_filter(proto: Any, context: FactoryContext) -> HttpFilterFactory:
    config = LuaConfig(proto, context)
    return lambda: LuaFilter(config)


@ROUTE_FILTER_CONFIGS.register(NAME, PER_ROUTE_TYPE)
def create_lua_per_route(proto: Any, path: str, server: ServerContext) -> LuaPerRoute:
    return LuaPerRoute(proto, path, server)
