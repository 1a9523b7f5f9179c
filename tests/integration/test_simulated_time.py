"""Timeouts of every kind over real sockets, with time that a test moves."""

from __future__ import annotations

import asyncio
import re

import aiohttp
import httpx
import pytest

from minienvoy import Proxy
from minienvoy.event.simulated import SimulatedDispatcher
from minienvoy.testing.fake_upstream import FakeTcpUpstream, FakeUpstream, Reply

CONFIG = """\
admin:
  address: {socket_address: {address: 127.0.0.1, port_value: 0}}
static_resources:
  listeners:
  - name: http
    address: {socket_address: {address: 127.0.0.1, port_value: 0}}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: http
          common_http_protocol_options: {idle_timeout: 60s, max_connection_duration: 300s}
          stream_idle_timeout: 20s
          request_timeout: 9s
          request_headers_timeout: 4s
          drain_timeout: 5s
          delayed_close_timeout: 1s
          route_config:
            virtual_hosts:
            - name: all
              domains: ["*"]
              routes:
              - match: {prefix: /timeout}
                route: {cluster: service, timeout: 3s}
              - match: {prefix: /}
                route: {cluster: service, timeout: 0s}
          http_filters:
          - name: envoy.filters.http.router
            typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}
  - name: tcp
    address: {socket_address: {address: 127.0.0.1, port_value: 0}}
    filter_chains:
    - filters:
      - name: envoy.filters.network.tcp_proxy
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy
          stat_prefix: tcp
          cluster: bytes
          idle_timeout: 30s
  clusters:
  - name: service
    connect_timeout: 1s
    load_assignment: {cluster_name: service}
    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        common_http_protocol_options: {idle_timeout: 40s}
        explicit_http_config: {http_protocol_options: {}}
  - {name: bytes, connect_timeout: 1s, load_assignment: {cluster_name: bytes}}
"""
GET = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n"


def start(service: str, data: str | None = None) -> Proxy:
    return Proxy.from_yaml(CONFIG, endpoints={"service": [service], "bytes": [data] if data else []}, time="simulated")


class Client:
    """A connection that remembers what came, and when in simulated time the other side ended it."""

    def __init__(self, proxy: Proxy) -> None:
        self._now = proxy.server.dispatcher.monotonic_time
        self.received = b""
        self.ended_at: float | None = None

    @classmethod
    async def connect(cls, proxy: Proxy, listener: str, said: bytes = b"") -> Client:
        self = cls(proxy)
        reader, self._writer = await asyncio.open_connection(*proxy.address(listener))
        self._writer.write(said)
        self._reading = asyncio.ensure_future(self._read(reader))
        return self

    async def _read(self, reader: asyncio.StreamReader) -> None:
        while data := await reader.read(65536):
            self.received += data
        self.ended_at = round(self._now(), 3)

    @property
    def status(self) -> int:
        found = re.match(rb"HTTP/1.1 (\d+) ", self.received)
        return int(found[1]) if found else 0

    def say(self, data: bytes) -> None:
        self._writer.write(data)

    async def close(self) -> None:
        self._writer.close()
        await self._reading
        await self._writer.wait_closed()


def test_timers_of_every_kind_fire_each_at_its_own_time(run):
    async def main():
        async with (
            FakeUpstream(respond=lambda request: "ok" if request.path == "/" else Reply(hang=True)) as up,
            FakeTcpUpstream() as data,
            start(up.address, data.address) as proxy,
        ):
            cases = {
                "idle": await Client.connect(proxy, "http", GET),
                "half a head": await Client.connect(proxy, "http", b"GET / HTT"),
                "half a body": await Client.connect(
                    proxy, "http", b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 9\r\n\r\nhalf"
                ),
                "route timeout": await Client.connect(proxy, "http", GET.replace(b"/", b"/timeout", 1)),
                "stream idle": await Client.connect(proxy, "http", GET.replace(b"/", b"/hang", 1)),
                "tcp": await Client.connect(proxy, "tcp", b"ping"),
            }
            await proxy.advance(2.9)
            assert {name: each.status for name, each in cases.items() if each.status} == {"idle": 200}
            assert cases["tcp"].received == b"ping"
            await proxy.advance(0.1)
            assert cases["route timeout"].status == 504
            assert cases["half a head"].status == 0
            await proxy.advance(1.0)
            assert cases["half a head"].status == 408
            await proxy.advance(5.0)
            assert cases["half a body"].status == 408
            assert cases["stream idle"].status == 0
            await proxy.advance(91)
            assert cases["stream idle"].status == 504
            assert {name: each.ended_at for name, each in cases.items()} == {
                # A quiet connection is announced to end, has the drain time, then the delay for its FIN.
                "idle": 66.0,
                "half a head": 5.0,
                "half a body": 10.0,
                "route timeout": pytest.approx(69.0),
                "stream idle": pytest.approx(86.0),
                "tcp": 30.0,
            }
            assert proxy.stats["http.http.downstream_cx_idle_timeout"] == 3
            assert proxy.stats["http.http.downstream_rq_idle_timeout"] == 1
            assert proxy.stats["http.http.downstream_rq_header_timeout"] == 1
            assert proxy.stats["http.http.downstream_rq_timeout"] == 1
            assert proxy.stats["cluster.service.upstream_rq_timeout"] == 1
            assert proxy.stats["tcp.tcp.idle_timeout"] == 1
            cases["pool"] = await Client.connect(proxy, "http", GET)
            await proxy.advance(39.99)
            assert cases["pool"].status == 200
            assert proxy.stats["cluster.service.upstream_cx_idle_timeout"] == 0
            await proxy.advance(0.01)
            assert proxy.stats["cluster.service.upstream_cx_idle_timeout"] == 1
            for each in cases.values():
                await each.close()

    run(main)


@pytest.mark.parametrize("turn", range(5))
def test_what_is_under_way_in_this_process_arrives_before_time_moves(run, turn):
    """A client that asks again and again, without any moment at which a test could know where it is."""

    async def main():
        async def ask_twenty_times(proxy):
            async with httpx.AsyncClient(base_url=proxy.url("http")) as client:
                return [(await client.post("/", content=b"x" * 20_000)).status_code for _ in range(20)]

        async with FakeUpstream("ok" * 50_000) as service, start(service.address) as proxy:
            asking = asyncio.ensure_future(ask_twenty_times(proxy))
            await proxy.advance(1.0)
            assert asking.done()
            assert await asking == [200] * 20
            assert {each["connection"].because.split(",")[0] for each in proxy.explain} == {"new", "reused"}

    run(main)


def test_servers_and_clients_of_others_in_the_same_loop_are_served(run):
    async def main():
        async def answer(request: aiohttp.web.Request) -> aiohttp.web.Response:
            await asyncio.sleep(0)
            return aiohttp.web.Response(text=f"{request.path} {len(await request.read())}")

        from aiohttp import web

        runner = web.ServerRunner(web.Server(answer))
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        host, port = runner.addresses[0][:2]
        async with start(f"{host}:{port}") as proxy:
            async with aiohttp.ClientSession() as session:

                async def ask(path):
                    async with session.post(proxy.url("http") + path, data=b"x" * 300_000) as response:
                        return await response.text()

                asking = [asyncio.ensure_future(ask(f"/{number}")) for number in range(10)]
                await proxy.advance(0)
                assert [each.done() for each in asking] == [True] * 10
                assert [await each for each in asking] == [f"/{number} 300000" for number in range(10)]
            await proxy.advance(0)
        await runner.cleanup()
        await asyncio.sleep(0.01)

    run(main)


def test_an_hour_passes_quickly_and_a_busy_neighbour_does_not_stop_it(run):
    async def main():
        async with FakeUpstream() as service, start(service.address) as proxy:
            stop = False

            async def restless():
                while not stop:  # noqa: ASYNC110
                    await asyncio.sleep(0)

            neighbour = asyncio.ensure_future(restless())
            before = asyncio.get_running_loop().time()
            await proxy.advance(3600)
            assert asyncio.get_running_loop().time() - before < 10
            stop = True
            await neighbour
            assert proxy.stats["server.uptime"] == 3600

    run(main)


def test_time_moves_while_names_are_resolved_for_the_first_time(run):
    async def main():
        dispatcher = SimulatedDispatcher(asyncio.get_running_loop())
        event = asyncio.Event()
        dispatcher.create_timer(event.set).enable(0.03)
        await dispatcher.wait(event)
        assert dispatcher.monotonic_time() == pytest.approx(0.03)
        await dispatcher.wait(event)
        assert dispatcher.monotonic_time() == pytest.approx(0.03)

    run(main)
