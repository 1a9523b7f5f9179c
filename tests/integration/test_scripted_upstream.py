"""Upstreams that fail as a script says, as a client on the wire sees them."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable

import pytest

from minienvoy.testing.fake_upstream import (
    BAD_CHUNK,
    REFUSE,
    RESET,
    FakeTcpUpstream,
    FakeUpstream,
    Refused,
    Reply,
    cut,
    delayed,
)


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


async def outcome(host: str, port: int) -> str:
    """How a request on a connection of its own ends."""
    try:
        reader, writer = await asyncio.open_connection(host, port)
    except ConnectionRefusedError:
        return "refused"
    writer.write(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
    try:
        line = await reader.readline()
        return line.decode().split(" ")[1] if line else "closed"
    except ConnectionResetError:
        return "reset"
    finally:
        writer.close()


def test_the_script_of_the_readme_is_played_step_by_step() -> None:
    async def client(host: str, port: int) -> None:
        assert [await outcome(host, port) for _ in range(3)] == ["503", "reset", "200"]
        assert await outcome(host, port) == "refused"
        assert await outcome(host, port) == "refused"
        await asyncio.sleep(0.3)
        assert [await outcome(host, port) for _ in range(2)] == ["404", "404"]

    talk(FakeUpstream(503, RESET, delayed(0.05), REFUSE, 404), client)


def test_connections_are_refused_from_the_beginning_and_for_good_at_the_end() -> None:
    async def client(host: str, port: int) -> None:
        assert await outcome(host, port) == "refused"
        await asyncio.sleep(0.1)
        assert await outcome(host, port) == "200"
        await asyncio.sleep(0.1)
        assert await outcome(host, port) == "refused"

    talk(FakeUpstream(Refused(0.05), "ok", Refused(0.01)), client)


def test_an_upstream_that_refuses_can_be_stopped() -> None:
    async def client(host: str, port: int) -> None:
        assert await outcome(host, port) == "refused"

    talk(FakeUpstream(Refused(0.01), "ok"), client)
    talk(FakeUpstream(Refused(60), "ok"), client)


async def exchange(host: str, port: int, *messages: bytes) -> list[bytes]:
    """What each message is answered with on one connection; `RST` if that was its end, empty for a FIN."""
    reader, writer = await asyncio.open_connection(host, port)
    answers = []
    for message in messages:
        writer.write(message)
        try:
            answers.append(await reader.read(100))
        except ConnectionResetError:
            answers.append(b"RST")
            break
    writer.close()
    return answers


def test_a_script_without_http() -> None:
    async def client(host: str, port: int) -> None:
        assert await exchange(host, port, b"a", b"b", b"c") == [b"+one", b"+two", b"RST"]
        assert await exchange(host, port, b"d", b"e") == [b"+late", b""]
        with pytest.raises(ConnectionRefusedError):
            await exchange(host, port, b"f")
        await asyncio.sleep(0.1)
        assert await exchange(host, port, b"g", b"h") == [b"+end", b"+end"]

    script = [b"+one", "+two", RESET, delayed(0.02, "+late"), Reply(raw=b"", close=True), Refused(0.05), "+end"]
    talk(FakeTcpUpstream(answers=script), client)


def test_bytes_that_drip_and_a_script_that_falls_silent() -> None:
    async def client(host: str, port: int) -> None:
        reader, writer = await asyncio.open_connection(host, port)
        writer.write(b"x")
        assert await reader.readexactly(6) == b"hello!"
        writer.write(b"y")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(reader.read(1), 0.1)
        writer.close()

    talk(FakeTcpUpstream(answers=[Reply(raw=b"hello!", drip=(2, 0.01)), Reply(hang=True)]), client)


def test_a_status_is_no_answer_without_http() -> None:
    with pytest.raises(ValueError, match="503 is a status"):
        FakeTcpUpstream(answers=[503])
