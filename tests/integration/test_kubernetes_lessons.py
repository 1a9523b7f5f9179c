"""Lessons 11 and 12 do what their head comments say."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from minienvoy import Proxy
from minienvoy.testing.fake_upstream import FakeUpstream
from tests.kube_server import KubeServer, endpoint, pod, service, slice_of

pytestmark = pytest.mark.asyncio


@pytest_asyncio.fixture
async def kube(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[KubeServer]:
    async with KubeServer() as server:
        monkeypatch.setenv("KUBECONFIG", server.kubeconfig(tmp_path))
        server.put("services", {**service("web"), "metadata": {"namespace": "default", "name": "web"}})
        yield server


def port_of(upstream: FakeUpstream) -> int:
    return int(upstream.address.rpartition(":")[2])


def here(item: dict[str, Any]) -> dict[str, Any]:
    item["metadata"]["namespace"] = "default"
    return item


async def test_11_requests_go_to_the_pods_of_the_service(root: Path, kube: KubeServer, fetch: Any) -> None:
    async with FakeUpstream("one") as one, FakeUpstream("two") as two:

        def slice_at(upstream: FakeUpstream, *endpoints: dict[str, Any], name: str) -> dict[str, Any]:
            return here(slice_of("web", name, *endpoints, port=port_of(upstream)))

        kube.put("endpointslices", slice_at(one, endpoint("127.0.0.1"), endpoint("127.0.0.9", ready=False), name="a"))
        async with Proxy.from_yaml(root / "configs/11_kubernetes_service.yaml", time="simulated", ports="ephemeral") as proxy:  # fmt: skip  # noqa: E501
            url = proxy.url("http")
            assert {(await fetch(url)).body for _ in range(4)} == {b"one"}
            told = (await fetch(f"{proxy.url('admin')}/minienvoy/kubernetes")).body.decode()
            assert "127.0.0.9" in told and "not used, condition: not ready" in told
            leaving = endpoint("127.0.0.1", ready=False, serving=True, conditions={"terminating": True})
            kube.put("endpointslices", slice_at(one, leaving, name="a"))
            kube.put("endpointslices", slice_at(two, endpoint("127.0.0.1"), name="b"))
            await kube.followed(proxy)
            assert {(await fetch(url)).body for _ in range(4)} == {b"two"}
            await kube.stop()
            await proxy.advance(300)
            assert (await fetch(url)).body == b"two"


async def test_12_a_subset_of_pods_by_their_label_and_an_eds_source(root: Path, kube: KubeServer, fetch: Any) -> None:
    async with FakeUpstream("one") as one, FakeUpstream("two") as two:
        kube.put("pods", here(pod("a", "127.0.0.1", port=port_of(one), labels={"app": "web", "version": "v1"})))
        canary = {"app": "web", "version": "v2"}
        kube.put("pods", here(pod("b", "127.0.0.1", port=port_of(two), labels=canary)))
        kube.put("endpointslices", here(slice_of("web", "a", endpoint("127.0.0.1"), port=port_of(one))))
        async with Proxy.from_yaml(root / "configs/12_kubernetes_pods.yaml", time="simulated", ports="ephemeral") as proxy:  # fmt: skip  # noqa: E501
            url = proxy.url("http")
            assert {(await fetch(f"{url}/canary")).body for _ in range(4)} == {b"two"}
            assert {(await fetch(url)).body for _ in range(4)} == {b"one"}
            kube.delete("pods", "b", "default")
            await kube.followed(proxy)
            assert (await fetch(f"{url}/canary")).status == 503


async def test_12_a_real_envoy_reads_its_eds_cluster(root: Path, tmp_path: Path, envoy: Any) -> None:
    text = (root / "configs/12_kubernetes_pods.yaml").read_text()
    begin, end = text.index("  - name: pods\n"), text.index("  - name: web\n")
    # An Envoy wants to be called something before it asks anybody for endpoints; and it has no cluster of our type.
    path = tmp_path / "eds.yaml"
    path.write_text(
        "node: {id: a, cluster: b}\n" + (text[:begin] + text[end:]).replace("cluster: pods", "cluster: web")
    )
    checked = envoy("--mode", "validate", "-c", str(path))
    assert checked.returncode == 0, checked.stderr
