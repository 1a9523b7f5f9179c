from __future__ import annotations

import pytest

from minienvoy.network.address import Address
from minienvoy.upstream.host import HealthFlag, Host, HostSet
from minienvoy.upstream.priority_load import priority_load

FLAGS = {
    "+": 0,
    "-": HealthFlag.FAILED_ACTIVE_HC,
    "d": HealthFlag.DEGRADED_EDS_HEALTH,
    "x": HealthFlag.EDS_STATUS_DRAINING,
}


def host_sets(*levels: str, weighted: bool = False, weights: tuple[int, ...] = ()) -> list[HostSet]:
    """One priority for each word: + is a healthy host, - one that is not, d a degraded, x a draining one."""
    found = []
    for priority, word in enumerate(levels):
        hosts = tuple(
            Host(Address("127.0.0.1", index), health_flags=FLAGS[kind], weight=weights[index] if weights else 1)
            for index, kind in enumerate(word)
        )
        found.append(HostSet(priority, hosts, weighted_priority_health=weighted))
    return found


# The tables of Envoy's documentation, "Priority levels".
@pytest.mark.parametrize(
    ("healthy", "load"), [(100, [100, 0]), (72, [100, 0]), (71, [99, 1]), (50, [70, 30]), (25, [35, 65]), (0, [0, 100])]
)
def test_load_spills_over_to_the_next_priority(healthy: int, load: list[int]) -> None:
    sets = host_sets("+" * healthy + "-" * (100 - healthy), "+" * 100)
    assert priority_load(sets, 50).healthy == load


@pytest.mark.parametrize(
    ("healthy", "load"),
    [
        ((100, 100, 100), [100, 0, 0]),
        ((25, 100, 100), [35, 65, 0]),
        ((25, 25, 100), [35, 35, 30]),
        ((25, 0, 100), [35, 0, 65]),
    ],
)
def test_load_of_three_priorities(healthy: tuple[int, ...], load: list[int]) -> None:
    sets = host_sets(*("+" * count + "-" * (100 - count) for count in healthy))
    assert priority_load(sets, 50).healthy == load


def test_degraded_hosts_take_what_healthy_ones_can_not() -> None:
    load = priority_load(host_sets("+--d"), 50)
    assert (load.healthy, load.degraded, load.panic) == ([50], [50], [False])


def test_healthy_hosts_of_a_later_priority_come_before_degraded_ones() -> None:
    load = priority_load(host_sets("+---", "d", "+"), 50)
    assert (load.healthy, load.degraded) == ([35, 0, 65], [0, 0, 0])


def test_no_priority_panics_while_health_suffices() -> None:
    assert priority_load(host_sets("+---", "+"), 50).panic == [False, False]


def test_a_priority_below_the_threshold_panics() -> None:
    load = priority_load(host_sets("+---", "++--"), 60)
    assert (load.panic, load.healthy) == ([False, False], [35, 65])
    load = priority_load(host_sets("+----", "++--"), 50)
    assert (load.panic, load.healthy) == ([True, False], [29, 71])


def test_rounding_is_given_to_the_first() -> None:
    sets = host_sets(*("+" * count + "-" * (100 - count) for count in (25, 25, 20)))
    assert priority_load(sets, 0).healthy == [37, 35, 28]


def test_threshold_of_zero_never_panics() -> None:
    load = priority_load(host_sets("---", "-"), 0)
    assert (load.panic, load.healthy) == ([False, False], [100, 0])


def test_load_follows_the_number_of_hosts_where_all_panic() -> None:
    load = priority_load(host_sets("---", "-"), 50)
    assert (load.panic, load.healthy) == ([True, True], [75, 25])


def test_nobody_at_all_is_panic_in_the_first_priority() -> None:
    load = priority_load(host_sets("", ""), 50)
    assert (load.panic, load.healthy) == ([True, True], [100, 0])


def test_draining_hosts_do_not_count() -> None:
    assert priority_load(host_sets("+xxx", "+"), 50).healthy == [100, 0]


def test_weighted_health_counts_weights() -> None:
    assert priority_load(host_sets("+-", "+-", weighted=True, weights=(1, 1)), 50).healthy == [70, 30]
    assert priority_load(host_sets("+-", "+-", weighted=True, weights=(9, 1)), 50).healthy == [100, 0]
