"""`envoy.retry_priorities.previous_priorities`: retries go to priorities that were not tried before.

Envoy: `source/extensions/retry/priority/previous_priorities`. After every `update_frequency` attempts the priorities of
the hosts that were tried lose all their load, and the others share it by their health. When nothing is left, all may be
tried again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from ....config.fields import honours
from ....router.retry_policy import RETRY_PRIORITIES, AttemptedRetryPriority
from ....upstream.host import Host, HostSet
from ....upstream.load_balancer import PriorityOf
from ....upstream.priority_load import PriorityLoad, availability, spread

CONFIG_TYPE: Final = "envoy.extensions.retry.priority.previous_priorities.v3.PreviousPrioritiesConfig"

honours(CONFIG_TYPE, "update_frequency")


class PreviousPriorities:
    __slots__ = ("_attempted", "_excluded", "_load", "_update_frequency")

    def __init__(self, update_frequency: int) -> None:
        self._update_frequency = update_frequency
        self._attempted: list[Host] = []
        self._excluded: set[int] = set()
        self._load: PriorityLoad | None = None

    def on_host_attempted(self, host: Host) -> None:
        self._attempted.append(host)

    def determine_priority_load(
        self, host_sets: Sequence[HostSet], load: PriorityLoad, priority_of: PriorityOf
    ) -> PriorityLoad:
        attempted = len(self._attempted)
        if attempted >= self._update_frequency and attempted % self._update_frequency == 0:
            found = map(priority_of, self._attempted)
            self._excluded.update(priority for priority in found if priority is not None)
            self._load = self._adjusted(host_sets, load)
        return load if self._load is None else self._load

    def _adjusted(self, host_sets: Sequence[HostSet], load: PriorityLoad) -> PriorityLoad | None:
        """Spread over the priorities that are left; None if there is no healthy host at all."""
        healthy, degraded = self._health(host_sets)
        if not sum(healthy) + sum(degraded):
            self._excluded.clear()
            self._attempted.clear()
            healthy, degraded = self._health(host_sets)
            if not sum(healthy) + sum(degraded):
                return None
        return PriorityLoad(*spread(healthy, degraded), load.panic)

    def _health(self, host_sets: Sequence[HostSet]) -> tuple[list[int], list[int]]:
        """Percent of healthy and of degraded hosts; nothing where priorities are excluded."""
        healthy, degraded = [], []
        for host_set in host_sets:
            excluded = host_set.priority in self._excluded
            healthy.append(0 if excluded else availability(host_set, host_set.healthy_hosts))
            degraded.append(0 if excluded else availability(host_set, host_set.degraded_hosts))
        return healthy, degraded


@RETRY_PRIORITIES.register("envoy.retry_priorities.previous_priorities", CONFIG_TYPE)
def create_previous_priorities(config: Any) -> Callable[[], AttemptedRetryPriority]:
    # Envoy lets zero pass, and divides by it.
    frequency = max(1, config.update_frequency)
    return lambda: PreviousPriorities(frequency)
