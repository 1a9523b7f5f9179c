"""What an `Explanation` tells of a stream: each decision where it was made, in that order."""

from __future__ import annotations

import asyncio
import socket

import pytest

from minienvoy import Proxy
from minienvoy.testing.fake_upstream import FakeTcpUpstream, FakeUpstream, Reply

pytestmark = pytest.mark.asyncio

CONFIG = """\
admin:
  address: {socket_address: {address: 127.0.0.1, port_value: 0}}
static_resources:
  listeners:
  - name: http
    address: {socket_address: {address: 127.0.0.1, port_value: 0}}
    filter_chains:
    - name: everybody
      filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: ingress
          stream_idle_timeout: 5s
          route_config:
            virtual_hosts:
            - name: site
              domains: [site.test]
              routes:
              - name: one user
                match: {path: /users/me, headers: [{name: x-user, present_match: true}]}
                route: {cluster: users}
              - name: hello
                match: {path: /hello}
                direct_response: {status: 200, body: {inline_string: hello}}
              - name: old
                match: {prefix: /old}
                redirect: {path_redirect: /new}
              - name: users
                match: {prefix: /users}
                route: {cluster: users, timeout: 2s}
              - name: slow
                match: {prefix: /slow}
                route: {cluster: users, timeout: 0s}
              - name: nobody
                match: {prefix: /nobody}
                route: {cluster: nobody}
          http_filters:
          - name: envoy.filters.http.router
            typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}
  - name: tcp
    address: {socket_address: {address: 127.0.0.1, port_value: 0}}
    filter_chains:
    - name: loopback
      filter_chain_match: {direct_source_prefix_ranges: [{address_prefix: 127.0.0.1, prefix_len: 32}]}
      filters:
      - name: envoy.filters.network.tcp_proxy
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy
          stat_prefix: tcp
          cluster: bytes
  clusters:
  - {name: users, connect_timeout: 1s, load_assignment: {cluster_name: users}}
  - {name: bytes, load_assignment: {cluster_name: bytes}}
  - {name: nobody, load_assignment: {cluster_name: nobody}}
"""


@pytest.fixture
def fetch(fetch):
    """One request to the site."""
    return lambda url, host="site.test": fetch(url, host=host)


def start(users: list[str], data: tuple[str, ...] = (), **options) -> Proxy:
    return Proxy.from_yaml(CONFIG, endpoints={"users": users, "bytes": list(data)}, **options)


def told(explanation) -> list[tuple[str, str, str]]:
    return [(each.point, str(each.chose), each.because) for each in explanation.decisions]


def began(proxy: Proxy, listener: str = "http", chain: str = "everybody") -> list[tuple[str, str, str]]:
    host, port = proxy.address(listener)
    because = next(each.because for each in proxy.explain.last().decisions if each.point == "filter_chain")
    return [("listener", listener, f"accepted on {host}:{port}"), ("filter_chain", chain, because)]


async def test_a_request_that_was_forwarded(fetch):
    async with FakeUpstream("ok") as users, start([users.address]) as proxy:
        await fetch(proxy.url("http") + "/users/me?x=1")
        explanation = proxy.explain.last()
        assert told(explanation)[:2] == began(proxy)
        route, cluster, host, connection = explanation.decisions[2:]
        assert (route.point, str(route.chose)) == ("route", "users")
        assert route.because == "prefix /users matches /users/me in virtual host site"
        assert [str(each) for each in route.rejected] == [
            "one user (needs header x-user present)",
            "hello (path)",
            "old (path)",
        ]
        assert (cluster.point, cluster.chose, cluster.because) == ("cluster", "users", "route users")
        assert (host.point, str(host.chose), host.because) == ("host", users.address, "round robin over 1 of 1 hosts")
        assert (connection.point, connection.because) == ("connection", "new")
        assert str(connection.chose).endswith(f" -> {users.address}")
        assert explanation.request_id == users.requests[0]["x-request-id"]
        assert proxy.explain.for_request_id(explanation.request_id) is explanation
        await fetch(proxy.url("http") + "/users")
        assert proxy.explain.last()["connection"].because == "reused, request 2"


@pytest.mark.parametrize(
    ("path", "status", "details"), [("/hello", 200, "direct_response"), ("/old", 301, "direct_response")]
)
async def test_a_request_that_the_route_answers(fetch, path, status, details):
    async with start([]) as proxy:
        assert (await fetch(proxy.url("http") + path)).status == status
        explanation = proxy.explain.last()
        assert [each.point for each in explanation.decisions] == ["listener", "filter_chain", "route", "local_reply"]
        assert (explanation["local_reply"].chose, explanation["local_reply"].because) == (status, details)
        assert "cluster" not in explanation
        with pytest.raises(KeyError, match="cluster"):
            explanation["cluster"]


async def test_no_route(fetch):
    async with start([]) as proxy:
        assert (await fetch(proxy.url("http") + "/nothing")).status == 404
        route, reply = proxy.explain.last().decisions[2:]
        assert (route.chose, route.because) == (None, "route_not_found")
        assert [str(each) for each in route.rejected] == [
            f"{name} (path)" for name in ("one user", "hello", "old", "users", "slow", "nobody")
        ]
        assert (reply.point, reply.chose, reply.because) == ("local_reply", 404, "route_not_found")


async def test_no_virtual_host(fetch):
    async with start([]) as proxy:
        assert (await fetch(proxy.url("http") + "/users", host="other.test")).status == 404
        assert told(proxy.explain.last())[2:] == [
            ("route", "None", "no virtual host for other.test"),
            ("local_reply", "404", "route_not_found"),
        ]


async def test_no_healthy_upstream(fetch):
    async with start([]) as proxy:
        assert (await fetch(proxy.url("http") + "/nobody")).status == 503
        assert told(proxy.explain.last())[3:] == [
            ("cluster", "nobody", "route nobody"),
            ("host", "None", "no_healthy_upstream"),
            ("local_reply", "503", "no_healthy_upstream"),
        ]


async def test_a_host_that_refuses(fetch):
    with socket.create_server(("127.0.0.1", 0)) as probe:
        nobody = f"127.0.0.1:{probe.getsockname()[1]}"
    async with start([nobody]) as proxy:
        assert (await fetch(proxy.url("http") + "/users")).status == 503
        words = "remote_connection_failure|delayed_connect_error:_Connection_refused"
        assert told(proxy.explain.last())[4:] == [
            ("host", nobody, "round robin over 1 of 1 hosts"),
            ("connection", "None", f"{nobody}: {words}"),
            ("local_reply", "503", f"upstream_reset_before_response_started{{{words}}}"),
        ]


@pytest.mark.parametrize(
    ("path", "seconds", "reached", "details"),
    [
        ("/users", 2.0, ("route timeout", "no complete response within 2 s"), "response_timeout"),
        ("/slow", 5.0, ("stream_idle_timeout", "reached after 5.000 s"), "stream_idle_timeout"),
    ],
)
async def test_timeouts(fetch, path, seconds, reached, details):
    async with FakeUpstream(Reply(hang=True)) as users, start([users.address], time="simulated") as proxy:
        asking = asyncio.ensure_future(fetch(proxy.url("http") + path))
        await proxy.advance(seconds)
        assert (await asking).status == 504
        assert told(proxy.explain.last())[6:] == [("timeout", *reached), ("local_reply", "504", details)]


async def test_a_connection_of_bytes():
    async with FakeTcpUpstream(greeting=b"hi") as data, start([], (data.address,)) as proxy:
        reader, writer = await asyncio.open_connection(*proxy.address("tcp"))
        assert await reader.readexactly(2) == b"hi"
        assert len(proxy.explain) == 0, "it is explained when it is over"
        writer.close()
        while not len(proxy.explain):  # noqa: ASYNC110
            await asyncio.sleep(0)
        await writer.wait_closed()
        assert told(proxy.explain.last()) == [
            *began(proxy, "tcp", "loopback"),
            ("cluster", "bytes", "tcp_proxy"),
            ("host", data.address, "round robin over 1 of 1 hosts"),
            ("connection", data.address, "new"),
        ]


async def test_a_connection_that_no_filter_chain_wants():
    async with start([]) as proxy:
        reader, writer = await asyncio.open_connection(*proxy.address("tcp"), local_addr=("127.0.0.2", 0))
        assert await reader.read() == b""
        writer.close()
        await writer.wait_closed()
        decision = proxy.explain.last()["filter_chain"]
        assert (decision.chose, decision.because) == (None, "filter_chain_not_found")
        assert [str(each).split(" ")[0] for each in decision.rejected] == ["loopback"]


async def test_each_request_of_a_connection_begins_with_its_decisions(fetch):
    async with start([]) as proxy:
        reader, writer = await asyncio.open_connection(*proxy.address("http"))
        for _ in range(2):
            writer.write(b"GET /hello HTTP/1.1\r\nhost: site.test\r\n\r\n")
            await reader.readuntil(b"hello")
        writer.close()
        await writer.wait_closed()
        assert [[each.point for each in explanation.decisions] for explanation in proxy.explain] == [
            ["listener", "filter_chain", "route", "local_reply"]
        ] * 2


async def test_the_admin_interface_is_not_explained(fetch):
    async with start([]) as proxy:
        await fetch(proxy.url("http") + "/hello")
        for path in ("/ready", "/stats", "/minienvoy/explain?last=3"):
            answer = await fetch(proxy.url("admin") + path)
        assert len(proxy.explain) == 1
        assert b"direct_response" in answer.body


async def test_nothing_is_recorded_if_it_is_not_wanted(fetch):
    async with start([], explain=False) as proxy:
        await fetch(proxy.url("http") + "/hello")
        assert len(proxy.explain) == 0
