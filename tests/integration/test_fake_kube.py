"""FakeKube over its socket: kubectl, and what can be wrong with an API server."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from minienvoy.testing.fake_kube import FakeKube
from tests.kube_manifests import web
from tests.kubectl import kubectl_binary

WEB = web(3)
SLICES = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices"


@pytest_asyncio.fixture
async def kube() -> AsyncIterator[FakeKube]:
    async with FakeKube(start_delay=0.01, end_delay=0.05) as kube:
        yield kube


async def until(kube: FakeKube, condition: Callable[[], bool]) -> None:
    """Wait for the change after which it holds."""
    changed = asyncio.Event()
    stop = kube.store.listen(lambda _: changed.set())
    async with asyncio.timeout(20):
        while not condition():
            changed.clear()
            await changed.wait()
    stop()


# -- kubectl

Kubectl = Callable[..., Awaitable[str]]


@pytest.fixture
def kubectl(kube: FakeKube, tmp_path: Path) -> Kubectl:
    """`await kubectl("get", "pods")`: what it printed; it must have succeeded."""
    binary = kubectl_binary()
    config = kube.kubeconfig(tmp_path / "kubeconfig")

    async def run(*arguments: str, stdin: str = "") -> str:
        process = await asyncio.create_subprocess_exec(
            binary,
            *arguments,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={"KUBECONFIG": str(config), "HOME": str(tmp_path)},
        )
        out, err = await asyncio.wait_for(process.communicate(stdin.encode()), 30)
        assert process.returncode == 0, err.decode()
        return out.decode()

    return run


pytestmark = pytest.mark.asyncio


@pytest.mark.kubectl
async def test_kubectl_applies_scales_and_waits(kube: FakeKube, kubectl: Kubectl) -> None:
    out = await kubectl("apply", "-f", "-", stdin=WEB)
    assert out == "deployment.apps/web created\nservice/web created\n"
    assert "successfully rolled out" in await kubectl("rollout", "status", "deployment/web", "--timeout", "20s")
    assert "3/3" in await kubectl("get", "deployments")
    await kubectl("scale", "deployment/web", "--replicas", "5")
    await kubectl("wait", "--for=condition=Available", "deployment/web", "--timeout", "20s")
    await until(kube, lambda: ready_endpoints(kube) == 5)
    assert "10.1." in await kubectl("get", "endpointslices")
    await kubectl("set", "image", "deployment/web", "c=web:2")
    await kubectl("rollout", "status", "deployment/web", "--timeout", "20s")
    assert await kubectl("apply", "-f", "-", stdin=WEB) == "deployment.apps/web configured\nservice/web unchanged\n"
    waiting = asyncio.ensure_future(kubectl("wait", "--for=delete", "pod", "-l", "app=web", "--timeout", "20s"))
    await asyncio.sleep(0.5)
    await kubectl("delete", "deployment", "web")
    assert (await waiting).count("condition met") >= 3
    await until(kube, lambda: ready_endpoints(kube) == 0)


def ready_endpoints(kube: FakeKube) -> int:
    slices = [kube.get("EndpointSlice", name) for name in kube.names("EndpointSlice")]
    return sum(end["conditions"]["ready"] for each in slices for end in each["endpoints"] or ())


@pytest.mark.kubectl
async def test_kubectl_labels_annotates_patches_and_describes(kube: FakeKube, kubectl: Kubectl) -> None:
    await kubectl("apply", "--server-side", "-f", "-", stdin=WEB)
    await kubectl("rollout", "status", "deployment/web", "--timeout", "20s")
    assert (await kubectl("label", "pods", "-l", "app=web", "x=y")).count("labeled") == 3
    assert (await kubectl("get", "pods", "-l", "x in (y, z)", "-o", "name")).count("pod/") == 3
    await kubectl("annotate", "service", "web", "a=b")
    await kubectl("patch", "service", "web", "-p", '{"spec": {"ports": [{"port": 80, "targetPort": 9}]}}')
    await kubectl("patch", "service", "web", "--type", "merge", "-p", '{"metadata": {"labels": {"m": "n"}}}')
    add = [{"op": "add", "path": "/metadata/labels/j", "value": "k"}]
    await kubectl("patch", "service", "web", "--type", "json", "-p", json.dumps(add))
    service = kube.get("Service", "web")
    assert service["metadata"]["labels"] == {"m": "n", "j": "k"}
    assert service["metadata"]["annotations"] == {"a": "b"}
    assert service["spec"]["ports"] == [{"name": "http", "port": 80, "protocol": "TCP", "targetPort": 9}]
    described = await kubectl("describe", "deployment", "web")
    assert "3 desired | 3 updated | 3 total | 3 available | 0 unavailable" in described
    assert "deployments" in await kubectl("api-resources")


@pytest.mark.kubectl
async def test_kubectl_watches(kube: FakeKube, kubectl: Kubectl) -> None:
    await kubectl("apply", "-f", "-", stdin=WEB)
    await kubectl("rollout", "status", "deployment/web", "--timeout", "20s")
    watching = asyncio.ensure_future(kubectl("get", "pods", "-w", "--no-headers", "--request-timeout", "2s"))
    await asyncio.sleep(0.5)
    kube.scale("web", 4)
    assert len({line.split()[0] for line in (await watching).splitlines()}) == 4


@pytest.mark.kubectl
async def test_kubectl_is_told_what_there_is_not(kube: FakeKube, kubectl: Kubectl) -> None:
    await kubectl("apply", "-f", "-", stdin=WEB)
    await kubectl("rollout", "status", "deployment/web", "--timeout", "20s")
    pod = kube.names("Pod")[0].removeprefix("default/")
    assert (await kubectl("get", "all", "-o", "name")).count("pod/") == 3
    for what in (["port-forward", pod, "18080:80"], ["logs", pod], ["exec", pod, "--", "ls"]):
        with pytest.raises(AssertionError, match="nothing runs in them: there is no"):
            await kubectl(*what)


# -- what is wrong


async def get(kube: FakeKube, path: str, **query: str) -> tuple[int, Any]:
    async with aiohttp.ClientSession() as session, session.get(f"{kube.url}{path}", params=query) as answer:
        return answer.status, await answer.json()


async def test_pods_of_a_deployment_come_and_go_gracefully(kube: FakeKube) -> None:
    kube.apply(WEB)
    await until(kube, lambda: ready_endpoints(kube) == 3)
    kube.scale("web", 1)
    await until(kube, lambda: ready_endpoints(kube) == 1)
    slices = [kube.get("EndpointSlice", name) for name in kube.names("EndpointSlice")]
    ending = [end["conditions"] for each in slices for end in each["endpoints"] if end["conditions"]["terminating"]]
    assert ending == [{"ready": False, "serving": True, "terminating": True}] * 2
    await until(kube, lambda: len(kube.names("Pod")) == 1)


async def test_a_rolling_update_never_has_too_few_pods(kube: FakeKube) -> None:
    kube.apply(WEB)
    await until(kube, lambda: ready_endpoints(kube) == 3)
    fewest = 3

    def look(_: Any) -> None:
        nonlocal fewest
        fewest = min(fewest, ready_endpoints(kube))

    stop = kube.store.listen(look)
    kube.apply(WEB.replace("web:1", "web:2"))
    await until(
        kube, lambda: len({name.rsplit("-", 2)[-2] for name in kube.names("Pod")}) == 1 and ready_endpoints(kube) == 3
    )
    stop()
    assert fewest == 3


async def test_it_comes_back_at_the_same_address(kube: FakeKube) -> None:
    kube.apply(WEB)
    before = kube.url
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"{kube.url}{SLICES}", params={"watch": "true"}) as watch,
    ):
        await watch.content.readline()
        restarting = asyncio.ensure_future(kube.restart(lose_versions=True))
        with pytest.raises(aiohttp.ClientError):
            await watch.content.read()
        await restarting
    assert kube.url == before
    status, events = await get(kube, SLICES, watch="true", resourceVersion="1", timeoutSeconds="1")
    assert (status, events["type"], events["object"]["code"]) == (200, "ERROR", 410)


async def watched(kube: FakeKube, act: Callable[[], None]) -> bytes:
    """What comes of a watch after `act`, to its end."""
    async with aiohttp.ClientSession() as session:
        version = str(kube.store.version)
        async with session.get(f"{kube.url}{SLICES}", params={"watch": "1", "resourceVersion": version}) as answer:
            await asyncio.sleep(0.05)
            act()
            return await asyncio.wait_for(answer.content.read(), 20)


async def test_watches_end_and_expire(kube: FakeKube) -> None:
    assert await watched(kube, kube.end_watches) == b""
    assert b'"code":410' in await watched(kube, kube.answer_410)


async def test_half_a_line_comes_and_then_the_end(kube: FakeKube) -> None:
    def act() -> None:
        kube.faults.half_lines = True
        kube.apply({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "metadata": {"name": "a"},
                    "addressType": "IPv4"})  # fmt: skip

    found = await watched(kube, act)
    assert found.startswith(b'{"type":"ADDED"')
    assert not found.endswith(b"\n")


async def test_connections_are_cut(kube: FakeKube) -> None:
    with pytest.raises(aiohttp.ClientError):
        await watched(kube, kube.cut)


async def test_errors_delays_and_tokens(kube: FakeKube) -> None:
    kube.faults.status = 503
    assert (await get(kube, SLICES))[0] == 503
    kube.faults.status = 0
    kube.faults.tokens = frozenset({"secret"})
    assert await get(kube, SLICES) == (401, unauthorized())
    kube.faults.tokens = None
    kube.faults.forbidden = frozenset({"endpointslices"})
    status, body = await get(kube, SLICES)
    assert (status, body["reason"]) == (403, "Forbidden")
    assert 'cannot list resource "endpointslices" in API group "discovery.k8s.io"' in body["message"]
    kube.faults.forbidden = frozenset()
    kube.faults.stalled = True
    asking = asyncio.ensure_future(get(kube, SLICES))
    await asyncio.sleep(0.1)
    assert not asking.done()
    kube.faults.stalled = False
    assert (await asking)[0] == 200


def unauthorized() -> dict[str, Any]:
    return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": "Unauthorized",
            "reason": "Unauthorized", "code": 401}  # fmt: skip
