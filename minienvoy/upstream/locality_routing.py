"""Which locality of a priority a request goes to.

Envoy: `Upstream::LocalityWrr`, `ZoneAwareLoadBalancerBase::regenerateLocalityRoutingStructures`; docs "Locality
weighted load balancing", "Zone aware routing".

By weight: an earliest-deadline-first schedule over the localities, whose weights shrink with their health.

Zone aware: requests stay in the own zone as far as its share of the upstream hosts goes. A zone that has 20 percent of
the clients and 10 percent of the upstream hosts keeps half of its requests; the rest is spread over the zones that have
more upstream hosts than clients, in proportion to what they have more.
"""

from __future__ import annotations

from bisect import bisect_right
from itertools import accumulate
from typing import TYPE_CHECKING

from .edf_scheduler import EdfScheduler
from .hosts_per_locality import HostsPerLocality

if TYPE_CHECKING:
    from ..event.random import RandomStream
    from .cluster_stats import ClusterLbStats
    from .host import Host, HostSet
    from .locality_lb_config import LocalityLbConfig


def locality_scheduler(
    localities: HostsPerLocality, eligible: list[tuple[Host, ...]], overprovisioning_factor: float, seed: int
) -> EdfScheduler[int] | None:
    """Picks indices of localities by their effective weights; None if no locality has one."""
    weights = {
        index: weight
        for index in range(len(localities.all))
        if (weight := localities.effective_weight(index, eligible, int(overprovisioning_factor))) > 0
    }
    if not weights:
        return None
    return EdfScheduler.with_picks(tuple(weights), weights.__getitem__, seed & 0xFFFFFFFF)


class ZoneRouting:
    """How requests of this zone are spread over the zones of P0 (`LocalityDirect` or `LocalityResidual`).

    Attributes:
        direct: everything stays in the own zone, which is index 0.
        local_percent: of 10,000 requests, so many stay there.
        residual: sums of what the zones up to each index have left.
    """

    __slots__ = ("direct", "local_percent", "residual")

    def __init__(self, local: HostsPerLocality, upstream: HostsPerLocality, config: LocalityLbConfig) -> None:
        shares = _percentages(local, upstream, config.by_weight)
        own_local, own_upstream = shares[0] if upstream.has_local else (0, 0)
        forced = config.force_local_min_size
        self.direct = upstream.has_local and (
            (own_upstream > 0 and own_upstream >= own_local)
            or (forced is not None and len(upstream.healthy[0]) >= forced)
        )
        self.local_percent = own_upstream * 10_000 // own_local if own_local else 0
        first = 1 if upstream.has_local else 0
        left = [max(0, has - wants) if index >= first else 0 for index, (wants, has) in enumerate(shares)]
        self.residual = list(accumulate(left))

    def choose(self, random: RandomStream, stats: ClusterLbStats) -> int:
        """The index of a locality."""
        if self.direct:
            stats.lb_zone_routing_all_directly += 1
            return 0
        if random.getrandbits(64) % 10_000 < self.local_percent:
            stats.lb_zone_routing_sampled += 1
            return 0
        stats.lb_zone_routing_cross_zone += 1
        total = self.residual[-1]
        if not total:
            # Rounding has left nothing.
            stats.lb_zone_no_capacity_left += 1
            return random.getrandbits(64) % len(self.residual)
        return bisect_right(self.residual, random.getrandbits(64) % total)


def zone_routing(
    host_set: HostSet,
    upstream: HostsPerLocality,
    local: HostsPerLocality,
    min_cluster_size: int,
    config: LocalityLbConfig,
    stats: ClusterLbStats,
) -> ZoneRouting | None:
    """None where it makes no sense: too few zones or hosts, or this zone is not one of the local cluster's."""
    if len(upstream.all) < 2 or len(local.all) < 2:
        return None
    if not local.has_local:
        stats.lb_local_cluster_not_ok += 1
        return None
    if len(host_set.healthy_hosts) < min_cluster_size:
        stats.lb_zone_cluster_too_small += 1
        return None
    return ZoneRouting(local, upstream, config)


def _percentages(local: HostsPerLocality, upstream: HostsPerLocality, by_weight: bool) -> list[tuple[int, int]]:
    """For each upstream locality, its part of the local hosts and of the upstream hosts, in 1/100 percent."""

    def size(hosts: tuple[Host, ...]) -> int:
        return sum(host.weight for host in hosts) if by_weight else len(hosts)

    counts = dict(zip(local.localities, map(size, local.healthy), strict=True))
    all_local, all_upstream = sum(counts.values()), sum(map(size, upstream.healthy))
    found = []
    for locality, hosts in zip(upstream.localities, upstream.healthy, strict=True):
        if not hosts:
            found.append((0, 0))
            continue
        found.append(
            (
                10_000 * counts.get(locality, 0) // all_local if all_local else 0,
                10_000 * size(hosts) // all_upstream if all_upstream else 0,
            )
        )
    return found
