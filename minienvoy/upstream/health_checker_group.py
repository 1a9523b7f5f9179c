"""Several health checks of one cluster: a host is well when all of them say so.

Envoy: `Upstream::HealthCheckerGroup`, `HealthCheckHostProxy`.

Each checker sees a host through a `HostView`, which keeps the flags that this checker sets; the host itself has the
sum: failed or degraded if one of them says so, pending until each of them has answered once. Nobody else hears of a
host before that.
"""

from __future__ import annotations

from functools import partial
from typing import Final

from ..stats.store import GaugeValue, Scope, StatsStruct
from .health_check_session import ActiveHealthCheckSession
from .health_checker import HealthChecker, HostCheckComplete
from .health_transition import HealthTransition
from .host import HealthFlag, Host, PrioritySet

_SHARED: Final = HealthFlag.FAILED_ACTIVE_HC | HealthFlag.DEGRADED_ACTIVE_HC | HealthFlag.PENDING_ACTIVE_HC


class HealthCheckerGroupStats(StatsStruct):
    """`cluster.NAME.health_check.*`: hosts by what all checks together say."""

    degraded: GaugeValue
    healthy: GaugeValue


class HostView:
    """A host as one checker of several sees it."""

    __slots__ = ("_host", "_own")

    def __init__(self, host: Host) -> None:
        self._host = host
        self._own = host.health_flags & _SHARED

    @property
    def health_flags(self) -> int:
        return self._host.health_flags & ~_SHARED | self._own

    @health_flags.setter
    def health_flags(self, flags: int) -> None:
        self._own = flags & _SHARED
        self._host.health_flags = self._host.health_flags & _SHARED | flags & ~_SHARED


class HealthCheckerGroup:
    """Looks like one `HealthChecker`."""

    def __init__(self, checkers: tuple[HealthChecker, ...], priority_set: PrioritySet, scope: Scope) -> None:
        """`scope` is the cluster's."""
        self.checkers = checkers
        self.stats = scope.scope("health_check").struct(HealthCheckerGroupStats)
        self._callbacks: list[HostCheckComplete] = []
        self._pending: dict[Host, set[HealthChecker]] = {}
        self._views: dict[Host, dict[HealthChecker, HostView]] = {}
        for checker in checkers:
            checker.view_of = self._view_of
            checker.add_host_check_complete_callback(partial(self._on_result, checker))
        # After the checkers' own callbacks: they say what becomes of a host that goes away.
        priority_set.add_member_update_callback(lambda _, added, removed: self._forget(removed))

    @property
    def started(self) -> bool:
        return self.checkers[0].started

    @property
    def sessions(self) -> dict[Host, ActiveHealthCheckSession]:
        """One of each host that is checked."""
        return self.checkers[0].sessions

    def add_host_check_complete_callback(self, callback: HostCheckComplete) -> None:
        self._callbacks.append(callback)

    def start(self) -> None:
        for checker in self.checkers:
            checker.start()

    def stop(self) -> None:
        self._callbacks.clear()
        for checker in self.checkers:
            checker.stop()

    def set_unhealthy(self, host: Host) -> None:
        """In Envoy a host knows the last of its checkers only."""
        self.checkers[-1].set_unhealthy(host)

    # -- inside

    def _view_of(self, checker: HealthChecker, host: Host) -> HostView:
        views = self._views.get(host)
        if views is None:
            # For all of them: one may have its answer before another has asked.
            views = self._views[host] = {each: HostView(host) for each in self.checkers}
            self._pending[host] = set(self.checkers)
        return views[checker]

    def _on_result(self, checker: HealthChecker, host: Host, change: HealthTransition, succeeded: bool) -> None:
        pending = self._pending.get(host)
        if pending is None:
            return
        before = host.health_flags
        was_pending = bool(pending)
        pending.discard(checker)
        views = self._views[host]
        sums = 0
        for view in views.values():
            sums |= view.health_flags & (HealthFlag.FAILED_ACTIVE_HC | HealthFlag.DEGRADED_ACTIVE_HC)
        if pending and before & HealthFlag.PENDING_ACTIVE_HC:
            sums |= HealthFlag.PENDING_ACTIVE_HC
        host.health_flags = before & ~_SHARED | sums
        self._count(before, host.health_flags)
        if was_pending and pending:
            return
        total = HealthTransition.UNCHANGED
        if (before ^ host.health_flags) & _SHARED or was_pending:
            total = HealthTransition.CHANGED
        elif change is HealthTransition.CHANGE_PENDING:
            total = change
        for callback in tuple(self._callbacks):
            callback(host, total, not sums & HealthFlag.FAILED_ACTIVE_HC)

    def _count(self, before: int, after: int) -> None:
        failed = HealthFlag.FAILED_ACTIVE_HC
        self.stats.healthy += bool(before & failed) - bool(after & failed)
        degraded = HealthFlag.DEGRADED_ACTIVE_HC
        self.stats.degraded += bool(after & degraded) - bool(before & degraded)

    def _forget(self, hosts: tuple[Host, ...]) -> None:
        for host in hosts:
            if self._pending.pop(host, None) is not None:
                del self._views[host]
                self._count(host.health_flags, HealthFlag.FAILED_ACTIVE_HC)
