"""`envoy.filters.listener.tls_inspector`: is this TLS, for which name, for which protocols?

Envoy: `Extensions::ListenerFilters::TlsInspector::Filter`; docs "TLS Inspector".
"""

from __future__ import annotations

from typing import Any, Final

from ....config.fields import honours
from ....errors import ConfigError
from ....network.client_hello import NEED_MORE, TOO_LARGE, ClientHello, ClientHelloReader
from ....network.filter import LISTENER_FILTERS, FilterStatus, ListenerFilter, ListenerFilterFactory
from ....network.socket import ConnectionSocket
from ....server.factory_context import FactoryContext
from ....stats.histogram import Histogram
from ....stats.store import CounterValue, StatsStruct

TYPE: Final = "envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector"
MAX_CLIENT_HELLO: Final = 16 * 1024
"""Bytes (`TLS_MAX_CLIENT_HELLO`)."""

honours(
    TYPE,
    "enable_ja3_fingerprinting",
    "enable_ja4_fingerprinting",
    "max_client_hello_size",
    "close_connection_on_client_hello_parsing_errors",
    ignored={"initial_read_buffer_size": "the kernel keeps what is only looked at"},
)


class TlsInspectorStats(StatsStruct):
    """`tls_inspector.*`"""

    alpn_found: CounterValue
    alpn_not_found: CounterValue
    bytes_processed: Histogram
    client_hello_too_large: CounterValue
    sni_found: CounterValue
    sni_not_found: CounterValue
    tls_found: CounterValue
    tls_not_found: CounterValue


class TlsInspector(ListenerFilter):
    """One socket."""

    def __init__(
        self, stats: TlsInspectorStats, limit: int, ja3: bool, ja4: bool = False, closes: bool = False
    ) -> None:
        self._stats = stats
        self._reader = ClientHelloReader(limit)
        self._ja3 = ja3
        self._ja4 = ja4
        self._closes = closes
        # Some records, and their heads.
        self.max_read_bytes = limit + 256

    def on_accept(self, socket: ConnectionSocket) -> FilterStatus:
        return FilterStatus.STOP_ITERATION

    def on_data(self, socket: ConnectionSocket, peeked: bytes) -> FilterStatus:
        found = self._reader.read(peeked)
        stats = self._stats
        if found == NEED_MORE and len(peeked) < self.max_read_bytes:
            return FilterStatus.STOP_ITERATION
        if found == TOO_LARGE:
            stats.client_hello_too_large += 1
            self.callbacks.close()
            return FilterStatus.STOP_ITERATION
        if not isinstance(found, ClientHello):
            stats.tls_not_found += 1
            stats.bytes_processed.record(len(peeked))
            if self._closes:
                self.callbacks.close()
                return FilterStatus.STOP_ITERATION
            return FilterStatus.CONTINUE
        stats.tls_found += 1
        stats.bytes_processed.record(found.size)
        socket.detected_transport_protocol = "tls"
        if found.server_name:
            stats.sni_found += 1
            socket.info.requested_server_name = found.server_name.lower()
        else:
            stats.sni_not_found += 1
        if found.protocols:
            stats.alpn_found += 1
            socket.requested_application_protocols = found.protocols
        else:
            stats.alpn_not_found += 1
        if self._ja3:
            socket.ja3_hash = socket.info.ja3_hash = found.ja3_hash()
        if self._ja4:
            socket.ja4_hash = socket.info.ja4_hash = found.ja4()
        return FilterStatus.CONTINUE


@LISTENER_FILTERS.register("envoy.filters.listener.tls_inspector", TYPE)
def create_tls_inspector(config: Any, context: FactoryContext) -> ListenerFilterFactory:
    limit = config.max_client_hello_size.value if config.HasField("max_client_hello_size") else MAX_CLIENT_HELLO
    if limit > MAX_CLIENT_HELLO:
        raise ConfigError(
            f"max_client_hello_size of {limit} is greater than maximum of {MAX_CLIENT_HELLO}.", "max_client_hello_size"
        )
    stats = context.scope.scope("tls_inspector").struct(TlsInspectorStats)
    ja3 = config.enable_ja3_fingerprinting.value
    ja4 = config.enable_ja4_fingerprinting.value
    closes = config.close_connection_on_client_hello_parsing_errors
    return lambda: TlsInspector(stats, limit, ja3, ja4, closes)
