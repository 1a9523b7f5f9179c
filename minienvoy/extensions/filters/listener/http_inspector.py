"""`envoy.filters.listener.http_inspector`: is this HTTP, and which?

Envoy: `Extensions::ListenerFilters::HttpInspector::Filter`; docs "HTTP Inspector".
"""

from __future__ import annotations

import re
from typing import Any, Final

from ....config.fields import honours
from ....network.filter import LISTENER_FILTERS, FilterStatus, ListenerFilter, ListenerFilterFactory
from ....network.socket import ConnectionSocket
from ....server.factory_context import FactoryContext
from ....stats.store import CounterValue, StatsStruct

TYPE: Final = "envoy.extensions.filters.listener.http_inspector.v3.HttpInspector"
_PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_MAX_INSPECTED: Final = 64 * 1024
_LINE: Final = re.compile(
    rb"(?:CONNECT(?:[ \t]+(?!HTTP/\d\.\d)[^ \t\r\x80-\xff]+)?"
    rb"|[!#$%&'*+.^_`|~0-9A-Za-z-]+[ \t]+(?:[/*]|[A-Za-z][A-Za-z0-9+.-]*://)[^ \t\r\x80-\xff]*)"
    rb"(?:[ \t]+(HTTP/\d\.\d))?[ \t]*"
)

honours(TYPE)


class HttpInspectorStats(StatsStruct):
    """`http_inspector.*`"""

    http10_found: CounterValue
    http11_found: CounterValue
    http2_found: CounterValue
    http_not_found: CounterValue
    read_error: CounterValue


class HttpInspector(ListenerFilter):
    """One socket."""

    max_read_bytes = _MAX_INSPECTED

    def __init__(self, stats: HttpInspectorStats) -> None:
        self._stats = stats

    def on_accept(self, socket: ConnectionSocket) -> FilterStatus:
        if socket.detected_transport_protocol not in ("", "raw_buffer"):
            return FilterStatus.CONTINUE
        return FilterStatus.STOP_ITERATION

    def on_data(self, socket: ConnectionSocket, peeked: bytes) -> FilterStatus:
        stats = self._stats
        if peeked.startswith(_PREFACE):
            stats.http2_found += 1
            socket.requested_application_protocols = ("h2c",)
            return FilterStatus.CONTINUE
        line, end, _ = peeked.partition(b"\n")
        maybe = _PREFACE.startswith(peeked) or (not end and _may_be_http(peeked))
        if maybe:
            if len(peeked) >= _MAX_INSPECTED:
                stats.read_error += 1
                self.callbacks.close()
            return FilterStatus.STOP_ITERATION
        found = _LINE.fullmatch(line.removesuffix(b"\r")) if end else None
        if found is None:
            stats.http_not_found += 1
        elif found[1] == b"HTTP/1.1":
            stats.http11_found += 1
            socket.requested_application_protocols = ("http/1.1",)
        else:
            stats.http10_found += 1
            socket.requested_application_protocols = ("http/1.0",)
        return FilterStatus.CONTINUE


def _may_be_http(line: bytes) -> bool:
    """A line that is not complete, and can still become that of a request."""
    method = line.replace(b"\t", b" ").partition(b" ")[0]
    return re.fullmatch(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+", method) is not None and b"\0" not in line


@LISTENER_FILTERS.register("envoy.filters.listener.http_inspector", TYPE)
def create_http_inspector(config: Any, context: FactoryContext) -> ListenerFilterFactory:
    stats = context.scope.scope("http_inspector").struct(HttpInspectorStats)
    return lambda: HttpInspector(stats)
