"""Tunnels of the TCP proxy between real sockets: what Envoy can not be asked for, as it does not survive it, and what
happens to bytes that one side does not take. Everything else is in the scenarios `tcp_tunneling*`."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.integration.l4_server import Backend, L4Server, Peer, cluster, l4_server, run, tcp_proxy

POST = {"hostname": "a.test", "use_post": True}
CONNECT = {"hostname": "a.test:443"}
HEAD = b"HTTP/1.1 200 OK\r\n"


async def asked(server: L4Server, backend: Backend) -> tuple[Peer, Peer]:
    """A client, and the backend's end of its tunnel, whose request has come."""
    client = await Peer.connect(("127.0.0.1", server.port()))
    upstream = await backend.accept()
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += await upstream.receive(1)
    return client, upstream


@pytest.mark.parametrize(
    "answer",
    [
        HEAD + b"content-length: 3\r\n\r\nbye",
        HEAD + b"transfer-encoding: chunked\r\n\r\n3\r\nbye\r\n0\r\n\r\n",
        HEAD + b"transfer-encoding: chunked\r\n\r\n3\r\nbye\r\n0\r\nt: 1\r\n\r\n",
    ],
)
def test_an_answer_that_ends_before_its_request_ends_both_connections(answer: bytes) -> None:
    async def main() -> None:
        with Backend() as backend:
            async with l4_server(tcp_proxy(tunneling_config=POST), clusters=[cluster(backend.port)]) as server:
                client, upstream = await asked(server, backend)
                with client, upstream:
                    await upstream.send(answer)
                    assert await client.end() == (b"bye", "FIN")
                    assert (await upstream.end())[1] == "FIN"
                assert server.value("cluster.backend.upstream_rq_active") == 0

    run(main)


def test_an_answer_until_the_end_of_the_connection_ends_with_it() -> None:
    async def main() -> None:
        with Backend() as backend:
            async with l4_server(tcp_proxy(tunneling_config=POST), clusters=[cluster(backend.port)]) as server:
                client, upstream = await asked(server, backend)
                with client, upstream:
                    await upstream.send(HEAD + b"\r\nbye")
                    upstream.fin()
                    assert await client.end() == (b"bye", "FIN")
                assert server.value("cluster.backend.upstream_cx_active") == 0

    run(main)


@pytest.mark.parametrize("tunneling", [CONNECT, POST])
def test_who_does_not_read_stops_who_sends(tunneling: dict[str, Any]) -> None:
    async def main() -> None:
        with Backend() as backend:
            small = cluster(backend.port, per_connection_buffer_limit_bytes={"value": 16384})
            async with l4_server(tcp_proxy(tunneling_config=tunneling), clusters=[small]) as server:
                client, upstream = await asked(server, backend)
                with client, upstream:
                    await upstream.send(
                        HEAD
                        + b"transfer-encoding: chunked\r\n\r\n" * (tunneling is POST)
                        + b"\r\n" * (tunneling is CONNECT)
                    )
                    sending = asyncio.ensure_future(client.send(bytes(64 << 20)))
                    await asyncio.sleep(0.3)
                    assert not sending.done()
                    assert server.value("cluster.backend.upstream_flow_control_backed_up_total") >= 1
                    assert server.value("tcp.t.downstream_cx_rx_bytes_total") < 32 << 20
                    sending.cancel()

    run(main)
