"""Bulk between two sockets without reading it: the same bytes, ends and resets as without."""

from __future__ import annotations

import asyncio
import errno
import os
from pathlib import Path

import pytest

from tests.integration.l4_server import Backend, Peer, cluster, l4_server, run, tcp_proxy

LOOPS = pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
pytestmark = pytest.mark.skipif(not hasattr(os, "splice"), reason="splice is Linux's")
CHUNK = bytes(range(256)) * 4096


def counting(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The sizes that went through splice."""
    sizes: list[int] = []
    real = os.splice

    def splice(*args: int, **options: int) -> int:
        size = real(*args, **options)
        sizes.append(size)
        return size

    monkeypatch.setattr(os, "splice", splice)
    return sizes


def open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


async def until_spliced(sender: Peer, receiver: Peer, sizes: list[int]) -> int:
    """Bulk until splice carries it, which begins when the receiver has kept up for a moment; says how many bytes."""
    before, sent = len(sizes), 0
    while len(sizes) < before + 8:
        await bulk(sender, receiver, 4)
        sent += 4 * len(CHUNK)
    return sent


async def bulk(sender: Peer, receiver: Peer, chunks: int) -> None:
    sending = asyncio.ensure_future(sender.send(CHUNK * chunks))
    assert await receiver.receive(len(CHUNK) * chunks) == CHUNK * chunks
    await sending


@LOOPS
def test_both_directions_are_spliced_and_answer_small_messages_too(loop: str, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = counting(monkeypatch)

    async def main() -> None:
        with Backend() as backend:
            async with l4_server(tcp_proxy(), clusters=[cluster(backend.port)]) as server:
                client = await Peer.connect(("127.0.0.1", server.port()))
                with client, await backend.accept() as upstream:
                    up = await until_spliced(client, upstream, sizes)
                    down = await until_spliced(upstream, client, sizes)
                    for sender, receiver in [(client, upstream), (upstream, client)] * 2:
                        await sender.send(b"small")
                        assert await receiver.receive(5) == b"small"
                    client.fin()
                    assert await upstream.receive(1) == b""
                    await bulk(upstream, client, 2)
                    upstream.fin()
                    assert await client.end() == (b"", "FIN")
                assert server.value("tcp.t.downstream_cx_rx_bytes_total") == up + 10
                assert server.value("cluster.backend.upstream_cx_rx_bytes_total") == down + 2 * len(CHUNK) + 10

    run(main, loop)


@LOOPS
def test_resets_go_through(loop: str, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = counting(monkeypatch)

    async def main() -> None:
        with Backend() as backend:
            async with l4_server(tcp_proxy(), clusters=[cluster(backend.port)]) as server:
                for upstream_resets in (True, False):
                    client = await Peer.connect(("127.0.0.1", server.port()))
                    with client, await backend.accept() as upstream:
                        await until_spliced(upstream, client, sizes)
                        await until_spliced(client, upstream, sizes)
                        resetting, other = (upstream, client) if upstream_resets else (client, upstream)
                        resetting.reset()
                        assert await other.end() == (b"", "RST")
                await server.until(lambda: server.value("cluster.backend.upstream_cx_active") == 0)

    run(main, loop)


def test_without_file_descriptors_bytes_are_read_and_written(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = counting(monkeypatch)

    def none_left(flags: int) -> tuple[int, int]:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    async def main() -> None:
        with Backend() as backend:
            async with l4_server(tcp_proxy(), clusters=[cluster(backend.port)]) as server:
                client = await Peer.connect(("127.0.0.1", server.port()))
                with client, await backend.accept() as upstream:
                    monkeypatch.setattr(os, "pipe2", none_left)
                    before = open_descriptors()
                    await bulk(upstream, client, 20)
                    assert open_descriptors() <= before + 1
                    assert not sizes

    run(main)


@LOOPS
def test_no_descriptor_stays_open(loop: str, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = counting(monkeypatch)

    async def main() -> None:
        with Backend() as backend:
            proxy = tcp_proxy(idle_timeout="10s")
            async with l4_server(proxy, clusters=[cluster(backend.port)], simulated=True) as server:
                open_before = 0
                for _ in range(4):
                    client = await Peer.connect(("127.0.0.1", server.port()))
                    with client, await backend.accept() as upstream:
                        await until_spliced(upstream, client, sizes)
                        await server.advance(10.1)
                        assert await client.end() == (b"", "FIN")
                    await server.until(lambda: server.value("cluster.backend.upstream_cx_active") == 0)
                    await server.advance(0.05)
                    open_before = open_before or open_descriptors()
                assert open_descriptors() == open_before

    run(main, loop)
