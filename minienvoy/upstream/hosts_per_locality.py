"""Hosts by where they are.

Envoy: `Upstream::HostsPerLocalityImpl`, `PriorityStateManager::updateClusterPrioritySet`; docs "Locality weighted load
balancing". The locality of this server comes first, if any host is there; the others stand in the order of their names.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from .host import HealthFlag, Host, HostSet, Locality

NO_HOSTS: Final[tuple[Host, ...]] = ()


class HostsPerLocality:
    """The hosts of one host set, by locality; all lists have the same localities at the same index.

    Attributes:
        has_local: index 0 is the locality of this server.
        weights: as configured; 0 where none is.
    """

    __slots__ = ("all", "degraded", "excluded_count", "has_local", "healthy", "localities", "weights")

    def __init__(self, host_set: HostSet, local: Locality | None = None) -> None:
        groups: dict[Locality, list[Host]] = {}
        for host in host_set.hosts:
            groups.setdefault(host.locality, []).append(host)
        self.has_local = local is not None and local in groups
        self.localities = sorted(groups, key=lambda each: (each != local, each))
        self.all = [tuple(groups[each]) for each in self.localities]
        self.weights: list[int] = []
        self._take_weights(host_set)
        # Where all hosts are well they need not be sorted once more.
        all_well = host_set.healthy_hosts is host_set.hosts
        self.healthy = self.all if all_well else self._part(host_set.healthy_hosts)
        self.degraded = self._part(host_set.degraded_hosts)
        self.excluded_count = [len(hosts) for hosts in self._part(host_set.excluded_hosts)]

    def follow(
        self, host_set: HostSet, added: Sequence[Host], removed: Iterable[Host], altered: Iterable[Host]
    ) -> frozenset[int] | None:
        """Become what `HostsPerLocality(host_set)` would be, for an update that `PrioritySet.altered` tells about.

        The indices of the localities that are not as they were; None, and nothing has been done, if localities have
        come or gone, or a host is in another one than before.
        """
        index_of = {locality: index for index, locality in enumerate(self.localities)}
        touched: set[int] = set()
        gone = set(removed)
        for host in (*added, *gone, *altered):
            index = index_of.get(host.locality)
            if index is None:
                return None
            touched.add(index)
        lists = {index: [host for host in self.all[index] if host not in gone] for index in touched}
        for host in added:
            lists[index_of[host.locality]].append(host)
        if sum(map(len, lists.values())) - sum(len(self.all[index]) for index in touched) != len(added) - len(gone):
            return None
        if not all(lists.values()) or not all(host in lists[index_of[host.locality]] for host in altered):
            return None
        if self.healthy is self.all:
            self.healthy = list(self.all)
        for index, hosts in lists.items():
            self.all[index] = tuple(hosts)
            self.healthy[index] = tuple([host for host in hosts if host.healthy])
            self.degraded[index] = tuple([host for host in hosts if host.degraded])
            self.excluded_count[index] = sum(1 for host in hosts if host.health_flags & HealthFlag.EXCLUDED)
        self._take_weights(host_set)
        return frozenset(touched)

    def _take_weights(self, host_set: HostSet) -> None:
        weights = host_set.locality_weights or {}
        self.weights = [weights.get(each, 0) for each in self.localities]

    def _part(self, hosts: tuple[Host, ...]) -> list[tuple[Host, ...]]:
        if not hosts:
            return [NO_HOSTS] * len(self.localities)
        groups: dict[Locality, list[Host]] = {each: [] for each in self.localities}
        for host in hosts:
            groups[host.locality].append(host)
        return [tuple(groups[each]) for each in self.localities]

    def effective_weight(self, index: int, eligible: list[tuple[Host, ...]], overprovisioning_factor: int) -> float:
        """The weight of a locality, less as fewer of its hosts are eligible (`effectiveLocalityWeight`)."""
        count = len(self.all[index]) - self.excluded_count[index]
        if not count:
            return 0.0
        available = min(1.0, overprovisioning_factor / 100.0 * (1.0 * len(eligible[index]) / count))
        return self.weights[index] * available
