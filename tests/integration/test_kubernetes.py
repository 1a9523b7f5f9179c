"""A Service's pods behind a proxy, with an API server that comes, goes and lies."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from minienvoy import ConfigError, Proxy
from minienvoy.testing.fake_upstream import FakeTcpUpstream, FakeUpstream
from tests.bootstraps import kubernetes_proxy
from tests.kube_server import KubeServer, endpoint, service, slice_of, status

pytestmark = pytest.mark.asyncio


@pytest_asyncio.fixture
async def kube() -> AsyncIterator[KubeServer]:
    async with KubeServer() as server:
        server.put("services", service("web"))
        yield server


def proxy_of(kube: KubeServer, directory: Path, *, more: str = "", value: str = "") -> Proxy:
    text = kubernetes_proxy(f"service: shop/web, port: http, kubeconfig: {kube.kubeconfig(directory)}{value}")
    return Proxy.from_yaml(text + more, time="simulated")


class Pod:
    """An upstream and the endpoint that tells of it. All pods are on 127.0.0.1, so each has a slice of its own."""

    def __init__(self, name: str, upstream: FakeUpstream | FakeTcpUpstream) -> None:
        self.name = name
        self.upstream = upstream

    def tell(self, kube: KubeServer, *, ready: bool = True, terminating: bool = False) -> None:
        target = {"kind": "Pod", "namespace": "shop", "name": self.name, "uid": self.name}
        conditions = {"ready": ready and not terminating, "serving": ready, "terminating": terminating}
        item = {"addresses": ["127.0.0.1"], "conditions": conditions, "targetRef": target}
        port = int(self.upstream.address.rpartition(":")[2])
        kube.put("endpointslices", slice_of("web", f"web-{self.name}", item, port=port))

    def forget(self, kube: KubeServer) -> None:
        kube.delete("endpointslices", f"web-{self.name}")


async def bodies(fetch: Any, proxy: Proxy, count: int = 6) -> set[bytes]:
    return {(await fetch(proxy.url("web"))).body for _ in range(count)}


async def test_pods_are_followed_as_they_come_and_go(kube: KubeServer, tmp_path: Path, fetch: Any) -> None:
    async with FakeUpstream("one") as one, FakeUpstream("two") as two:
        rewrite = f", address_rewrite: {{10.1.0.1: '{one.address}', 10.1.0.2: '{two.address}'}}"
        kube.put("endpointslices", slice_of("web", "web-1", endpoint("10.1.0.1")))
        async with proxy_of(kube, tmp_path, value=rewrite) as proxy:
            assert await bodies(fetch, proxy) == {b"one"}
            kube.put("endpointslices", slice_of("web", "web-1", endpoint("10.1.0.1"), endpoint("10.1.0.2")))
            await kube.followed(proxy)
            assert await bodies(fetch, proxy) == {b"one", b"two"}
            kube.put("endpointslices", slice_of("web", "web-1", endpoint("10.1.0.2")))
            await kube.followed(proxy)
            assert await bodies(fetch, proxy) == {b"two"}


async def test_a_rollout_of_a_hundred_pods_fails_no_request(kube: KubeServer, tmp_path: Path, fetch: Any) -> None:
    async with PodFarm(kube) as farm:
        for number in range(100):
            await farm.add(f"old-{number}")
        async with proxy_of(kube, tmp_path) as proxy:
            seen: set[bytes] = set()

            async def traffic() -> None:
                for _ in range(6):
                    answer = await fetch(proxy.url("web"))
                    assert answer.status == 200, answer
                    seen.add(answer.body)

            for batch in range(4):
                batch_names = [f"{number + 25 * batch}" for number in range(25)]
                for name in batch_names:
                    await farm.add(f"new-{name}", ready=False)
                await kube.followed(proxy)
                await traffic()
                for name in batch_names:
                    farm.pods[f"new-{name}"].tell(kube)
                await proxy.advance(0.04)
                await traffic()
                await kube.followed(proxy)
                for name in batch_names:
                    farm.pods[f"old-{name}"].tell(kube, terminating=True)
                await traffic()
                await kube.followed(proxy)
                await traffic()
                for name in batch_names:
                    await farm.remove(f"old-{name}")
                await kube.followed(proxy)
                await traffic()
            assert {each for each in seen if each.startswith(b"new")}
            assert all(body.startswith(b"new") for body in await bodies(fetch, proxy, 30))
            # To zero, and back before the last one is gone.
            for pod in farm.pods.values():
                pod.tell(kube, terminating=True)
            await kube.followed(proxy)
            await traffic()
            leaving = list(farm.pods)
            for number in range(3):
                await farm.add(f"again-{number}")
            await kube.followed(proxy)
            await traffic()
            for name in leaving:
                await farm.remove(name)
            await kube.followed(proxy)
            assert all(body.startswith(b"again") for body in await bodies(fetch, proxy, 10))
            assert proxy.stats["cluster.web.membership_total"] == 3


class PodFarm:
    """Pods that are told of as they begin, and listen until nobody is told of them any more."""

    def __init__(self, kube: KubeServer) -> None:
        self.kube = kube
        self.pods: dict[str, Pod] = {}
        self._gone: list[Pod] = []

    async def __aenter__(self) -> PodFarm:
        return self

    async def __aexit__(self, *error: object) -> None:
        for pod in (*self._gone, *self.pods.values()):
            await pod.upstream.stop()

    async def add(self, name: str, *, ready: bool = True) -> None:
        upstream = FakeUpstream(name)
        await upstream.start()
        self.pods[name] = Pod(name, upstream)
        self.pods[name].tell(self.kube, ready=ready)

    async def remove(self, name: str) -> None:
        pod = self.pods.pop(name)
        pod.forget(self.kube)
        self._gone.append(pod)


async def test_tcp_connections_follow_and_old_ones_stay(kube: KubeServer, tmp_path: Path) -> None:
    async with FakeTcpUpstream() as one, FakeTcpUpstream() as two, asyncio.timeout(20):
        first, second = Pod("one", one), Pod("two", two)
        first.tell(kube)
        async with proxy_of(kube, tmp_path) as proxy:
            reader, writer = await asyncio.open_connection(*proxy.address("tcp"))
            writer.write(b"a")
            assert await reader.readexactly(1) == b"a"
            first.tell(kube, terminating=True)
            second.tell(kube)
            await kube.followed(proxy)
            for _ in range(4):
                _, other = await asyncio.open_connection(*proxy.address("tcp"))
                other.write(b"b")
                await proxy.advance(0)
                other.close()
            first.forget(kube)
            await kube.followed(proxy)
            writer.write(b"c")
            assert await reader.readexactly(1) == b"c"
            writer.close()
            assert (one.connections, two.connections) == (1, 4)


async def test_the_api_server_may_go_and_come_back_with_another_history(
    kube: KubeServer, tmp_path: Path, fetch: Any
) -> None:
    async with FakeUpstream("one") as one, FakeUpstream("two") as two:
        Pod("one", one).tell(kube)
        async with proxy_of(kube, tmp_path) as proxy:
            await kube.stop()
            asked = len(kube.requests)
            await proxy.advance(120)
            assert await bodies(fetch, proxy) == {b"one"}
            assert len(kube.requests) == asked
            kube.version = 10
            kube._log.clear()
            kube.objects.clear()
            kube.put("services", service("web"))
            Pod("two", two).tell(kube)
            await kube.start()
            await proxy.advance(40)
            assert await bodies(fetch, proxy) == {b"two"}


async def test_a_server_that_answers_nonsense_loses_nobody(kube: KubeServer, tmp_path: Path, fetch: Any) -> None:
    from aiohttp import web

    async def nonsense(request: web.Request) -> web.StreamResponse:
        count = len(kube.requests) % 3
        if count == 0:
            return web.Response(text="<html>Bad Gateway</html>", status=502)
        return web.Response(text="<html>") if count == 1 else status(429, "slow down", **{"Retry-After": "1"})

    async with FakeUpstream("one") as one:
        Pod("one", one).tell(kube)
        async with proxy_of(kube, tmp_path) as proxy:
            kube.answer = nonsense
            kube.cut()
            asked = len(kube.requests)
            await proxy.advance(120)
            assert await bodies(fetch, proxy) == {b"one"}
            assert 0 < len(kube.requests) - asked <= 120


@pytest.mark.parametrize("policy", ["ROUND_ROBIN", "LEAST_REQUEST", "RANDOM", "RING_HASH", "MAGLEV"])
async def test_every_policy_balances_over_pods(kube: KubeServer, tmp_path: Path, fetch: Any, policy: str) -> None:
    async with FakeUpstream("one") as one, FakeUpstream("two") as two:
        first, second = Pod("one", one), Pod("two", two)
        first.tell(kube)
        second.tell(kube)
        async with proxy_of(kube, tmp_path, more=f"    lb_policy: {policy}\n") as proxy:
            assert await bodies(fetch, proxy, 24) == {b"one", b"two"}
            first.tell(kube, terminating=True)
            await kube.followed(proxy)
            assert await bodies(fetch, proxy) == {b"two"}


async def test_checks_come_on_top_of_readiness(kube: KubeServer, tmp_path: Path, fetch: Any) -> None:
    check = (
        "    health_checks: [{timeout: 1s, interval: 1s, no_traffic_interval: 1s, unhealthy_threshold: 1,"
        " healthy_threshold: 1, http_health_check: {path: /ok}}]\n"
    )
    sick = {"two"}

    def pod(name: str) -> FakeUpstream:
        return FakeUpstream(respond=lambda request: 503 if request.path == "/ok" and name in sick else name)

    async with pod("one") as one, pod("two") as two:
        Pod("one", one).tell(kube)
        Pod("two", two).tell(kube)
        async with proxy_of(kube, tmp_path, more=check) as proxy:
            assert await bodies(fetch, proxy) == {b"one"}
            assert proxy.stats["cluster.web.membership_healthy"] == 1
            sick.clear()
            for _ in range(100):
                if proxy.stats["cluster.web.membership_healthy"] == 2:
                    break
                await proxy.advance(0.5)
            assert await bodies(fetch, proxy, 12) == {b"one", b"two"}


async def test_an_ejection_outlives_changes_of_slices(kube: KubeServer, tmp_path: Path, fetch: Any) -> None:
    detection = "    outlier_detection: {consecutive_5xx: 2, base_ejection_time: 60s, max_ejection_percent: 50}\n"
    async with FakeUpstream(500) as bad, FakeUpstream("good") as good:
        Pod("bad", bad).tell(kube)
        Pod("good", good).tell(kube)
        async with proxy_of(kube, tmp_path, more=detection) as proxy:
            await bodies(fetch, proxy, 6)
            assert proxy.stats["cluster.web.outlier_detection.ejections_active"] == 1
            Pod("bad", bad).tell(kube)
            kube.forget()
            kube.cut()
            await proxy.advance(10)
            assert await bodies(fetch, proxy) == {b"good"}


async def test_why_an_endpoint_is_no_host_can_be_read(kube: KubeServer, tmp_path: Path, fetch: Any) -> None:
    async with FakeUpstream("one") as one:
        Pod("one", one).tell(kube)
        kube.put("endpointslices", slice_of("web", "x", endpoint("10.0.0.9", ready=False, zone="z1", nodeName="n1")))
        async with proxy_of(kube, tmp_path) as proxy:
            await kube.followed(proxy)
            await fetch(proxy.url("web"))
            admin = proxy.url("admin")
            text = (await fetch(f"{admin}/minienvoy/kubernetes?cluster=web")).body.decode().splitlines()
            assert text[0] == "cluster web: service shop/web, port http"
            assert text[1] == "  1 hosts, 1 endpoints that are none"
            assert text[2].startswith(
                "  watch: endpointslices of shop (kubernetes.io/service-name=web): open, 2 objects"
            )
            assert text[-2] == f"  {one.address}  healthy, ready  (pod shop/one)"
            assert text[-1] == "  10.0.0.9:8080  not used, condition: not ready  (told by shop/x, zone z1, node n1)"
            (told,) = json.loads((await fetch(f"{admin}/minienvoy/kubernetes?format=json")).body)["clusters"]
            assert [each["excluded_because"] for each in told["endpoints"]] == ["", "condition: not ready"]
            assert (told["synced"], told["stale_seconds"], told["watches"][0]["connected"]) == (True, 0, True)
            assert (await fetch(f"{admin}/minienvoy/kubernetes?cluster=none")).status == 404
            for path in ("/config_dump", "/config_dump?include_eds", "/clusters?format=json"):
                assert json.loads((await fetch(admin + path)).body)
            listed = (await fetch(f"{admin}/clusters")).body.decode()
            assert f"web::{one.address}::health_flags::healthy\n" in listed
            stats = (await fetch(f"{admin}/stats?filter=kubernetes")).body.decode().splitlines()
            assert "kubernetes.endpointslices.shop.web.objects: 2" in stats
            assert "kubernetes.services.shop.web.stale_seconds: 0" in stats
            decision = proxy.explain.last()["discovery"]
            assert decision.chose == "1 of 2 endpoints are hosts"
            assert decision.because == "/minienvoy/kubernetes?cluster=web tells why the others are not"
            assert list(map(str, decision.rejected)) == ["10.0.0.9:8080 (condition: not ready)"]


async def test_a_wrong_field_is_told_with_file_and_line(kube: KubeServer, tmp_path: Path) -> None:
    path = tmp_path / "wrong.yaml"
    text = kubernetes_proxy("service: shop/web, port: http, famly: v4")
    path.write_text(text)
    with pytest.raises(ConfigError) as error:
        async with Proxy.from_yaml(path):
            pass
    line = 1 + text[: text.index("famly")].count("\n")
    assert f"wrong.yaml:{line}:" in str(error.value)
    assert "cluster_type.typed_config.value.famly: there is no field 'famly' (did you mean 'family'?)" in str(
        error.value
    )


async def test_no_cluster_no_page(tmp_path: Path, fetch: Any) -> None:
    text = "admin: {address: {socket_address: {address: 127.0.0.1, port_value: 0}}}\nstatic_resources: {}\n"
    async with Proxy.from_yaml(text) as proxy:
        answer = await fetch(f"{proxy.url('admin')}/minienvoy/kubernetes")
        assert (answer.status, answer.body) == (200, b"no cluster follows Kubernetes\n")
