"""Streams of a connection manager that traces requests.

Envoy: the part of `Http::ConnectionManagerImpl::ActiveStream` that asks `connection_manager_tracing_config_`. A
connection manager without `tracing` uses the streams that these are made from.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .filtered_stream import FilteredStream
from .header_map import RequestHeaderMap, ResponseHeaderMap
from .shedding_stream import SheddingStream

if TYPE_CHECKING:
    from .filter import Route


class TracedStream(FilteredStream):
    """It has a span from when its route is known until its end."""

    def _start_filters(self, headers: RequestHeaderMap | None, end_stream: bool, refused: bool = False) -> None:
        tracing = self.config.tracing
        if tracing is not None and headers is not None and not refused:
            tracing.start(self, headers)
        super()._start_filters(headers, end_stream, refused)

    def route(self) -> Route | None:
        if self._route_known:
            return self._route
        found = super().route()
        if found is not None and self.active_span is not None and self.config.tracing is not None:
            self.config.tracing.refresh(self)
        return found

    def _complete_headers(self, headers: ResponseHeaderMap) -> None:
        super()._complete_headers(headers)
        if self.config.tracing is not None:
            self._charge_tracing()
            self.config.tracing.on_response(self, headers)

    def _charge_tracing(self) -> None:
        """Count why it was traced: Envoy does so when there is a response, be it one that is followed."""
        stats = self.config.tracing_stats
        setattr(stats, self.trace_reason, getattr(stats, self.trace_reason) + 1)

    def _end(self, now: float = 0.0) -> None:
        span, tracing = self.active_span, self.config.tracing
        if span is not None and tracing is not None and not self.ended:
            if self.response_code_details == "internal_redirect":
                self._charge_tracing()
            now = now or self.dispatcher.monotonic_time()
            super()._end(now)
            tracing.finish(self, span, now)
        else:
            super()._end(now)


class SheddingTracedStream(SheddingStream, TracedStream):
    """The same in a server that has an overload manager."""
