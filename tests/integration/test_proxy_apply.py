"""A proxy goes on with another configuration."""

from __future__ import annotations

import asyncio

import pytest

from minienvoy import ConfigError, Proxy
from minienvoy.errors import UsageError
from minienvoy.testing.fake_upstream import FakeUpstream

from .test_threaded_proxy import CONFIG, get

pytestmark = pytest.mark.asyncio

DIRECT = CONFIG.replace("route: {cluster: users, timeout: 2s}", "direct_response: {status: 202}")


async def test_a_listener_changes_and_keeps_its_port_and_its_connections(fetch):
    async with (
        FakeUpstream("hello") as upstream,
        Proxy.from_yaml(CONFIG, endpoints={"users": [upstream.address]}) as proxy,
    ):
        url = proxy.url()
        assert (await fetch(url + "/")).status == 200
        reader, writer = await asyncio.open_connection(*proxy.address())
        await proxy.apply(DIRECT)
        assert proxy.url() == url
        assert (await fetch(url + "/")).status == 202
        # A connection from before goes on as it began.
        writer.write(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
        assert (await reader.readline()).startswith(b"HTTP/1.1 200")
        writer.close()
        await writer.wait_closed()
        assert proxy.stats["listener_manager.listener_modified"] == 1


async def test_clusters_and_listeners_come_and_go(fetch):
    more = DIRECT.replace("name: ingress", "name: other").replace("- name: users", "- name: added")
    async with Proxy.from_yaml(CONFIG) as proxy:
        assert "users" in proxy.server.cluster_manager.clusters()
        await proxy.apply(more)
        assert list(proxy.server.cluster_manager.clusters()) == ["added"]
        assert (await fetch(proxy.url("other") + "/")).status == 202
        with pytest.raises(UsageError):
            proxy.url("ingress")


async def test_the_endpoints_of_a_cluster_change(fetch):
    def at(address: str) -> str:
        host, port = address.split(":")
        return CONFIG + (
            "    load_assignment: {cluster_name: users, endpoints: [{lb_endpoints: [{endpoint: {address: "
            f"{{socket_address: {{address: {host}, port_value: {port}}}}}}}}}]}}]}}\n"
        )

    async with FakeUpstream("one") as one, FakeUpstream("two") as two, Proxy.from_yaml(at(one.address)) as proxy:
        assert (await fetch(proxy.url() + "/")).body == b"one"
        await proxy.apply(at(two.address))
        assert (await fetch(proxy.url() + "/")).body == b"two"
        await proxy.apply(at(two.address))
        assert proxy.stats["cluster_manager.cluster_modified"] == 1


async def test_what_can_not_be_used_changes_nothing(fetch):
    async with Proxy.from_yaml(DIRECT) as proxy:
        with pytest.raises(ConfigError, match="unknown cluster 'nope'"):
            await proxy.apply(CONFIG.replace("cluster: users", "cluster: nope"))
        with pytest.raises(UsageError, match="not layered_runtime"):
            await proxy.apply(DIRECT + "layered_runtime: {layers: [{name: a, static_layer: {b: 1}}]}\n")
        assert (await fetch(proxy.url() + "/")).status == 202
        assert proxy.stats["listener_manager.listener_modified"] == 0


async def test_it_works_from_another_thread():
    with Proxy.from_yaml(CONFIG).in_thread() as proxy:
        assert (await asyncio.to_thread(get, proxy))[0] == 503
        proxy.apply(DIRECT)
        assert (await asyncio.to_thread(get, proxy))[0] == 202
