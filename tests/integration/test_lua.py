"""Scripts in a running proxy: what is left of them when streams end, and what time does to their calls."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import pytest

from minienvoy import Proxy
from minienvoy.testing.fake_upstream import FakeUpstream

_TYPE = "type.googleapis.com/envoy.extensions.filters"


def config(code: str, *clusters: str) -> dict[str, Any]:
    manager = {
        "@type": f"{_TYPE}.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "ingress",
        "route_config": {
            "virtual_hosts": [
                {"name": "all", "domains": ["*"], "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "users"}}]}
            ]
        },
        "http_filters": [
            {
                "name": "envoy.filters.http.lua",
                "typed_config": {
                    "@type": f"{_TYPE}.http.lua.v3.Lua",
                    "default_source_code": {"inline_string": code},
                },
            },
            {"name": "router", "typed_config": {"@type": f"{_TYPE}.http.router.v3.Router"}},
        ],
    }
    return {
        "static_resources": {
            "listeners": [
                {
                    "name": "ingress",
                    "address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}},
                    "filter_chains": [{"filters": [{"name": "hcm", "typed_config": manager}]}],
                }
            ],
            "clusters": [
                {"name": name, "type": "STATIC", "load_assignment": {"cluster_name": name}} for name in clusters
            ],
        }
    }


def silent() -> socket.socket:
    """A server that takes connections and says nothing."""
    server = socket.socket()
    server.bind(("127.0.0.1", 0))
    server.listen()
    return server


def setup_of(proxy: Proxy) -> Any:
    (listener,) = proxy.server.listener_manager.listeners()
    manager = listener.filter_chain_manager.filter_chains[0].filters[0]()
    make, *_ = manager.config.filter_chain.factories
    return make().config.default


@pytest.mark.asyncio
async def test_a_script_changes_and_answers(fetch):
    code = """
    function envoy_on_request(h)
      if h:headers():get(":path") == "/no" then
        h:respond({[":status"] = "403", ["x-why"] = "because"}, "no")
      end
      h:headers():add("x-script", "was here")
    end
    """
    async with FakeUpstream("hello") as users:
        endpoints = {"users": [users.address]}
        async with Proxy.from_dict(config(code, "users"), endpoints=endpoints) as proxy:
            answer = await fetch(f"{proxy.url()}/yes")
            assert (answer.status, answer.body) == (200, b"hello")
            answer = await fetch(f"{proxy.url()}/no")
            assert (answer.status, answer.body, answer["x-why"]) == (403, b"no", "because")
            assert [request["x-script"] for request in users.requests] == ["was here"]
            assert proxy.explain.last()["local_reply"].because == "lua_response"
            assert proxy.stats["http.ingress.lua.executions"] == 2
            assert proxy.stats["lua.lua_vm_count"] == 2


@pytest.mark.asyncio
async def test_a_call_times_out_when_simulated_time_says_so(fetch):
    code = """
    function envoy_on_request(h)
      local headers = h:httpCall("slow", {[":method"] = "GET", [":path"] = "/", [":authority"] = "a"}, nil, 5000)
      h:respond({[":status"] = headers[":status"]}, "after")
    end
    """
    with silent() as server:
        address = server.getsockname()
        endpoints = {"users": ["127.0.0.1:9"], "slow": [address]}
        tree = config(code, "users", "slow")
        async with Proxy.from_dict(tree, endpoints=endpoints, time="simulated") as proxy:
            asked = asyncio.ensure_future(fetch(proxy.url()))
            await proxy.advance(4.9)
            assert not asked.done()
            await proxy.advance(0.2)
            answer = await asked
            assert (answer.status, answer.body) == (504, b"after")


@pytest.mark.asyncio
async def test_nothing_is_kept_of_streams_that_have_ended(fetch):
    code = """
    function envoy_on_request(h)
      local mode = h:headers():get("x-mode")
      if mode == "error" then error("x") end
      if mode == "yield" then coroutine.yield() end
      if mode == "answer" then h:respond({[":status"] = "200"}, "x") end
      if mode == "body" then h:body() end
      local asked = {[":method"] = "GET", [":path"] = "/", [":authority"] = "a"}
      if mode == "call" then h:httpCall("slow", asked, nil, 0) end
    end
    function envoy_on_response(h) h:body() end
    """
    with silent() as server:
        async with FakeUpstream("hello") as users:
            endpoints = {"users": [users.address], "slow": [server.getsockname()]}
            async with Proxy.from_dict(config(code, "users", "slow"), endpoints=endpoints, time="simulated") as proxy:
                handles = setup_of(proxy).handles
                for mode in ("none", "error", "yield", "answer", "body"):
                    await fetch(proxy.url(), "POST", [("x-mode", mode)], b"abc")
                # Who goes away while a call is made.
                _, writer = await asyncio.open_connection(*proxy.address())
                writer.write(b"GET / HTTP/1.1\r\nhost: a\r\nx-mode: call\r\n\r\n")
                await proxy.advance(1)
                assert len(handles._handles) == 1
                assert proxy.stats["cluster.slow.upstream_rq_active"] == 1
                writer.close()
                await proxy.advance(1)
                assert proxy.stats["cluster.slow.upstream_rq_active"] == 0
                assert handles._handles == {}
                assert proxy.stats["http.ingress.lua.errors"] == 2


@pytest.mark.asyncio
async def test_a_machine_goes_with_its_listener():
    async with Proxy.from_dict(config("x = 1", "users")) as proxy:
        await proxy.apply(config("x = 2", "users"))
        await proxy.apply(config("x = 3", "users"))
        import gc

        gc.collect()
        # One is still draining.
        assert proxy.stats["lua.lua_vm_count"] <= 6
