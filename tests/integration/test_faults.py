"""Toxics in front of hosts: what toxiproxy does, from Python and over the admin interface."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest

from minienvoy import Proxy
from minienvoy.errors import ConfigError
from minienvoy.testing.fake_upstream import FakeTcpUpstream, FakeUpstream, Reply

TYPE = "type.googleapis.com/envoy.extensions.filters"
ANYWHERE = {"socket_address": {"address": "127.0.0.1", "port_value": 0}}


def config(*addresses: str, tcp: bool = False, **route: Any) -> dict[str, Any]:
    listener: dict[str, Any] = {
        "@type": f"{TYPE}.network.tcp_proxy.v3.TcpProxy",
        "stat_prefix": "t",
        "cluster": "service",
    }
    if not tcp:
        router = {"name": "router", "typed_config": {"@type": f"{TYPE}.http.router.v3.Router"}}
        action = {"cluster": "service", **route}
        host = {"name": "all", "domains": ["*"], "routes": [{"match": {"prefix": "/"}, "route": action}]}
        listener = {
            "@type": f"{TYPE}.network.http_connection_manager.v3.HttpConnectionManager",
            "stat_prefix": "h",
            "route_config": {"virtual_hosts": [host]},
            "http_filters": [router],
        }
    endpoints = []
    for each in addresses:
        at, _, port = each.rpartition(":")
        endpoints.append({"endpoint": {"address": {"socket_address": {"address": at, "port_value": int(port)}}}})
    return {
        "admin": {"address": ANYWHERE},
        "static_resources": {
            "listeners": [
                {
                    "name": "in",
                    "address": ANYWHERE,
                    "filter_chains": [{"filters": [{"name": "f", "typed_config": listener}]}],
                }
            ],
            "clusters": [
                {
                    "name": "service",
                    "load_assignment": {"cluster_name": "service", "endpoints": [{"lb_endpoints": endpoints}]},
                }
            ],
        },
    }


async def ask(proxy: Proxy, target: str = "/", method: str = "GET", listener: str = "in") -> tuple[int, bytes]:
    """A request on a connection of its own."""
    reader, writer = await asyncio.open_connection(*proxy.address(listener))
    try:
        writer.write(f"{method} {target} HTTP/1.1\r\nhost: a.test\r\ncontent-length: 0\r\n\r\n".encode())
        head = await reader.readuntil(b"\r\n\r\n")
        body = b""
        if b"transfer-encoding: chunked" in head:
            while size := int(await reader.readuntil(b"\r\n"), 16):
                body += (await reader.readexactly(size + 2))[:-2]
            await reader.readexactly(2)
        else:
            body = await reader.readexactly(int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]))
        return int(head.split()[1]), body
    finally:
        writer.transport.abort()


def run(test: Callable[[], Any]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(20):
            await test()

    asyncio.run(bounded())


async def after(proxy: Proxy, waiting: asyncio.Future[Any], seconds: float) -> Any:
    """What has come of `waiting`; it must not be over before so much (simulated) time has passed."""
    await proxy.advance(seconds - 0.05)
    assert not waiting.done()
    await proxy.advance(0.1)
    return await waiting


def test_latency_comes_and_goes_on_a_connection_that_is_there():
    async def test() -> None:
        async with (
            FakeUpstream("hello") as service,
            Proxy.from_dict(config(service.address), time="simulated") as proxy,
        ):
            assert await ask(proxy) == (200, b"hello")
            name = proxy.faults.add("service", "latency", latency=1500)
            waiting = asyncio.ensure_future(ask(proxy))
            assert await after(proxy, waiting, 1.5) == (200, b"hello")
            proxy.faults.remove("service", name)
            assert await ask(proxy) == (200, b"hello")
            assert service.connections == 1

    run(test)


def test_what_is_late_arrives_when_the_latency_is_taken_away():
    async def test() -> None:
        async with (
            FakeUpstream("hello") as service,
            Proxy.from_dict(config(service.address), time="simulated") as proxy,
        ):
            proxy.faults.add("service", "latency", latency=60_000, stream="upstream")
            proxy.faults.add("service", "latency", latency=60_000)
            waiting = asyncio.ensure_future(ask(proxy))
            await proxy.advance(1)
            assert service.requests == []
            proxy.faults.clear()
            assert await waiting == (200, b"hello")

    run(test)


def test_one_host_is_bad_and_the_others_are_not():
    async def test() -> None:
        async with FakeUpstream("one") as one, FakeUpstream("two") as two:
            settings = config(one.address, two.address, retry_policy={"retry_on": "reset", "num_retries": 3})
            async with Proxy.from_dict(settings) as proxy:
                proxy.faults.add("service", "reset_peer", endpoint=one.address)
                assert [await ask(proxy) for _ in range(6)] == [(200, b"two")] * 6
                assert one.connections
                assert proxy.stats["cluster.service.upstream_rq_retry"] >= 2

    run(test)


def test_a_bandwidth_is_kept():
    async def test() -> None:
        async with (
            FakeUpstream(b"x" * 100_000) as service,
            Proxy.from_dict(config(service.address), time="simulated") as proxy,
        ):
            proxy.faults.add("service", "bandwidth", rate=20)
            assert len((await after(proxy, asyncio.ensure_future(ask(proxy)), 5.0))[1]) == 100_000

    run(test)


def test_timeout_lets_nothing_through_and_ends_the_connection():
    async def test() -> None:
        async with (
            FakeUpstream("hello") as service,
            Proxy.from_dict(config(service.address), time="simulated") as proxy,
        ):
            proxy.faults.add("service", "timeout", timeout=3000)
            waiting = asyncio.ensure_future(ask(proxy))
            await service.wait_for_requests()
            status, body = await after(proxy, waiting, 3.0)
            assert (status, body[:54]) == (503, b"upstream connect error or disconnect/reset before head")

    run(test)


def test_a_body_is_cut_short_and_sliced_without_harm():
    async def test() -> None:
        async with FakeUpstream(b"x" * 5000) as service, Proxy.from_dict(config(service.address)) as proxy:
            proxy.faults.add("service", "slicer", average_size=7, size_variation=3, delay=10)
            assert await ask(proxy) == (200, b"x" * 5000)
            proxy.faults.add("service", "limit_data", bytes=1000)
            with pytest.raises(asyncio.IncompleteReadError):
                await ask(proxy)

    run(test)


def test_tcp_is_delayed_and_its_end_too():
    async def test() -> None:
        async with (
            FakeTcpUpstream(b"hi\n", echo=False) as service,
            Proxy.from_dict(config(service.address, tcp=True), time="simulated") as proxy,
        ):
            proxy.faults.add("service", "slow_close", delay=2000, stream="upstream")
            reader, writer = await asyncio.open_connection(*proxy.address("in"))
            assert await reader.readline() == b"hi\n"
            writer.write_eof()
            await proxy.advance(1.9)
            assert not service.conversations[0].ended
            await proxy.advance(0.2)
            assert service.conversations[0].ended
            assert await reader.read() == b""
            writer.close()

    run(test)


def test_a_slow_host_stops_who_sends_and_memory_stays_bounded():
    async def test() -> None:
        async with (
            FakeTcpUpstream(echo=False) as service,
            Proxy.from_dict(config(service.address, tcp=True)) as proxy,
        ):
            proxy.faults.add("service", "bandwidth", rate=1, stream="upstream")
            reader, writer = await asyncio.open_connection(*proxy.address("in"))
            sent = 0
            try:
                async with asyncio.timeout(0.7):
                    while sent < 64 * 1024 * 1024:
                        writer.write(b"x" * 65536)
                        await writer.drain()
                        sent += 65536
            except TimeoutError:
                pass
            assert sent < 32 * 1024 * 1024
            assert proxy.stats["tcp.t.downstream_flow_control_paused_reading_total"] >= 1
            writer.transport.abort()
            assert reader is not None

    run(test)


def test_some_connections_are_bad_as_the_seed_says():
    async def outcomes(seed: int) -> list[int]:
        async with (
            FakeUpstream(Reply(b"ok", close=True)) as service,
            Proxy.from_dict(config(service.address), seed=seed) as proxy,
        ):
            proxy.faults.add("service", "reset_peer", toxicity=0.5)
            return [(await ask(proxy))[0] for _ in range(30)]

    async def test() -> None:
        first = await outcomes(7)
        assert first == await outcomes(7)
        assert 5 <= first.count(503) <= 25

    run(test)


def test_the_admin_interface_adds_lists_and_removes():
    async def test() -> None:
        async with FakeUpstream("hello") as service, Proxy.from_dict(config(service.address)) as proxy:

            async def faults(query: str, method: str = "POST") -> tuple[int, Any]:
                status, body = await ask(proxy, f"/minienvoy/faults{query}", method, "admin")
                return status, json.loads(body)["faults"] if status == 200 else body.decode()

            added = {
                "cluster": "service",
                "endpoint": service.address,
                "name": "slow",
                "type": "latency",
                "stream": "upstream",
                "toxicity": 1,
                "attributes": {"latency": 30, "jitter": 5},
            }
            query = "?cluster=service&type=latency&name=slow&stream=upstream&latency=30&jitter=5"
            query += f"&endpoint={service.address}"
            assert await faults("", "GET") == (200, [])
            assert await faults(query) == (200, [added])
            assert await ask(proxy) == (200, b"hello")
            assert await faults("", "GET") == (200, [added])
            assert (await faults("?clear", "GET"))[0] == 405
            assert await faults("?cluster=service&remove=slow") == (200, [])
            await faults("?cluster=service&type=timeout")
            assert await faults("?clear") == (200, [])
            for wrong in (
                "?cluster=x&type=latency",
                "?cluster=service&type=slowness",
                "?cluster=service&type=latency&rate=3",
                "?cluster=service&type=latency&latency=much",
                "?cluster=service&remove=slow",
                "?type=latency",
                "?cluster=service&type=latency&toxicity=2",
            ):
                assert (await faults(wrong))[0] == 400

    run(test)


def test_leaving_in_the_middle_leaves_nothing_behind():
    async def test() -> None:
        before = len(asyncio.all_tasks())
        async with FakeUpstream("hello") as service, Proxy.from_dict(config(service.address)) as proxy:
            for kind in ("slow_close", "latency"):
                attributes = {"delay": 60_000} if kind == "slow_close" else {"latency": 60_000}
                proxy.faults.add("service", kind, stream="upstream", **attributes)
            waiting = asyncio.ensure_future(ask(proxy))
            await asyncio.sleep(0.2)
            assert service.connections == 1
        with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
            await waiting
        assert len(asyncio.all_tasks()) == before

    run(test)


def test_what_there_is_not_is_refused():
    async def test() -> None:
        async with FakeUpstream("hello") as service, Proxy.from_dict(config(service.address)) as proxy:
            with pytest.raises(ConfigError, match="no cluster 'users'"):
                proxy.faults.add("users", "latency")
            with pytest.raises(ConfigError, match="no endpoint"):
                proxy.faults.add("service", "latency", endpoint="127.0.0.1:1")
            with pytest.raises(ConfigError, match="no attribute 'rate'"):
                proxy.faults.add("service", "latency", rate=3)
            assert list(proxy.faults) == []

    run(test)


def test_an_upstream_refuses_connections_and_accepts_them_again():
    async def test() -> None:
        async with FakeUpstream("hello") as service, Proxy.from_dict(config(service.address)) as proxy:
            assert await ask(proxy) == (200, b"hello")
            service.refuse()
            await asyncio.sleep(0.1)
            status, body = await ask(proxy)
            assert (status, b"remote connection failure" in body) == (503, True)
            await service.listen()
            assert await ask(proxy) == (200, b"hello")
            service.refuse()

    run(test)
