"""The admin interface over real sockets."""

from __future__ import annotations

import asyncio
import json

import pytest

from minienvoy import Proxy

pytestmark = pytest.mark.asyncio

CONFIG = """
admin: {address: {socket_address: {address: 127.0.0.1, port_value: 0}}}
layered_runtime: {layers: [{name: admin, admin_layer: {}}]}
static_resources:
  listeners:
  - name: main
    address: {socket_address: {address: 127.0.0.1, port_value: 0}}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: ingress
          route_config:
            name: local
            virtual_hosts:
            - name: all
              domains: ["*"]
              routes: [{match: {prefix: /}, direct_response: {status: 200, body: {inline_string: hello}}}]
          http_filters:
          - name: envoy.filters.http.router
            typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}
"""


@pytest.fixture
def proxy() -> Proxy:
    return Proxy.from_yaml(CONFIG)


async def raw(address: tuple[str, int], request: bytes) -> bytes:
    """All that is answered until the other side closes."""
    async with asyncio.timeout(10):
        reader, writer = await asyncio.open_connection(*address)
        try:
            writer.write(request)
            return await reader.read()
        finally:
            writer.close()
            await writer.wait_closed()


async def test_headers_stand_in_envoys_order(proxy, fetch):
    async with proxy:
        response = await fetch(f"{proxy.url('admin')}/ready")
    assert response.body == b"LIVE\n"
    assert [(name, "" if name == "date" else value) for name, value in response.headers] == [
        ("content-type", "text/plain; charset=UTF-8"),
        ("cache-control", "no-cache, max-age=0"),
        ("x-content-type-options", "nosniff"),
        ("date", ""),
        ("server", "envoy"),
        ("connection", "close"),
        ("transfer-encoding", "chunked"),
    ]


@pytest.mark.parametrize("path", ["//ready", "/%72eady", "/x/../ready", "/ready?x"])
async def test_paths_are_normalised(proxy, fetch, path):
    async with proxy:
        assert (await fetch(f"{proxy.url('admin')}{path}")).body == b"LIVE\n"


async def test_refusals_are_closed_at_once(proxy):
    async with proxy:
        answer = await raw(proxy.address("admin"), b"GET /nope HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 404 Not Found\r\n")


@pytest.mark.parametrize(("asked", "answered"), [(1, 1), (2, 2), (3, 2), (9, 2)])
async def test_of_requests_in_one_piece_two_are_answered_and_more_are_a_flood_as_in_envoy(proxy, asked, answered):
    async with proxy:
        last = b"GET /ready HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n"
        request = b"GET /ready HTTP/1.1\r\nhost: a\r\n\r\n" * (asked - 1) + last
        answer = await raw(proxy.address("admin"), request)
    assert answer.count(b"\r\n\r\n5\r\nLIVE\n\r\n0\r\n\r\n") == answered


async def test_head_is_answered_without_a_body(proxy, fetch):
    async with proxy:
        response = await fetch(f"{proxy.url('admin')}/stats", "HEAD")
    assert (response.status, response.body) == (200, b"")


async def test_a_form_changes_the_runtime(proxy, fetch):
    form = [("content-type", "application/x-www-form-urlencoded")]
    async with proxy:
        assert (await fetch(f"{proxy.url('admin')}/runtime_modify", "POST", form, b"a=1")).body == b"OK\n"
        shown = json.loads((await fetch(f"{proxy.url('admin')}/runtime")).body)
    assert shown["entries"]["a"]["final_value"] == "1"


async def test_too_large_a_body_is_refused(proxy):
    head = b"POST /runtime_modify HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: 1048577\r\n\r\n"
    async with proxy:
        answer = await raw(proxy.address("admin"), head + b"x" * 1048577)
    assert answer.startswith(b"HTTP/1.1 413 Payload Too Large\r\n")


async def test_what_went_through_is_shown_everywhere(proxy, fetch):
    async with proxy:
        await fetch(f"{proxy.url('main')}/")
        admin, address = proxy.url("admin"), proxy.address("main")
        counted = (await fetch(f"{admin}/stats?filter=^http.ingress.downstream_rq_2xx")).body
        listed = (await fetch(f"{admin}/listeners")).body.decode()
        (explained,) = json.loads((await fetch(f"{admin}/minienvoy/explain")).body)["explanations"]
        dumped = json.loads((await fetch(f"{admin}/config_dump?resource=static_route_configs")).body)
    assert counted == b"http.ingress.downstream_rq_2xx: 1\n"
    assert listed == "main::{}:{}\n".format(*address)
    assert "route" in [decision["point"] for decision in explained["decisions"]]
    assert [entry["route_config"]["name"] for entry in dumped["configs"]] == ["local"]


async def test_listeners_are_drained_and_health_checks_failed(proxy, fetch):
    async with proxy:
        admin = proxy.url("admin")
        assert (await fetch(f"{admin}/healthcheck/fail", "POST")).body == b"OK\n"
        assert (await fetch(f"{admin}/ready")).status == 503
        assert (await fetch(f"{proxy.url('main')}/"))["connection"] == "close"
        assert (await fetch(f"{admin}/drain_listeners", "POST")).body == b"OK\n"
        assert (await fetch(f"{admin}/stats?filter=listener_stopped")).body == (
            b"listener_manager.listener_stopped: 1\n"
        )


async def test_quitquitquit_is_answered_and_asks_the_owner_to_stop(proxy, fetch):
    asked = []
    async with proxy:
        proxy.server.on_shutdown = lambda: asked.append(True)
        assert (await fetch(f"{proxy.url('admin')}/quitquitquit", "POST")).body == b"OK\n"
    assert asked == [True]
