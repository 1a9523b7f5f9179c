"""Ring hash and Maglev over many hosts: tables that are built in pieces are those that are built at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from minienvoy.event.simulated import SimulatedDispatcher
from minienvoy.extensions.load_balancing_policies.maglev import filled
from minienvoy.upstream.host import HealthFlag, Host
from minienvoy.upstream.thread_aware_load_balancer import IN_PIECES_FROM
from minienvoy.upstream.xx_hash import xx_hash64
from tests.unit.extensions.load_balancing_policies.conftest import Request, World, host

RING, MAGLEV = "ring_hash.v3.RingHash", "maglev.v3.Maglev"
KEYS = [xx_hash64(b"key%d" % number) for number in range(500)]
MANY = 2 * IN_PIECES_FROM


class Turns:
    """A loop whose turns are taken by hand."""

    def __init__(self) -> None:
        self._waiting: list[Callable[[], None]] = []

    def time(self) -> float:
        return 0.0

    def call_soon(self, callback: Callable[[], None]) -> None:
        self._waiting.append(callback)

    def take(self) -> bool:
        """Whether there was anything to do."""
        waiting, self._waiting = self._waiting, []
        for callback in waiting:
            callback()
        return bool(waiting)

    def take_all(self) -> int:
        count = 0
        while self.take():
            count += 1
        return count


@pytest.fixture
def turns(world: World) -> Turns:
    turns = Turns()
    world.dispatcher = SimulatedDispatcher(turns)  # type: ignore[arg-type]
    return turns


def hosts(count: int) -> list[Host]:
    return [host(port, weight=1 + port % 3 if port < 20 else 1) for port in range(1, count + 1)]


def choices(balancer: Any) -> list[Any]:
    return [balancer.choose_host(Request(key)) for key in KEYS]


def ports(balancer: Any) -> list[int]:
    return [each.address.port for each in choices(balancer)]


def at_once(kind: str, *among: Host) -> list[int]:
    """What a balancer says that knows nothing else."""
    world = World()
    world.dispatcher = SimulatedDispatcher(Turns())  # type: ignore[arg-type]
    balancer: Any = world.balancer(kind)
    world.update(*among)
    balancer.finish()
    return ports(balancer)


@pytest.mark.parametrize("kind", [RING, MAGLEV])
def test_a_table_that_was_built_in_pieces_is_the_same(world: World, turns: Turns, kind: str) -> None:
    balancer = world.balancer(kind)
    many = hosts(MANY)
    for count in (MANY, MANY - 10, MANY - 3, MANY):
        world.update(*many[:count])
        assert turns.take_all() > 3
        assert ports(balancer) == at_once(kind, *many[:count])


@pytest.mark.parametrize("kind", [RING, MAGLEV])
def test_the_old_table_serves_meanwhile_but_not_hosts_that_have_left(world: World, turns: Turns, kind: str) -> None:
    balancer = world.balancer(kind)
    many = hosts(MANY)
    world.update(*many)
    turns.take_all()
    before = choices(balancer)
    left = set(before[:40])
    stay = [each for each in many if each not in left]
    world.update(*stay)
    meanwhile = choices(balancer)
    assert left.isdisjoint(meanwhile)
    assert all(now is then for now, then in zip(meanwhile, before, strict=True) if then not in left)
    turns.take_all()
    assert ports(balancer) == at_once(kind, *stay)


@pytest.mark.parametrize("kind", [RING, MAGLEV])
def test_a_host_that_falls_ill_is_not_chosen_meanwhile(world: World, turns: Turns, kind: str) -> None:
    balancer = world.balancer(kind)
    many = hosts(MANY)
    world.update(*many)
    turns.take_all()
    sick = choices(balancer)[0]
    sick.health_flags |= HealthFlag.FAILED_ACTIVE_HC
    world.priority_set.refresh_health(0)
    assert sick not in choices(balancer)
    turns.take_all()
    assert sick not in choices(balancer)


@pytest.mark.parametrize("kind", [RING, MAGLEV])
def test_the_first_table_is_waited_for(world: World, turns: Turns, kind: str) -> None:
    balancer = world.balancer(kind)
    world.update(*hosts(MANY))
    turns.take()
    assert ports(balancer) == at_once(kind, *hosts(MANY))


@pytest.mark.parametrize("kind", [RING, MAGLEV])
def test_who_changes_all_the_time_gets_a_table_now_and_then(world: World, turns: Turns, kind: str) -> None:
    """What is being built is built to its end; then the next one begins."""
    balancer = world.balancer(kind)
    many = hosts(MANY)
    world.update(*many[: MANY - 50])
    turns.take_all()
    new = {each.address.port for each in many[MANY - 50 :]}
    seen = False
    for turn in range(400):
        if turn % 2:
            world.update(*(many if turn % 4 == 1 else many[1:]))
        turns.take()
        seen = seen or bool(new & set(ports(balancer)))
    assert seen
    turns.take_all()
    assert ports(balancer) == at_once(kind, *(many[1:]))


def test_nobody_is_left_while_a_table_is_built(world: World, turns: Turns) -> None:
    balancer = world.balancer(MAGLEV, table_size=1009)
    many = hosts(MANY)
    world.update(*many)
    turns.take_all()
    for each in many:
        each.health_flags |= HealthFlag.EXCLUDED | HealthFlag.FAILED_ACTIVE_HC
    world.update()
    assert set(choices(balancer)) == {None}
    turns.take_all()
    assert set(choices(balancer)) == {None}


def test_a_balancer_that_is_stopped_builds_no_more(world: World, turns: Turns) -> None:
    balancer: Any = world.balancer(MAGLEV)
    world.update(*hosts(MANY))
    balancer.stop()
    assert turns.take_all() == 1


# -- the table itself


def as_envoy_does(first: list[int], skips: list[int], size: int, weights: list[float]) -> list[int]:
    """Turn by turn, place by place."""
    at = list(first)
    places: list[int | None] = [None] * size
    targets = [0.0] * len(first)
    left, turn = size, 0
    while left:
        turn += 1
        for index, weight in enumerate(weights):
            if turn * weight < targets[index]:
                continue
            targets[index] += max(weights)
            while places[at[index]] is not None:
                at[index] = (at[index] + skips[index]) % size
            places[at[index]] = index
            left -= 1
            if not left:
                break
    return places  # type: ignore[return-value]


@pytest.mark.parametrize("size", [1, 2, 251, 1009, 27_701])
@pytest.mark.parametrize(("count", "weigh"), [(1, 1), (3, 3), (170, 1), (170, 5), (600, 1), (600, 2)])
def test_the_last_places_go_to_whom_they_would_have_gone(size: int, count: int, weigh: int) -> None:
    first = [xx_hash64(b"%d" % each) % size for each in range(count)]
    skips = [xx_hash64(b"%d" % each, 1) % max(1, size - 1) + 1 for each in range(count)]
    weights = [1.0 + each % weigh for each in range(count)]
    expected = as_envoy_does(first, skips, size, weights)
    counts = [0] * count
    steps = filled(
        list(range(count)), first, skips, counts, size, weights if weigh > 1 else [], max(weights)  # type: ignore[arg-type]
    )  # fmt: skip
    while True:
        try:
            next(steps)
        except StopIteration as end:
            assert end.value == expected
            break
    assert counts == [expected.count(each) for each in range(count)]
