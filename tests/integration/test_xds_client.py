"""minienvoy that is told by control planes what to do: by its own xDS server, and by scripts over grpcio."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from minienvoy import Proxy
from minienvoy.config.loader import load_message
from minienvoy.config.schema import message_class
from minienvoy.discovery.xds_server.server import XdsServer
from minienvoy.testing.fake_upstream import FakeUpstream

grpc = pytest.importorskip("grpc")

pytestmark = pytest.mark.asyncio

BOOTSTRAP = """
node: {{id: one, cluster: proxies}}
dynamic_resources:
  ads_config:
    api_type: {api}
    transport_api_version: V3
    grpc_services:
    - envoy_grpc: {{cluster_name: xds, retry_policy: {{retry_back_off: {{base_interval: 0.01s, max_interval: 0.05s}}}}}}
  cds_config: {{ads: {{}}, initial_fetch_timeout: {patience}}}
  lds_config: {{ads: {{}}, initial_fetch_timeout: {patience}}}
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
RESOURCES = """
resources:
- "@type": type.googleapis.com/envoy.config.cluster.v3.Cluster
  name: web
  type: EDS
  connect_timeout: 1s
  eds_cluster_config: {{eds_config: {{ads: {{}}}}}}
- "@type": type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment
  cluster_name: web
  endpoints:
  - lb_endpoints: [{{endpoint: {{address: {{socket_address: {{address: {host}, port_value: {port}}}}}}}}}]
- "@type": type.googleapis.com/envoy.config.route.v3.RouteConfiguration
  name: all
  virtual_hosts: [{{name: all, domains: ["*"], routes: [{{match: {{prefix: /}}, route: {{cluster: web}}}}]}}]
- "@type": type.googleapis.com/envoy.config.listener.v3.Listener
  name: main
  address: {{socket_address: {{address: 127.0.0.1, port_value: 0}}}}
  filter_chains:
  - filters:
    - name: http
      typed_config:
        "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
        stat_prefix: in
        rds: {{route_config_name: all, config_source: {{ads: {{}}}}}}
        http_filters:
        - name: r
          typed_config: {{"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}
"""


async def until(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(20):
        while True:
            found = condition()
            if await found if asyncio.iscoroutine(found) else found:
                return
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("api", ["GRPC", "DELTA_GRPC"])
async def test_our_own_server_is_followed_through_changes_and_a_restart(api: str, tmp_path: Path, fetch: Any) -> None:
    file = tmp_path / "resources.yaml"
    async with FakeUpstream("one") as one, FakeUpstream("two") as two:

        def put(upstream: FakeUpstream, change: tuple[str, str] = ("", "")) -> None:
            host, _, port = upstream.address.partition(":")
            file.write_text(RESOURCES.format(host=host, port=port).replace(*change))

        put(one)
        async with XdsServer(file=str(file)) as server:
            port = server.port
            proxy = Proxy.from_yaml(BOOTSTRAP.format(api=api, port=port, patience="15s"))
            await proxy.start()
            try:
                url = proxy.url("main") + "/"
                assert (await fetch(url)).body == b"one"
                put(two)

                async def is_two() -> bool:
                    return bool((await fetch(url)).body == b"two")

                await until(is_two)
                put(two, ("route: {cluster: web}", "direct_response: {status: 418}"))

                async def is_replaced() -> bool:
                    return bool((await fetch(url)).status == 418)

                await until(is_replaced)
                assert proxy.stats["control_plane.connected_state"] == 1
            except BaseException:
                await proxy.stop()
                raise
        try:
            await until(lambda: proxy.stats["control_plane.connected_state"] == 0)
            assert (await fetch(url)).status == 418
            put(one)
            async with XdsServer(file=str(file), port=port):

                async def is_back() -> bool:
                    return bool((await fetch(url)).body == b"one")

                await until(is_back)
        finally:
            await proxy.stop()


Behaviour = Callable[[AsyncIterator[bytes], Any], Awaitable[None]]


@asynccontextmanager
async def scripted(*behaviours: Behaviour) -> AsyncIterator[tuple[int, list[int]]]:
    """A server whose streams behave one after the other, the last one repeated; (its port, what was begun)."""
    begun: list[int] = []

    async def serve(requests: AsyncIterator[bytes], context: Any) -> None:
        begun.append(len(begun))
        await behaviours[min(len(begun), len(behaviours)) - 1](requests, context)

    class Handler(grpc.GenericRpcHandler):  # type: ignore[misc,name-defined]
        def service(self, details: Any) -> Any:
            return grpc.stream_stream_rpc_method_handler(serve)

    server = grpc.aio.server()
    server.add_generic_rpc_handlers((Handler(),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield port, begun
    finally:
        await server.stop(0)


def response(kind: str, version: str, *resources: Any) -> bytes:
    made = message_class("envoy.service.discovery.v3.DiscoveryResponse")(
        version_info=version, nonce=version, type_url=f"type.googleapis.com/{kind}"
    )
    for each in resources:
        made.resources.add().Pack(each)
    data: bytes = made.SerializeToString()
    return data


LISTENER = "envoy.config.listener.v3.Listener"
CLUSTER = "envoy.config.cluster.v3.Cluster"
GOOD = """
name: main
address: {socket_address: {address: 127.0.0.1, port_value: 0}}
filter_chains:
- filters:
  - name: http
    typed_config:
      "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
      stat_prefix: in
      route_config: {virtual_hosts: [{name: v, domains: ["*"], routes: [{match: {prefix: /}, direct_response: {status: 200}}]}]}
      http_filters:
      - name: r
        typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}
"""  # noqa: E501


async def good(requests: AsyncIterator[bytes], context: Any) -> None:
    """Answers what is asked first of each kind, and listens."""
    request_class = message_class("envoy.service.discovery.v3.DiscoveryRequest")
    async for data in requests:
        request = request_class.FromString(data)
        if request.response_nonce:
            continue
        if request.type_url.endswith(CLUSTER):
            await context.write(response(CLUSTER, "1"))
        else:
            await context.write(response(LISTENER, "1", load_message(GOOD, LISTENER).message))


async def garbage(requests: AsyncIterator[bytes], context: Any) -> None:
    await context.write(b"\xff" * 100)
    await asyncio.sleep(10)


async def huge(requests: AsyncIterator[bytes], context: Any) -> None:
    await context.write(b"x" * (1 << 20))
    await asyncio.sleep(10)


async def flapping(requests: AsyncIterator[bytes], context: Any) -> None:
    return


async def refusing(requests: AsyncIterator[bytes], context: Any) -> None:
    await context.abort(grpc.StatusCode.PERMISSION_DENIED, "not you")


async def half_closed(requests: AsyncIterator[bytes], context: Any) -> None:
    """Says nothing, for as long as it takes."""
    async for _ in requests:
        pass


async def nonsense(requests: AsyncIterator[bytes], context: Any) -> None:
    """Responses that nobody asked for, of types that there are not, with resources that are none."""
    await context.write(response("no.such.Type", "1"))
    await context.write(response("envoy.config.route.v3.RouteConfiguration", "1"))
    broken = message_class("envoy.service.discovery.v3.DiscoveryResponse")(
        version_info="1", type_url=f"type.googleapis.com/{CLUSTER}"
    )
    broken.resources.add(type_url=f"type.googleapis.com/{CLUSTER}", value=b"\xff\xff")
    await context.write(broken.SerializeToString())
    await context.write(response(CLUSTER, "2", message_class(CLUSTER)(name="")))


BAD: list[Behaviour] = [garbage, huge, flapping, refusing, flapping, nonsense, garbage]


async def test_a_server_that_behaves_badly_is_asked_again_until_it_behaves(fetch: Any) -> None:
    async with scripted(*BAD, good) as (port, begun):
        bootstrap = BOOTSTRAP.format(api="GRPC", port=port, patience="0s").replace(
            "{cluster_name: xds,", "{cluster_name: xds, max_receive_message_length: 65536,"
        )
        async with asyncio.timeout(20), Proxy.from_yaml(bootstrap) as proxy:
            assert (await fetch(proxy.url("main") + "/")).status == 200
            assert len(begun) == len(BAD) + 1
            assert proxy.stats["cluster_manager.cds.update_failure"] == len(BAD)
            assert proxy.stats["cluster_manager.cds.update_rejected"] == 2


async def test_what_runs_goes_on_whatever_the_server_does(fetch: Any) -> None:
    turns: list[Behaviour] = []

    async def good_and_gone(requests: AsyncIterator[bytes], context: Any) -> None:
        serving = asyncio.ensure_future(good(requests, context))
        await until(lambda: bool(turns))
        serving.cancel()

    async with scripted(good_and_gone, *BAD, half_closed) as (port, begun):
        bootstrap = BOOTSTRAP.format(api="GRPC", port=port, patience="15s").replace(
            "{cluster_name: xds,", "{cluster_name: xds, max_receive_message_length: 65536,"
        )
        async with Proxy.from_yaml(bootstrap) as proxy:
            url = proxy.url("main") + "/"
            assert (await fetch(url)).status == 200
            turns.append(good)
            await until(lambda: len(begun) == len(BAD) + 2)
            assert (await fetch(url)).status == 200
            assert proxy.stats["listener_manager.total_listeners_active"] == 1


async def test_a_server_that_says_nothing_is_not_waited_for_longer_than_it_may_take() -> None:
    async with (
        asyncio.timeout(10),
        scripted(half_closed) as (port, _),
        Proxy.from_yaml(BOOTSTRAP.format(api="GRPC", port=port, patience="0.1s")) as proxy,
    ):
        assert proxy.stats["cluster_manager.cds.init_fetch_timeout"] == 1
        assert proxy.stats["listener_manager.lds.init_fetch_timeout"] == 1


async def test_a_server_that_changes_its_mind_all_the_time_leaves_nothing_behind(fetch: Any) -> None:
    """Five hundred changes of a listener in place and of a cluster; what is kept of them does not grow."""
    turns = 500
    go = asyncio.Event()

    async def restless(requests: AsyncIterator[bytes], context: Any) -> None:
        request_class = message_class("envoy.service.discovery.v3.DiscoveryRequest")
        version = 0
        async for data in requests:
            request = request_class.FromString(data)
            assert not request.HasField("error_detail"), request.error_detail.message
            version += 1
            if version > 4:
                await go.wait()
            if version > turns:
                continue
            listener = GOOD.replace("status: 200", f"status: {200 + version % 10}")
            if request.type_url.endswith(CLUSTER):
                cluster = f"{{name: c, type: STATIC, connect_timeout: {version}s}}"
                await context.write(response(CLUSTER, str(version), load_message(cluster, CLUSTER).message))
            else:
                await context.write(response(LISTENER, str(version), load_message(listener, LISTENER).message))

    async with (
        scripted(restless) as (port, _),
        Proxy.from_yaml(BOOTSTRAP.format(api="GRPC", port=port, patience="15s")) as proxy,
    ):
        stats = proxy.stats
        proxy.server.listener_manager.drain_manager.drain_time = 0.05
        go.set()

        def versions() -> int:
            return stats["cluster_manager.cds.update_success"] + stats["listener_manager.lds.update_success"]

        await until(lambda: versions() >= turns)
        await until(lambda: stats["listener_manager.total_filter_chains_draining"] == 0)
        assert stats["listener_manager.listener_in_place_updated"] > 100
        assert (await fetch(proxy.url("main") + "/")).status // 10 == 20
        entries = proxy.server.stats.entries
        assert len(entries) < 400
        (listener,) = proxy.server.listener_manager.listeners()
        assert len(listener.scope._children) < 5
        assert len(listener.context.scope._children) < 5
