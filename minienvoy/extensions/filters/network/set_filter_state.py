"""`envoy.filters.network.set_filter_state`: gives a connection objects for others to ask for, its requests too.

Envoy: `Extensions::NetworkFilters::SetFilterState::SetFilterState`; docs "Set-Filter-State Network Filter". Here a
connection is only seen when its handshake is over, or that there is none.
"""

from __future__ import annotations

from typing import Any, Final

from ....config.fields import honours
from ....network.filter import NETWORK_FILTERS, FilterStatus, NetworkFilterFactory, ReadFilter
from ....server.factory_context import FactoryContext
from ..common.set_filter_state import FilterStateConfig

TYPE: Final = "envoy.extensions.filters.network.set_filter_state.v3.Config"
honours(TYPE, "on_new_connection", "on_downstream_tls_handshake", "on_downstream_data")


class SetFilterState(ReadFilter):
    """One connection."""

    def __init__(self, at_first: tuple[FilterStateConfig, ...], on_data: FilterStateConfig) -> None:
        self._at_first = at_first
        self._on_data: FilterStateConfig | None = on_data

    def on_new_connection(self) -> FilterStatus:
        for each in self._at_first:
            self._update(each)
        return FilterStatus.CONTINUE

    def on_data(self, data: bytes, end_stream: bool) -> FilterStatus:
        if self._on_data is not None:
            self._update(self._on_data)
            self._on_data = None
        return FilterStatus.CONTINUE

    def _update(self, config: FilterStateConfig) -> None:
        info = self.connection.info
        if info.filter_state is None:
            info.filter_state = {}
        config.update(info.filter_state, self.connection.stream_info)


@NETWORK_FILTERS.register("envoy.filters.network.set_filter_state", TYPE)
def create_set_filter_state(proto: Any, context: FactoryContext) -> NetworkFilterFactory:
    def config(field: str) -> FilterStateConfig:
        return FilterStateConfig(getattr(proto, field), field, context.server)

    at_first, on_data = (
        (config("on_new_connection"), config("on_downstream_tls_handshake")),
        config("on_downstream_data"),
    )
    return lambda: SetFilterState(at_first, on_data)
