"""Discovery and FakeKube together: deployments that scale and roll, and every way in which the API server can fail.

In real time: FakeKube's controllers have a clock of their own. What takes minutes is in the unit tests.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from minienvoy import Proxy
from minienvoy.testing.fake_kube import FakeKube
from tests.bootstraps import kubernetes_cluster
from tests.kube_manifests import web
from tests.waiting import until

pytestmark = pytest.mark.asyncio

WEB = web(3)


@pytest_asyncio.fixture
async def kube() -> AsyncIterator[FakeKube]:
    async with FakeKube(start_delay=0.01, end_delay=0.05) as kube:
        kube.apply(WEB)
        yield kube


@pytest_asyncio.fixture
async def proxy(kube: FakeKube, tmp_path: Path) -> AsyncIterator[Proxy]:
    kubeconfig = kube.kubeconfig(tmp_path / "kubeconfig", token="one")
    slices = f"service: web, port: 80, kubeconfig: {kubeconfig}"
    pods = f"pods: {{label_selector: app=web, port: http}}, kubeconfig: {kubeconfig}"
    clusters = kubernetes_cluster("slices", slices) + kubernetes_cluster("pods", pods)
    async with Proxy.from_yaml(f"static_resources:\n  clusters:\n{clusters}") as proxy:
        await until(lambda: counts(proxy) == (3, 3))
        yield proxy


def counts(proxy: Proxy) -> tuple[int, int]:
    return tuple(proxy.stats[f"cluster.{name}.membership_healthy"] for name in ("slices", "pods"))  # type: ignore[return-value]


def sum_of(proxy: Proxy, name: str) -> int:
    prefixes = ("endpointslices.default.web", "services.default.web", "pods.default.app_web")
    return sum(proxy.stats[f"kubernetes.{prefix}.{name}"] for prefix in prefixes)


async def test_a_deployment_scales_and_rolls(kube: FakeKube, proxy: Proxy) -> None:
    kube.scale("default/web", 7)
    await until(lambda: counts(proxy) == (7, 7))
    before = set(kube.names("Pod"))
    kube.apply(WEB.replace("web:1", "web:2").replace("replicas: 3", "replicas: 7"))
    await until(lambda: before.isdisjoint(kube.names("Pod")) and counts(proxy) == (7, 7))
    kube.scale("default/web", 0)
    await until(lambda: counts(proxy) == (0, 0))
    kube.scale("default/web", 2)
    await until(lambda: counts(proxy) == (2, 2))
    assert sum_of(proxy, "relists") == 0
    assert sum_of(proxy, "malformed") == 0


async def test_a_pod_that_is_not_ready_is_no_host(kube: FakeKube, proxy: Proxy) -> None:
    pod = kube.names("Pod")[0]
    kube.set_ready(pod, False)
    await until(lambda: counts(proxy) == (2, 2))
    kube.set_ready(pod, True)
    await until(lambda: counts(proxy) == (3, 3))


@pytest.mark.parametrize("fault", ["status", "html", "half_lines", "expired", "tokens", "forbidden"])
async def test_hosts_outlive_what_is_wrong_with_the_server(kube: FakeKube, proxy: Proxy, fault: str) -> None:
    faults = kube.faults
    if fault == "status":
        faults.status = 503
    elif fault == "html":
        faults.status, faults.body, faults.content_type = 200, b"<html>It works!</html>", "text/html"
    elif fault == "tokens":
        faults.tokens = frozenset({"two"})
    elif fault == "forbidden":
        faults.forbidden = frozenset({"endpointslices", "services", "pods"})
    else:
        setattr(faults, fault, True)
    asked = sum_of(proxy, "requests")
    kube.cut()
    kube.scale("default/web", 5)
    await until(lambda: sum_of(proxy, "requests") - asked >= 3)
    await asyncio.sleep(1)
    assert sum_of(proxy, "requests") - asked <= 40
    assert all(3 <= each <= 5 for each in counts(proxy))
    faults.status, faults.body, faults.half_lines, faults.expired = 0, b"", False, False
    faults.tokens, faults.forbidden = None, frozenset()
    await until(lambda: counts(proxy) == (5, 5))


@pytest.mark.parametrize("lose_versions", [False, True])
async def test_hosts_outlive_a_restart(kube: FakeKube, proxy: Proxy, lose_versions: bool) -> None:
    await kube.go_away()
    await asyncio.sleep(0.3)
    assert counts(proxy) == (3, 3)
    kube.scale("default/web", 4)
    if lose_versions:
        kube.compact()
    await kube.come_back()
    await until(lambda: counts(proxy) == (4, 4))
    assert (sum_of(proxy, "relists") > 0) == lose_versions


async def test_compaction_and_410_list_again(kube: FakeKube, proxy: Proxy) -> None:
    kube.answer_410()
    kube.scale("default/web", 4)
    await until(lambda: counts(proxy) == (4, 4))
    kube.compact()
    kube.cut()
    kube.scale("default/web", 5)
    await until(lambda: counts(proxy) == (5, 5))
    assert sum_of(proxy, "relists") >= 3
