"""Clients and servers that others have written, through minienvoy."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import http.client
import shutil
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import h11
import httpx
import pytest
from aiohttp import web

from minienvoy import Proxy
from minienvoy.testing.fake_upstream import FakeUpstream, Reply

CONFIG = """\
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
          delayed_close_timeout: 0.1s
          route_config:
            virtual_hosts:
            - name: all
              domains: ["*"]
              routes:
              - match: {prefix: /}
                route: {cluster: service, timeout: 0s}
          http_filters:
          - name: envoy.filters.http.router
            typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}
  clusters:
  - name: service
    connect_timeout: 5s
    circuit_breakers: {thresholds: [{max_connections: 10000, max_pending_requests: 10000, max_requests: 10000}]}
    load_assignment: {cluster_name: service}
"""
MB = 1 << 20
GAUGES = (
    "http.http.downstream_cx_active",
    "http.http.downstream_rq_active",
    "cluster.service.upstream_rq_active",
    "cluster.service.upstream_rq_pending_active",
)


def start(*addresses: str) -> Proxy:
    return Proxy.from_yaml(CONFIG, endpoints={"service": addresses})


async def answer(request: web.BaseRequest) -> web.StreamResponse:
    """`/size/<n>` sends so many bytes, `/echo` what it was sent, anything else tells what it saw of the request."""
    if request.path.startswith("/size/"):
        size = int(request.path.removeprefix("/size/"))
        response = web.StreamResponse()
        response.content_length = size
        await response.prepare(request)
        for _ in range(size // 65536):
            await response.write(bytes(65536))
        if size % 65536:
            await response.write(bytes(size % 65536))
        return response
    if request.path == "/echo":
        response = web.StreamResponse()
        await response.prepare(request)
        async for data in request.content.iter_any():
            await response.write(data)
        return response
    if request.path == "/file":
        part = request.http_range
        return web.Response(body=b"0123456789"[part], status=206 if "range" in request.headers else 200)
    digest, size = hashlib.sha256(), 0
    async for data in request.content.iter_any():
        digest.update(data)
        size += len(data)
    return web.json_response({"method": request.method, "size": size, "sha256": digest.hexdigest()})


@asynccontextmanager
async def aiohttp_server(port: int = 0) -> AsyncIterator[str]:
    runner = web.ServerRunner(web.Server(answer), handle_signals=False)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port, reuse_address=True).start()
    try:
        host, port = runner.addresses[0][:2]
        yield f"{host}:{port}"
    finally:
        await runner.cleanup()
        await asyncio.sleep(0.01)


async def until(condition, seconds: float = 10.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def at_rest(proxy: Proxy) -> None:
    """Every gauge of what is under way goes back to nothing."""
    await until(lambda: not any(proxy.stats.get(name, 0) for name in GAUGES))


# -- curl


async def curl(*arguments: str, stdin: bytes = b"") -> str:
    binary = shutil.which("curl")
    if binary is None:
        pytest.skip("curl is not installed here; the other clients of this module do not need it")
    process = await asyncio.create_subprocess_exec(
        binary,
        "--silent",
        "--show-error",
        "--max-time",
        "20",
        "--noproxy",
        "*",
        *arguments,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate(stdin)
    assert (process.returncode, err) == (0, b"")
    return out.decode("latin-1")


def test_curl_uses_its_connection_again(run):
    async def main():
        async with aiohttp_server() as service, start(service) as proxy:
            url = proxy.url()
            out = await curl("-w", "|%{num_connects} %{http_code}\n", *[f"{url}/file"] * 3)
            assert out == "0123456789|1 200\n0123456789|0 200\n0123456789|0 200\n"

    run(main)


def test_curl_asks_before_it_sends_and_sends_in_chunks(run, tmp_path):
    body = bytes(range(256)) * 8192  # 2 MB: curl asks with `expect: 100-continue` above 1 MB
    (tmp_path / "body").write_bytes(body)
    digest = hashlib.sha256(body).hexdigest()

    async def main():
        async with aiohttp_server() as service, start(service) as proxy:
            at = f"@{tmp_path / 'body'}"
            for extra in (["-H", "Expect: 100-continue"], ["-H", "Transfer-Encoding: chunked"], ["-H", "Expect:"]):
                out = await curl("--data-binary", at, *extra, proxy.url() + "/")
                assert f'"size": {len(body)}, "sha256": "{digest}"' in out
            assert digest in await curl("-T", "-", proxy.url() + "/", stdin=body)
            await at_rest(proxy)

    run(main)


def test_curl_asks_for_heads_and_parts(run):
    async def main():
        async with aiohttp_server() as service, start(service) as proxy:
            head = await curl("--head", proxy.url() + "/size/100000")
            assert head.startswith("HTTP/1.1 200 OK\r\n")
            assert "content-length: 100000\r\n" in head.lower()
            out = await curl("--range", "2-4", "-w", "|%{http_code}", proxy.url() + "/file")
            assert out == "234|206"
            assert await curl("--http1.0", proxy.url() + "/file", "-w", "|%{http_code}", "-o", "/dev/null") == "|426"

    run(main)


# -- Python's own and others' clients


def test_httpx_and_aiohttp(run):
    async def main():
        async with aiohttp_server() as service, start(service) as proxy:
            async with httpx.AsyncClient(base_url=proxy.url()) as client:
                for size in (0, 1, MB):
                    assert len((await client.get(f"/size/{size}")).content) == size
                    assert (await client.post("/echo", content=b"x" * size)).content == b"x" * size

                async def chunks():
                    for _ in range(10):
                        yield b"y" * 1000

                assert (await client.post("/", content=chunks())).json()["size"] == 10_000
            async with aiohttp.ClientSession(proxy.url()) as session:
                for size in (0, 1, MB):
                    async with session.get(f"/size/{size}") as response:
                        assert len(await response.read()) == size
                    async with session.post("/echo", data=b"x" * size, expect100=True) as response:
                        assert await response.read() == b"x" * size
            await at_rest(proxy)
            assert proxy.stats["cluster.service.upstream_rq_200"] == 13

    run(main)


def test_http_client_of_the_standard_library(run):
    def ask(address):
        connection = http.client.HTTPConnection(*address, timeout=10)
        seen = []
        for method, path, body in (("GET", "/file", None), ("HEAD", "/size/9", None), ("POST", "/echo", b"abc")):
            connection.request(method, path, body)
            response = connection.getresponse()
            seen.append((response.status, response.read()))
        connection.request("POST", "/echo", iter([b"one", b"two"]), encode_chunked=True)
        seen.append((200, connection.getresponse().read()))
        connection.close()
        return seen

    async def main():
        async with aiohttp_server() as service, start(service) as proxy:
            seen = await asyncio.to_thread(ask, proxy.address())
            assert seen == [(200, b"0123456789"), (200, b""), (200, b"abc"), (200, b"onetwo")]

    run(main)


def test_pipelined_requests_are_answered_in_order_as_h11_reads_them(run):
    async def main():
        async with FakeUpstream(respond=lambda request: request.path) as service, start(service.address) as proxy:
            reader, writer = await asyncio.open_connection(*proxy.address())
            writer.write(b"".join(b"GET /%d HTTP/1.1\r\nhost: a\r\n\r\n" % number for number in range(20)))
            left = b""
            for number in range(20):
                parser = h11.Connection(h11.CLIENT)
                parser.send(h11.Request(method="GET", target="/", headers=[("host", "a")]))
                parser.send(h11.EndOfMessage())
                if left:
                    parser.receive_data(left)
                body = b""
                while not isinstance(event := parser.next_event(), h11.EndOfMessage):
                    if event is h11.NEED_DATA:
                        parser.receive_data(await reader.read(65536))
                    elif isinstance(event, h11.Data):
                        body += event.data
                assert body == b"/%d" % number
                left = parser.trailing_data[0]
            writer.close()
            await writer.wait_closed()
            assert service.connections == 1

    run(main)


# -- many, large, slow, abrupt


def test_two_hundred_connections_at_once(run):
    async def main():
        async def ask(address, number):
            reader, writer = await asyncio.open_connection(*address)
            body = b"%d" % number * 100
            try:
                for _ in range(3):
                    writer.write(b"POST /echo HTTP/1.1\r\nhost: a\r\ncontent-length: %d\r\n\r\n" % len(body) + body)
                    head = await reader.readuntil(b"\r\n\r\n")
                    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
                    assert (await reader.readuntil(b"0\r\n\r\n")).count(b"%d" % number) >= 100
            finally:
                writer.close()
                await writer.wait_closed()

        async with aiohttp_server() as service, start(service) as proxy:
            await asyncio.gather(*(ask(proxy.address(), number) for number in range(1000, 1200)))
            await at_rest(proxy)
            assert proxy.stats["http.http.downstream_cx_total"] == 200
            assert proxy.stats["cluster.service.upstream_rq_200"] == 600

    run(main)


def test_clients_that_break_off_leave_nothing_active(run):
    """At every moment of a request and of its answer: by a reset, or by a FIN."""

    async def main():
        async with aiohttp_server() as service, start(service) as proxy:
            request = b"POST /echo HTTP/1.1\r\nhost: a\r\ncontent-length: 100000\r\n\r\n" + b"x" * 100_000
            for number in range(60):
                reader, writer = await asyncio.open_connection(*proxy.address())
                writer.write(request[: (number * 7919) % len(request)])
                if number % 3 == 1:
                    await asyncio.sleep(0)
                elif number % 3 == 2:
                    with contextlib.suppress(TimeoutError):
                        await asyncio.wait_for(reader.read(100), 0.002)
                if number % 2:
                    writer.transport.abort()
                writer.close()
                with contextlib.suppress(ConnectionError):
                    await writer.wait_closed()
            await at_rest(proxy)
            async with httpx.AsyncClient() as client:
                assert (await client.get(proxy.url() + "/file")).text == "0123456789"

    run(main)


def test_an_upstream_that_comes_back_is_used_again(run):
    async def main():
        with socket.create_server(("127.0.0.1", 0)) as probe:
            port = probe.getsockname()[1]
        async with start(f"127.0.0.1:{port}") as proxy, httpx.AsyncClient(base_url=proxy.url()) as client:
            for _ in range(3):
                assert (await client.get("/file")).status_code == 503
                async with aiohttp_server(port):
                    assert (await client.get("/file")).text == "0123456789"
                await until(lambda: not proxy.stats["cluster.service.upstream_cx_active"])

    run(main)


def test_an_upstream_that_breaks_off_in_the_middle_breaks_the_answer_off(run):
    async def main():
        half = Reply(raw=b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf", close=True)
        async with FakeUpstream(half, "whole") as service, start(service.address) as proxy:
            async with httpx.AsyncClient(base_url=proxy.url()) as client:
                with pytest.raises(httpx.RemoteProtocolError):
                    await client.get("/")
                assert (await client.get("/")).text == "whole"
            await at_rest(proxy)

    run(main)
