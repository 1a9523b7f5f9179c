"""A Service's pods behind a proxy, with an API server that comes, goes and lies."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from minienvoy import Proxy
from minienvoy.testing.fake_upstream import FakeUpstream
from tests.kube_server import KubeServer, endpoint, service, slice_of

LISTENER = """\
static_resources:
  listeners:
  - name: web
    address: {socket_address: {address: 127.0.0.1, port_value: 0}}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: web
          route_config: {virtual_hosts: [{name: all, domains: ["*"], routes: [{match: {prefix: /}, route: {cluster: web}}]}]}
          http_filters:
          - name: envoy.filters.http.router
            typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}
"""
CLUSTER = """\
  clusters:
  - name: web
    cluster_type:
      name: minienvoy.clusters.kubernetes
      typed_config:
        "@type": type.googleapis.com/xds.type.v3.TypedStruct
        type_url: type.googleapis.com/minienvoy.clusters.Kubernetes
        value: {service: shop/web, port: %(port)s, kubeconfig: %(kubeconfig)s%(more)s}
"""


def config(kubeconfig: str, *, port: str = "http", more: str = "") -> str:
    return LISTENER + CLUSTER % {"port": port, "kubeconfig": kubeconfig, "more": more}


@pytest_asyncio.fixture
async def kube() -> AsyncIterator[KubeServer]:
    async with KubeServer() as server:
        server.put("services", service("web"))
        yield server


async def settle(proxy: Proxy, seconds: float = 0.2) -> None:
    await proxy.advance(seconds)


@pytest.mark.asyncio
async def test_pods_are_followed_as_they_come_and_go(kube: KubeServer, tmp_path: Path, fetch: Any) -> None:
    async with FakeUpstream("one") as one, FakeUpstream("two") as two:
        rewrite = f", address_rewrite: {{10.1.0.1: '{one.address}', 10.1.0.2: '{two.address}'}}"
        kube.put("endpointslices", slice_of("web", "web-1", endpoint("10.1.0.1")))
        text = config(kube.kubeconfig(tmp_path), port="80", more=rewrite)
        async with Proxy.from_yaml(text, time="simulated") as proxy:
            url = proxy.url("web")
            assert (await fetch(url)).body == b"one"
            kube.put("endpointslices", slice_of("web", "web-1", endpoint("10.1.0.1"), endpoint("10.1.0.2")))
            await settle(proxy)
            assert {(await fetch(url)).body for _ in range(4)} == {b"one", b"two"}
            kube.put("endpointslices", slice_of("web", "web-1", endpoint("10.1.0.2")))
            await settle(proxy)
            assert {(await fetch(url)).body for _ in range(4)} == {b"two"}
