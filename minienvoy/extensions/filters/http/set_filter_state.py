"""`envoy.filters.http.set_filter_state`: gives a request objects for others to ask for.

Envoy: `Extensions::HttpFilters::SetFilterState::SetFilterState`; docs "Set-Filter-State Filter". What every level of
the route tells comes after what the filter's own configuration says, the most specific last.
"""

from __future__ import annotations

from typing import Any, Final

from ....config.fields import honours
from ....http.filter import HTTP_FILTERS, FilterHeadersStatus, HttpFilterFactory, StreamDecoderFilter
from ....http.header_map import RequestHeaderMap
from ....router.filter_config import ROUTE_FILTER_CONFIGS, all_configs
from ....server.factory_context import FactoryContext
from ..common.set_filter_state import FilterStateConfig

NAME: Final = "envoy.filters.http.set_filter_state"
TYPE: Final = "envoy.extensions.filters.http.set_filter_state.v3.Config"

honours(TYPE, "on_request_headers", "clear_route_cache")


class SetFilterState(StreamDecoderFilter):
    """One stream."""

    def __init__(self, config: FilterStateConfig, name: str) -> None:
        self._config = config
        self._name = name

    def decode_headers(self, headers: RequestHeaderMap, end_stream: bool) -> FilterHeadersStatus:
        stream = self.decoder_callbacks.stream_info
        for each in (self._config, *all_configs(self.decoder_callbacks, self._name)):
            each.update(stream.filter_state, stream, headers)
        if self._config.clears_route_cache:
            self.decoder_callbacks.clear_route_cache()
        return FilterHeadersStatus.CONTINUE


@HTTP_FILTERS.register(NAME, TYPE)
def create_set_filter_state(proto: Any, context: FactoryContext) -> HttpFilterFactory:
    config = FilterStateConfig(proto.on_request_headers, "on_request_headers", context.server, proto.clear_route_cache)
    name = context.filter_name
    return lambda: SetFilterState(config, name)


@ROUTE_FILTER_CONFIGS.register(NAME, TYPE)
def create_route_set_filter_state(proto: Any, path: str, server: Any) -> FilterStateConfig:
    return FilterStateConfig(proto.on_request_headers, f"{path}.on_request_headers", server)
