"""RING_HASH: the host whose next point on a ring follows the hash of the request (ketama).

Envoy: `Upstream::RingHashLoadBalancer`, `envoy.load_balancing_policies.ring_hash`; docs "Ring hash". Points are hashes
of `address_0`, `address_1`, ...; a host has as many as its weight says. If a host comes or goes, only the keys next to
its points move.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Generator
from math import ceil
from typing import Any, Final

from ...config.fields import honours
from ...errors import ConfigError
from ...stats.store import GaugeValue, StatsStruct
from ...upstream.host import Host
from ...upstream.load_balancer import LOAD_BALANCERS, LoadBalancerFactory, LoadBalancerParams
from ...upstream.murmur_hash import murmur_hash2
from ...upstream.old_structure import HashingLoadBalancer
from ...upstream.thread_aware_load_balancer import (
    HashingLbConfig,
    HashingLbFactory,
    NormalizedWeights,
    ThreadAwareLoadBalancerBase,
    hash_key,
)
from ...upstream.xx_hash import xx_hash64
from .own_hash_policy import own_hash_policy

TYPE: Final = "envoy.extensions.load_balancing_policies.ring_hash.v3.RingHash"
honours(
    TYPE,
    "hash_function",
    "minimum_ring_size",
    "maximum_ring_size",
    "use_hostname_for_hashing",
    "hash_balance_factor",
    "consistent_hashing_lb_config",
    "locality_weighted_lb_config",
)
DEFAULT_MIN_RING_SIZE: Final = 1024
DEFAULT_MAX_RING_SIZE: Final = 8 * 1024 * 1024
MURMUR_HASH_2: Final = 2
AT_ONCE: Final = 2048
"""Points that are made or sorted, or hosts that have theirs, until somebody else has a turn: two milliseconds."""
_NO_POINTS: Final[list[int]] = []


class RingHashStats(StatsStruct):
    """`cluster.NAME.ring_hash_lb.*`: points on the ring of the priority that was built last."""

    max_hashes_per_host: GaugeValue
    min_hashes_per_host: GaugeValue
    size: GaugeValue


class Ring:
    """Hashes in ascending order, and the host of each."""

    __slots__ = ("_hashes", "_hosts")

    def __init__(self, hashes: list[int], hosts: list[Host]) -> None:
        self._hashes = hashes
        self._hosts = hosts

    def choose_host(self, hash_: int, attempt: int) -> Host | None:
        hosts = self._hosts
        index = bisect_left(self._hashes, hash_)
        if index == len(hosts):
            index = 0
        return hosts[(index + attempt) % len(hosts)] if attempt else hosts[index]


class RingHashLoadBalancer(ThreadAwareLoadBalancerBase):
    __slots__ = ("_hash", "_known", "_max", "_min", "ring_stats")

    policy = "ring hash"

    def __init__(
        self,
        params: LoadBalancerParams,
        config: HashingLbConfig = HashingLbConfig(),  # noqa: B008 (it is frozen)
        min_ring_size: int = DEFAULT_MIN_RING_SIZE,
        max_ring_size: int = DEFAULT_MAX_RING_SIZE,
        murmur: bool = False,
    ) -> None:
        self._min = min_ring_size
        self._max = max_ring_size
        self._hash = murmur_hash2 if murmur else xx_hash64
        self._known: dict[bytes, list[int]] = {}
        """Points by the key of their host."""
        scope = params.scope
        self.ring_stats = RingHashStats() if scope is None else scope.scope("ring_hash_lb").struct(RingHashStats)
        super().__init__(params, config)

    def build(
        self, weights: NormalizedWeights, smallest: float, largest: float
    ) -> Generator[None, None, HashingLoadBalancer | None]:
        # The host of least weight gets a whole number of points, unless that makes the ring too large.
        scale = min(ceil(smallest * self._min) / smallest, float(self._max))
        hash_, before = self._hash, self._known
        known: dict[bytes, list[int]] = {}
        owner: dict[int, Host] = {}
        points: list[int] = []
        suffixes: list[bytes] = []
        wanted = 0.0
        placed = work = 0
        by_name = self.config.use_hostname
        size = ceil(scale)
        fewest, most = size, 0
        for host, weight in zip(weights.hosts, weights.weights, strict=True):
            key = hash_key(host, by_name) if host.metadata or by_name else host.address.text.encode()
            wanted += scale * weight
            count = max(0, ceil(wanted - placed))
            placed += count
            while len(suffixes) < count:
                suffixes.append(b"_%d" % len(suffixes))
            own = before.get(key, _NO_POINTS)
            if len(own) < count:
                work += count - len(own)
                own = [*own, *[hash_(key + suffix) for suffix in suffixes[len(own) : count]]]
            known[key] = own
            # The sum of the weights is not quite 1: now and then one of equal hosts has a point more or less.
            for point in own if len(own) == count else own[:count]:
                owner[point] = host
                points.append(point)
            if count < fewest:
                fewest = count
            if count > most:
                most = count
            work += 1 + count
            if work >= AT_ONCE:
                work = 0
                yield
        self._known = known
        # Points that are sorted in parts are sorted as a whole in no time.
        for start in range(0, len(points), AT_ONCE):
            points[start : start + AT_ONCE] = sorted(points[start : start + AT_ONCE])
            yield
        points.sort()
        yield
        stats = self.ring_stats
        stats.size, stats.min_hashes_per_host, stats.max_hashes_per_host = size, fewest, most
        return Ring(points, [owner[point] for point in points]) if points else None


@LOAD_BALANCERS.register("envoy.load_balancing_policies.ring_hash", TYPE)
def create_ring_hash(config: Any, context: Any) -> LoadBalancerFactory:
    common = HashingLbConfig.from_proto(config, own_hash_policy(config, context.path))
    smallest = config.minimum_ring_size.value if config.HasField("minimum_ring_size") else DEFAULT_MIN_RING_SIZE
    largest = config.maximum_ring_size.value if config.HasField("maximum_ring_size") else DEFAULT_MAX_RING_SIZE
    if smallest > largest:
        raise ConfigError(f"ring hash: minimum_ring_size ({smallest}) > maximum_ring_size ({largest})", context.path)
    murmur = config.hash_function == MURMUR_HASH_2
    return HashingLbFactory(lambda params: RingHashLoadBalancer(params, common, smallest, largest, murmur))
