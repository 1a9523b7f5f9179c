"""Fields that are easily declared and forgotten, from the configuration to what a client, an upstream or a log sees."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from minienvoy import Proxy
from minienvoy.testing.fake_upstream import FakeTcpUpstream, FakeUpstream, Reply

pytestmark = pytest.mark.asyncio

TYPES = "type.googleapis.com/envoy.extensions"
RAW_BUFFER = {
    "name": "envoy.transport_sockets.raw_buffer",
    "typed_config": {"@type": f"{TYPES}.transport_sockets.raw_buffer.v3.RawBuffer"},
}
ANY_PORT = {"socket_address": {"address": "127.0.0.1", "port_value": 0}}


def metadata(value: str) -> dict[str, Any]:
    return {"filter_metadata": {"who": {"am": value, "list": [1, True]}}}


def stdout_log(text: str) -> list[dict[str, Any]]:
    return [
        {
            "name": "log",
            "typed_config": {
                "@type": f"{TYPES}.access_loggers.stream.v3.StdoutAccessLog",
                "log_format": {"text_format_source": {"inline_string": text}},
            },
        }
    ]


def cluster(upstream: FakeUpstream | FakeTcpUpstream, **more: Any) -> dict[str, Any]:
    host, _, port = upstream.address.rpartition(":")
    address = {"socket_address": {"address": host, "port_value": int(port)}}
    endpoints = [{"lb_endpoints": [{"endpoint": {"address": address}}]}]
    return {"name": "backend", "load_assignment": {"cluster_name": "backend", "endpoints": endpoints}, **more}


def http_options(**common: Any) -> dict[str, Any]:
    name = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
    options = {"common_http_protocol_options": common, "explicit_http_config": {"http_protocol_options": {}}}
    return {"typed_extension_protocol_options": {name: {"@type": f"type.googleapis.com/{name}", **options}}}


def bootstrap(backend: dict[str, Any], filter: dict[str, Any], chain: Any = None, **listener: Any) -> dict[str, Any]:
    chains = [{"filters": [{"name": "filter", "typed_config": filter}], **(chain or {})}]
    return {
        "static_resources": {
            "listeners": [{"name": "main", "address": ANY_PORT, "filter_chains": chains, **listener}],
            "clusters": [backend],
        }
    }


def http(routes: list[Any] | None = None, virtual_host: Any = None, **manager: Any) -> dict[str, Any]:
    return {
        "@type": f"{TYPES}.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "ingress",
        "route_config": {
            "virtual_hosts": [
                {
                    "name": "all",
                    "domains": ["*"],
                    "routes": routes or [{"match": {"prefix": "/"}, "route": {"cluster": "backend"}}],
                    **(virtual_host or {}),
                }
            ]
        },
        "http_filters": [{"name": "router", "typed_config": {"@type": f"{TYPES}.filters.http.router.v3.Router"}}],
        **manager,
    }


KINDS = ("LISTENER", "LISTENER_FILTER_CHAIN", "VIRTUAL_HOST", "ROUTE", "CLUSTER")
METADATA_LINE = " ".join(f"%METADATA({kind}:who:am)%" for kind in KINDS) + "\n"


async def test_metadata_of_everything_reaches_logs_and_headers(fetch, capfd):
    routes = [
        {"match": {"prefix": "/here"}, "metadata": metadata("direct"), "direct_response": {"status": 200}},
        {
            "match": {"prefix": "/"},
            "metadata": metadata("route"),
            "route": {"cluster": "backend"},
            "response_headers_to_add": [{"header": {"key": "x-list", "value": "%METADATA(ROUTE:who:list)%"}}],
        },
    ]
    async with FakeUpstream("ok") as upstream:
        manager = http(routes, {"metadata": metadata("host")}, access_log=stdout_log(METADATA_LINE))
        config = bootstrap(
            cluster(upstream, metadata=metadata("cluster")),
            manager,
            {"metadata": metadata("chain")},
            metadata=metadata("listener"),
        )
        async with Proxy.from_dict(config) as proxy:
            await fetch(f"{proxy.url()}/here")
            answer = await fetch(proxy.url())
    assert answer["x-list"] == "[1,true]"
    assert capfd.readouterr().out == "listener chain host direct -\nlistener chain host route cluster\n"


async def test_a_tcp_connection_has_the_metadata_of_its_listener_and_cluster(capfd):
    async with FakeTcpUpstream(greeting=b"hello") as upstream:
        tcp = {
            "@type": f"{TYPES}.filters.network.tcp_proxy.v3.TcpProxy",
            "stat_prefix": "tcp",
            "cluster": "backend",
            "access_log": stdout_log(METADATA_LINE),
        }
        config = bootstrap(
            cluster(upstream, metadata=metadata("cluster")),
            tcp,
            {"metadata": metadata("chain")},
            metadata=metadata("listener"),
        )
        async with Proxy.from_dict(config) as proxy, asyncio.timeout(10):
            reader, writer = await asyncio.open_connection(*proxy.address())
            writer.write_eof()
            assert await reader.read() == b"hello"
            writer.close()
            await writer.wait_closed()
    assert capfd.readouterr().out == "listener chain - - cluster\n"


async def test_an_attempt_ends_when_its_cluster_says_so(fetch):
    async with FakeUpstream(Reply(hang=True)) as upstream:
        config = bootstrap(cluster(upstream, **http_options(max_stream_duration="2s")), http())
        async with Proxy.from_dict(config, time="simulated") as proxy:
            answering = asyncio.create_task(fetch(proxy.url()))
            await upstream.wait_for_requests()
            await proxy.advance(1.5)
            assert not answering.done()
            await proxy.advance(1.0)
            answer = await answering
            assert (answer.status, answer.body) == (504, b"upstream max stream duration reached")
            assert proxy.stats["cluster.backend.upstream_rq_max_duration_reached"] == 1
            assert proxy.stats.get("cluster.backend.upstream_rq_504", 0) == 0
            assert proxy.stats["cluster.backend.upstream_cx_destroy_local_with_active_rq"] == 1
            assert proxy.explain.last()["timeout"].chose == "upstream max_stream_duration"


async def test_an_attempt_that_is_done_in_time_is_left_alone(fetch):
    async with FakeUpstream("ok") as upstream:
        config = bootstrap(cluster(upstream, **http_options(max_stream_duration="2s")), http())
        async with Proxy.from_dict(config, time="simulated") as proxy:
            assert (await fetch(proxy.url())).status == 200
            await proxy.advance(3)
            assert proxy.stats["cluster.backend.upstream_rq_max_duration_reached"] == 0
            assert proxy.stats["cluster.backend.upstream_cx_active"] == 1


async def test_a_response_that_has_begun_is_broken_off_at_the_maximum(fetch):
    half = Reply(raw=b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf")
    async with FakeUpstream(half) as upstream:
        config = bootstrap(cluster(upstream, **http_options(max_stream_duration="2s")), http())
        async with Proxy.from_dict(config, time="simulated") as proxy:
            answering = asyncio.create_task(fetch(proxy.url()))
            await upstream.wait_for_requests()
            # Two until the stream is reset, one more until the connection is closed.
            await proxy.advance(4)
            with pytest.raises((asyncio.IncompleteReadError, ConnectionResetError)):
                await answering
            assert proxy.stats["http.ingress.downstream_rq_tx_reset"] == 1


async def test_a_response_timeout_is_an_error_of_the_host(fetch):
    async with FakeUpstream(Reply(hang=True)) as upstream:
        routes = [{"match": {"prefix": "/"}, "route": {"cluster": "backend", "timeout": "1s"}}]
        config = {**bootstrap(cluster(upstream), http(routes)), "admin": {"address": ANY_PORT}}
        async with Proxy.from_dict(config, time="simulated") as proxy:
            answering = asyncio.create_task(fetch(proxy.url("main")))
            await upstream.wait_for_requests()
            await proxy.advance(1.5)
            assert (await answering).status == 504
            clusters = (await fetch(f"{proxy.url('admin')}/clusters")).body.decode()
            assert f"backend::{upstream.address}::rq_error::1\n" in clusters
            assert f"backend::{upstream.address}::rq_timeout::1\n" in clusters
            # Only protocols that can reset a stream without its connection count these.
            assert proxy.stats["cluster.backend.upstream_rq_tx_reset"] == 0


@pytest.mark.parametrize("action", ["ALLOW", "REJECT_REQUEST", "DROP_HEADER"])
async def test_underscores_of_responses_are_nobodys_business(fetch, action):
    async with FakeUpstream(Reply(b"ok", headers=(("x_under", "1"),))) as upstream:
        config = bootstrap(cluster(upstream, **http_options(headers_with_underscores_action=action)), http())
        async with Proxy.from_dict(config) as proxy:
            answer = await fetch(proxy.url())
            assert (answer.status, answer["x_under"]) == (200, "1")


async def test_plain_connections_may_be_asked_for(fetch):
    async with FakeUpstream("ok") as upstream:
        config = bootstrap(cluster(upstream, transport_socket=RAW_BUFFER), http(), {"transport_socket": RAW_BUFFER})
        async with Proxy.from_dict(config) as proxy:
            assert (await fetch(proxy.url())).body == b"ok"


async def test_http_2_by_prior_knowledge_is_told_where_only_http_1_is_spoken():
    async with FakeUpstream("ok") as upstream:
        async with (
            Proxy.from_dict(bootstrap(cluster(upstream), http(codec_type="HTTP1"))) as proxy,
            asyncio.timeout(10),
        ):
            reader, writer = await asyncio.open_connection(*proxy.address())
            writer.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes.fromhex("000000040000000000"))
            answer = await reader.read()
            writer.close()
            await writer.wait_closed()
            assert proxy.stats["http.ingress.downstream_cx_protocol_error"] == 1
        assert answer.startswith(b"HTTP/1.1 400 Bad Request\r\n")
        assert answer.endswith(b"\r\nconnection: close\r\n\r\nBad Request")
        assert upstream.requests == []
