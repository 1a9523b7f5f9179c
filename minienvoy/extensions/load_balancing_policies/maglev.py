"""MAGLEV: the host that stands in a table at the place of the request's hash.

Envoy: `Upstream::MaglevLoadBalancer`, `MaglevTable`, `envoy.load_balancing_policies.maglev`; docs "Maglev". Every host
has an order of its own in which it wants the places of the table; they take turns, those of greater weight more often,
and each takes the first one in its order that is free.
"""

from __future__ import annotations

from typing import Any, Final, cast

from ...config.fields import honours
from ...errors import ConfigError
from ...stats.store import GaugeValue, StatsStruct
from ...upstream.host import Host
from ...upstream.load_balancer import LOAD_BALANCERS, LoadBalancerFactory, LoadBalancerParams
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
    __slots__ = ("_size", "maglev_stats")

    policy = "maglev"

    def __init__(
        self,
        params: LoadBalancerParams,
        config: HashingLbConfig = HashingLbConfig(),  # noqa: B008 (it is frozen)
        table_size: int = DEFAULT_TABLE_SIZE,
    ) -> None:
        self._size = table_size
        scope = params.scope
        self.maglev_stats = MaglevStats() if scope is None else scope.scope("maglev_lb").struct(MaglevStats)
        super().__init__(params, config)

    def build(self, weights: NormalizedWeights, smallest: float, largest: float) -> MaglevTable | None:
        if not weights:
            return None
        keyed = sorted(
            ((hash_key(host, self.config.use_hostname), host, weight) for host, weight in weights),
            key=lambda each: each[0],
        )
        counts = [0] * len(keyed)
        hosts = [host for _, host, _ in keyed]
        table = _filled(keyed, hosts, counts, self._size, smallest == largest, largest)
        self.maglev_stats.min_entries_per_host = min(counts)
        self.maglev_stats.max_entries_per_host = max(counts)
        return MaglevTable(table)


def _filled(
    keyed: list[tuple[bytes, Host, float]], hosts: list[Host], counts: list[int], size: int, equal: bool, largest: float
) -> list[Host]:
    """The table; `counts` gets how many places each host has."""
    places: list[Host | None] = [None] * size
    # Where each host stands in its own order of the places, and by how much it moves on.
    at = [xx_hash64(key) % size for key, _, _ in keyed]
    skips = [xx_hash64(key, 1) % max(1, size - 1) + 1 for key, _, _ in keyed]
    weights = [weight for _, _, weight in keyed]
    targets = [0.0] * len(keyed)
    everyone = range(len(keyed))
    left = size
    turn = 0
    while left:
        turn += 1
        takers = everyone if equal else [index for index in everyone if turn * weights[index] >= targets[index]]
        for index in takers:
            if not equal:
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
            if not left:
                break
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
