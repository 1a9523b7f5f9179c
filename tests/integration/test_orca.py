"""A host tells of its load with its responses, and gets requests accordingly."""

from __future__ import annotations

import asyncio

import pytest

from minienvoy import Proxy

WEIGHTED = "envoy.extensions.load_balancing_policies.client_side_weighted_round_robin.v3.ClientSideWeightedRoundRobin"
CONFIG = """
static_resources:
  listeners:
  - name: http
    address: {socket_address: {address: 127.0.0.1, port_value: 0}}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: http
          route_config:
            virtual_hosts:
            - {name: all, domains: ["*"], routes: [{match: {prefix: /}, route: {cluster: users}}]}
          http_filters:
          - name: envoy.filters.http.router
            typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}
  clusters:
  - name: users
    http_protocol_options: {enable_trailers: true}
    load_balancing_policy:
      policies:
      - typed_extension_config:
          name: weighted
          typed_config:
            "@type": type.googleapis.com/WEIGHTED
            blackout_period: 1s
    load_assignment:
      cluster_name: users
      endpoints:
      - lb_endpoints:
        - endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: BUSY}}}
        - endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: IDLE}}}
"""


async def upstream(answer: bytes) -> asyncio.Server:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await reader.readuntil(b"\r\n\r\n"):
                writer.write(answer)
        except asyncio.IncompleteReadError:
            writer.close()

    return await asyncio.start_server(serve, "127.0.0.1", 0)


async def ask(proxy: Proxy, count: int) -> str:
    """Which host answered, as one letter for each request."""
    reader, writer = await asyncio.open_connection(*proxy.address("http"))
    found = ""
    for _ in range(count):
        writer.write(b"GET / HTTP/1.1\r\nhost: a.test\r\n\r\n")
        head = await reader.readuntil(b"\r\n\r\n")
        if b"transfer-encoding" in head:
            body = await reader.readuntil(b"\r\n\r\n")
            found += body.split(b"\r\n")[1].decode()
        else:
            found += (await reader.readexactly(1)).decode()
    writer.close()
    return found


@pytest.mark.asyncio
async def test_weights_come_from_headers_and_from_trailers() -> None:
    busy = await upstream(
        b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\n"
        b"endpoint-load-metrics: TEXT rps_fractional=100,application_utilization=0.9\r\n\r\nb"
    )
    idle = await upstream(
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\ni\r\n0\r\n"
        b"endpoint-load-metrics: TEXT rps_fractional=100,application_utilization=0.3\r\n\r\n"
    )
    ports = [server.sockets[0].getsockname()[1] for server in (busy, idle)]
    config = CONFIG.replace("WEIGHTED", WEIGHTED).replace("BUSY", str(ports[0])).replace("IDLE", str(ports[1]))
    async with busy, idle, Proxy.from_yaml(config, time="simulated", seed=5) as proxy:
        assert sorted(await ask(proxy, 4)) == ["b", "b", "i", "i"]
        await proxy.advance(2.5)
        answered = await ask(proxy, 40)
    assert answered.count("i") == 30
