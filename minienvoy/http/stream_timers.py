"""The timers of one stream: which there are, when they are armed, and what their firing means.

Envoy: the timers of `Http::ConnectionManagerImpl::ActiveStream` and `refreshDurationTimeout`, `refreshIdleTimeout`;
docs "How do I configure timeouts?".

The timers that a connection's streams share, for the idle time and the response, are the connection manager's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..explain.explanation import NO_EXPLANATION
from ..stream_info import AccessLogType, ResponseFlag
from .filter import Route
from .logged_stream import LoggedStream

if TYPE_CHECKING:
    from ..event.dispatcher import Timer
    from .conn_manager import ConnectionManager


class StreamTimers(LoggedStream):
    """A stream that gives up in time. Most have no timer of their own: none is made before it is needed."""

    manager: ConnectionManager
    start_monotonic: float
    stream_idle_timeout: float
    header_timer: Timer | None = None
    request_timer: Timer | None = None
    duration_timer: Timer | None = None
    log_timer: Timer | None = None
    flush_timeout: float | None = None
    """Seconds that a client may take for what waits for its window, if the route has a limit of its own."""

    def _arm_timers(self) -> None:
        config, create = self.config, self.dispatcher.create_timer
        if config.request_headers_timeout:
            self.header_timer = create(self._on_request_headers_timeout)
            self.header_timer.enable(config.request_headers_timeout)
        if config.request_timeout:
            self.request_timer = create(self._on_request_timeout)
            self.request_timer.enable(config.request_timeout)
        if config.max_stream_duration:
            self._arm_duration(config.max_stream_duration)
        if config.access_log_flush_interval:
            self.log_timer = create(self._log_periodically)
            self.log_timer.enable(config.access_log_flush_interval)

    def _log_periodically(self) -> None:
        self._log(AccessLogType.DOWNSTREAM_PERIODIC)
        if self.log_timer is not None:
            self.log_timer.enable(self.config.access_log_flush_interval)

    def _on_headers_complete(self, end_stream: bool) -> None:
        if self.header_timer is not None:
            self.header_timer.disable()
        if end_stream and self.request_timer is not None:
            self.request_timer.disable()

    def _arm_duration(self, seconds: float) -> None:
        if self.duration_timer is None:
            self.duration_timer = self.dispatcher.create_timer(self._on_max_stream_duration)
        self.duration_timer.enable(max(0.0, seconds - (self.dispatcher.monotonic_time() - self.start_monotonic)))

    def _take_route_timeouts(self, route: Route) -> None:
        if route.idle_timeout is not None:
            self.stream_idle_timeout = route.idle_timeout
            self.manager.look_for_idle_within(route.idle_timeout)
        if route.flush_timeout is not None:
            self.flush_timeout = route.flush_timeout
        if route.max_stream_duration:
            self._arm_duration(route.max_stream_duration)
        elif route.max_stream_duration == 0 and self.duration_timer is not None:
            self.duration_timer.disable()

    def on_idle_timeout(self) -> None:
        """Nothing has moved for `stream_idle_timeout` (or the route's)."""
        self.config.stats.downstream_rq_idle_timeout += 1
        self.response_flags |= ResponseFlag.STREAM_IDLE_TIMEOUT
        self._explain_timeout("stream_idle_timeout")
        self._time_out("stream timeout", "stream_idle_timeout", 504 if self.remote_complete else 408)

    def _on_request_headers_timeout(self) -> None:
        self.config.stats.downstream_rq_header_timeout += 1
        self._explain_timeout("request_headers_timeout")
        self._time_out("request header timeout", "request_header_timeout", 408)

    def _on_request_timeout(self) -> None:
        self.config.stats.downstream_rq_timeout += 1
        self._explain_timeout("request_timeout")
        self._time_out("request timeout", "request_overall_timeout", 408)

    def _on_max_stream_duration(self) -> None:
        self.config.stats.downstream_rq_max_duration_reached += 1
        self._explain_timeout("max_stream_duration")
        self._time_out("downstream duration timeout", "max_duration_timeout", 504 if self.remote_complete else 408)

    def _time_out(self, body: str, details: str, status: int) -> None:
        self.send_local_reply(status, body, details)
        self.manager.check_for_deferred_close(False)

    def _explain_timeout(self, which: str) -> None:
        if self.explain is not NO_EXPLANATION:
            age = self.dispatcher.monotonic_time() - self.start_monotonic
            self.explain.decided("timeout", which, f"reached after {age:.3f} s")

    def _disable_timers(self) -> None:
        for timer in (self.header_timer, self.request_timer, self.duration_timer, self.log_timer):
            if timer is not None:
                timer.disable()
