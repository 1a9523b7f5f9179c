"""Changes of hosts on their way to whoever chooses among them.

Envoy: `ClusterManagerImpl::scheduleUpdate`, `applyUpdates` (`update_merge_window`); docs "Cluster manager > Update
merge window". Envoy's workers learn of changes from the main thread; what they learn, and when, is kept here even
though there is no other thread: it decides where requests go.

An update in which hosts come or go is passed on at once. One that only changes their health (or weight, or metadata)
is passed on at once if the last one that was passed on is longer ago than the window; else a window later, together
with what else happens until then.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from .cluster_stats import ClusterManagerStats
from .host import Host, HostSet, PrioritySet

if TYPE_CHECKING:
    from ..event.dispatcher import Dispatcher, Timer

DEFAULT_WINDOW: Final = 1.0
"""Seconds."""


class UpdateMerger:
    """Attributes:
    target: what balancers look at; it follows the set that this was made with.
    active: the cluster is in use; before that everything is passed on at once, and nothing is counted.
    """

    __slots__ = ("_dispatcher", "_held", "_source", "_stats", "_timers", "_updated", "_window", "active", "target")

    def __init__(
        self, source: PrioritySet, dispatcher: Dispatcher, window: float, stats: ClusterManagerStats | None = None
    ) -> None:
        """`window` is seconds, 0 for none."""
        self.target = PrioritySet()
        self.active = False
        self._source = source
        self._dispatcher = dispatcher
        self._window = window
        self._stats = stats or ClusterManagerStats()
        self._updated: dict[int, float] = {}
        self._held: set[int] = set()
        """Priorities of which something is held back."""
        self._timers: dict[int, Timer] = {}
        for host_set in source.host_sets:
            self.target.update_hosts(host_set)
        source.add_member_update_callback(self._on_update)

    def stop(self) -> None:
        for timer in self._timers.values():
            timer.disable()

    def _on_update(self, host_set: HostSet, added: tuple[Host, ...], removed: tuple[Host, ...]) -> None:
        if self.active and self._window and self._schedule(host_set.priority, not added and not removed):
            self._held.add(host_set.priority)
            return
        if self.active:
            self._stats.cluster_updated += 1
        # Only changes of health may have been held back, so the target lacks the same hosts as the source did.
        altered = None if host_set.priority in self._held else self._source.altered
        self._held.discard(host_set.priority)
        self.target.update_hosts(host_set, (added, removed), altered)

    def _schedule(self, priority: int, mergeable: bool) -> bool:
        """Whether it can wait."""
        now = self._dispatcher.monotonic_time()
        updated = self._updated.get(priority)
        passed = None if updated is None else now - updated
        timer = self._timers.get(priority)
        if not mergeable or passed is None or passed > self._window:
            if mergeable:
                self._stats.update_out_of_merge_window += 1
            if timer is not None and timer.enabled:
                timer.disable()
                self._stats.update_merge_cancelled += 1
            self._updated[priority] = now
            return False
        if timer is None:
            timer = self._timers[priority] = self._dispatcher.create_timer(lambda: self._apply(priority))
        if not timer.enabled:
            timer.enable(self._window)
        return True

    def _apply(self, priority: int) -> None:
        self._stats.cluster_updated_via_merge += 1
        self._updated[priority] = self._dispatcher.monotonic_time()
        self._held.discard(priority)
        self.target.update_hosts(self._source.host_sets[priority])
