"""Streams of a connection manager that traces requests.

Envoy: the part of `Http::ConnectionManagerImpl::ActiveStream` that asks `connection_manager_tracing_config_`. A
connection manager without `tracing` uses the streams that these are made from.
"""

from __future__ import annotations

from .filtered_stream import FilteredStream
from .header_map import RequestHeaderMap, ResponseHeaderMap
from .shedding_stream import SheddingStream


class TracedStream(FilteredStream):
    """It has a span from when its route is known until its end."""

    def _start_filters(self, headers: RequestHeaderMap, end_stream: bool) -> None:
        tracing = self.config.tracing
        if tracing is not None:
            tracing.start(self, headers)
        super()._start_filters(headers, end_stream)

    def _complete_headers(self, headers: ResponseHeaderMap) -> None:
        super()._complete_headers(headers)
        if self.config.tracing is not None:
            self.config.tracing.on_response(self, headers)

    def _end(self, now: float = 0.0) -> None:
        span, tracing = self.active_span, self.config.tracing
        if span is not None and tracing is not None and not self.ended:
            now = now or self.dispatcher.monotonic_time()
            super()._end(now)
            tracing.finish(self, span, now)
        else:
            super()._end(now)


class SheddingTracedStream(SheddingStream, TracedStream):
    """The same in a server that has an overload manager."""
