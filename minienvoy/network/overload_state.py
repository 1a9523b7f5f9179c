"""What the overload manager has decided, for those who have to act on it.

Envoy: `Server::ThreadLocalOverloadState`, `Event::ScaledRangeTimerManager`. The decisions are made in
`server.overload_manager`; a server without one has no such state, and nobody asks for it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from ..record import record

STOP_ACCEPTING_REQUESTS: Final = "envoy.overload_actions.stop_accepting_requests"
DISABLE_HTTP_KEEPALIVE: Final = "envoy.overload_actions.disable_http_keepalive"
STOP_ACCEPTING_CONNECTIONS: Final = "envoy.overload_actions.stop_accepting_connections"
REJECT_INCOMING_CONNECTIONS: Final = "envoy.overload_actions.reject_incoming_connections"
REDUCE_TIMEOUTS: Final = "envoy.overload_actions.reduce_timeouts"
TCP_LISTENER_ACCEPT: Final = "envoy.load_shed_points.tcp_listener_accept"
DECODE_HEADERS: Final = "envoy.load_shed_points.http_connection_manager_decode_headers"
CREATING_CODEC: Final = "envoy.load_shed_points.hcm_ondata_creating_codec"
HTTP1_ABORT_DISPATCH: Final = "envoy.load_shed_points.http1_server_abort_dispatch"
GO_AWAY: Final = "envoy.load_shed_points.http2_server_go_away_on_dispatch"
GO_AWAY_AND_CLOSE: Final = "envoy.load_shed_points.http2_server_go_away_and_close_on_dispatch"
FILTER_CHECK: Final = "envoy.load_shed_points.http_downstream_filter_check"
NEW_CONNECTION: Final = "envoy.load_shed_points.connection_pool_new_connection"
TCP_PROXY_ON_DATA: Final = "envoy.load_shed_points.tcp_proxy_on_data"
TCP_PROXY_CONNECT: Final = "envoy.load_shed_points.tcp_proxy_upstream_connect"
LOAD_SHED_POINTS: Final = (
    TCP_LISTENER_ACCEPT,
    DECODE_HEADERS,
    CREATING_CODEC,
    HTTP1_ABORT_DISPATCH,
    GO_AWAY,
    GO_AWAY_AND_CLOSE,
    FILTER_CHECK,
    NEW_CONNECTION,
    TCP_PROXY_ON_DATA,
    TCP_PROXY_CONNECT,
    "envoy.load_shed_points.http3_server_go_away_on_dispatch",
    "envoy.load_shed_points.http3_server_go_away_and_close_on_dispatch",
)
"""All of them; those of HTTP/3 never come up, as there is none here."""

CONNECTION_IDLE: Final = "HTTP_DOWNSTREAM_CONNECTION_IDLE"
STREAM_IDLE: Final = "HTTP_DOWNSTREAM_STREAM_IDLE"
CONNECTION_MAX: Final = "HTTP_DOWNSTREAM_CONNECTION_MAX"
STREAM_FLUSH: Final = "HTTP_DOWNSTREAM_STREAM_FLUSH"


@record
class ScaledMinimum:
    """What is left of a timeout when nothing is left to spare: `seconds`, or `fraction` of it."""

    seconds: float | None
    fraction: float = 0.0

    def of(self, timeout: float) -> float:
        return min(timeout, self.seconds) if self.seconds is not None else timeout * self.fraction


class OverloadState:
    """
    Args:
        draw: a random number from 0 to just below 1.
        minimums: timers, by their names in the API, that get shorter when `REDUCE_TIMEOUTS` is active.

    Attributes:
        values: actions and load shed points -> how far they are active, from 0 to 1.
        watchers: called after `values` have changed.
    """

    __slots__ = ("_draw", "_minimums", "on_shed", "values", "watchers")

    def __init__(self, draw: Callable[[], float], minimums: Mapping[str, ScaledMinimum]) -> None:
        self._draw = draw
        self._minimums = dict(minimums)
        self.values: dict[str, float] = {}
        self.on_shed: Callable[[str], None] = lambda name: None
        self.watchers: set[Callable[[], None]] = set()

    @property
    def reduces_timeouts(self) -> bool:
        return bool(self._minimums)

    def saturated(self, name: str) -> bool:
        return self.values.get(name, 0.0) >= 1.0

    def happens(self, name: str) -> bool:
        """Whether an action, as far as it is active, concerns this connection or request: draw."""
        value = self.values.get(name)
        return bool(value) and self._draw() < value  # type: ignore[operator]

    def sheds(self, point: str) -> bool:
        """As `happens`, of a load shed point, which counts what it sheds."""
        if not self.happens(point):
            return False
        self.on_shed(point)
        return True

    def scaled(self, timer: str, timeout: float) -> float:
        """A timeout in seconds, as short as things are now; 0, which is none, stays 0."""
        minimum = self._minimums.get(timer)
        state = self.values.get(REDUCE_TIMEOUTS)
        if minimum is None or not state or not timeout:
            return timeout
        least = minimum.of(timeout)
        return least + (timeout - least) * (1.0 - state)
