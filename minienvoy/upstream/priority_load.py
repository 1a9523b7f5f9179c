"""Which part of the load each priority gets.

Envoy: `LoadBalancerBase::recalculatePerPriorityState`, `recalculatePerPriorityPanic`, `recalculateLoadInTotalPanic`;
docs "Priority levels", "Panic threshold", "Degraded endpoints".

Each priority has a health: its healthy hosts in percent, times the overprovisioning factor (140 %), at most 100; and
likewise for degraded hosts. 100 percent of load are given out, first to the healthy hosts of P0, P1, ... as far as
their health goes, then to the degraded hosts in the same order. If all health together is below 100, a priority with
fewer usable hosts than the panic threshold is in panic: what comes to it goes to all its hosts. If every priority is
in panic, load follows the number of hosts.
"""

from __future__ import annotations

from collections.abc import Sequence

from .host import Host, HostSet


class PriorityLoad:
    """How 100 percent are spread: one number per priority for its healthy and for its degraded hosts.

    Attributes:
        panic: one flag per priority: what comes to it goes to all its hosts.
    """

    __slots__ = ("degraded", "healthy", "panic")

    def __init__(self, healthy: list[int], degraded: list[int], panic: list[bool]) -> None:
        self.healthy = healthy
        self.degraded = degraded
        self.panic = panic


def priority_load(host_sets: Sequence[HostSet], healthy_panic_threshold: int) -> PriorityLoad:
    """Spread 100 percent of load over `host_sets`, in Envoy's integer arithmetic."""
    health = [availability(host_set, host_set.healthy_hosts) for host_set in host_sets]
    degraded_health = [availability(host_set, host_set.degraded_hosts) for host_set in host_sets]
    total = min(100, sum(health) + sum(degraded_health))
    healthy_load, degraded_load = spread(health, degraded_health)
    panic = [False] * len(host_sets)
    if not total and healthy_panic_threshold == 0:
        healthy_load[0] = 100  # nobody is there to take it, and panic is off
        return PriorityLoad(healthy_load, degraded_load, panic)
    if total < 100:
        panic = [in_panic(host_set, healthy_panic_threshold) for host_set in host_sets]
    if all(panic):
        healthy_load = _load_in_total_panic(host_sets)
        degraded_load = [0] * len(host_sets)
    return PriorityLoad(healthy_load, degraded_load, panic)


def spread(health: list[int], degraded_health: list[int]) -> tuple[list[int], list[int]]:
    """100 percent over priorities of such health; all zero if none has any."""
    total = min(100, sum(health) + sum(degraded_health))
    healthy_load, degraded_load = [0] * len(health), [0] * len(health)
    if total:
        left = _distribute(healthy_load, health, 100, total)
        left = _distribute(degraded_load, degraded_health, left, total)
        # What is left now is what rounding lost: it goes to the first that can take it.
        first = next((priority for priority, percent in enumerate(health) if percent), None)
        if first is not None:
            healthy_load[first] += left
        else:
            degraded_load[next(priority for priority, percent in enumerate(degraded_health) if percent)] += left
    return healthy_load, degraded_load


def availability(host_set: HostSet, usable: tuple[Host, ...]) -> int:
    """Percent of the hosts that count, times the overprovisioning factor, at most 100."""
    if host_set.weighted_priority_health:
        total = sum(host.weight for host in host_set.hosts) - sum(host.weight for host in host_set.excluded_hosts)
        part = sum(host.weight for host in usable)
    else:
        total = len(host_set.hosts) - len(host_set.excluded_hosts)
        part = len(usable)
    return min(100, int(host_set.overprovisioning_factor) * part // total) if total > 0 else 0


def _distribute(load: list[int], health: list[int], left: int, total: int) -> int:
    for priority, percent in enumerate(health):
        load[priority] = min(left, percent * 100 // total)
        left -= load[priority]
    return left


def in_panic(host_set: HostSet, threshold: int) -> bool:
    """Whether fewer than `threshold` percent of its hosts can be used (`isHostSetInPanic`)."""
    count = len(host_set.hosts) - len(host_set.excluded_hosts)
    usable = len(host_set.healthy_hosts) + len(host_set.degraded_hosts)
    return (100.0 * usable / count if count > 0 else 0.0) < threshold


def _load_in_total_panic(host_sets: Sequence[HostSet]) -> list[int]:
    counts = [len(host_set.hosts) for host_set in host_sets]
    total = sum(counts)
    if not total:
        return [100, *[0] * (len(host_sets) - 1)]
    load = [100 * count // total for count in counts]
    load[next(priority for priority, count in enumerate(counts) if count)] += 100 - sum(load)
    return load
