"""What holds for every policy, whatever the hosts.

Shares follow weights, nobody who is excluded is picked outside panic, and consistent hashing moves few keys.
"""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minienvoy.config.loader import load_dict
from minienvoy.event.random import RandomGenerator
from minienvoy.event.simulated import SimulatedDispatcher
from minienvoy.extensions import register_catalogue
from minienvoy.network.address import Address
from minienvoy.stats.store import Store
from minienvoy.upstream.cluster import ClusterContext
from minienvoy.upstream.cluster_stats import ClusterLbStats, ClusterTrafficStats
from minienvoy.upstream.host import HealthFlag, Host, HostSet, Locality, PrioritySet
from minienvoy.upstream.load_balancer import LOAD_BALANCERS, LoadBalancerContextBase, LoadBalancerParams
from minienvoy.upstream.priority_load import priority_load
from minienvoy.upstream.xx_hash import xx_hash64

register_catalogue()
POLICIES = {
    "round_robin.v3.RoundRobin": {},
    "least_request.v3.LeastRequest": {},
    "random.v3.Random": {},
    "ring_hash.v3.RingHash": {},
    "maglev.v3.Maglev": {"table_size": 251},
    "client_side_weighted_round_robin.v3.ClientSideWeightedRoundRobin": {},
}
FLAGS = (
    0,
    0,
    HealthFlag.FAILED_ACTIVE_HC,
    HealthFlag.DEGRADED_EDS_HEALTH,
    HealthFlag.EDS_STATUS_DRAINING,
    HealthFlag.FAILED_OUTLIER_CHECK,
)


class Loop:
    def time(self) -> float:
        return 0.0


class Request(LoadBalancerContextBase):
    __slots__ = ("key",)

    def __init__(self, key: int) -> None:
        self.key = key

    def compute_hash_key(self) -> int | None:
        return self.key


class Labelled(LoadBalancerContextBase):
    __slots__ = ("value",)

    def __init__(self, value: str) -> None:
        self.value = value

    def metadata_match_criteria(self) -> Any:
        return {"v": self.value}


KEYS = [Request(xx_hash64(b"key%d" % number)) for number in range(200)]


def world(kind: str, config: dict[str, Any], seed: int = 1, threshold: int = 50) -> tuple[Any, PrioritySet]:
    name = f"envoy.extensions.load_balancing_policies.{kind}"
    priority_set = PrioritySet()
    priority_set.update_hosts(HostSet(0, ()))
    dispatcher = SimulatedDispatcher(Loop())
    context = ClusterContext(dispatcher, RandomGenerator(seed), Store(), path="here")
    params = LoadBalancerParams(
        priority_set,
        ClusterLbStats(),
        random.Random(seed),
        threshold,
        dispatcher,
        traffic=ClusterTrafficStats(),
    )
    return LOAD_BALANCERS.find(name).factory(load_dict(config, name).message, context)(params), priority_set


def hosts_of(flags: list[int], weights: list[int] | None = None, priority: int = 0) -> tuple[Host, ...]:
    return tuple(
        Host(
            Address(f"10.{priority}.0.{number}", 80),
            weight=weights[number] if weights else 1,
            health_flags=each,
            priority=priority,
        )
        for number, each in enumerate(flags)
    )


levels = st.lists(st.lists(st.sampled_from(FLAGS), max_size=6), min_size=1, max_size=3)


@given(levels, st.sampled_from([0, 30, 50, 100]))
def test_load_always_adds_up_to_100_percent(sets: list[list[int]], threshold: int) -> None:
    load = priority_load([HostSet(index, hosts_of(flags)) for index, flags in enumerate(sets)], threshold)
    assert sum(load.healthy) + sum(load.degraded) == 100
    assert min((*load.healthy, *load.degraded)) >= 0


@settings(max_examples=60)
@pytest.mark.parametrize("kind", POLICIES)
@given(levels, st.sampled_from([0, 50]), st.integers(0, 2**32))
def test_nobody_who_is_excluded_is_picked_outside_panic(
    kind: str, sets: list[list[int]], threshold: int, seed: int
) -> None:
    balancer, priority_set = world(kind, POLICIES[kind], seed, threshold)
    for priority, flags in enumerate(sets):
        priority_set.update_hosts(HostSet(priority, hosts_of(flags, priority=priority)))
    for request in KEYS[:50]:
        host = balancer.choose_host(request)
        if host is not None and not balancer.load.panic[host.priority]:
            assert not host.health_flags & HealthFlag.UNHEALTHY
        if host is not None:
            assert host in priority_set.host_sets[host.priority].hosts
    # What hashes has no use for degraded hosts, not even where load is meant for them.
    degraded = kind.endswith(("RingHash", "Maglev")) and any(host.degraded for host in priority_set.hosts())
    if any(host.healthy for host in priority_set.hosts()) and not degraded:
        assert balancer.choose_host(KEYS[0]) is not None


@settings(max_examples=40)
@given(st.lists(st.integers(1, 20), min_size=2, max_size=8), st.integers(0, 2**64 - 1))
def test_round_robin_gives_shares_by_weights(weights: list[int], seed: int) -> None:
    balancer, priority_set = world("round_robin.v3.RoundRobin", {}, seed)
    hosts = hosts_of([0] * len(weights), weights)
    priority_set.update_hosts(HostSet(0, hosts))
    rounds = 20
    chosen = [balancer.choose_host(None) for _ in range(rounds * sum(weights))]
    for host in hosts:
        assert abs(chosen.count(host) - rounds * host.weight) <= 2


@settings(max_examples=40)
@given(st.lists(st.integers(1, 20), min_size=2, max_size=8), st.integers(0, 2**64 - 1))
def test_idle_hosts_get_shares_by_weights_under_least_request(weights: list[int], seed: int) -> None:
    balancer, priority_set = world("least_request.v3.LeastRequest", {}, seed)
    hosts = hosts_of([0] * len(weights), weights)
    if len(set(weights)) == 1:
        return  # then two are drawn, and the idler one is taken
    priority_set.update_hosts(HostSet(0, hosts))
    rounds = 20
    chosen = [balancer.choose_host(None) for _ in range(rounds * sum(weights))]
    for host in hosts:
        assert abs(chosen.count(host) - rounds * host.weight) <= 2


@settings(max_examples=40)
@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(FLAGS)), max_size=9), st.integers(0, 2**32))
def test_a_subset_is_never_left(labels: list[tuple[str, int]], seed: int) -> None:
    child = {"@type": "type.googleapis.com/envoy.extensions.load_balancing_policies.random.v3.Random"}
    policies = {"policies": [{"typed_extension_config": {"name": "child", "typed_config": child}}]}
    config = {"subset_selectors": [{"keys": ["v"]}], "subset_lb_policy": policies}
    balancer, priority_set = world("subset.v3.Subset", config, seed)
    hosts = tuple(
        Host(Address("10.0.0.1", port + 1), health_flags=flags, metadata={"envoy.lb": {"v": value}})
        for port, (value, flags) in enumerate(labels)
    )
    priority_set.update_hosts(HostSet(0, hosts))
    for value in "abcd":
        members = [host for host in hosts if host.metadata["envoy.lb"]["v"] == value]
        usable = [host for host in members if not host.health_flags & HealthFlag.UNHEALTHY]
        for _ in range(5):
            host = balancer.choose_host(Labelled(value))
            assert (host is None) == (not members)
            assert host is None or host in members
            if host is not None and len(usable) * 2 > len(members):
                assert host in usable


@settings(max_examples=40)
@given(st.integers(2, 9), st.integers(0, 2**64 - 1))
def test_hosts_of_equal_weight_take_turns(count: int, seed: int) -> None:
    balancer, priority_set = world("round_robin.v3.RoundRobin", {}, seed)
    priority_set.update_hosts(HostSet(0, hosts_of([0] * count)))
    chosen = [balancer.choose_host(None) for _ in range(3 * count)]
    assert chosen[:count] == chosen[count : 2 * count] == chosen[2 * count :]
    assert len(set(chosen)) == count


@settings(max_examples=25)
@given(st.lists(st.integers(1, 9), min_size=3, max_size=10), st.data())
def test_maglev_moves_few_keys_but_those_of_the_host_that_goes(weights: list[int], data: Any) -> None:
    balancer, priority_set = world("maglev.v3.Maglev", {"table_size": 5003})
    hosts = hosts_of([0] * len(weights), weights)
    priority_set.update_hosts(HostSet(0, hosts))
    gone = data.draw(st.sampled_from(hosts))
    before = [balancer.choose_host(request) for request in KEYS]
    priority_set.update_hosts(HostSet(0, tuple(host for host in hosts if host is not gone)))
    after = [balancer.choose_host(request) for request in KEYS]
    needless = sum(old is not new for old, new in zip(before, after, strict=True) if old is not gone)
    assert needless <= 0.25 * len(KEYS)
    assert gone not in after


@settings(max_examples=25)
@given(st.integers(3, 12), st.data())
def test_a_ring_moves_few_keys_but_those_of_the_host_that_comes(count: int, data: Any) -> None:
    balancer, priority_set = world("ring_hash.v3.RingHash", {"minimum_ring_size": 4096})
    hosts = hosts_of([0] * count)
    new = data.draw(st.sampled_from(hosts))
    priority_set.update_hosts(HostSet(0, tuple(host for host in hosts if host is not new)))
    before = [balancer.choose_host(request) for request in KEYS]
    priority_set.update_hosts(HostSet(0, hosts))
    after = [balancer.choose_host(request) for request in KEYS]
    needless = sum(old is not now for old, now in zip(before, after, strict=True) if now is not new)
    assert needless <= 0.25 * len(KEYS)


@settings(max_examples=30)
@given(st.lists(st.tuples(st.integers(1, 5), st.integers(1, 3)), min_size=2, max_size=4), st.integers(0, 2**32))
def test_localities_get_shares_by_their_weights(localities: list[tuple[int, int]], seed: int) -> None:
    config = {"locality_lb_config": {"locality_weighted_lb_config": {}}}
    balancer, priority_set = world("round_robin.v3.RoundRobin", config, seed)
    hosts, weights = [], {}
    for number, (weight, count) in enumerate(localities):
        where = Locality("", f"zone{number}")
        weights[where] = weight
        hosts += [Host(Address(f"10.{number}.0.{each}", 80), locality=where) for each in range(count)]
    priority_set.update_hosts(HostSet(0, tuple(hosts), locality_weights=weights))
    rounds = 20
    chosen = [balancer.choose_host(None).locality for _ in range(rounds * sum(weights.values()))]
    for where, weight in weights.items():
        assert abs(chosen.count(where) - rounds * weight) <= 2


@settings(max_examples=30)
@pytest.mark.parametrize("kind", POLICIES)
@given(st.integers(0, 2**32), levels)
def test_the_same_seed_gives_the_same_picks(kind: str, seed: int, sets: list[list[int]]) -> None:
    picks = []
    for _ in range(2):
        balancer, priority_set = world(kind, POLICIES[kind], seed)
        for priority, flags in enumerate(sets):
            priority_set.update_hosts(HostSet(priority, hosts_of(flags, priority=priority)))
        picks.append([str(balancer.choose_host(None)) for _ in range(30)])
    assert picks[0] == picks[1]


class Follower:
    """The same hosts twice: one balancer is told what an update is about, the other finds it out."""

    def __init__(self, kind: str, config: dict[str, Any], *, weighted: bool = False) -> None:
        self.told, self._told_set = world(kind, config)
        self.finds, self._finds_set = world(kind, config)
        self._weighted = weighted
        self._hosts: dict[int, tuple[Host, Host]] = {}

    def update(self, gone: set[int], changes: dict[int, tuple[int, int, int]]) -> None:
        """`changes`: number of a host -> label, zone, health."""
        removed = [self._hosts.pop(number) for number in gone if number in self._hosts]
        added, altered = [], []
        for number, (label, zone, flags) in changes.items():
            known = self._hosts.get(number)
            metadata = {"envoy.lb": {"v": str(label), "one": str(number % 3)}}
            locality = Locality(zone=str(zone))
            if known is None:
                address = Address(f"10.0.0.{number}", 80)
                made = [Host(address, metadata=metadata, locality=locality, health_flags=flags) for _ in range(2)]
                self._hosts[number] = made[0], made[1]
                added.append(self._hosts[number])
            else:
                altered.append(known)
            for each in self._hosts[number]:
                each.metadata, each.locality, each.health_flags = metadata, locality, flags
                each.weight = 1 + label if self._weighted else 1
        self._told_set.update_hosts(
            self._host_set(0), (tuple(a for a, _ in added), tuple(a for a, _ in removed)), [a for a, _ in altered]
        )
        self._finds_set.update_hosts(self._host_set(1))

    def _host_set(self, which: int) -> HostSet:
        hosts = tuple(pair[which] for pair in self._hosts.values())
        weights = {host.locality: 1 + sum(other.locality == host.locality for other in hosts) for host in hosts}
        return HostSet(0, hosts, locality_weights=weights)

    def choices(self, requests: list[Any], each: int = 5) -> tuple[list[str], list[str]]:
        found: list[list[str]] = []
        for balancer in (self.told, self.finds):
            found.append([str(balancer.choose_host(request)) for request in requests for _ in range(each)])
        return found[0], found[1]


class Asking(LoadBalancerContextBase):
    __slots__ = ("criteria",)

    def __init__(self, **criteria: str) -> None:
        self.criteria = criteria

    def metadata_match_criteria(self) -> Any:
        return self.criteria


def policy(name: str, kind: str, **config: Any) -> dict[str, Any]:
    typed = {"@type": f"type.googleapis.com/envoy.extensions.load_balancing_policies.{kind}", **config}
    return {"policies": [{"typed_extension_config": {"name": name, "typed_config": typed}}]}


WEIGHTED: dict[str, Any] = {"locality_lb_config": {"locality_weighted_lb_config": {}}}
FOLLOWING: dict[str, tuple[str, dict[str, Any]]] = {
    "subsets": (
        "subset.v3.Subset",
        {
            "fallback_policy": "ANY_ENDPOINT",
            "subset_selectors": [{"keys": ["v"]}, {"keys": ["one"], "single_host_per_subset": True}],
            "subset_lb_policy": policy("random", "random.v3.Random"),
        },
    ),
    "subsets with a default": (
        "subset.v3.Subset",
        {
            "fallback_policy": "DEFAULT_SUBSET",
            "default_subset": {"v": "0"},
            "subset_selectors": [{"keys": ["v"]}],
            "subset_lb_policy": policy("random", "random.v3.Random"),
        },
    ),
    "localities in subsets": (
        "subset.v3.Subset",
        {
            "subset_selectors": [{"keys": ["v"]}],
            "locality_weight_aware": True,
            "scale_locality_weight": True,
            "subset_lb_policy": policy("rr", "round_robin.v3.RoundRobin", **WEIGHTED),
        },
    ),
    "localities": ("round_robin.v3.RoundRobin", WEIGHTED),
    "localities, least request": ("least_request.v3.LeastRequest", WEIGHTED),
    "own weights": ("client_side_weighted_round_robin.v3.ClientSideWeightedRoundRobin", {}),
}
updates = st.lists(
    st.tuples(
        st.sets(st.integers(0, 11), max_size=4),
        st.dictionaries(
            st.integers(0, 11), st.tuples(st.integers(0, 2), st.integers(0, 2), st.sampled_from(FLAGS)), max_size=5
        ),
    ),
    min_size=1,
    max_size=8,
)


@settings(max_examples=120)
@pytest.mark.parametrize("name", FOLLOWING)
@given(updates)
def test_who_is_told_what_an_update_is_about_chooses_as_who_finds_it_out(
    name: str, changes: list[tuple[set[int], dict[int, tuple[int, int, int]]]]
) -> None:
    pair = Follower(*FOLLOWING[name])
    requests = [None, *(Asking(v=str(value)) for value in range(3)), *(Asking(one=str(value)) for value in range(3))]
    for gone, changed in changes:
        pair.update(gone, changed)
        told, finds = pair.choices(requests)
        assert told == finds
        assert counted(pair.told) == counted(pair.finds)


@settings(max_examples=60)
@pytest.mark.parametrize("kind", ["round_robin.v3.RoundRobin", "least_request.v3.LeastRequest"])
@pytest.mark.parametrize("config", [{}, WEIGHTED], ids=["all", "localities"])
@given(changes=updates)
def test_a_schedule_that_goes_on_has_the_hosts_of_one_that_begins_anew(
    kind: str, config: dict[str, Any], changes: list[tuple[set[int], dict[int, tuple[int, int, int]]]]
) -> None:
    pair = Follower(kind, config, weighted=True)
    for gone, changed in changes:
        pair.update(gone, changed)
        # Twelve hosts of at most 3, in localities of at most 13: so many picks reach everybody.
        told, finds = pair.choices([None], 500)
        assert set(told) == set(finds)
        for host in set(told):
            assert told.count(host) == pytest.approx(finds.count(host), abs=30)


def counted(balancer: Any) -> list[int]:
    structs = [getattr(balancer, name) for name in ("stats", "_stats", "_subset_stats") if hasattr(balancer, name)]
    return [getattr(each, name) for each in structs for name in (*each.COUNTERS, *each.GAUGES)]
