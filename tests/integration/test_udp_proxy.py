"""Datagrams through a running proxy: where they go, and what is left when hosts, clusters and listeners change."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path
from typing import Any

import pytest

from minienvoy import ConfigError, Proxy
from minienvoy.errors import UsageError
from minienvoy.upstream.host import HealthFlag

EXAMPLE = Path(__file__).parents[1] / "data" / "examples" / "udp" / "envoy.yaml"
_TYPE = "type.googleapis.com/envoy.extensions.filters.udp.udp_proxy.v3"


class Peer(asyncio.DatagramProtocol):
    """A socket of datagrams: a client, or an upstream that answers with its name and what it was sent."""

    def __init__(self, name: str = "") -> None:
        self.name = name
        self.received: asyncio.Queue[tuple[bytes, Any]] = asyncio.Queue()
        self.transport: Any = None

    @property
    def address(self) -> tuple[str, int]:
        address: tuple[str, int] = self.transport.get_extra_info("sockname")
        return address

    async def __aenter__(self) -> Peer:
        await asyncio.get_running_loop().create_datagram_endpoint(lambda: self, ("127.0.0.1", 0))
        return self

    async def __aexit__(self, *_: object) -> None:
        self.transport.close()
        await asyncio.sleep(0)

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.received.put_nowait((data, addr))
        if self.name:
            self.transport.sendto(f"{self.name}: ".encode() + data, addr)

    async def ask(self, to: tuple[str, int], data: bytes) -> bytes:
        self.transport.sendto(data, to)
        answer, _ = await asyncio.wait_for(self.received.get(), 5)
        return answer


def config(
    *hosts: tuple[str, int], clusters: list[dict[str, Any]] | None = None, **listener: dict[str, Any]
) -> dict[str, Any]:
    route = {"@type": f"{_TYPE}.Route", "cluster": "users"}
    proxy = {
        "@type": f"{_TYPE}.UdpProxyConfig",
        "stat_prefix": "ingress",
        "matcher": {"on_no_match": {"action": {"name": "route", "typed_config": route}}},
    }
    return {
        "static_resources": {
            "listeners": [
                {
                    "name": "datagrams",
                    "address": {"socket_address": {"protocol": "UDP", "address": "127.0.0.1", "port_value": 0}},
                    "listener_filters": [{"name": "envoy.filters.udp_listener.udp_proxy", "typed_config": proxy}],
                    **listener,
                }
            ],
            "clusters": [
                {
                    "name": "users",
                    "type": "STATIC",
                    "load_assignment": {
                        "cluster_name": "users",
                        "endpoints": [
                            {
                                "lb_endpoints": [
                                    {"endpoint": {"address": {"socket_address": {"address": host, "port_value": port}}}}
                                    for host, port in hosts
                                ]
                            }
                        ],
                    },
                }
            ],
        }
    }


def open_sockets() -> int:
    links = [each for each in Path("/proc/self/fd").iterdir() if each.is_symlink()]
    return sum(str(each.readlink()).startswith("socket:") for each in links)


@pytest.mark.asyncio
async def test_the_example_passes_datagrams_both_ways():
    async with (
        Peer("service") as service,
        Peer() as client,
        Proxy.from_yaml(EXAMPLE, endpoints={"service_udp": [service.address]}) as proxy,
    ):
        assert await client.ask(proxy.address("listener_0"), b"hello") == b"service: hello"
        assert await client.ask(proxy.address("listener_0"), b"again") == b"service: again"
        assert proxy.stats["udp.service.downstream_sess_total"] == 1
        assert proxy.stats["udp.service.downstream_sess_rx_bytes"] == 10
        assert proxy.stats["cluster.service_udp.udp.sess_rx_datagrams"] == 2
        explanation = proxy.explain.last()
        assert str(explanation["cluster"].chose) == "service_udp"
        assert str(explanation["host"].chose) == f"127.0.0.1:{service.address[1]}"
        with pytest.raises(UsageError, match="listener 'listener_0' takes datagrams"):
            proxy.url("listener_0")


@pytest.mark.asyncio
async def test_a_session_lives_as_long_as_simulated_time_lets_it():
    async with (
        Peer("service") as service,
        Peer() as client,
        Proxy.from_dict(config(service.address), time="simulated") as proxy,
    ):
        address = proxy.address()
        await client.ask(address, b"a")
        await proxy.advance(59)
        await client.ask(address, b"b")
        await proxy.advance(59)
        assert proxy.stats["udp.ingress.downstream_sess_active"] == 1
        await proxy.advance(1.1)
        assert proxy.stats["udp.ingress.downstream_sess_active"] == 0
        assert proxy.stats["udp.ingress.idle_timeout"] == 1
        await client.ask(address, b"c")
        senders = [service.received.get_nowait()[1] for _ in range(3)]
        assert senders[0] == senders[1] != senders[2]


@pytest.mark.asyncio
async def test_a_session_moves_when_its_host_is_unhealthy_and_there_is_a_better_one():
    async with (
        Peer("one") as one,
        Peer("two") as two,
        Peer() as client,
        Proxy.from_dict(config(one.address, two.address)) as proxy,
    ):
        first = await client.ask(proxy.address(), b"a")
        cluster = proxy.server.cluster_manager.get("users")
        assert cluster is not None
        hosts = {each.address.port: each for each in cluster.hosts()}
        of = {b"one: a": one, b"two: a": two}
        hosts[of[first].address[1]].health_flags |= HealthFlag.FAILED_ACTIVE_HC
        cluster.priority_set.refresh_health(0)
        second = await client.ask(proxy.address(), b"a")
        assert {first, second} == {b"one: a", b"two: a"}
        assert proxy.stats["udp.ingress.downstream_sess_total"] == 2
        assert proxy.stats["udp.ingress.downstream_sess_active"] == 1
        hosts[of[second].address[1]].health_flags |= HealthFlag.FAILED_ACTIVE_HC
        cluster.priority_set.refresh_health(0)
        assert await client.ask(proxy.address(), b"a") == second
        assert proxy.stats["udp.ingress.downstream_sess_total"] == 2


@pytest.mark.asyncio
async def test_sessions_end_with_their_host_their_cluster_and_their_listener():
    async with Peer("one") as one, Peer("two") as two, Peer() as client:
        before = open_sockets()
        async with Proxy.from_dict(config(one.address)) as proxy:
            address = proxy.address()
            assert await client.ask(address, b"a") == b"one: a"
            with_session = open_sockets()
            cluster = proxy.server.cluster_manager.get("users")
            assert cluster is not None
            cluster.priority_set.update_hosts(cluster.load_assignment.host_set(0, ()))
            assert proxy.stats["udp.ingress.downstream_sess_active"] == 0
            assert open_sockets() == with_session - 1

            await proxy.apply(config(two.address))
            assert await client.ask(address, b"b") == b"two: b"
            assert proxy.stats["udp.ingress.downstream_sess_active"] == 1

            await proxy.apply(config(two.address, traffic_direction="INBOUND"))
            assert proxy.stats["udp.ingress.downstream_sess_active"] == 0
            assert proxy.address() == address
            assert await client.ask(address, b"c") == b"two: c"
        assert open_sockets() == before


@pytest.mark.asyncio
async def test_a_host_that_was_not_there_is_talked_to_when_it_comes():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        nobody = probe.getsockname()
    async with Peer() as client, Proxy.from_dict(config(nobody), time="simulated") as proxy:
        for number in range(1, 4):
            client.transport.sendto(b"a", proxy.address())
            await proxy.advance(1)
            assert proxy.stats["cluster.users.udp.sess_rx_errors"] == number
        assert proxy.stats["udp.ingress.downstream_sess_total"] == 1
        service = Peer("late")
        await asyncio.get_running_loop().create_datagram_endpoint(lambda: service, nobody)
        assert await client.ask(proxy.address(), b"b") == b"late: b"
        service.transport.close()
        await asyncio.sleep(0)


@pytest.mark.asyncio
async def test_a_flood_of_clients_has_as_many_sessions_as_the_circuit_breaker_allows():
    tree = config(("127.0.0.1", 9))
    tree["static_resources"]["clusters"][0]["circuit_breakers"] = {"thresholds": [{"max_connections": 5}]}
    async with Proxy.from_dict(tree, time="simulated") as proxy:
        for _ in range(50):
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
                client.sendto(b"a", proxy.address())
        await proxy.advance(1)
        assert proxy.stats["cluster.users.upstream_cx_overflow"] == 45
        assert proxy.stats["udp.ingress.downstream_sess_active"] == 5


@pytest.mark.asyncio
@pytest.mark.parametrize("field", ["use_original_src_ip", "session_filters", "tunneling_config"])
async def test_what_is_not_there_is_refused(field):
    tree = config(("127.0.0.1", 9))
    values: dict[str, Any] = {
        "use_original_src_ip": True,
        "session_filters": [
            {
                "name": "capsule",
                "typed_config": {
                    "@type": f"{_TYPE.replace('udp_proxy.v3', 'udp_proxy.session.http_capsule.v3')}.FilterConfig"
                },
            }
        ],
        "tunneling_config": {
            "proxy_host": "a",
            "target_host": "b",
            "default_target_port": 1,
        },
    }
    settings = tree["static_resources"]["listeners"][0]["listener_filters"][0]["typed_config"]
    settings[field] = values[field]
    with pytest.raises(ConfigError, match=f"listener_filters\\[0\\].typed_config.{field}: "):
        async with Proxy.from_dict(tree):
            pass
