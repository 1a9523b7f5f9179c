"""How long it takes to find the route of a request, and how often it is looked for.

Envoy: `ConnectionManagerImpl::ActiveStream::refreshCachedRoute`, `record_route_resolution_stats`. Only a connection
manager whose statistics or formats ask for it has these in front of its routes: nobody else reads the clock for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..stats.histogram import Histogram
from ..stats.store import StatsStruct
from ..stream_info import AccessLogType, StreamInfo

if TYPE_CHECKING:
    from ..event.dispatcher import Dispatcher
    from .filter import Route, RouteConfig
    from .header_map import HeaderMap, RequestHeaderMap


class RouteResolutionStats(StatsStruct):
    """`http.PREFIX.*`."""

    downstream_rq_route_resolution_time_us: Histogram
    downstream_rq_route_resolutions: Histogram


class TimedRouteConfig:
    """Another `RouteConfig`, with what `%ROUTE_RESOLUTION_COUNT%` and `%ROUTE_RESOLUTION_TIME_US%` tell."""

    def __init__(self, routes: RouteConfig, dispatcher: Dispatcher) -> None:
        self._routes = routes
        self._dispatcher = dispatcher
        self.internal_only_headers = routes.internal_only_headers
        self.switched_filters = routes.switched_filters

    def route(self, headers: RequestHeaderMap, stream: Any) -> Route | None:
        begin = self._dispatcher.monotonic_time()
        found = self._routes.route(headers, stream)
        stream.route_resolutions += 1
        stream.route_resolution_time += self._dispatcher.monotonic_time() - begin
        return found

    def __getattr__(self, name: str) -> Any:
        """What is asked of routes when no request is waiting, as by `minienvoy explain`."""
        return getattr(self._routes, name)


class RouteResolutionRecorder:
    """Stands among the access logs, as it wants to hear of every stream that has ended."""

    def __init__(self, stats: RouteResolutionStats) -> None:
        self._stats = stats

    def log(
        self,
        request_headers: HeaderMap | None,
        response_headers: HeaderMap | None,
        response_trailers: HeaderMap | None,
        stream_info: StreamInfo,
        access_log_type: str,
    ) -> None:
        if access_log_type == AccessLogType.DOWNSTREAM_END:
            self._stats.downstream_rq_route_resolution_time_us.record(microseconds(stream_info))
            self._stats.downstream_rq_route_resolutions.record(stream_info.route_resolutions)


def microseconds(info: StreamInfo) -> int:
    return int(info.route_resolution_time * 1e6 + 0.05)
