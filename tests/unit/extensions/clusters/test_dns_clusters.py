"""What the real Envoy 1.40 was seen to do is what these expect, unless a test says otherwise."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from minienvoy.errors import ConfigError
from minienvoy.network.dns import DnsLookupFamily

Locality = Callable[..., dict[str, Any]]


def counts(world: Any) -> dict[str, int]:
    """Updates: attempts, successes, failures, those that changed nothing, and membership changes."""
    names = ("attempt", "success", "failure", "no_rebuild")
    return {**{name: world.count(f"update_{name}") for name in names}, "change": world.count("membership_change")}


@pytest.mark.parametrize("kind", ["STRICT_DNS", "LOGICAL_DNS"])
def test_cluster_is_ready_after_the_first_answer(world: Any, locality: Locality, kind: str) -> None:
    world.start(locality("a.test:80"), type=kind)
    query = world.dns.query()
    assert (query.name, query.family, world.initialized) == ("a.test", DnsLookupFamily.AUTO, 0)
    query.answer("10.0.0.1")
    assert (world.initialized, world.hosts()) == (1, ["10.0.0.1:80"])
    assert world.cluster.hosts()[0].hostname == "a.test"
    assert counts(world) == {"attempt": 1, "success": 1, "failure": 0, "no_rebuild": 0, "change": 1}


@pytest.mark.parametrize("kind", ["STRICT_DNS", "LOGICAL_DNS"])
def test_cluster_is_ready_after_a_failure_too(world: Any, locality: Locality, kind: str) -> None:
    world.start(locality("a.test:80"), type=kind)
    world.dns.query().fail()
    assert (world.initialized, world.hosts()) == (1, [])
    assert counts(world) == {"attempt": 1, "success": 0, "failure": 1, "no_rebuild": 0, "change": 0}


def test_one_name_of_several_makes_the_cluster_ready(world: Any, locality: Locality) -> None:
    world.start(locality("a.test:80", "b.test:80"), type="STRICT_DNS")
    world.dns.queries[1].answer("10.0.0.1")
    assert world.initialized == 1


def test_no_name_is_ready_at_once(world: Any) -> None:
    world.start(type="STRICT_DNS")
    assert (world.initialized, world.hosts()) == (1, [])


def test_wait_for_warm_on_init_can_be_off(world: Any, locality: Locality) -> None:
    world.start(locality("a.test:80"), type="STRICT_DNS", wait_for_warm_on_init=False)
    assert world.initialized == 1


def test_names_are_asked_again_after_the_refresh_rate(world: Any, locality: Locality) -> None:
    world.start(locality("a.test:80"), type="STRICT_DNS")
    world.dns.query().answer("10.0.0.1")
    world.dispatcher.advance(4.9)
    assert world.dns.queries == []
    world.dispatcher.advance(0.2)
    world.dns.query().answer("10.0.0.1")
    assert counts(world) == {"attempt": 2, "success": 2, "failure": 0, "no_rebuild": 1, "change": 1}


def test_smallest_ttl_is_respected_if_it_is_to_be(world: Any, locality: Locality) -> None:
    world.start(locality("a.test:80"), type="STRICT_DNS", respect_dns_ttl=True)
    world.dns.query().answer("10.0.0.1", "10.0.0.2", ttl=3.0)
    world.dispatcher.advance(3.01)
    world.dns.query().answer("10.0.0.1", ttl=0.0)
    world.dispatcher.advance(4.9)
    assert world.dns.queries == []
    world.dispatcher.advance(0.2)
    assert world.dns.query().name == "a.test"


def test_jitter_comes_on_top(world: Any, locality: Locality) -> None:
    world.start(locality("a.test:80"), type="STRICT_DNS", dns_refresh_rate="1s", dns_jitter="2s")
    waits = []
    for _ in range(20):
        world.dns.query().answer("10.0.0.1")
        waits.append(world.dispatcher.next_deadline())
        world.dispatcher.advance(3.01)
    assert min(waits) >= 1.0
    assert 2.0 < max(waits) <= 3.01


def test_failures_back_off(world: Any, locality: Locality) -> None:
    world.start(
        locality("a.test:80"),
        type="STRICT_DNS",
        dns_failure_refresh_rate={"base_interval": "0.1s", "max_interval": "0.4s"},
    )
    waits = []
    for _ in range(12):
        world.dns.query().fail()
        waits.append(world.dispatcher.next_deadline())
        world.dispatcher.advance(0.5)
    assert waits[0] <= 0.11
    assert 0.1 < max(waits) <= 0.41
    world.dns.query().answer("10.0.0.1")
    assert world.dispatcher.next_deadline() == 5.0


def test_failures_without_a_rate_wait_for_the_refresh_rate(world: Any, locality: Locality) -> None:
    world.start(locality("a.test:80"), type="STRICT_DNS", dns_refresh_rate="2s")
    world.dns.query().fail()
    assert world.dispatcher.next_deadline() == 2.0


class TestStrict:
    def test_every_address_is_a_host(self, world: Any, locality: Locality) -> None:
        world.start(locality("a.test:80", "b.test:81"), type="STRICT_DNS")
        for query in world.dns.queries:
            query.answer("10.0.0.1", "10.0.0.1", "10.0.0.2")
        assert world.hosts() == ["10.0.0.1:80", "10.0.0.2:80", "10.0.0.1:81", "10.0.0.2:81"]
        assert [host.hostname for host in world.cluster.hosts()] == ["a.test", "a.test", "b.test", "b.test"]
        assert world.count("max_host_weight") == 1

    def test_host_that_stays_keeps_its_object(self, world: Any, locality: Locality) -> None:
        world.start(locality("a.test:80"), type="STRICT_DNS")
        world.dns.query().answer("10.0.0.1", "10.0.0.2")
        second = world.cluster.hosts()[1]
        world.dispatcher.advance(5)
        world.dns.query().answer("10.0.0.3", "10.0.0.2")
        assert world.hosts() == ["10.0.0.3:80", "10.0.0.2:80"]
        assert world.cluster.hosts()[1] is second
        assert counts(world)["change"] == 2

    def test_another_order_changes_nothing(self, world: Any, locality: Locality) -> None:
        world.start(locality("a.test:80"), type="STRICT_DNS")
        world.dns.query().answer("10.0.0.1", "10.0.0.2")
        world.dispatcher.advance(5)
        world.dns.query().answer("10.0.0.2", "10.0.0.1")
        assert world.hosts() == ["10.0.0.1:80", "10.0.0.2:80"]
        assert counts(world)["no_rebuild"] == 1
        assert world.count("default.total_match_count") == 4

    def test_a_name_that_is_gone_loses_its_hosts(self, world: Any, locality: Locality) -> None:
        world.start(locality("a.test:80", "b.test:80"), type="STRICT_DNS")
        for query in world.dns.queries:
            query.answer("10.0.0.1")
        world.dns.queries.clear()
        world.dispatcher.advance(5)
        world.dns.queries[0].answer()
        assert [host.hostname for host in world.cluster.hosts()] == ["b.test"]
        assert counts(world)["success"] == 3

    def test_a_name_that_never_was_changes_nothing(self, world: Any, locality: Locality) -> None:
        world.start(locality("a.test:80"), type="STRICT_DNS")
        world.dns.query().answer()
        assert counts(world) == {"attempt": 1, "success": 1, "failure": 0, "no_rebuild": 1, "change": 0}

    def test_hosts_survive_a_failure(self, world: Any, locality: Locality) -> None:
        world.start(locality("a.test:80"), type="STRICT_DNS")
        world.dns.query().answer("10.0.0.1")
        world.dispatcher.advance(5)
        world.dns.query().fail()
        assert world.hosts() == ["10.0.0.1:80"]

    def test_names_stand_in_their_priorities(self, world: Any, locality: Locality) -> None:
        world.start(locality("a.test:80"), locality("b.test:80", priority=1), type="STRICT_DNS")
        world.dns.queries[1].answer("10.0.0.2")
        world.dns.queries[0].answer("10.0.0.1")
        sets = world.cluster.priority_set.host_sets
        assert [[str(host) for host in each.hosts] for each in sets] == [["10.0.0.1:80"], ["10.0.0.2:80"]]


class TestLogical:
    def test_all_addresses_are_one_host(self, world: Any, locality: Locality) -> None:
        world.start(locality("a.test:80"), type="LOGICAL_DNS")
        world.dns.query().answer("10.0.0.1", "10.0.0.2")
        (host,) = world.cluster.hosts()
        assert [str(address) for address in host.addresses] == ["10.0.0.1:80", "10.0.0.2:80"]

    def test_same_addresses_keep_the_host(self, world: Any, locality: Locality) -> None:
        world.start(locality("a.test:80"), type="LOGICAL_DNS")
        world.dns.query().answer("10.0.0.1", "10.0.0.2")
        (host,) = world.cluster.hosts()
        world.dispatcher.advance(5)
        world.dns.query().answer("10.0.0.1", "10.0.0.2")
        assert world.cluster.hosts() == [host]
        assert counts(world)["no_rebuild"] == 1

    @pytest.mark.parametrize("answer", [("10.0.0.2", "10.0.0.1"), ("10.0.0.1",), ("10.0.0.1", "10.0.0.2", "10.0.0.3")])
    def test_other_addresses_make_a_new_host(self, world: Any, locality: Locality, answer: tuple[str, ...]) -> None:
        world.start(locality("a.test:80"), type="LOGICAL_DNS")
        world.dns.query().answer("10.0.0.1", "10.0.0.2")
        (host,) = world.cluster.hosts()
        world.dispatcher.advance(5)
        world.dns.query().answer(*answer)
        assert world.hosts() == [f"{answer[0]}:80"]
        assert world.cluster.hosts() != [host]
        assert counts(world)["change"] == 2

    def test_no_address_is_a_failure_and_keeps_the_host(self, world: Any, locality: Locality) -> None:
        world.start(locality("a.test:80"), type="LOGICAL_DNS")
        world.dns.query().answer("10.0.0.1")
        world.dispatcher.advance(5)
        world.dns.query().answer()
        assert world.hosts() == ["10.0.0.1:80"]
        assert counts(world) == {"attempt": 2, "success": 1, "failure": 1, "no_rebuild": 0, "change": 1}

    @pytest.mark.parametrize("names", [(), ("a.test:80", "b.test:80")])
    def test_there_must_be_one_name(self, world: Any, locality: Locality, names: tuple[str, ...]) -> None:
        with pytest.raises(ConfigError) as error:
            world.start(*([locality(*names)] if names else []), type="LOGICAL_DNS")
        assert error.value.problem == (
            "LOGICAL_DNS clusters must have a single locality_lb_endpoint and a single lb_endpoint"
        )


def dns_cluster(**fields: Any) -> dict[str, Any]:
    name = "envoy.extensions.clusters.dns.v3.DnsCluster"
    return {"name": "envoy.cluster.dns", "typed_config": {"@type": f"type.googleapis.com/{name}", **fields}}


def test_dns_cluster_is_strict(world: Any, locality: Locality) -> None:
    world.start(locality("a.test:80"), cluster_type=dns_cluster(dns_refresh_rate="1s", dns_lookup_family="V4_ONLY"))
    query = world.dns.query()
    query.answer("10.0.0.1", "10.0.0.2")
    assert (query.family, len(world.hosts())) == (DnsLookupFamily.V4_ONLY, 2)
    assert world.dispatcher.next_deadline() == 1.0


def test_dns_cluster_with_all_addresses_in_one_endpoint_is_logical(world: Any, locality: Locality) -> None:
    world.start(locality("a.test:80"), cluster_type=dns_cluster(all_addresses_in_single_endpoint=True))
    query = world.dns.query()
    query.answer("10.0.0.1", "10.0.0.2")
    assert (query.family, len(world.hosts())) == (DnsLookupFamily.AUTO, 1)


def test_stopped_cluster_asks_no_more(world: Any, locality: Locality) -> None:
    cluster = world.start(locality("a.test:80", "b.test:80"), type="STRICT_DNS")
    first, second = world.dns.queries
    first.answer("10.0.0.1")
    world.dns.queries.clear()
    cluster.stop()
    world.dispatcher.advance(60)
    assert (world.dns.queries, second.cancelled, world.dns.closed) == ([], True, False)


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        (
            {"dns_failure_refresh_rate": {"base_interval": "5s", "max_interval": "1s"}},
            "dns_failure_refresh_rate must have max_interval greater than or equal to the base_interval",
        ),
    ],
)
def test_bad_settings_are_refused(world: Any, locality: Locality, fields: dict[str, Any], problem: str) -> None:
    with pytest.raises(ConfigError) as error:
        world.start(locality("a.test:80"), type="STRICT_DNS", **fields)
    assert (error.value.problem, error.value.path) == (problem, "clusters[0].dns_failure_refresh_rate")
