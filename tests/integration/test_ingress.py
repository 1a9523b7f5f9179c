"""`minienvoy kubernetes` over FakeKube: what is applied is served."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio
import yaml

pytest.importorskip("kubernetes_asyncio")

from minienvoy.errors import ConfigError
from minienvoy.ingress.controller import IngressController, IngressSettings
from minienvoy.testing import ca
from minienvoy.testing.fake_kube import FakeKube
from tests.kube_manifests import web

pytestmark = pytest.mark.asyncio


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest_asyncio.fixture
async def upstream_port() -> AsyncIterator[int]:
    """Of what the pods answer with: their path."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while head := await reader.readuntil(b"\r\n\r\n"):
                path = head.split()[1]
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(path), path))
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[1]


@pytest_asyncio.fixture
async def kube(upstream_port: int) -> AsyncIterator[FakeKube]:
    async with FakeKube(pod_address=lambda namespace, name: "127.0.0.1", start_delay=0.01) as kube:
        kube.apply(web(1, port=upstream_port))
        yield kube


INGRESS = """
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: web}
spec:
  ingressClassName: mine
  tls: [{hosts: [a.test], secretName: cert}]
  rules:
  - host: a.test
    http: {paths: [{path: /one, pathType: Prefix, backend: {service: {name: web, port: {number: 80}}}}]}
"""
GATEWAY = """
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: gate}
spec: {gatewayClassName: mine, listeners: [{name: web, port: 80, protocol: HTTP}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: web}
spec:
  parentRefs: [{name: gate}]
  rules:
  - matches: [{path: {value: /old}}]
    filters: [{type: URLRewrite, urlRewrite: {path: {type: ReplacePrefixMatch, replacePrefixMatch: /new}}}]
    backendRefs: [{name: web, port: 80}]
"""


async def get(url: str, host: str = "a.test", **options: object) -> tuple[int, str]:
    async with (
        aiohttp.ClientSession() as session,
        session.get(url, headers={"host": host}, allow_redirects=False, **options) as answer,  # type: ignore[arg-type]
    ):
        return answer.status, await answer.text()


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(30):
        while True:
            if await condition():
                return
            await asyncio.sleep(0.05)


def settings_of(kube: FakeKube, directory: Path, **settings: object) -> IngressSettings:
    config = str(kube.kubeconfig(directory / "kubeconfig"))
    return IngressSettings(kubernetes={"kubeconfig": config}, **settings)  # type: ignore[arg-type]


async def test_an_ingress_is_served_and_followed(kube: FakeKube, tmp_path: Path) -> None:
    issued = ca().issue("a.test")
    chain, key = issued.certificate, issued.private_key
    data = {"tls.crt": chain, "tls.key": key}
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "cert"}, "type": "kubernetes.io/tls"}
    kube.apply({**secret, "data": {name: encoded(text) for name, text in data.items()}})
    kube.apply(INGRESS)
    http, https = free_port(), free_port()
    settings = settings_of(kube, tmp_path, ingress_class="mine", http_port=http, https_port=https)
    async with IngressController(settings) as controller:
        await asyncio.wait_for(controller.ready.wait(), 30)
        url = f"http://127.0.0.1:{http}"

        async def is_served() -> bool:
            return await get(f"{url}/one/more") == (200, "/one/more")

        await until(is_served)
        assert (await get(f"{url}/other"))[0] == 404
        assert (await get(f"{url}/one", host="b.test"))[0] == 404
        secure = await get(f"https://127.0.0.1:{https}/one", ssl=False, server_hostname="a.test")
        assert secure == (200, "/one")
        kube.apply(INGRESS.replace("path: /one", "path: /two"))

        async def is_changed() -> bool:
            return (await get(f"{url}/two"))[0] == 200 and (await get(f"{url}/one"))[0] == 404

        await until(is_changed)


def encoded(text: bytes | str) -> str:
    import base64

    return base64.b64encode(text if isinstance(text, bytes) else text.encode()).decode()


async def test_a_gateway_and_its_route_are_served_and_followed(kube: FakeKube, tmp_path: Path) -> None:
    port = free_port()
    settings = settings_of(kube, tmp_path, gateway_class="mine", port_offset=port - 80)
    kube.apply(GATEWAY)
    async with IngressController(settings) as controller:
        await asyncio.wait_for(controller.ready.wait(), 30)
        url = f"http://127.0.0.1:{port}"

        async def is_served() -> bool:
            return await get(f"{url}/old/path") == (200, "/new/path")

        await until(is_served)
        objects = list(yaml.safe_load_all(GATEWAY))
        objects[1]["spec"]["rules"][0] = {"matches": [{"path": {"value": "/"}}], "filters": [REDIRECT]}
        kube.apply(objects[1])

        async def is_redirected() -> bool:
            return (await get(f"{url}/x"))[0] == 301

        await until(is_redirected)


REDIRECT = {"type": "RequestRedirect", "requestRedirect": {"scheme": "https", "statusCode": 301}}


GOOD = """
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: good}
spec:
  parentRefs: [{name: gate}]
  hostnames: [good.test]
  rules: [{backendRefs: [{name: web, port: 80}, {name: nobody, port: 80}]}]
"""
BAD = """
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: bad}
spec:
  parentRefs: [{name: gate}]
  hostnames: [bad.test]
  rules:
  - matches: [{path: {value: /}}]
    filters: [{type: RequestRedirect, requestRedirect: {port: -1}}]
"""


async def test_an_object_that_can_not_be_served_takes_nobody_with_it(
    kube: FakeKube, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    port, admin = free_port(), free_port()
    offset, taken = port - 80, socket.socket()
    taken.bind(("127.0.0.1", 0))
    taken.listen()
    number = taken.getsockname()[1] - offset
    listeners = f"listeners: [{{name: taken, port: {number}, protocol: HTTP}}, "
    kube.apply(GATEWAY.replace("listeners: [", listeners))
    kube.apply(BAD)
    kube.apply(GOOD)
    # A certificate that is none.
    data = {"tls.crt": encoded("no certificate"), "tls.key": encoded("no key")}
    kube.apply({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "cert"}, "data": data})
    kube.apply(INGRESS)
    settings = settings_of(
        kube,
        tmp_path,
        gateway_class="mine",
        ingress_class="mine",
        http_port=free_port(),
        https_port=free_port(),
        port_offset=offset,
        admin=f"127.0.0.1:{admin}",
    )
    with taken:
        async with IngressController(settings) as controller:
            await asyncio.wait_for(controller.ready.wait(), 30)
            url = f"http://127.0.0.1:{port}"
            told = await get(f"http://127.0.0.1:{admin}/minienvoy/kubernetes")
            assert "object HTTPRoute default/bad\n  left out: " in told[1]
            assert "Secret default/cert: tls.crt and tls.key can not be used: they are no PEM texts" in told[1]
            assert f"  note: port {taken.getsockname()[1]} can not be had: cannot bind" in told[1]

            async def is_served() -> bool:
                return (await get(f"{url}/x", host="good.test")) == (200, "/x")

            await until(is_served)
            # Every other request is for a backend that there is not.
            assert {(await get(f"{url}/x", host="good.test"))[0] for _ in range(40)} == {200, 500}
            assert (await get(f"{url}/x", host="bad.test"))[0] == 404
            kube.apply(BAD.replace("port: -1", "port: 81"))

            async def is_redirected() -> bool:
                return (await get(f"{url}/x", host="bad.test"))[0] == 302

            await until(is_redirected)
            told = await get(f"http://127.0.0.1:{admin}/minienvoy/kubernetes?format=json")
            states = {each["name"]: each["left_out"] for each in json.loads(told[1])["objects"]}
            assert "HTTPRoute default/bad" not in states
            assert states["Ingress default/web"] == ""  # it is served without TLS
    log = capfd.readouterr().err
    assert log.count("HTTPRoute default/bad is left out") == 1


async def test_settings_that_can_not_be_are_told_at_once() -> None:
    with pytest.raises(ConfigError, match="there is no field 'famly'"):
        async with IngressController(IngressSettings(ingress_class="mine", kubernetes={"famly": "v4"})):
            pass
