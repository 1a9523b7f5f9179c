"""MAGLEV: the host that stands in a table at the place of the request's hash.

Envoy: `Upstream::MaglevLoadBalancer`, `MaglevTable`, `envoy.load_balancing_policies.maglev`; docs "Maglev". Every host
has an order of its own in which it wants the places of the table; they take turns, those of greater weight more often,
and each takes the first one in its order that is free.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, Final, cast

from ...config.fields import honours
from ...errors import ConfigError
from ...stats.store import GaugeValue, StatsStruct
from ...upstream.host import Host
from ...upstream.load_balancer import LOAD_BALANCERS, LoadBalancerFactory, LoadBalancerParams
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

TYPE: Final = "envoy.extensions.load_balancing_policies.maglev.v3.Maglev"
honours(TYPE, "table_size", "consistent_hashing_lb_config", "locality_weighted_lb_config")
DEFAULT_TABLE_SIZE: Final = 65537
_MASK: Final = 2**64 - 1
HASHED_AT_ONCE: Final = 2048
PIECES: Final = 16
SCANNED_AT_ONCE: Final = 20_000
LAST_AT_ONCE: Final = 40
"""Each about a millisecond, until somebody else has a turn: hosts that are hashed; a part of the free places that are
taken; hosts of unequal weight that are asked whether it is their turn; places that are taken when few are left."""
FEW: Final = 160
"""Free places, from which on it is quicker to compute how far a host is from each of them."""


class MaglevStats(StatsStruct):
    """`cluster.NAME.maglev_lb.*`: places in the table of the priority that was built last."""

    max_entries_per_host: GaugeValue
    min_entries_per_host: GaugeValue


class MaglevTable:
    __slots__ = ("hosts",)

    def __init__(self, hosts: list[Host]) -> None:
        self.hosts = hosts

    def choose_host(self, hash_: int, attempt: int) -> Host | None:
        if attempt:
            # Most bits change, so that not all retries go to one host.
            hash_ ^= _MASK - attempt + 1
        return self.hosts[hash_ % len(self.hosts)]


class MaglevLoadBalancer(ThreadAwareLoadBalancerBase):
    __slots__ = ("_known", "_size", "maglev_stats")

    policy = "maglev"

    def __init__(
        self,
        params: LoadBalancerParams,
        config: HashingLbConfig = HashingLbConfig(),  # noqa: B008 (it is frozen)
        table_size: int = DEFAULT_TABLE_SIZE,
    ) -> None:
        self._size = table_size
        self._known: dict[bytes, tuple[int, int]] = {}
        scope = params.scope
        self.maglev_stats = MaglevStats() if scope is None else scope.scope("maglev_lb").struct(MaglevStats)
        super().__init__(params, config)

    def build(
        self, weights: NormalizedWeights, smallest: float, largest: float
    ) -> Generator[None, None, HashingLoadBalancer | None]:
        by_name = self.config.use_hostname
        keys = [hash_key(host, by_name) for host in weights.hosts]
        yield
        in_order = sorted(range(len(keys)), key=keys.__getitem__)
        yield
        firsts, skips = yield from self._orders([keys[each] for each in in_order])
        hosts = [weights.hosts[each] for each in in_order]
        counts = [0] * len(hosts)
        own_weights = [] if smallest == largest else [weights.weights[each] for each in in_order]
        table = yield from filled(hosts, firsts, skips, counts, self._size, own_weights, largest)
        self.maglev_stats.min_entries_per_host = min(counts)
        self.maglev_stats.max_entries_per_host = max(counts)
        return MaglevTable(table)

    def _orders(self, keys: list[bytes]) -> Generator[None, None, tuple[list[int], list[int]]]:
        """Of each host the place that it wants first, and by how much it moves on; who was there has been hashed."""
        size, before = self._size, self._known
        known: dict[bytes, tuple[int, int]] = {}
        for at, key in enumerate(keys):
            order = before.get(key)
            if order is None:
                order = (xx_hash64(key) % size, xx_hash64(key, 1) % max(1, size - 1) + 1)
            known[key] = order
            if at % HASHED_AT_ONCE == HASHED_AT_ONCE - 1:
                yield
        self._known = known
        return [known[key][0] for key in keys], [known[key][1] for key in keys]


def filled(
    hosts: list[Host],
    at: list[int],
    skips: list[int],
    counts: list[int],
    size: int,
    weights: list[float],
    largest: float,
) -> Generator[None, None, list[Host]]:
    """The table; `counts` gets how many places each host has. `at` is where each host stands in its own order of the
    places; `weights` are empty if they are all the same."""
    places: list[Host | None] = [None] * size
    targets = [0.0] * len(hosts)
    everyone = range(len(hosts))
    left = size
    few = FEW if size > FEW * FEW else 0
    # Looking for a free place takes the longer the fewer there are: a piece of the work is a part of those.
    pause = left - left // PIECES
    turn = scanned = 0
    while left > few:
        turn += 1
        takers = everyone if not weights else [each for each in everyone if turn * weights[each] >= targets[each]]
        scanned += len(weights)
        if scanned > SCANNED_AT_ONCE:
            scanned = 0
            yield
        for index in takers:
            if weights:
                targets[index] += largest
            place = at[index]
            skip = skips[index]
            while places[place] is not None:
                place += skip
                if place >= size:
                    place -= size
            places[place] = hosts[index]
            at[index] = place
            counts[index] += 1
            left -= 1
            if left <= few:
                break
            if left <= pause:
                pause = left - left // PIECES
                yield
    if not left:
        return cast("list[Host]", places)
    # Of the last places each would be looked for among thousands that are taken; how far a host is from one of them in
    # its own order can be computed.
    yield
    free = [place for place, host in enumerate(places) if host is None]
    after = index + 1
    while free:
        for index in takers:
            if index < after:
                continue  # it had its turn above
            if weights:
                targets[index] += largest
            steps = pow(skips[index], -1, size)
            start = at[index]
            place = min(free, key=lambda each: (each - start) * steps % size)
            free.remove(place)
            places[place] = hosts[index]
            at[index] = place
            counts[index] += 1
            if not free:
                break
            if len(free) % LAST_AT_ONCE == 0:
                yield
        after = 0
        turn += 1
        takers = everyone if not weights else [each for each in everyone if turn * weights[each] >= targets[each]]
    return cast("list[Host]", places)


def is_prime(number: int) -> bool:
    """As Envoy sees it: 1 is one too."""
    if number < 4:
        return number > 0
    if number % 2 == 0:
        return False
    return all(number % divisor for divisor in range(3, int(number**0.5) + 1, 2))


@LOAD_BALANCERS.register("envoy.load_balancing_policies.maglev", TYPE)
def create_maglev(config: Any, context: Any) -> LoadBalancerFactory:
    common = HashingLbConfig.from_proto(config, own_hash_policy(config, context.path))
    size = config.table_size.value if config.HasField("table_size") else DEFAULT_TABLE_SIZE
    if not is_prime(size):
        raise ConfigError("The table size of maglev must be prime number", context.path)
    return HashingLbFactory(lambda params: MaglevLoadBalancer(params, common, size))
