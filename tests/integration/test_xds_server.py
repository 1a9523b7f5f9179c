"""Real Envoys that balance over what FakeKube has, by way of the xDS server."""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

pytest.importorskip("grpc")
pytest.importorskip("kubernetes_asyncio")

from minienvoy.discovery.xds_server.server import XdsServer
from minienvoy.testing.fake_kube import FakeKube
from tests.kube_manifests import web

pytestmark = pytest.mark.asyncio

FILE = """
resources:
- "@type": type.googleapis.com/envoy.config.cluster.v3.Cluster
  name: web
  type: EDS
  connect_timeout: 1s
  eds_cluster_config:
    service_name: default/web:http
    eds_config: {ads: {}, resource_api_version: V3}
- "@type": type.googleapis.com/envoy.config.route.v3.RouteConfiguration
  name: all
  virtual_hosts: [{name: all, domains: ["*"], routes: [{match: {prefix: /}, route: {cluster: web}}]}]
- "@type": type.googleapis.com/envoy.config.listener.v3.Listener
  name: main
  address: {socket_address: {address: 127.0.0.1, port_value: 0}}
  filter_chains:
  - filters:
    - name: http
      typed_config:
        "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
        stat_prefix: in
        rds: {route_config_name: all, config_source: {ads: {}, resource_api_version: V3}}
        http_filters:
        - name: r
          typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}
"""
ENVOY = """
node: {{id: one, cluster: envoys}}
admin: {{address: {{socket_address: {{address: 127.0.0.1, port_value: 0}}}}}}
dynamic_resources:
  ads_config:
    api_type: {api}
    transport_api_version: V3
    grpc_services: [{{envoy_grpc: {{cluster_name: xds}}}}]
  cds_config: {{ads: {{}}, resource_api_version: V3}}
  lds_config: {{ads: {{}}, resource_api_version: V3}}
static_resources:
  clusters:
  - name: xds
    connect_timeout: 1s
    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: {{http2_protocol_options: {{}}}}
    load_assignment:
      cluster_name: xds
      endpoints:
      - lb_endpoints:
        - endpoint: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {port}}}}}}}
"""


@pytest_asyncio.fixture
async def kube() -> AsyncIterator[FakeKube]:
    numbers: dict[str, int] = {}

    def address(namespace: str, name: str) -> str:
        return f"127.0.1.{numbers.setdefault(name, len(numbers) + 1)}"

    async with FakeKube(pod_address=address, start_delay=0.01, end_delay=0.05) as kube:
        yield kube


@pytest_asyncio.fixture
async def upstream_port() -> AsyncIterator[int]:
    """Of what the pods answer with: `hello`, at the address of each."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.readuntil(b"\r\n\r\n"):
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello")

    async def serve_until_closed(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            await serve(reader, writer)
        writer.close()

    first = await asyncio.start_server(serve_until_closed, "127.0.1.1", 0)
    port = first.sockets[0].getsockname()[1]
    rest = await asyncio.start_server(serve_until_closed, [f"127.0.1.{number}" for number in range(2, 9)], port)
    async with first, rest:
        yield port


@asynccontextmanager
async def running_envoy(binary: str, config: str) -> AsyncIterator[Callable[[str], Any]]:
    """`await ask("/clusters")` at its admin interface."""
    with tempfile.TemporaryDirectory() as directory:
        admin = Path(directory) / "admin"
        process = await asyncio.create_subprocess_exec(
            binary,
            *("--config-yaml", config, "--admin-address-path", str(admin), "--disable-hot-restart"),
            *("-l", "error", "--concurrency", "1"),
        )

        async def ask(path: str) -> str:
            return (await get(int(admin.read_text().rpartition(":")[2]), path))[1]

        try:
            await until(lambda: admin.exists() and bool(admin.read_text()))
            yield ask
        finally:
            process.terminate()
            await process.wait()


async def get(port: int, path: str = "/") -> tuple[int, str]:
    async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{port}{path}") as answer:
        return answer.status, await answer.text()


async def until(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(30):
        while True:
            found = condition()
            if await found if asyncio.iscoroutine(found) else found:
                return
            await asyncio.sleep(0.05)


@pytest.mark.parametrize("api", ["GRPC", "DELTA_GRPC"])
async def test_a_real_envoy_follows_pods(
    api: str, kube: FakeKube, upstream_port: int, envoy_binary: str, tmp_path: Path
) -> None:
    file = tmp_path / "resources.yaml"
    file.write_text(FILE)
    config = str(kube.kubeconfig(tmp_path / "kubeconfig"))
    async with (
        XdsServer(file=str(file), kubernetes={"kubeconfig": config}) as server,
        running_envoy(envoy_binary, ENVOY.format(api=api, port=server.port)) as ask,
    ):
        kube.apply(web(2, port=upstream_port))

        async def hosts() -> set[str]:
            found = json.loads(await ask("/clusters?format=json"))["cluster_statuses"]
            statuses = [
                each for cluster in found if cluster["name"] == "web" for each in cluster.get("host_statuses", [])
            ]
            return {each["address"]["socket_address"]["address"] for each in statuses}

        async def has(number: int) -> bool:
            return len(await hosts()) == number

        await until(lambda: has(2))
        listeners = json.loads(await ask("/listeners?format=json"))["listener_statuses"]
        port = listeners[0]["local_address"]["socket_address"]["port_value"]
        assert await get(port) == (200, "hello")
        kube.scale("web", 4)
        await until(lambda: has(4))
        file.write_text(FILE.replace("route: {cluster: web}", "direct_response: {status: 418}"))

        async def is_replaced() -> bool:
            return (await get(port))[0] == 418

        await until(is_replaced)
        kube.scale("web", 0)
        await until(lambda: has(0))
    assert server._server.streams == 0


async def test_envoys_refuse_what_can_not_be_and_come_again_when_the_server_does(
    kube: FakeKube, upstream_port: int, envoy_binary: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Two of them, one for each protocol. What one refuses is told with its name, and it goes on with what it has;
    after a restart of the server with other resources each has what there is now, and nothing else."""
    file = tmp_path / "resources.yaml"
    file.write_text(FILE)
    settings = {"kubeconfig": str(kube.kubeconfig(tmp_path / "kubeconfig"))}
    kube.apply(web(2, port=upstream_port))
    refused = """- "@type": type.googleapis.com/envoy.config.cluster.v3.Cluster
  name: refused
  connect_timeout: 1s
  type: STATIC
  load_assignment: {cluster_name: refused, endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: not.an.address, port_value: 1}}}}]}]}
"""  # noqa: E501
    extra = FILE[FILE.index("- ") : FILE.index("- ", FILE.index("- ") + 2)]
    extra = extra.replace("name: web", "name: more", 1).replace("default/web:http", "default/web:80")

    async with XdsServer(file=str(file), kubernetes=settings) as server:
        port = server.port
        sotw = running_envoy(envoy_binary, ENVOY.format(api="GRPC", port=port))
        delta = running_envoy(envoy_binary, ENVOY.format(api="DELTA_GRPC", port=port).replace("id: one", "id: two"))
        asks = [await sotw.__aenter__(), await delta.__aenter__()]

        async def have(clusters: set[str], hosts: int) -> bool:
            for ask in asks:
                found = json.loads(await ask("/clusters?format=json"))["cluster_statuses"]
                if {each["name"] for each in found} != {"xds", *clusters}:
                    return False
                if any(len(each.get("host_statuses", [])) != hosts for each in found if each["name"] != "xds"):
                    return False
            return True

        await until(lambda: have({"web"}, 2))
        file.write_text(FILE + refused)
        log = ""

        def are_told() -> bool:
            nonlocal log
            log += capfd.readouterr().err
            kind = "type.googleapis.com/envoy.config.cluster.v3.Cluster"
            return all(f"xds: {name} refuses {kind}: " in log for name in ("one", "two"))

        await until(are_told)
        assert await have({"web"}, 2)
        file.write_text(FILE + extra)
        await until(lambda: have({"web", "more"}, 2))
    # While the server is away nothing is lost.
    assert await have({"web", "more"}, 2)
    file.write_text(FILE)
    kube.scale("web", 3)
    try:
        async with XdsServer(file=str(file), kubernetes=settings, port=port):
            await until(lambda: have({"web"}, 3))
    finally:
        await delta.__aexit__(None, None, None)
        await sotw.__aexit__(None, None, None)


async def test_a_client_that_goes_leaves_nothing_behind(kube: FakeKube, envoy_binary: str, tmp_path: Path) -> None:
    file = tmp_path / "resources.yaml"
    file.write_text(FILE)
    config = str(kube.kubeconfig(tmp_path / "kubeconfig"))
    async with XdsServer(file=str(file), kubernetes={"kubeconfig": config}) as server:
        async with running_envoy(envoy_binary, ENVOY.format(api="GRPC", port=server.port)):
            await until(lambda: len(server._endpoints._followed) == 1)
        await until(lambda: not server._endpoints._followed and not server._server.streams)


async def test_a_file_that_can_not_be_used_names_the_place(tmp_path: Path) -> None:
    file = tmp_path / "resources.yaml"
    file.write_text(FILE.replace("connect_timeout: 1s", "connect_timeou: 1s"))
    with pytest.raises(Exception, match="no such field: 'connect_timeou'"):
        async with XdsServer(file=str(file)):
            pass
