"""c-ares in the event loop, against a server that does what the test says."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
import uvloop

from minienvoy.config.loader import load_dict
from minienvoy.errors import ConfigError
from minienvoy.event.dispatcher import Dispatcher
from minienvoy.event.random import RandomGenerator
from minienvoy.extensions import register_catalogue
from minienvoy.network.dns import DnsLookupFamily, DnsResolver, DnsResolverContext, DnsResolvers, ResolutionStatus
from minienvoy.stats.store import Store
from minienvoy.testing.fake_dns import AAAA, NXDOMAIN, SERVFAIL, A, FakeDns, Record
from minienvoy.upstream.cluster import ClusterContext
from minienvoy.upstream.cluster_manager import ClusterManager

register_catalogue()

CARES = "envoy.extensions.network.dns_resolver.cares.v3.CaresDnsResolverConfig"
Body = Callable[["World"], Coroutine[Any, Any, None]]
Run = Callable[[Body], None]
Answer = tuple[ResolutionStatus, list[tuple[str, float]]]


class World:
    """A DNS server, and resolvers that ask it."""

    def __init__(self, server: FakeDns, dispatcher: Dispatcher) -> None:
        self.server = server
        self.dispatcher = dispatcher
        self.store = Store()
        self.resolvers = DnsResolvers(DnsResolverContext(dispatcher, self.store))
        self.opened: list[DnsResolver] = []

    def settings(self, **fields: Any) -> dict[str, Any]:
        address = {"socket_address": {"address": "127.0.0.1", "port_value": self.server.port}}
        return {
            "name": "envoy.network.dns_resolver.cares",
            "typed_config": {
                "@type": f"type.googleapis.com/{CARES}",
                "resolvers": [address],
                "dns_resolver_options": {"no_default_search_domain": True},
                **fields,
            },
        }

    def resolver(self, **fields: Any) -> DnsResolver:
        return self.resolver_of({"typed_dns_resolver_config": self.settings(**fields)})

    def resolver_of(self, cluster: dict[str, Any]) -> DnsResolver:
        message = load_dict({"name": "c", **cluster}, "envoy.config.cluster.v3.Cluster").message
        resolver = self.resolvers.for_config(message, "c")
        assert resolver is not None
        self.opened.append(resolver)
        return resolver

    async def resolve(
        self, name: str, family: DnsLookupFamily = DnsLookupFamily.AUTO, resolver: DnsResolver | None = None
    ) -> Answer:
        done: asyncio.Future[Answer] = self.dispatcher.loop.create_future()
        (resolver or self.resolver()).resolve(
            name,
            family,
            lambda status, details, responses: done.set_result((status, [(r.host, r.ttl) for r in responses])),
        )
        async with asyncio.timeout(10):
            return await done

    def count(self, name: str) -> int:
        return self.store.value(f"dns.cares.{name}")

    def close(self) -> None:
        for resolver in self.opened:
            resolver.close()
        self.resolvers.close()


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Run:
    def run_body(body: Body) -> None:
        async def main() -> None:
            dispatcher = Dispatcher(asyncio.get_running_loop())
            async with FakeDns() as server:
                world = World(server, dispatcher)
                try:
                    await body(world)
                finally:
                    world.close()
                    await dispatcher.stop()

        factory = uvloop.new_event_loop if request.param == "uvloop" else asyncio.new_event_loop
        with asyncio.Runner(loop_factory=factory) as runner:
            runner.run(main())

    return run_body


@pytest.mark.parametrize(
    ("family", "hosts", "asked"),
    [
        (DnsLookupFamily.AUTO, ["::1"], [AAAA]),
        (DnsLookupFamily.V4_PREFERRED, ["10.0.0.1", "10.0.0.2"], [A]),
        (DnsLookupFamily.V4_ONLY, ["10.0.0.1", "10.0.0.2"], [A]),
        (DnsLookupFamily.V6_ONLY, ["::1"], [AAAA]),
        (DnsLookupFamily.ALL, ["10.0.0.1", "10.0.0.2", "::1"], [A, AAAA]),
    ],
)
def test_family_says_what_is_asked(run: Run, family: DnsLookupFamily, hosts: list[str], asked: list[int]) -> None:
    async def body(world: World) -> None:
        world.server.zone["both.test"] = Record(v4=("10.0.0.1", "10.0.0.2"), v6=("::1",), ttl=7)
        status, responses = await world.resolve("both.test", family)
        assert (status, sorted(responses)) == (ResolutionStatus.COMPLETED, [(host, 7.0) for host in hosts])
        assert sorted(kind for _, kind in world.server.questions) == asked

    run(body)


@pytest.mark.parametrize("family", [DnsLookupFamily.AUTO, DnsLookupFamily.V4_PREFERRED])
def test_second_choice_is_asked_if_the_first_gives_nothing(run: Run, family: DnsLookupFamily) -> None:
    async def body(world: World) -> None:
        world.server.zone["only.test"] = Record(v4=("10.0.0.1",)) if family.name == "AUTO" else Record(v6=("::1",))
        status, responses = await world.resolve("only.test", family)
        assert (status, len(responses)) == (ResolutionStatus.COMPLETED, 1)
        assert [kind for _, kind in world.server.questions] == ([AAAA, A] if family.name == "AUTO" else [A, AAAA])
        assert (world.count("resolve_total"), world.count("not_found"), world.count("pending_resolutions")) == (2, 1, 0)

    run(body)


# What each means to Envoy 1.40: completed without addresses, or failed.
@pytest.mark.parametrize(
    ("record", "status"),
    [
        (Record(rcode=NXDOMAIN), ResolutionStatus.COMPLETED),
        (Record(), ResolutionStatus.COMPLETED),
        (Record(rcode=SERVFAIL), ResolutionStatus.FAILURE),
        (Record(rcode_of={A: SERVFAIL}), ResolutionStatus.FAILURE),
        (Record(rcode_of={AAAA: SERVFAIL, A: NXDOMAIN}), ResolutionStatus.FAILURE),
        (Record(rcode_of={AAAA: SERVFAIL}, v4=("10.0.0.1",)), ResolutionStatus.COMPLETED),
    ],
)
def test_no_address_is_an_answer_or_a_failure(run: Run, record: Record, status: ResolutionStatus) -> None:
    async def body(world: World) -> None:
        world.server.zone["x.test"] = record
        found, responses = await world.resolve("x.test", resolver=world.resolver(query_tries=1))
        assert (found, [host for host, _ in responses]) == (status, list(record.v4))

    run(body)


def test_silent_server_is_a_failure_after_all_tries(run: Run) -> None:
    async def body(world: World) -> None:
        world.server.zone["drop.test"] = Record(silent=True)
        resolver = world.resolver(query_timeout_seconds=1, query_tries=2)
        loop = asyncio.get_running_loop()
        start = loop.time()
        status, _ = await world.resolve("drop.test", DnsLookupFamily.V4_ONLY, resolver)
        assert status is ResolutionStatus.FAILURE
        assert 1.0 < loop.time() - start < 6.0
        assert world.server.questions == [("drop.test", A)] * 2
        assert (world.count("timeouts"), world.count("get_addr_failure"), world.count("resolve_total")) == (2, 0, 1)

    run(body)


def test_server_that_could_not_is_asked_anew(run: Run) -> None:
    async def body(world: World) -> None:
        world.server.zone["x.test"] = Record(rcode=SERVFAIL)
        resolver = world.resolver(query_tries=1)
        assert (await world.resolve("x.test", DnsLookupFamily.V4_ONLY, resolver))[0] is ResolutionStatus.FAILURE
        assert (world.count("get_addr_failure"), world.count("reinits")) == (1, 1)
        world.server.zone["x.test"] = Record(v4=("10.0.0.1",))
        assert (await world.resolve("x.test", DnsLookupFamily.V4_ONLY, resolver))[1] == [("10.0.0.1", 60.0)]

    run(body)


@pytest.mark.parametrize(("name", "host"), [("127.0.0.9", "127.0.0.9"), ("::1", "::1"), ("localhost", "")])
def test_literal_addresses_and_the_hosts_file_need_no_server(run: Run, name: str, host: str) -> None:
    async def body(world: World) -> None:
        status, responses = await world.resolve(name)
        assert status is ResolutionStatus.COMPLETED
        assert responses[0][0] in ((host,) if host else ("127.0.0.1", "::1"))
        assert world.server.questions == []

    run(body)


def test_cancelled_query_tells_nobody(run: Run) -> None:
    async def body(world: World) -> None:
        world.server.zone["a.test"] = Record(v4=("10.0.0.1",))
        told: list[object] = []
        resolver = world.resolver()
        query = resolver.resolve("a.test", DnsLookupFamily.V4_ONLY, lambda *answer: told.append(answer))
        assert query is not None
        query.cancel()
        await world.resolve("a.test", DnsLookupFamily.V4_ONLY, resolver)
        assert told == []

    run(body)


def test_close_forgets_what_is_pending(run: Run) -> None:
    async def body(world: World) -> None:
        world.server.zone["drop.test"] = Record(silent=True)
        told: list[object] = []
        resolver = world.resolver()
        resolver.resolve("drop.test", DnsLookupFamily.AUTO, lambda *answer: told.append(answer))
        assert world.count("pending_resolutions") == 1
        resolver.close()
        resolver.close()
        assert (told, world.count("pending_resolutions")) == ([], 0)

    run(body)


def test_tcp_can_be_used(run: Run) -> None:
    async def body(world: World) -> None:
        world.server.zone["a.test"] = Record(v4=("10.0.0.1",))
        address = {"socket_address": {"address": "127.0.0.1", "port_value": world.server.port}}
        resolver = world.resolver_of({"dns_resolvers": [address], "use_tcp_for_dns_lookups": True})
        assert (await world.resolve("a.test.", DnsLookupFamily.V4_ONLY, resolver))[1] == [("10.0.0.1", 60.0)]

    run(body)


def test_resolution_config_of_before_is_understood(run: Run) -> None:
    async def body(world: World) -> None:
        world.server.zone["a.test"] = Record(v4=("10.0.0.1",))
        address = {"socket_address": {"address": "127.0.0.1", "port_value": world.server.port}}
        resolver = world.resolver_of({"dns_resolution_config": {"resolvers": [address]}})
        assert (await world.resolve("a.test.", DnsLookupFamily.V4_ONLY, resolver))[1] == [("10.0.0.1", 60.0)]

    run(body)


def test_resolver_by_name_is_refused(run: Run) -> None:
    async def body(world: World) -> None:
        with pytest.raises(ConfigError, match=r"malformed IP address: dns\.test") as error:
            world.resolver(resolvers=[{"socket_address": {"address": "dns.test", "port_value": 53}}])
        assert error.value.path == "c.typed_dns_resolver_config.typed_config.resolvers[0].socket_address.address"

    run(body)


@pytest.mark.parametrize("kind", ["STRICT_DNS", "LOGICAL_DNS"])
def test_cluster_follows_the_name(run: Run, kind: str) -> None:
    async def body(world: World) -> None:
        world.server.zone["a.test"] = Record(v4=("10.0.0.1",), ttl=3600)
        address = {"socket_address": {"address": "a.test", "port_value": 80}}
        config = load_dict(
            {
                "name": "c",
                "type": kind,
                "dns_lookup_family": "V4_ONLY",
                "dns_refresh_rate": "0.05s",
                "typed_dns_resolver_config": world.settings(),
                "load_assignment": {
                    "cluster_name": "c",
                    "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address}}]}],
                },
            },
            "envoy.config.cluster.v3.Cluster",
        ).message
        manager = ClusterManager(
            ClusterContext(world.dispatcher, RandomGenerator(1), world.store, dns_resolvers=world.resolvers)
        )
        manager.load([config])
        initialized = asyncio.Event()
        manager.start(initialized.set)
        cluster = manager.get("c")
        assert cluster is not None
        async with asyncio.timeout(5):
            await initialized.wait()
            assert str(cluster.load_balancer.choose_host(None)) == "10.0.0.1:80"
            changed = asyncio.Event()
            cluster.priority_set.add_member_update_callback(lambda *_: changed.set())
            world.server.zone["a.test"] = Record(v4=("10.0.0.2",))
            await changed.wait()  # long before the TTL of the first answer is over
        assert str(cluster.load_balancer.choose_host(None)) == "10.0.0.2:80"
        manager.stop()

    run(body)
