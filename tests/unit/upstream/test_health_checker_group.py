from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from minienvoy.errors import ConfigError
from minienvoy.event.simulated import SimulatedDispatcher
from minienvoy.upstream.cluster import Cluster, ClusterContext, create_cluster
from minienvoy.upstream.health_checker_group import HealthCheckerGroup, HostView
from minienvoy.upstream.host import HealthFlag

from .test_health_checker import ScriptedChecker, check

Make = Callable[..., Cluster]


@pytest.fixture
def make(context: ClusterContext, cluster_config: Callable[..., Any]) -> Make:
    def make(first: str, second: str, pending: bool = False) -> Cluster:
        config = cluster_config(
            "a",
            ["1.2.3.4:80"],
            health_checks=[check(name="one"), check(name="two")],
            common_lb_config={"ignore_new_hosts_until_first_hc": pending},
        )
        cluster = create_cluster(config, context)
        group = cluster.health.checker
        assert isinstance(group, HealthCheckerGroup)
        for checker, script in zip(group.checkers, (first, second), strict=True):
            assert isinstance(checker, ScriptedChecker)
            checker.script = script.split()
        return cluster

    return make


def flags(cluster: Cluster) -> int:
    return cluster.hosts()[0].health_flags


def test_all_of_them_must_say_well(make: Make) -> None:
    ready: list[int] = []
    cluster = make("ok", "ok bad")
    cluster.initialize(lambda: ready.append(flags(cluster)))
    assert ready == [0]
    assert isinstance(cluster.dispatcher, SimulatedDispatcher)
    cluster.dispatcher.advance(100)
    assert flags(cluster) == HealthFlag.FAILED_ACTIVE_HC
    assert cluster.stats.endpoint.membership_healthy == 0


def test_the_host_waits_for_the_slowest(make: Make) -> None:
    ready: list[int] = []
    cluster = make("ok", "", pending=True)
    cluster.initialize(lambda: ready.append(flags(cluster)))
    assert flags(cluster) == HealthFlag.FAILED_ACTIVE_HC | HealthFlag.PENDING_ACTIVE_HC
    assert ready == []
    assert isinstance(cluster.dispatcher, SimulatedDispatcher)
    cluster.dispatcher.advance(1.01)
    assert ready == [HealthFlag.FAILED_ACTIVE_HC | HealthFlag.ACTIVE_HC_TIMEOUT]


def test_gauges_count_what_they_say_together(make: Make) -> None:
    cluster = make("degraded", "ok")
    cluster.initialize(lambda: None)
    group = cluster.health.checker
    assert isinstance(group, HealthCheckerGroup)
    assert (group.stats.healthy, group.stats.degraded) == (1, 1)
    cluster.priority_set.update_hosts(cluster.load_assignment.host_set(0, ()))
    assert (group.stats.healthy, group.stats.degraded) == (0, 0)
    assert all(checker.sessions == {} for checker in group.checkers)


def test_a_view_keeps_its_own_flags_and_shares_the_others(make: Make) -> None:
    host = make("", "").priority_set
    assert host is not None
    from minienvoy.network.address import Address
    from minienvoy.upstream.host import Host

    checked = Host(Address.ip("1.2.3.4", 80), health_flags=HealthFlag.FAILED_ACTIVE_HC)
    view = HostView(checked)
    view.health_flags &= ~HealthFlag.FAILED_ACTIVE_HC
    assert (view.health_flags, checked.health_flags) == (0, HealthFlag.FAILED_ACTIVE_HC)
    view.health_flags |= HealthFlag.ACTIVE_HC_TIMEOUT
    assert checked.health_flags == HealthFlag.FAILED_ACTIVE_HC | HealthFlag.ACTIVE_HC_TIMEOUT


@pytest.mark.parametrize(
    ("names", "problem", "path"),
    [
        (("a", ""), "health check at index 1 is missing a name", "clusters[0].health_checks[1].name"),
        (("a", "a"), "duplicate health check name 'a' at index 1", "clusters[0].health_checks[1].name"),
    ],
)
def test_several_must_be_told_apart(
    context: ClusterContext, cluster_config: Callable[..., Any], names: tuple[str, str], problem: str, path: str
) -> None:
    with pytest.raises(ConfigError) as error:
        create_cluster(cluster_config("a", health_checks=[check(name=name) for name in names]), context)
    assert error.value.problem.startswith(problem)
    assert error.value.path == path
