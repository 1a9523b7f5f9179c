"""Upstreams that fail as a script says, as a client on the wire sees them."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable

from minienvoy.testing.fake_upstream import BAD_CHUNK, RESET, FakeUpstream, Reply, cut, delayed


def talk(upstream: FakeUpstream, client: Callable[[str, int], Awaitable[None]]) -> None:
    async def main() -> None:
        async with upstream:
            host, _, port = upstream.address.partition(":")
            await asyncio.wait_for(client(host, int(port)), 10)

    asyncio.run(main())


async def ask(host: str, port: int, *paths: str) -> bytes:
    """Ask on one connection; everything that came until its end, `RST` at the end if it was broken off."""
    reader, writer = await asyncio.open_connection(host, port)
    for path in paths:
        writer.write(f"GET {path} HTTP/1.1\r\nhost: a\r\n\r\n".encode())
    writer.write(b"nonsense\r\n\r\n")  # is answered by 400 and the end
    received = b""
    try:
        while data := await reader.read(65536):
            received += data
    except ConnectionResetError:
        received += b"RST"
    writer.close()
    return received


def test_a_script_of_statuses_and_bodies() -> None:
    async def client(host: str, port: int) -> None:
        received = await ask(host, port, "/", "/", "/")
        assert received.startswith(b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\nHTTP/1.1 200 OK\r\n")
        assert received.count(b"\r\n\r\nok") == 2

    talk(FakeUpstream(503, "ok"), client)


def test_a_connection_that_breaks_off() -> None:
    async def client(host: str, port: int) -> None:
        assert await ask(host, port, "/") == b"RST"
        assert (await ask(host, port, "/")).count(b"\r\n\r\nok") == 1

    talk(FakeUpstream(RESET, "ok"), client)


def test_a_path_has_a_script_of_its_own() -> None:
    async def client(host: str, port: int) -> None:
        received = await ask(host, port, "/a?x", "/b", "/a")
        assert re.findall(rb"HTTP/1.1 (\d+) ", received) == [b"503", b"200", b"200", b"400"]

    talk(FakeUpstream("other", paths={"/a": [503, "ok"]}), client)


def test_answers_keep_their_order_when_one_is_late() -> None:
    async def client(host: str, port: int) -> None:
        received = await ask(host, port, "/", "/")
        assert 0 < received.index(b"late") < received.index(b"soon")

    talk(FakeUpstream(delayed(0.05, "late"), "soon"), client)


def test_an_answer_that_drips_arrives_in_the_end() -> None:
    async def client(host: str, port: int) -> None:
        reader, writer = await asyncio.open_connection(host, port)
        writer.write(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
        pieces = []
        while not b"".join(pieces).endswith(b"hello"):
            pieces.append(await reader.read(65536))
        assert len(pieces) > 1
        writer.close()

    talk(FakeUpstream(Reply(b"hello", drip=(20, 0.01))), client)


def test_a_body_that_ends_too_early() -> None:
    async def client(host: str, port: int) -> None:
        assert (await ask(host, port, "/")).endswith(b"content-length: 5\r\n\r\nhel")

    talk(FakeUpstream(cut(b"hello", 3)), client)


def test_a_chunk_that_is_none() -> None:
    async def client(host: str, port: int) -> None:
        assert b"5\r\nhello\r\nnonsense\r\n" in await ask(host, port, "/")

    talk(FakeUpstream(BAD_CHUNK), client)
