"""The TCP proxy between real sockets; what Envoy does in each of these cases was seen from its binary."""

from __future__ import annotations

import asyncio
import resource
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.integration.l4_server import Backend, L4Server, Peer, cluster, l4_server, refused_port, run, tcp_proxy

LOOPS = pytest.mark.parametrize("loop", ["uvloop", "asyncio"])


async def connected(server: L4Server, backend: Backend) -> tuple[Peer, Peer]:
    """A client, and the backend's end of its connection."""
    client = await Peer.connect(("127.0.0.1", server.port()))
    return client, await backend.accept()


def log_of(path: Path) -> Callable[[], bool]:
    return lambda: path.exists() and path.read_text().endswith("TcpConnectionEnd\n")


@LOOPS
def test_bytes_and_fins_go_both_ways(loop: str, tmp_path: Path) -> None:
    async def main() -> None:
        log = tmp_path / "log"
        with Backend() as backend:
            async with l4_server(tcp_proxy(log=log), clusters=[cluster(backend.port)]) as server:
                client, upstream = await connected(server, backend)
                with client, upstream:
                    await client.send(b"question")
                    assert await upstream.receive(8) == b"question"
                    client.fin()
                    assert await upstream.receive(1) == b""
                    await upstream.send(b"answer")
                    assert await client.receive(6) == b"answer"
                    upstream.fin()
                    assert await client.end() == (b"", "FIN")
                await server.until(log_of(log))
                assert log.read_text() == "- 8 6 - TcpConnectionEnd\n"
                assert server.value("cluster.backend.upstream_cx_destroy_remote_with_active_rq") == 1
                assert server.value("cluster.backend.upstream_cx_tx_bytes_total") == 8
                assert server.value("tcp.t.downstream_cx_tx_bytes_total") == 6

    run(main, loop)


@LOOPS
def test_backend_may_end_first(loop: str) -> None:
    async def main() -> None:
        with Backend() as backend:
            async with l4_server(tcp_proxy(), clusters=[cluster(backend.port)]) as server:
                client, upstream = await connected(server, backend)
                with client, upstream:
                    await upstream.send(b"banner")
                    upstream.fin()
                    assert await client.end() == (b"banner", "FIN")
                    await client.send(b"late")
                    assert await upstream.receive(4) == b"late"
                    client.fin()
                    assert await upstream.end() == (b"", "FIN")
                await server.until(lambda: server.value("listener.127.0.0.1_0.downstream_cx_active") == 0)
                assert server.value("cluster.backend.upstream_cx_destroy_local_with_active_rq") == 1

    run(main, loop)


@LOOPS
def test_everything_that_was_sent_before_the_fin_arrives(loop: str) -> None:
    async def main() -> None:
        data = bytes(range(256)) * 40_000
        with Backend() as backend:
            async with l4_server(tcp_proxy(), clusters=[cluster(backend.port)]) as server:
                client, upstream = await connected(server, backend)
                with client, upstream:
                    sending = asyncio.gather(client.send(data), upstream.send(data))
                    received = asyncio.gather(upstream.receive(len(data)), client.receive(len(data)))
                    await sending
                    client.fin()
                    upstream.fin()
                    assert await received == [data, data]
                    assert await upstream.end() == (b"", "FIN")
                    assert await client.end() == (b"", "FIN")

    run(main, loop)


@LOOPS
def test_reset_by_the_backend_resets_the_client(loop: str, tmp_path: Path) -> None:
    async def main() -> None:
        log = tmp_path / "log"
        with Backend() as backend:
            async with l4_server(tcp_proxy(log=log), clusters=[cluster(backend.port)]) as server:
                client, upstream = await connected(server, backend)
                with client:
                    await client.send(b"hi")
                    await upstream.receive(2)
                    upstream.reset()
                    assert await client.end() == (b"", "RST")
                await server.until(log_of(log))
                assert log.read_text() == "UR 2 0 - TcpConnectionEnd\n"

    run(main, loop)


@LOOPS
def test_reset_by_the_client_resets_the_backend(loop: str) -> None:
    async def main() -> None:
        with Backend() as backend:
            async with l4_server(tcp_proxy(), clusters=[cluster(backend.port)]) as server:
                client, upstream = await connected(server, backend)
                with upstream:
                    await client.send(b"hi")
                    await upstream.receive(2)
                    client.reset()
                    assert await upstream.end() == (b"", "RST")

    run(main, loop)


@LOOPS
@pytest.mark.parametrize(("sent", "end"), [(b"", "FIN"), (b"x" * 10, "RST")])
@pytest.mark.parametrize("case", ["refused", "no cluster", "no host", "no connection allowed"])
def test_client_without_upstream_is_closed_and_reset_if_it_had_sent_something(
    loop: str, sent: bytes, end: str, case: str, tmp_path: Path
) -> None:
    flags = {
        "refused": "UF,URX 0 0 tcp_initializion_failure:0",
        "no cluster": "NC 0 0 tcp_initializion_failure:3",
        "no host": "UH 0 0 tcp_initializion_failure:1",
        "no connection allowed": "UO 0 0 tcp_initializion_failure:2",
    }
    breakers = {"circuit_breakers": {"thresholds": [{"max_connections": 0}]}} if case.endswith("allowed") else {}
    ports = [] if case == "no host" else [refused_port()]

    async def main() -> None:
        log = tmp_path / "log"
        proxy = tcp_proxy("none" if case == "no cluster" else "backend", log=log)
        async with l4_server(proxy, clusters=[cluster(*ports, **breakers)]) as server:
            client = Peer(socket.create_connection(("127.0.0.1", server.port())))
            client.raw.sendall(sent)  # it is in the kernel before the proxy has had a chance to accept
            with client:
                assert await client.end() == (b"", end)
            await server.until(log_of(log))
            assert log.read_text() == f"{flags[case]} TcpConnectionEnd\n"

    run(main, loop)


def test_connect_attempts_are_counted() -> None:
    async def main() -> None:
        proxy = tcp_proxy(max_connect_attempts=3)
        async with l4_server(proxy, clusters=[cluster(refused_port())]) as server:
            with await Peer.connect(("127.0.0.1", server.port())) as client:
                assert await client.end() == (b"", "FIN")
            assert server.value("cluster.backend.upstream_cx_connect_fail") == 3
            assert server.value("cluster.backend.upstream_cx_connect_attempts_exceeded") == 1
            assert server.value("cluster.backend.upstream_cx_active") == 0
            assert server.value("cluster.backend.upstream_rq_pending_active") == 0
            connections = [each.because for each in server.explanations.last().all("connection")]
            assert connections == ["delayed connect error: Connection refused"] * 3

    run(main)


def test_host_that_does_not_answer_is_a_connect_timeout(tmp_path: Path) -> None:
    async def main() -> None:
        log = tmp_path / "log"
        with Backend(backlog=0) as backend:
            fillers = [await Peer.connect(("127.0.0.1", backend.port))]
            async with l4_server(
                tcp_proxy(log=log), clusters=[cluster(backend.port, connect_timeout="0.1s")]
            ) as server:
                with await Peer.connect(("127.0.0.1", server.port())) as client:
                    assert await client.end() == (b"", "FIN")
                assert server.value("cluster.backend.upstream_cx_connect_timeout") == 1
                await server.until(log_of(log))
                assert log.read_text().startswith("UF,URX 0 0")
            for filler in fillers:
                filler.close()

    run(main)


@pytest.mark.parametrize(
    ("field", "flag", "reason", "stat"),
    [
        ("idle_timeout", "-", "tcp_session_idle_timeout", "idle_timeout"),
        (
            "max_downstream_connection_duration",
            "DT",
            "max_connection_duration_reached",
            "max_downstream_connection_duration",
        ),
    ],
)
def test_timeouts_close_both_sides(field: str, flag: str, reason: str, stat: str, tmp_path: Path) -> None:
    async def main() -> None:
        log = tmp_path / "log"
        with Backend() as backend:
            proxy = tcp_proxy(log=log, **{field: "0.2s"})
            async with l4_server(proxy, clusters=[cluster(backend.port)], simulated=True) as server:
                client, upstream = await connected(server, backend)
                with client, upstream:
                    await server.advance(0.18)
                    assert server.value(f"tcp.t.{stat}") == 0
                    await server.advance(0.03)
                    assert await client.end() == (b"", "FIN")
                    assert await upstream.end() == (b"", "FIN")
                await server.advance(0.02)
                assert log.read_text() == f"{flag} 0 0 {reason} TcpConnectionEnd\n"
                assert server.value(f"tcp.t.{stat}") == 1

    run(main)


def test_bytes_put_the_idle_timeout_off() -> None:
    async def main() -> None:
        with Backend() as backend:
            async with l4_server(
                tcp_proxy(idle_timeout="10s"), clusters=[cluster(backend.port)], simulated=True
            ) as server:
                client, upstream = await connected(server, backend)
                with client, upstream:
                    for sender, receiver in [(client, upstream), (upstream, client)] * 3:
                        await server.advance(9)
                        await sender.send(b"x")
                        assert await receiver.receive(1) == b"x"
                    await server.advance(9.9)
                    assert server.value("tcp.t.idle_timeout") == 0
                    await server.advance(0.2)
                    assert await client.end() == (b"", "FIN")

    run(main)


def test_weighted_clusters_share_as_their_weights_say() -> None:
    async def main() -> None:
        weights = [{"name": "a", "weight": 1}, {"name": "b", "weight": 3}]
        clusters = [cluster(refused_port(), name=name) for name in "ab"]
        async with l4_server(tcp_proxy(weighted_clusters={"clusters": weights}), clusters=clusters) as server:
            for _ in range(80):
                with await Peer.connect(("127.0.0.1", server.port())) as client:
                    await client.end()
            shares = [server.value(f"cluster.{name}.upstream_cx_total") for name in "ab"]
            assert sum(shares) == 80
            assert 45 <= shares[1] <= 75

    run(main)


@LOOPS
def test_slow_reader_pauses_the_writer_and_memory_stays_bounded(loop: str) -> None:
    total = 120_000_000

    async def main() -> None:
        with Backend() as backend:
            async with l4_server(tcp_proxy(), clusters=[cluster(backend.port)]) as server:
                client, upstream = await connected(server, backend)
                with client, upstream:
                    chunk = b"z" * 1_000_000

                    async def pour() -> None:
                        for _ in range(total // len(chunk)):
                            await upstream.send(chunk)
                        upstream.fin()

                    pouring = asyncio.ensure_future(pour())
                    paused = "cluster.backend.upstream_flow_control_paused_reading_total"
                    await server.until(lambda: server.value(paused) >= 1)
                    await asyncio.sleep(0.1)
                    held = server.value("cluster.backend.upstream_cx_rx_bytes_total")
                    assert held < 20_000_000, "the kernel's buffers, and two megabytes of ours"
                    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
                    got = 0
                    while data := await asyncio.to_thread(client.raw.recv, 1 << 20):
                        got += len(data)
                    await pouring
                    assert got == total
                    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 20_000, "KiB"
                    assert server.value("cluster.backend.upstream_flow_control_resumed_reading_total") >= 1

    run(main, loop)


@LOOPS
def test_slow_backend_pauses_the_client(loop: str) -> None:
    async def main() -> None:
        with Backend() as backend:
            async with l4_server(tcp_proxy(), clusters=[cluster(backend.port)]) as server:
                client, upstream = await connected(server, backend)
                with client, upstream:
                    data = b"y" * 30_000_000
                    sending = asyncio.ensure_future(client.send(data))
                    await server.until(lambda: server.value("tcp.t.downstream_flow_control_paused_reading_total") > 0)
                    assert server.value("cluster.backend.upstream_flow_control_backed_up_total") > 0
                    assert not sending.done()
                    assert len(await upstream.receive(len(data))) == len(data)
                    await sending
                    assert server.value("cluster.backend.upstream_flow_control_drained_total") > 0

    run(main, loop)


@LOOPS
def test_what_a_client_sent_before_it_left_still_goes_upstream(loop: str) -> None:
    async def main() -> None:
        with Backend() as backend:
            async with l4_server(tcp_proxy(), clusters=[cluster(backend.port)]) as server:
                client, upstream = await connected(server, backend)
                with upstream:
                    data = b"y" * 5_000_000
                    reading = asyncio.ensure_future(upstream.end())
                    await client.send(data)
                    client.close()
                    got, end = await reading
                    assert (len(got), end) == (len(data), "FIN")

    run(main, loop)


@LOOPS
def test_client_that_leaves_while_the_backend_is_slow_does_not_hold_the_proxy(loop: str) -> None:
    async def main() -> None:
        with Backend() as backend:
            async with l4_server(
                tcp_proxy(idle_timeout="10s"), clusters=[cluster(backend.port)], simulated=True
            ) as server:
                client, upstream = await connected(server, backend)
                with upstream:
                    client.raw.settimeout(0.2)
                    with pytest.raises(TimeoutError):
                        await client.send(b"y" * 50_000_000)
                    client.reset()
                    await server.advance(10.1)
                    await server.until(lambda: server.value("cluster.backend.upstream_cx_active") == 0)
                    assert server.value("listener.127.0.0.1_0.downstream_cx_active") == 0

    run(main, loop)


@LOOPS
def test_client_that_takes_nothing_after_the_end_is_given_up(loop: str) -> None:
    async def main() -> None:
        with Backend() as backend:
            async with l4_server(
                tcp_proxy(idle_timeout="10s"), clusters=[cluster(backend.port)], simulated=True
            ) as server:
                client, upstream = await connected(server, backend)
                with client:
                    client.fin()
                    assert await upstream.receive(1) == b""
                    upstream.raw.settimeout(0.2)
                    with pytest.raises(TimeoutError):
                        await upstream.send(b"z" * 50_000_000)
                    upstream.close()
                    await server.advance(10.1)
                    await server.until(lambda: server.value("listener.127.0.0.1_0.downstream_cx_active") == 0)

    run(main, loop)


def test_early_data_connects_and_goes_first() -> None:
    async def main() -> None:
        mode: dict[str, Any] = {"upstream_connect_mode": "ON_DOWNSTREAM_DATA", "max_early_data_bytes": 4}
        with Backend() as backend:
            async with l4_server(tcp_proxy(**mode), clusters=[cluster(backend.port)]) as server:
                with await Peer.connect(("127.0.0.1", server.port())) as client:
                    await asyncio.sleep(0.05)
                    assert server.value("cluster.backend.upstream_cx_total") == 0
                    await client.send(b"more than four bytes")
                    with await backend.accept() as upstream:
                        assert await upstream.receive(20) == b"more than four bytes"
                        await client.send(b"and more")
                        assert await upstream.receive(8) == b"and more"
                        client.fin()
                        assert await upstream.end() == (b"", "FIN")

    run(main)


def test_access_log_tells_of_the_connection_in_between(tmp_path: Path) -> None:
    async def main() -> None:
        log = tmp_path / "log"
        options = {"flush_access_log_on_connected": True, "access_log_flush_interval": "0.2s"}
        with Backend() as backend:
            proxy = tcp_proxy(log=log, access_log_options=options)
            async with l4_server(proxy, clusters=[cluster(backend.port)], simulated=True) as server:
                client, upstream = await connected(server, backend)
                with client, upstream:
                    await client.send(b"12345")
                    await upstream.receive(5)
                    await server.advance(0.25)
                    assert log.read_text().count("TcpPeriodic") == 1
                await server.advance(0.05)
                lines = log.read_text().splitlines()
                assert lines[0] == "- 0 0 - TcpUpstreamConnected"
                assert lines[1] == "- 5 0 - TcpPeriodic"
                assert lines[-1] == "- 5 0 - TcpConnectionEnd"

    run(main)


def test_connection_is_explained() -> None:
    async def main() -> None:
        with Backend() as backend:
            async with l4_server(tcp_proxy(), clusters=[cluster(backend.port)]) as server:
                client, upstream = await connected(server, backend)
                client.close()
                upstream.close()
                await server.until(lambda: len(server.explanations) == 1)
                explanation = server.explanations.last()
                assert explanation["listener"].chose == "l"
                assert explanation["cluster"].chose == "backend"
                assert str(explanation["host"].chose) == f"127.0.0.1:{backend.port}"
                assert explanation["connection"].because == "new"

    run(main)
