"""How long it takes to choose a host, to take an update in, and to build rings and tables.

    python -m bench.balancers [--json]

Each figure is the best of several runs of one process, without sockets. Beside the builds stands a floor: the same
structure by the shortest loop that gives it, without weights, statistics and hosts.
"""

from __future__ import annotations

import collections
import itertools
import json
import random
import sys
import timeit
from collections.abc import Callable
from typing import Any

from xxhash import xxh64_intdigest

from minienvoy.config.loader import load_dict
from minienvoy.event.random import RandomGenerator
from minienvoy.event.simulated import SimulatedDispatcher
from minienvoy.extensions import register_catalogue
from minienvoy.network.address import Address
from minienvoy.stats.store import Store
from minienvoy.upstream.cluster import ClusterContext
from minienvoy.upstream.cluster_stats import ClusterLbStats, ClusterTrafficStats
from minienvoy.upstream.host import Host, HostSet, Locality, PrioritySet
from minienvoy.upstream.load_balancer import LOAD_BALANCERS, LoadBalancerContextBase, LoadBalancerParams
from minienvoy.upstream.thread_aware_load_balancer import NormalizedWeights

SIZES = (10, 100, 1000)
PACKAGE = "envoy.extensions.load_balancing_policies"
LOCALITIES = {"locality_lb_config": {"locality_weighted_lb_config": {}}}
ROUND_ROBIN = {"@type": f"type.googleapis.com/{PACKAGE}.round_robin.v3.RoundRobin"}
SUBSETS = {
    "subset_selectors": [{"keys": ["half"]}],
    "subset_lb_policy": {"policies": [{"typed_extension_config": {"name": "rr", "typed_config": ROUND_ROBIN}}]},
}
POLICIES: dict[str, tuple[str, bool, dict[str, Any]]] = {
    "round robin": ("round_robin.v3.RoundRobin", False, {}),
    "round robin, weighted": ("round_robin.v3.RoundRobin", True, {}),
    "round robin, localities": ("round_robin.v3.RoundRobin", False, LOCALITIES),
    "least request": ("least_request.v3.LeastRequest", False, {}),
    "least request, weighted": ("least_request.v3.LeastRequest", True, {}),
    "random": ("random.v3.Random", False, {}),
    "ring hash": ("ring_hash.v3.RingHash", False, {}),
    "maglev": ("maglev.v3.Maglev", False, {}),
    "subset": ("subset.v3.Subset", False, SUBSETS),
}
MANY = 10_000


class Loop:
    """What is put off is done by `run`."""

    def __init__(self) -> None:
        self._soon: collections.deque[Callable[[], None]] = collections.deque()

    def time(self) -> float:
        return 0.0

    def call_soon(self, callback: Callable[[], None]) -> None:
        self._soon.append(callback)

    def run(self) -> None:
        while self._soon:
            self._soon.popleft()()


LOOP = Loop()


KEYS = itertools.cycle([xxh64_intdigest(b"key%d" % number) for number in range(10_007)])


CRITERIA = {"half": "1"}


class Request(LoadBalancerContextBase):
    __slots__ = ()

    def compute_hash_key(self) -> int | None:
        return next(KEYS)

    def metadata_match_criteria(self) -> Any:
        return CRITERIA


HALVES = [{"envoy.lb": {"half": half}} for half in "01"]
WEIGHTS = {Locality(zone=str(zone)): zone + 1 for zone in range(3)}


def set_of(hosts: tuple[Host, ...]) -> HostSet:
    return HostSet(0, hosts, locality_weights=WEIGHTS)


def hosts_of(count: int, weighted: bool = False) -> tuple[Host, ...]:
    return tuple(
        Host(
            Address(f"10.{index >> 16}.{index >> 8 & 255}.{index & 255}", 80),
            weight=index % 7 + 1 if weighted else 1,
            locality=Locality(zone=str(index % 3)),
            metadata=HALVES[index % 2],
        )
        for index in range(count)
    )


def balancer(kind: str, priority_set: PrioritySet, config: dict[str, Any] | None = None) -> Any:
    name = f"{PACKAGE}.{kind}"
    dispatcher = SimulatedDispatcher(LOOP)  # type: ignore[arg-type]
    store = Store()
    context = ClusterContext(dispatcher, RandomGenerator(1), store)
    params = LoadBalancerParams(
        priority_set, ClusterLbStats(), random.Random(1), dispatcher=dispatcher, traffic=ClusterTrafficStats()
    )
    return LOAD_BALANCERS.find(name).factory(load_dict(config or {}, name).message, context)(params)


def best(work: Callable[[], Any], number: int, repeat: int = 5) -> float:
    """Seconds of one call."""
    return min(timeit.repeat(work, number=number, repeat=repeat)) / number


def choices() -> dict[str, dict[int, float]]:
    """Microseconds of one `choose_host`."""
    found: dict[str, dict[int, float]] = {}
    for policy, (kind, weighted, config) in POLICIES.items():
        for size in SIZES:
            priority_set = PrioritySet()
            priority_set.update_hosts(set_of(hosts_of(size, weighted)))
            choose, request = balancer(kind, priority_set, config).choose_host, Request()
            LOOP.run()
            found.setdefault(policy, {})[size] = best(lambda: choose(request), 20_000) * 1e6  # noqa: B023
    return found


def updates() -> dict[str, float]:
    """Milliseconds to take in an update of 10,000 hosts, of which one is new and the others are known; with all that
    follows from it."""
    found = {}
    for policy, (kind, weighted, config) in POLICIES.items():
        priority_set = PrioritySet()
        hosts = hosts_of(MANY, weighted)
        priority_set.update_hosts(set_of(hosts))
        balancer(kind, priority_set, config)
        LOOP.run()
        sets = (hosts, (*hosts[1:], *hosts_of(1)))
        turn = iter(range(1_000_000))

        def update() -> None:
            priority_set.update_hosts(set_of(sets[next(turn) % 2]))  # noqa: B023
            LOOP.run()

        found[policy] = best(update, 1, 4) * 1e3
    return found


def builds() -> dict[str, tuple[float, float]]:
    """Milliseconds to build a ring and a table over 1,000 hosts, and those of the floor."""
    hosts = hosts_of(1000)
    weights = NormalizedWeights(hosts, [1 / 1000] * 1000)
    keys = [host.address.text.encode() for host in hosts]
    empty = PrioritySet()
    empty.update_hosts(HostSet(0, ()))
    ring, maglev = balancer("ring_hash.v3.RingHash", empty), balancer("maglev.v3.Maglev", empty)
    return {
        "ring of 2,000": (
            best(lambda: list(ring.build(weights, 1 / 1000, 1 / 1000)), 3) * 1e3,
            best(lambda: ring_floor(keys), 3) * 1e3,
        ),
        "maglev of 65,537": (
            best(lambda: list(maglev.build(weights, 1 / 1000, 1 / 1000)), 1) * 1e3,
            best(lambda: maglev_floor(keys), 1) * 1e3,
        ),
    }


def ring_floor(keys: list[bytes]) -> list[tuple[int, bytes]]:
    return sorted((xxh64_intdigest(key + b"_%d" % index), key) for key in keys for index in range(2))


def maglev_floor(keys: list[bytes], size: int = 65537) -> list[int]:
    at = [xxh64_intdigest(key) % size for key in keys]
    skips = [xxh64_intdigest(key, 1) % (size - 1) + 1 for key in keys]
    table = [-1] * size
    left = size
    while True:
        for index, place in enumerate(at):
            skip = skips[index]
            while table[place] >= 0:
                place = (place + skip) % size
            table[place] = index
            at[index] = place
            left -= 1
            if not left:
                return table


def main() -> None:
    register_catalogue()
    chosen, updated, built = choices(), updates(), builds()
    if "--json" in sys.argv[1:]:
        print(json.dumps({"choose_host_us": chosen, "update_10000_ms": updated, "build_ms": built}, indent=1))
        return
    print("choose_host, us".ljust(28), *(f"{size:>8} hosts" for size in SIZES), " update of 10,000 hosts")
    for policy, by_size in chosen.items():
        cells = (f"{by_size[size]:>14.2f}" for size in SIZES)
        print(policy.ljust(28), *cells, f"{updated[policy]:>15.1f} ms")
    print()
    for what, (ours, floor) in built.items():
        print(f"{what} over 1,000 hosts: {ours:.1f} ms, {ours / floor:.2f} x the floor of {floor:.1f} ms")


if __name__ == "__main__":
    main()
