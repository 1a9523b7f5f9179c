"""HTTP/2 as clients that others have written speak it, large bodies, and floods: by a process whose use of time and
memory is looked at."""

from __future__ import annotations

import asyncio
import os
import shutil
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from .http2_client import CONTINUATION, DATA, HEADERS, PING, PRIORITY, RST_STREAM, SETTINGS, Http2Client, frame, window
from .test_large_bodies import CONFIG, MB, resident, service

pytestmark = pytest.mark.asyncio

ROUTED = CONFIG.replace(
    "              - match: {{prefix: /}}",
    "              - {{match: {{prefix: /direct}}, direct_response: {{status: 200, body: {{inline_string: hello}}}}}}\n"
    "              - match: {{prefix: /}}",
)
FLOOD = 20_000


@asynccontextmanager
async def running(command, fetch, directory, port):
    """minienvoy in front of `port`: (process, host, port)."""
    (directory / "envoy.yaml").write_text(ROUTED.format(port=port))
    async with command(
        "-c", str(directory / "envoy.yaml"), "--admin-address-path", str(directory / "admin")
    ) as process:
        async for line in process.stderr:
            if b"starting workers" in line:
                break
        admin = (directory / "admin").read_text()
        listeners = (await fetch(f"http://{admin}/listeners")).body.decode()
        host, _, bound = listeners.strip().removeprefix("http::").rpartition(":")
        yield process, host, int(bound)


def cpu(pid: int) -> float:
    """Seconds of processor time that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def transfer(client: Http2Client, size: int, slowly: float) -> None:
    """Send so much and take as much back."""
    stream = client.next_stream
    client.writer.write(client.headers("POST", "/", ("content-length", str(size)), end=not size))
    answer = asyncio.ensure_future(client.response(stream, slowly))
    await client.send_body(stream, size)
    assert await answer == (200, size)


@pytest.mark.parametrize("slow", ["nobody", "client", "upstream"])
async def test_large_bodies_take_little_memory(command, tmp_path, fetch, slow):
    await large_bodies(command, tmp_path, fetch, slow, 30 * MB)


@pytest.mark.slow
@pytest.mark.parametrize("slow", ["client", "upstream"])
async def test_a_gigabyte_takes_as_little_memory(command, tmp_path, fetch, slow):
    await large_bodies(command, tmp_path, fetch, slow, 1024 * MB)


async def large_bodies(command, tmp_path, fetch, slow, size):
    async with service(slow == "upstream") as port, running(command, fetch, tmp_path, port) as (process, host, bound):
        client = await Http2Client.connect(host, bound)
        for small in (0, 1, MB):
            await transfer(client, small, 0)
        before = resident(process.pid)
        await transfer(client, size, 0.0003 if slow == "client" else 0)
        grown = resident(process.pid) - before
        await client.close()
    assert grown < 20 * MB, f"grown by {grown / MB:.1f} MB"


def rapid_resets(client: Http2Client) -> bytes:
    pairs = []
    for _ in range(FLOOD // 2):
        stream = client.next_stream
        pairs.append(client.headers("GET", "/wait") + frame(RST_STREAM, 0, stream, b"\0\0\0\x08"))
    return b"".join(pairs)


def zero_windows(client: Http2Client) -> bytes:
    pairs = []
    for _ in range(FLOOD // 2):
        stream = client.next_stream
        pairs.append(client.headers("POST", "/wait", end=False) + window(stream, 0))
    return b"".join(pairs)


def header_bombs(client: Http2Client) -> bytes:
    first = b"\x82\x86\x84\x41\x01a\x40\x01b\x7f\xa1\x1e" + b"x" * 4000
    refs = b"\x82\x86\x84\x41\x01a" + b"\xbf" * 16_000
    return frame(HEADERS, 5, 1, first) + b"".join(frame(HEADERS, 5, 3 + 2 * at, refs) for at in range(200))


FLOODS = {
    "rapid resets": rapid_resets,
    "windows of nothing": zero_windows,
    "header bombs": header_bombs,
    "continuations": lambda c: c.headers("GET", "/")[:4] + b"\0" + frame(CONTINUATION, 0, 1, b"\x90") * FLOOD,
    "large continuations": lambda c: frame(HEADERS, 0, 1, b"\x82") + frame(CONTINUATION, 0, 1, b"\xbf" * 16_000) * 500,
    "empty continuations": lambda c: frame(HEADERS, 0, 1, b"\x82") + frame(CONTINUATION, 0, 1) * FLOOD,
    "empty data": lambda c: c.headers("POST", "/wait", end=False) + frame(DATA, 0, 1) * FLOOD,
    "pings": lambda c: frame(PING, 0, 0, b"12345678") * FLOOD,
    "settings": lambda c: frame(SETTINGS, 0, 0) * FLOOD,
    "priorities": lambda c: frame(PRIORITY, 0, 1, b"\0\0\0\0\x01") * FLOOD,
    "window updates": lambda c: window(0, 1) * FLOOD,
    "cookies": lambda c: b"".join(
        frame(HEADERS, 5, 1 + 2 * at, b"\x82\x86\x84\x41\x01a" + b"\x00\x06cookie\x03a=b" * 1200) for at in range(200)
    ),
    "unknown frames": lambda c: frame(77, 0, 0, b"abc") * FLOOD,
}


@pytest.mark.parametrize("kind", FLOODS)
async def test_a_flood_costs_less_than_a_second_and_others_are_answered(command, tmp_path, fetch, kind):
    async with service(False) as port, running(command, fetch, tmp_path, port) as (process, host, bound):
        other = await Http2Client.connect(host, bound)
        assert await other.get("/direct") == (200, 5)
        before, memory = cpu(process.pid), resident(process.pid)
        client = await Http2Client.connect(host, bound)
        answered = 0

        async def flood() -> None:
            try:
                client.writer.write(FLOODS[kind](client))
                await client.writer.drain()
                while await client.reader.read(65536):
                    pass
            except ConnectionError:
                pass

        flooding = asyncio.create_task(flood())
        for _ in range(20):
            assert await asyncio.wait_for(other.get("/direct"), 2) == (200, 5)
            answered += 1
            await asyncio.sleep(0.02)
        flooding.cancel()
        await asyncio.gather(flooding, return_exceptions=True)
        await client.close()
        spent, grown = cpu(process.pid) - before, resident(process.pid) - memory
        await other.close()
    assert answered == 20
    assert spent < 1.0, f"{spent:.2f} s"
    assert grown < 20 * MB, f"grown by {grown / MB:.1f} MB"


async def output_of(*arguments: str) -> str:
    if shutil.which(arguments[0]) is None:
        pytest.skip(f"{arguments[0]} is not installed")
    process = await asyncio.create_subprocess_exec(*arguments, stdout=asyncio.subprocess.PIPE)
    out, _ = await asyncio.wait_for(process.communicate(), 20)
    return out.decode()


async def test_curl_and_nghttp_get_their_answers(command, tmp_path, fetch):
    async with service(False) as port, running(command, fetch, tmp_path, port) as (_, host, bound):
        (tmp_path / "body").write_bytes(bytes(100_000))
        url = f"http://{host}:{bound}"
        seen = "%{http_version} %{response_code} %{size_download}"
        curl = ("curl", "-s", "--http2-prior-knowledge", "-o", str(tmp_path / "out"), "-w", seen)
        assert await output_of(*curl, f"{url}/direct") == "2 200 5"
        assert await output_of(*curl, "--data-binary", f"@{tmp_path / 'body'}", f"{url}/") == "2 200 100000"
        assert (await output_of("nghttp", f"{url}/direct")) == "hello"
        assert len(await output_of("nghttp", "-d", str(tmp_path / "body"), f"{url}/")) == 100_000


async def test_httpx_gets_its_answers(command, tmp_path, fetch):
    pytest.importorskip("h2")
    async with (
        service(False) as port,
        running(command, fetch, tmp_path, port) as (_, host, bound),
        httpx.AsyncClient(http1=False, http2=True) as client,
    ):
        direct = await client.get(f"http://{host}:{bound}/direct")
        assert (direct.http_version, direct.status_code, direct.text) == ("HTTP/2", 200, "hello")
        # No bodies: httpcore gives up when an answer is there before it has sent the end of its request.
        answers = await asyncio.gather(*(client.get(f"http://{host}:{bound}/direct") for _ in range(20)))
        assert [each.text for each in answers] == ["hello"] * 20
