"""Ring hash and Maglev, against answers of Envoy that were recorded."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from minienvoy.errors import ConfigError
from minienvoy.explain.explanation import Explanation
from minienvoy.upstream.host import HealthFlag, Locality
from minienvoy.upstream.xx_hash import xx_hash64
from tests.unit.extensions.load_balancing_policies.conftest import Request, World, host

VECTORS = json.loads((Path(__file__).parents[3] / "data/hash_vectors.json").read_text())
RING, MAGLEV = "ring_hash.v3.RingHash", "maglev.v3.Maglev"
SICK = HealthFlag.FAILED_ACTIVE_HC
KEYS = [xx_hash64(b"key%d" % number) for number in range(2000)]


@pytest.mark.parametrize(("recorded", "kind"), [("ring", RING), ("mag", MAGLEV)])
def test_every_key_goes_where_envoy_sends_it(world: World, recorded: str, kind: str) -> None:
    balancer = world.balancer(kind)
    world.update(*(host(port) for port in VECTORS["ports"]))
    chosen = {
        key: str(VECTORS["ports"].index(balancer.choose_host(Request(xx_hash64(key.encode()))).address.port))
        for key in VECTORS["vectors"][recorded]
    }
    assert chosen == VECTORS["vectors"][recorded]
    assert len(chosen) == 40


def moved(before: list[Any], after: list[Any]) -> float:
    return sum(one is not other for one, other in zip(before, after, strict=True)) / len(before)


def choices(balancer: Any) -> list[Any]:
    return [balancer.choose_host(Request(key)) for key in KEYS]


@pytest.mark.parametrize("kind", [RING, MAGLEV])
def test_few_keys_but_those_of_a_host_that_goes_are_moved(world: World, kind: str) -> None:
    balancer = world.balancer(kind)
    hosts = [host(port) for port in range(1, 11)]
    world.update(*hosts)
    before = choices(balancer)
    world.update(*hosts[:9])
    after = choices(balancer)
    stayed = [(one, other) for one, other in zip(before, after, strict=True) if one is not hosts[9]]
    unmoved = sum(one is other for one, other in stayed) / len(stayed)
    # A ring keeps its size, so each of the hosts that stay gets a few more points.
    assert unmoved > (0.85 if kind == RING else 0.95)


def test_an_unhealthy_host_is_not_on_the_ring(world: World) -> None:
    balancer = world.balancer(RING)
    world.update(host(1), host(2, flags=SICK), host(3))
    assert {each.address.port for each in choices(balancer)} == {1, 3}


def test_panic_puts_all_hosts_on_the_ring(world: World) -> None:
    balancer = world.balancer(RING)
    world.update(host(1), host(2, flags=SICK), host(3, flags=SICK))
    assert {each.address.port for each in choices(balancer)} == {1, 2, 3}
    assert world.stats.lb_healthy_panic == len(KEYS)


@pytest.mark.parametrize("kind", [RING, MAGLEV])
def test_nobody_is_there(world: World, kind: str) -> None:
    assert world.balancer(kind).choose_host(Request(1)) is None


@pytest.mark.parametrize("kind", [RING, MAGLEV])
def test_weights_are_shares_of_the_keys(world: World, kind: str) -> None:
    balancer = world.balancer(kind, **({"minimum_ring_size": 8192} if kind == RING else {}))
    world.update(host(1, weight=1), host(2, weight=3))
    share = sum(each.address.port == 2 for each in choices(balancer)) / len(KEYS)
    assert 0.7 < share < 0.8


@pytest.mark.parametrize("kind", [RING, MAGLEV])
def test_names_are_hashed_if_that_is_wanted(world: World, kind: str) -> None:
    by_name = world.balancer(kind, consistent_hashing_lb_config={"use_hostname_for_hashing": True})
    world.update(host("a"), host("b"), host("c"))
    names = [each.hostname for each in choices(by_name)]
    other = World()
    again = other.balancer(kind, consistent_hashing_lb_config={"use_hostname_for_hashing": True})
    other.update(
        *(host(port, metadata={"envoy.lb": {"hash_key": name}}) for port, name in ((7, "a"), (8, "b"), (9, "c")))
    )
    assert names == [{7: "a", 8: "b", 9: "c"}[each.address.port] for each in choices(again)]


def test_murmur_is_another_ring(world: World) -> None:
    xx, murmur = world.balancer(RING), world.balancer(RING, hash_function="MURMUR_HASH_2")
    world.update(*(host(port) for port in range(1, 6)))
    assert moved(choices(xx), choices(murmur)) > 0.5


def test_ring_size_is_told(world: World) -> None:
    balancer: Any = world.balancer(RING, minimum_ring_size=100)
    world.update(host(1), host(2), host(3))
    stats = balancer.ring_stats
    assert (stats.size, stats.min_hashes_per_host, stats.max_hashes_per_host) == (102, 34, 34)


def test_a_ring_does_not_grow_beyond_its_maximum(world: World) -> None:
    balancer: Any = world.balancer(RING, minimum_ring_size=6, maximum_ring_size=6)
    world.update(host(1), host(2), host(3), host(4))
    stats = balancer.ring_stats
    assert (stats.size, stats.min_hashes_per_host, stats.max_hashes_per_host) == (6, 1, 2)


def test_a_ring_of_no_size_is_refused(world: World) -> None:
    with pytest.raises(ConfigError, match=r"minimum_ring_size \(9\) > maximum_ring_size \(8\)"):
        world.balancer(RING, minimum_ring_size=9, maximum_ring_size=8)


def test_a_table_whose_size_is_not_prime_is_refused(world: World) -> None:
    with pytest.raises(ConfigError, match="must be prime"):
        world.balancer(MAGLEV, table_size=100)


def test_an_update_that_changes_nothing_builds_nothing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    balancer: Any = world.balancer(MAGLEV)
    hosts = [host(1), host(2)]
    world.update(*hosts)
    table = balancer._structures[0]
    world.update(*hosts)
    assert balancer._structures[0] is table
    hosts[0].weight = 5
    world.update(*hosts)
    assert balancer._structures[0] is not table


def test_a_refused_host_is_followed_by_the_next_on_the_ring(world: World) -> None:
    balancer = world.balancer(RING)
    world.update(host(1), host(2), host(3))
    first = balancer.choose_host(Request(KEYS[0]))
    second = balancer.choose_host(Request(KEYS[0], refuses=(first,), retries=10))
    assert second is not first


def test_a_host_with_more_than_its_part_hands_keys_over(world: World) -> None:
    config = {"consistent_hashing_lb_config": {"hash_balance_factor": 120}}
    balancer = world.balancer(RING, **config)
    hosts = [host(port) for port in range(1, 6)]
    world.update(*hosts)
    first = balancer.choose_host(Request(KEYS[0]))
    assert balancer.choose_host(Request(KEYS[0])) is first
    first.stats.rq_active = world.traffic.upstream_rq_active = 10
    second = balancer.choose_host(Request(KEYS[0]))
    assert second is not first
    assert balancer.choose_host(Request(KEYS[0])) is second  # the order of the others depends on the key alone
    for each in hosts:
        each.stats.rq_active = 100
    first.stats.rq_active = 99
    assert balancer.choose_host(Request(KEYS[0])) is first  # if all are overloaded, the least


def test_localities_share_by_their_weights(world: World) -> None:
    east, west = Locality("", "east"), Locality("", "west")
    balancer = world.balancer(MAGLEV, locality_weighted_lb_config={})
    world.update(
        host(1, locality=east), host(2, locality=east), host(3, locality=west), locality_weights={east: 1, west: 3}
    )
    share = sum(each.address.port == 3 for each in choices(balancer)) / len(KEYS)
    assert 0.7 < share < 0.8


def test_localities_without_weights_are_nobody(world: World) -> None:
    balancer = world.balancer(MAGLEV, locality_weighted_lb_config={})
    world.update(host(1), locality_weights={})
    assert balancer.choose_host(Request(1)) is None


def test_the_hash_decides_about_the_priority_too(world: World) -> None:
    balancer = world.balancer(RING)
    world.update(host(1), host(2, flags=SICK))
    world.update(host(3), priority=1)
    ports = [balancer.choose_host(Request(key)).address.port for key in KEYS]
    assert 0.6 < ports.count(1) / len(ports) < 0.8
    assert ports == [1 if key % 100 < 70 else 3 for key in KEYS]


def test_choice_is_explained(world: World) -> None:
    balancer = world.balancer(RING)
    world.update(host(1), host(2, flags=SICK), host(3))
    explain = Explanation()
    balancer.choose_host(Request(KEYS[0], explain=explain))
    decision = explain["host"]
    assert decision.because == f"ring hash over 2 of 3 hosts by hash {KEYS[0]:016x}"
    assert [str(each) for each in decision.rejected] == ["127.0.0.1:2: /failed_active_hc"]
