from __future__ import annotations

import random

import pytest

from minienvoy.explain.explanation import NO_EXPLANATION, Explanation
from minienvoy.extensions.load_balancing_policies.round_robin import RoundRobinLoadBalancer
from minienvoy.network.address import Address
from minienvoy.upstream.cluster_stats import ClusterLbStats
from minienvoy.upstream.host import HealthFlag, Host, HostSet, PrioritySet
from minienvoy.upstream.load_balancer import LoadBalancerContextBase, LoadBalancerParams


class Request(LoadBalancerContextBase):
    """A `LoadBalancerContext` that does not like some hosts."""

    def __init__(self, refuses: tuple[Host, ...] = (), retries: int = 0, explain: Explanation = NO_EXPLANATION) -> None:
        self.explain = explain
        self._refuses = refuses
        self.host_selection_retries = retries

    def should_select_another_host(self, host: Host) -> bool:
        return host in self._refuses


class Fixture:
    def __init__(self, threshold: int = 50, seed: int = 3) -> None:
        self.priority_set = PrioritySet()
        self.stats = ClusterLbStats()
        self.priority_set.update_hosts(HostSet(0, ()))
        params = LoadBalancerParams(self.priority_set, self.stats, random.Random(seed), threshold)
        self.balancer = RoundRobinLoadBalancer(params)

    def update(self, hosts: list[Host], priority: int = 0) -> None:
        self.priority_set.update_hosts(HostSet(priority, tuple(hosts)))

    def chosen(self, count: int) -> str:
        return "".join(chr(96 + host.address.port) if host else "." for host in self.choose(count))

    def choose(self, count: int) -> list[Host | None]:
        return [self.balancer.choose_host(None) for _ in range(count)]


def host(port: int, weight: int = 1, flags: int = 0, priority: int = 0) -> Host:
    return Host(Address("127.0.0.1", port), weight=weight, health_flags=flags, priority=priority)


@pytest.fixture
def rr() -> Fixture:
    return Fixture()


def test_hosts_take_turns(rr: Fixture) -> None:
    rr.update([host(1), host(2), host(3)])
    assert rr.chosen(7) in ("abcabca", "bcabcab", "cabcabc")


def test_start_depends_on_the_seed() -> None:
    starts = set()
    for seed in range(20):
        rr = Fixture(seed=seed)
        rr.update([host(1), host(2), host(3)])
        starts.add(rr.chosen(1))
    assert starts == {"a", "b", "c"}


def test_turns_go_on_across_an_update(rr: Fixture) -> None:
    hosts = [host(1), host(2), host(3), host(4)]
    rr.update(hosts)
    before = rr.chosen(2)
    rr.update(list(hosts))
    assert rr.chosen(4) == {"ab": "cdab", "bc": "dabc", "cd": "abcd", "da": "bcda"}[before]


def test_weights_are_shares(rr: Fixture) -> None:
    rr.update([host(1, weight=1), host(2, weight=3)])
    assert rr.chosen(400).count("b") == 300


def test_no_host_is_panic_and_nobody(rr: Fixture) -> None:
    assert rr.chosen(2) == ".."
    assert rr.stats.lb_healthy_panic == 2


def test_nobody_healthy_and_no_panic_is_nobody() -> None:
    rr = Fixture(threshold=0)
    rr.update([host(1, flags=HealthFlag.FAILED_ACTIVE_HC)])
    assert rr.chosen(2) == ".."
    assert rr.stats.lb_healthy_panic == 0


def test_unhealthy_hosts_are_left_out(rr: Fixture) -> None:
    rr.update([host(1), host(2, flags=HealthFlag.FAILED_ACTIVE_HC), host(3), host(4)])
    assert set(rr.chosen(9)) == {"a", "c", "d"}


def test_panic_takes_all_hosts(rr: Fixture) -> None:
    rr.update([host(1), *(host(port, flags=HealthFlag.FAILED_ACTIVE_HC) for port in (2, 3, 4))])
    assert set(rr.chosen(4)) == {"a", "b", "c", "d"}
    assert rr.stats.lb_healthy_panic == 4


def test_health_that_comes_back_is_seen_after_refresh(rr: Fixture) -> None:
    sick = host(2, flags=HealthFlag.FAILED_ACTIVE_HC)
    rr.update([host(1), sick])
    assert set(rr.chosen(4)) == {"a"}
    sick.health_flags = 0
    rr.priority_set.refresh_health(0)
    assert set(rr.chosen(4)) == {"a", "b"}


def test_priorities_share_as_their_health_says(rr: Fixture) -> None:
    rr.update([host(1), host(2, flags=HealthFlag.FAILED_ACTIVE_HC)])
    rr.update([host(3, priority=1)], priority=1)
    share = rr.chosen(2000).count("a")
    assert 1300 < share < 1500  # 70 percent


def test_second_priority_can_come_first(rr: Fixture) -> None:
    rr.update([host(3, priority=2)], priority=2)
    assert rr.chosen(3) == "ccc"


def test_refused_host_is_skipped_as_often_as_the_request_wants(rr: Fixture) -> None:
    hosts = [host(1), host(2)]
    rr.update(hosts)
    for _ in range(4):
        assert rr.balancer.choose_host(Request((hosts[0],), retries=1)) is hosts[1]
    assert {rr.balancer.choose_host(Request(tuple(hosts), retries=3)) for _ in range(4)} <= set(hosts)


def test_choice_is_explained(rr: Fixture) -> None:
    hosts = [host(1), host(2)]
    rr.update(hosts)
    explain = Explanation()
    rr.balancer.choose_host(Request(explain=explain))
    chosen = rr.balancer.choose_host(Request((hosts[0], hosts[1]), retries=1, explain=explain))
    assert [decision.because for decision in explain.all("host")] == ["round robin over 2 of 2 hosts"] * 2
    assert (explain["host"].chose, len(explain["host"].rejected)) == (chosen, 1)
    assert "priority" not in explain


def test_panic_is_explained(rr: Fixture) -> None:
    rr.update([host(1, flags=HealthFlag.FAILED_ACTIVE_HC)])
    explain = Explanation()
    rr.balancer.choose_host(Request(explain=explain))
    assert str(explain["priority"]) == "priority: 0, because panic"
