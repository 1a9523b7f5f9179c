"""Streams of a server that has an overload manager: new ones may be refused, and connections not kept.

Envoy: the part of `Http::ConnectionManagerImpl::ActiveStream` that asks `Server::ThreadLocalOverloadState`. A server
without an overload manager uses the streams that these are made from.
"""

from __future__ import annotations

from typing import Final

from ..explain.explanation import NO_EXPLANATION, Explanation
from ..network.overload_state import DECODE_HEADERS, DISABLE_HTTP_KEEPALIVE, STOP_ACCEPTING_REQUESTS
from .active_stream import ActiveStream
from .filtered_stream import FilteredStream
from .header_map import RequestHeaderMap, ResponseHeaderMap

BODY: Final = "envoy overloaded"
DETAILS: Final = "overload"


class SheddingStream(ActiveStream):
    """Before anything else is asked of a request, it is asked whether there is room for it."""

    def decode_headers(self, headers: RequestHeaderMap, end_stream: bool) -> None:
        overload = self.config.overload
        if overload is not None:
            for name, happens in ((DECODE_HEADERS, overload.sheds), (STOP_ACCEPTING_REQUESTS, overload.happens)):
                if happens(name):
                    self._refuse(headers, end_stream, name)
                    return
        super().decode_headers(headers, end_stream)

    def encode_headers(self, headers: ResponseHeaderMap, end_stream: bool, details: str) -> None:
        overload = self.config.overload
        if overload is not None and not self._connection_ends() and overload.happens(DISABLE_HTTP_KEEPALIVE):
            self.config.stats.downstream_cx_overload_disable_keepalive += 1
            self.manager.start_drain_sequence()
        super().encode_headers(headers, end_stream, details)

    def _connection_ends(self) -> bool:
        return self.manager.draining or self.manager.drain_announced

    def _refuse(self, headers: RequestHeaderMap, end_stream: bool, name: str) -> None:
        self.request_headers = headers
        if end_stream:
            self.remote_complete = True
            self.last_downstream_rx_byte_time = self.dispatcher.monotonic_time()
        connection = (headers.joined(b"connection") or b"").lower().split(b",")
        self.saw_connection_close = b"close" in [token.strip() for token in connection]
        self.config.stats.downstream_rq_overload_close += 1
        explain: Explanation = self.explain
        if explain is not NO_EXPLANATION:
            percent = self.config.overload.values[name] * 100 if self.config.overload is not None else 0
            explain.decided("overload", "refused", f"{name} at {percent:.0f} %")
        add = _say_so if self.config.append_local_overload else None
        self.send_local_reply(503, BODY, DETAILS, add)


class SheddingFilteredStream(SheddingStream, FilteredStream):
    """The same where there are more filters than the one that answers."""


def _say_so(headers: ResponseHeaderMap) -> None:
    headers.add(b"x-envoy-local-overloaded", b"true")
