"""Sends back what it gets.

Envoy: `envoy.filters.network.echo`; docs "Echo".
"""

from __future__ import annotations

from typing import Any

from ....config.fields import honours
from ....network.connection import ConnectionCallbacks
from ....network.filter import NETWORK_FILTERS, FilterStatus, NetworkFilterFactory, ReadFilter
from ....server.factory_context import FactoryContext

honours("envoy.extensions.filters.network.echo.v3.Echo")


class EchoFilter(ReadFilter, ConnectionCallbacks):
    """Reads no faster than the peer takes its own bytes back."""

    def on_new_connection(self) -> FilterStatus:
        self.connection.add_callbacks(self)
        return FilterStatus.CONTINUE

    def on_data(self, data: bytes, end_stream: bool) -> FilterStatus:
        self.connection.write(data)
        return FilterStatus.STOP_ITERATION

    def on_above_write_buffer_high_watermark(self) -> None:
        self.connection.read_disable(True)

    def on_below_write_buffer_low_watermark(self) -> None:
        self.connection.read_disable(False)


@NETWORK_FILTERS.register("envoy.filters.network.echo", "envoy.extensions.filters.network.echo.v3.Echo")
def create_echo_filter(config: Any, context: FactoryContext) -> NetworkFilterFactory:
    return EchoFilter
