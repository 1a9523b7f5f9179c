"""Health checks and outlier detection over real sockets, with time that a test moves."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import httpx

from minienvoy import Proxy
from minienvoy.testing.fake_upstream import FakeTcpUpstream, FakeUpstream, Reply, Request

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
          route_config:
            virtual_hosts:
            - name: all
              domains: ["*"]
              routes: [{match: {prefix: /}, route: {cluster: service, timeout: 2s}}]
          http_filters:
          - name: envoy.filters.http.router
            typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}
  clusters:
  - name: service
    connect_timeout: 1s
    common_lb_config: {healthy_panic_threshold: {value: 0}}
    load_assignment: {cluster_name: service}
"""
OUTLIER = """\
    outlier_detection: {consecutive_5xx: 2, interval: 10s, base_ejection_time: 30s, max_ejection_percent: 50}
"""
CHECKS = """\
    health_checks:
    - timeout: 1s
      interval: 5s
      no_traffic_interval: 60s
      unhealthy_threshold: 2
      healthy_threshold: 2
      http_health_check: {path: /hc}
"""


class Service(FakeUpstream):
    """Answers as it is told; `checks` and `requests_for` tell one kind of request from the other."""

    def __init__(self) -> None:
        super().__init__(respond=self._respond)
        self.status = 200
        self.check: Reply = Reply()

    def _respond(self, request: Request) -> Reply:
        return self.check if request.path == "/hc" else Reply(status=self.status)

    def seen(self, target: str) -> int:
        return sum(request.path == target for request in self.requests)


async def statuses(proxy: Proxy, count: int) -> list[int]:
    async with httpx.AsyncClient() as client:
        return [(await client.get(f"{proxy.url('http')}/x")).status_code for _ in range(count)]


def start(config: str, *services: FakeUpstream | FakeTcpUpstream, **options: Any) -> Proxy:
    endpoints = {"service": [service.address for service in services]}
    return Proxy.from_yaml(config, endpoints=endpoints, time="simulated", seed=7, **options)


def flags(proxy: Proxy) -> list[int]:
    return [host.health_flags for host in proxy.server.cluster_manager.clusters()["service"].hosts()]


def test_a_host_is_ejected_and_comes_back(run: Callable[..., Any]) -> None:
    async def main() -> None:
        async with Service() as good, Service() as bad, start(CONFIG + OUTLIER, good, bad) as proxy:
            bad.status = 500
            assert sorted(await statuses(proxy, 4)) == [200, 200, 500, 500]
            assert await statuses(proxy, 4) == [200] * 4
            await proxy.advance(29)
            assert await statuses(proxy, 4) == [200] * 4
            bad.status = 200
            await proxy.advance(2)
            before = bad.seen("/x")
            assert await statuses(proxy, 4) == [200] * 4
            assert bad.seen("/x") == before + 2
            assert proxy.stats["cluster.service.outlier_detection.ejections_enforced_total"] == 1
            told = [str(entry.decision) for entry in proxy.explain.journal.all("ejection", "service")]
            assert told == [
                f"ejection: {bad.address} ejected, because CONSECUTIVE_5XX",
                f"ejection: {bad.address} unejected, because away for 30 s",
            ]
            async with httpx.AsyncClient() as client:
                answer = await client.get(f"{proxy.url('admin')}/minienvoy/explain?journal=1")
            assert json.loads(answer.text)["journal"] == [
                {
                    "time": 30.0,
                    "cluster": "service",
                    "point": "ejection",
                    "chose": f"{bad.address} unejected",
                    "because": "away for 30 s",
                    "rejected": [],
                }
            ]

    run(main)


def test_a_host_that_flaps_takes_part_when_it_is_well(run: Callable[..., Any]) -> None:
    async def main() -> None:
        async with Service() as steady, Service() as flapping, start(CONFIG + CHECKS, steady, flapping) as proxy:
            assert await statuses(proxy, 4) == [200] * 4
            assert flapping.seen("/x") == 2
            flapping.check = Reply(status=503)
            await proxy.advance(60)
            assert flags(proxy) == [0, 1]
            assert await statuses(proxy, 4) == [200] * 4
            assert flapping.seen("/x") == 2
            flapping.check = Reply()
            await proxy.advance(5)
            assert flags(proxy) == [0, 1]
            await proxy.advance(5)
            assert flags(proxy) == [0, 0]
            assert await statuses(proxy, 4) == [200] * 4
            assert flapping.seen("/x") == 4
            assert [entry.decision.because for entry in proxy.explain.journal.all("health")] == [
                "first check",
                "first check",
                "ACTIVE 503",
                "2 successes in a row",
            ]

    run(main)


def test_slow_garbled_and_silent_hosts_hold_nobody_up(run: Callable[..., Any]) -> None:
    async def main() -> None:
        garbage = FakeUpstream(Reply(raw=b"\x00\xff" * 1000))
        endless = FakeUpstream(Reply(raw=b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 1_000_000))
        async with (
            Service() as well,
            Service() as silent,
            FakeTcpUpstream(greeting=b"HTTP/1.1 200 OK\r\nx", echo=False) as half,
            garbage,
            endless,
        ):
            silent.check = Reply(hang=True)
            async with start(CONFIG + CHECKS, well, silent, half, garbage, endless) as proxy:
                assert flags(proxy) == [0, 257, 257, 1, 257]
                assert await statuses(proxy, 6) == [200] * 6
                assert proxy.stats["cluster.service.health_check.healthy"] == 1
                for _ in range(10):
                    await proxy.advance(6)
                assert well.seen("/hc") == 2  # the minute without traffic is over only now
                assert flags(proxy) == [0, 257, 257, 1, 257]

    run(main)


def test_a_proxy_that_stops_during_checks_leaves_nothing(run: Callable[..., Any]) -> None:
    async def main() -> None:
        async with Service() as well, Service() as silent:
            async with start(CONFIG + CHECKS + OUTLIER, well, silent) as proxy:
                silent.check = Reply(hang=True)
                await proxy.advance(60.5)
            assert proxy.stats["cluster.service.health_check.attempt"] == 4

    run(main)
