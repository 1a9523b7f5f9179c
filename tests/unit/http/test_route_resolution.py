"""What is told of how a route was found."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

from minienvoy.http.header_map import RequestHeaderMap
from minienvoy.http.route_resolution import (
    RouteResolutionRecorder,
    RouteResolutionStats,
    TimedRouteConfig,
)
from minienvoy.stats.store import Store
from minienvoy.stream_info import AccessLogType, StreamInfo


class Clock:
    """Goes on by what looking for a route takes."""

    now = 5.0

    def monotonic_time(self) -> float:
        return self.now


def timed(clock: Clock) -> TimedRouteConfig:
    def find(headers: Any, stream: Any) -> str:
        clock.now += 0.000_25
        return "found"

    routes = SimpleNamespace(
        internal_only_headers=(), switched_filters=frozenset(), route=find, explain_virtual_host=lambda headers: "host"
    )
    return TimedRouteConfig(cast(Any, routes), cast(Any, clock))


def test_every_time_that_a_route_is_looked_for_counts() -> None:
    routes, stream = timed(Clock()), StreamInfo()
    headers = RequestHeaderMap(b"GET", b"/", b"a")
    assert cast(Any, routes.route(headers, stream)) == "found"
    routes.route(headers, stream)
    assert stream.route_resolutions == 2
    assert round(stream.route_resolution_time * 1e6) == 500


def test_what_else_routes_can_tell_is_still_there() -> None:
    assert timed(Clock()).explain_virtual_host(None) == "host"


def test_only_the_end_of_a_stream_is_recorded() -> None:
    store = Store()
    recorder = RouteResolutionRecorder(store.scope("http.x").struct(RouteResolutionStats))
    stream = StreamInfo()
    stream.route_resolutions, stream.route_resolution_time = 1, 0.000_25
    recorder.log(None, None, None, stream, AccessLogType.DOWNSTREAM_START)
    recorder.log(None, None, None, stream, AccessLogType.DOWNSTREAM_END)
    store.merge_histograms()
    recorded = {each.name: each.histogram.cumulative_statistics().sample_count for each in store.histograms()}
    assert recorded == {
        "http.x.downstream_rq_route_resolution_time_us": 1,
        "http.x.downstream_rq_route_resolutions": 1,
    }
