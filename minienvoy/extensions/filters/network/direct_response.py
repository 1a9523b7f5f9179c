"""Sends a fixed answer and closes.

Envoy: `envoy.filters.network.direct_response`; docs "Direct response".
"""

from __future__ import annotations

from typing import Any

from ....config.data_source import read_data_source
from ....config.fields import honours
from ....network.connection import ConnectionCloseType
from ....network.filter import NETWORK_FILTERS, FilterStatus, NetworkFilterFactory, ReadFilter
from ....server.factory_context import FactoryContext

TYPE = "envoy.extensions.filters.network.direct_response.v3.Config"

honours(TYPE, "response")


class DirectResponseFilter(ReadFilter):
    def __init__(self, response: bytes) -> None:
        self._response = response

    def on_new_connection(self) -> FilterStatus:
        if self._response:
            self.connection.write(self._response)
        self.connection.stream_info.response_code_details = "direct_response"
        self.connection.close(ConnectionCloseType.FLUSH_WRITE)
        return FilterStatus.STOP_ITERATION


@NETWORK_FILTERS.register("envoy.filters.network.direct_response", TYPE)
def create_direct_response_filter(config: Any, context: FactoryContext) -> NetworkFilterFactory:
    response = read_data_source(config.response)
    return lambda: DirectResponseFilter(response)
