"""What all balancers share: which priority a request goes to, and panic.

Envoy: `Upstream::LoadBalancerBase`; docs "Priority levels", "Panic threshold", "Degraded endpoints". The arithmetic is
in `priority_load`. All of it is computed when hosts change; a request draws a number and looks the priority up.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

from ..record import record
from .host import HealthFlag, Host, HostSet
from .priority_load import PriorityLoad, priority_load

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .load_balancer import LoadBalancerContext, LoadBalancerParams

MOST_EXCLUDED = 20
"""Hosts that an explanation names as not eligible; a large cluster would fill it otherwise."""


class HostAvailability(Enum):
    HEALTHY = "healthy"
    DEGRADED = "degraded"
    ALL = "all"


@record
class Excluded:
    """A host that could not be chosen, as an explanation shows it."""

    host: Host
    why: str

    def __str__(self) -> str:
        return f"{self.host}: {self.why}"


class LoadBalancerBase:
    """Keeps `load` in step with the hosts; a policy picks what it likes of `choose_priority`'s answer.

    Attributes:
        load: how it is spread over the priorities now.
    """

    __slots__ = ("load", "params", "priority_set", "random", "stats")

    policy = ""
    """For explanations, e.g. `round robin`."""

    def __init__(self, params: LoadBalancerParams) -> None:
        self.params = params
        self.priority_set = params.priority_set
        self.stats = params.stats
        self.random = params.random
        self.load = priority_load(self.priority_set.host_sets, params.panic_threshold)
        self.priority_set.add_member_update_callback(self._on_member_update)

    def on_update(
        self,
        host_set: HostSet,
        added: tuple[Host, ...],
        removed: tuple[Host, ...],
        altered: Sequence[Host] | None,
    ) -> None:
        """`host_set` has taken the place of another, and `load` has been computed anew; see `PrioritySet.altered`."""

    def choose_priority(self, drawn: int, load: PriorityLoad) -> tuple[int, HostAvailability]:
        """Where `drawn`, any number, falls in the 100 percent of `load`."""
        percent = drawn % 100 + 1
        for priority, share in enumerate(load.healthy):
            percent -= share
            if percent <= 0:
                return priority, HostAvailability.HEALTHY
        for priority, share in enumerate(load.degraded):
            percent -= share
            if percent <= 0:
                return priority, HostAvailability.DEGRADED
        return 0, HostAvailability.HEALTHY

    def load_for(self, context: LoadBalancerContext | None) -> PriorityLoad:
        """`load`, unless it is a retry that wants another."""
        if context is None or context.retry_priority is None:
            return self.load
        return context.retry_priority.determine_priority_load(self.priority_set.host_sets, self.load, self.priority_of)

    def priority_of(self, host: Host) -> int | None:
        """Which of the priorities that this balances over `host` is in."""
        return host.priority

    def _on_member_update(self, host_set: HostSet, added: tuple[Host, ...], removed: tuple[Host, ...]) -> None:
        self.load = priority_load(self.priority_set.host_sets, self.params.panic_threshold)
        self.on_update(host_set, added, removed, self.priority_set.altered)


def excluded_from(host_set: HostSet, candidates: Sequence[Host]) -> tuple[object, ...]:
    """The hosts of `host_set` that are no candidates, and why, for an explanation."""
    eligible = set(candidates)
    found: list[object] = []
    for host in host_set.hosts:
        if host in eligible:
            continue
        if len(found) == MOST_EXCLUDED:
            found.append(f"{len(host_set.hosts) - len(eligible) - MOST_EXCLUDED} more")
            break
        flags = "".join(name for flag, name in HealthFlag.NAMES if host.health_flags & flag)
        found.append(Excluded(host, flags or "not in the subset or locality that was chosen"))
    return tuple(found)
