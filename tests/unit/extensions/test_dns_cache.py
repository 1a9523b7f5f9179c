"""The cache of names behind the dynamic forward proxy, in simulated time."""

from __future__ import annotations

from typing import Any

import pytest

from minienvoy.config.loader import load_dict
from minienvoy.errors import ConfigError
from minienvoy.event.random import RandomGenerator
from minienvoy.event.simulated import SimulatedDispatcher
from minienvoy.extensions.common.dns_cache import TYPE, CachedHost, DnsCache, DnsCacheManager, host_key, parse_authority
from minienvoy.network.dns import DnsResponse, ResolutionStatus
from minienvoy.stats.store import Store
from minienvoy.upstream.cluster import ClusterContext


class Loop:
    def time(self) -> float:
        return 0.0


class Query:
    cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


class Resolver:
    """Answers when the test says so."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, Any, Query]] = []

    def for_config(self, config: Any, path: str = "") -> None:
        return None

    def shared(self) -> Resolver:
        return self

    def resolve(self, name: str, family: Any, callback: Any) -> Query:
        query = Query()
        self.asked.append((name, callback, query))
        return query

    def answer(self, *addresses: str, ttl: float = 0.0, failed: bool = False) -> None:
        _, callback, _ = self.asked.pop(0)
        status = ResolutionStatus.FAILURE if failed else ResolutionStatus.COMPLETED
        callback(status, "why", [DnsResponse(address, ttl) for address in addresses])


class World:
    def __init__(self) -> None:
        self.dispatcher = SimulatedDispatcher(Loop())
        self.resolver = Resolver()
        self.context = ClusterContext(
            self.dispatcher,
            RandomGenerator(1),
            Store(),
            dns_resolvers=self.resolver,  # type: ignore[arg-type]
        )
        self.manager = DnsCacheManager()

    def cache(self, **fields: Any) -> DnsCache:
        return self.manager.get_cache(load_dict({"name": "c", **fields}, TYPE).message, self.context, "here")


@pytest.fixture
def world() -> World:
    return World()


def load(cache: DnsCache, authority: str = "a.test") -> CachedHost:
    host = cache.load(authority, 80)
    assert host is not None
    return host


def test_a_name_is_looked_up_once_and_all_who_wait_are_told(world: World) -> None:
    cache = world.cache()
    told: list[str] = []
    for _ in range(2):
        load(cache).wait(lambda host: told.append(str(host.addresses[0])))
    assert [name for name, _, _ in world.resolver.asked] == ["a.test"]
    world.resolver.answer("127.0.0.1")
    assert told == ["127.0.0.1:80"] * 2


def test_who_stops_waiting_is_not_told(world: World) -> None:
    told: list[CachedHost] = []
    host = load(world.cache())
    host.wait(told.append)
    host.stop_waiting(told.append)
    world.resolver.answer("127.0.0.1")
    assert told == []


def test_an_address_stays_when_the_server_fails(world: World) -> None:
    host = load(world.cache())
    world.resolver.answer("127.0.0.1", ttl=10)
    world.dispatcher.advance(10.1)
    world.resolver.answer(failed=True)
    assert str(host.addresses[0]) == "127.0.0.1:80"


def test_a_short_ttl_does_not_ask_all_the_time(world: World) -> None:
    load(world.cache())
    world.resolver.answer("127.0.0.1", ttl=1)
    world.dispatcher.advance(4.5)
    assert world.resolver.asked == []
    world.dispatcher.advance(1)
    assert len(world.resolver.asked) == 1


def test_a_look_up_that_takes_too_long_has_failed(world: World) -> None:
    host = load(world.cache(dns_query_timeout="2s"))
    query = world.resolver.asked[0][2]
    world.dispatcher.advance(2.1)
    assert (host.resolved, host.addresses, host.details, query.cancelled) == (True, (), "resolve_timeout", True)


def test_a_name_that_failed_is_tried_again_unless_that_is_not_wanted(world: World) -> None:
    load(world.cache(dns_refresh_rate="3s"))
    world.resolver.answer(failed=True)
    world.dispatcher.advance(4.9)  # the least time is 5 s
    assert len(world.resolver.asked) == 0
    world.dispatcher.advance(0.2)
    assert len(world.resolver.asked) == 1
    quiet = World()
    load(quiet.cache(dns_refresh_rate="3s", disable_dns_refresh_on_failure=True))
    quiet.resolver.answer(failed=True)
    quiet.dispatcher.advance(100)
    assert quiet.resolver.asked == []
    load(quiet.cache(dns_refresh_rate="3s", disable_dns_refresh_on_failure=True))
    assert len(quiet.resolver.asked) == 1


def test_what_nobody_uses_is_forgotten(world: World) -> None:
    cache = world.cache(host_ttl="30s", dns_refresh_rate="20s")
    load(cache)
    world.resolver.answer("127.0.0.1", ttl=20)
    world.dispatcher.advance(20.1)
    world.resolver.answer("127.0.0.1", ttl=20)
    world.dispatcher.advance(20.1)
    assert cache.get("a.test:80") is None
    assert (cache.stats.host_added, cache.stats.host_removed, cache.stats.num_hosts) == (1, 1, 0)


def test_there_is_an_end_to_names(world: World) -> None:
    cache = world.cache(max_hosts=1)
    load(cache)
    assert cache.load("b.test", 80) is None
    assert cache.load("a.test", 80) is not None
    assert cache.stats.host_overflow == 1


def test_names_may_be_looked_up_before_anybody_asks(world: World) -> None:
    cache = world.cache(preresolve_hostnames=[{"address": "a.test", "port_value": 80}])
    world.resolver.answer("127.0.0.1")
    assert load(cache).resolved


def test_one_name_is_one_cache_with_one_configuration(world: World) -> None:
    assert world.cache() is world.cache()
    with pytest.raises(ConfigError, match="with different settings"):
        world.cache(max_hosts=5)


def test_nothing_is_left_when_the_server_stops(world: World) -> None:
    cache = world.cache()
    load(cache)
    query = world.resolver.asked[0][2]
    world.manager.stop()
    assert query.cancelled
    assert world.dispatcher.next_deadline() is None


@pytest.mark.parametrize(
    ("authority", "name", "port"),
    [
        ("a.test", "a.test", None),
        ("a.test:81", "a.test", 81),
        ("[::1]", "::1", None),
        ("[::1]:81", "::1", 81),
        ("::1", "::1", None),
        ("a.test:x", "a.test:x", None),
        ("a.test:99999", "a.test:99999", None),
        ("[::1", "[::1", None),
    ],
)
def test_an_authority_is_a_name_and_perhaps_a_port(authority: str, name: str, port: int | None) -> None:
    assert parse_authority(authority) == (name, port)
    assert host_key(authority, 80) == (authority if port else f"{authority}:80")
