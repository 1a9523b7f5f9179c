"""Toxics work whatever is spoken to a host: HTTP/1, HTTP/2, either within TLS, and TCP that is spliced."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from minienvoy import Proxy
from minienvoy.testing import ca
from minienvoy.testing.fake_upstream import FakeUpstream
from tests.integration.test_faults import ask, config

KINDS = pytest.mark.parametrize("kind", ["http1", "http2", "http1 in tls", "http2 in tls"])
BODY = bytes(range(250)) * 200
TLS = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3."
OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"


def tls_socket(kind: str, **context: Any) -> dict[str, Any]:
    return {"name": "tls", "typed_config": {"@type": f"{TLS}{kind}TlsContext", **context}}


@asynccontextmanager
async def proxy_before(kind: str, directory: Path) -> AsyncIterator[Proxy]:
    """A proxy whose cluster `service` is spoken to in that way: a second proxy is the host."""
    async with AsyncExitStack() as stack:
        service = await stack.enter_async_context(FakeUpstream(BODY))
        inner, outer = config(service.address), None
        if "tls" in kind:
            certificate, key = ca().issue("a.test").write(directory)
            files = {"certificate_chain": {"filename": str(certificate)}, "private_key": {"filename": str(key)}}
            common = {"tls_certificates": [files], "alpn_protocols": ["h2", "http/1.1"]}
            (chain,) = inner["static_resources"]["listeners"][0]["filter_chains"]
            chain["transport_socket"] = tls_socket("Downstream", common_tls_context=common)
        host = await stack.enter_async_context(Proxy.from_dict(inner))
        outer = config("{}:{}".format(*host.address("in")))
        (cluster,) = outer["static_resources"]["clusters"]
        if "tls" in kind:
            cluster["transport_socket"] = tls_socket("Upstream")
        if "http2" in kind:
            explicit = {"explicit_http_config": {"http2_protocol_options": {}}}
            cluster["typed_extension_protocol_options"] = {
                OPTIONS: {"@type": f"type.googleapis.com/{OPTIONS}", **explicit}
            }
        yield await stack.enter_async_context(Proxy.from_dict(outer, seed=7))


def run(test: Callable[[], Any]) -> None:
    asyncio.run(asyncio.wait_for(test(), 30))


async def outcome(proxy: Proxy) -> str:
    try:
        status, body = await ask(proxy)
    except (asyncio.IncompleteReadError, ConnectionResetError):
        return "cut short"
    return "complete" if (status, body) == (200, BODY) else str(status)


@KINDS
@pytest.mark.parametrize(
    ("toxic", "attributes", "least", "expected"),
    [
        ("latency", {"latency": 120}, 0.12, {"complete"}),
        ("latency", {"latency": 100, "jitter": 40}, 0.06, {"complete"}),
        ("bandwidth", {"rate": 250}, 0.15, {"complete"}),
        ("slicer", {"average_size": 700, "size_variation": 100, "delay": 10}, 0.0, {"complete"}),
        ("slow_close", {"delay": 50}, 0.0, {"complete"}),
        ("limit_data", {"bytes": 20_000}, 0.0, {"cut short"}),
        ("reset_peer", {"timeout": 0}, 0.0, {"503"}),
        ("timeout", {"timeout": 80}, 0.08, {"503"}),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_every_toxic_works_and_can_be_taken_away(
    kind: str, toxic: str, attributes: dict[str, int], least: float, expected: set[str], tmp_path: Path
) -> None:
    async def test() -> None:
        async with proxy_before(kind, tmp_path) as proxy:
            assert await outcome(proxy) == "complete"
            proxy.faults.add("service", toxic, name="bad", **attributes)
            begun = time.monotonic()
            assert {await outcome(proxy)} == expected
            assert time.monotonic() - begun >= least - 0.01
            proxy.faults.remove("service", "bad")
            # A connection that was cut takes its leave.
            results = [await outcome(proxy) for _ in range(2)]
            assert results[-1] == "complete"

    run(test)


@KINDS
def test_the_admin_interface_switches_them_while_it_runs(kind: str, tmp_path: Path) -> None:
    async def test() -> None:
        async with proxy_before(kind, tmp_path) as proxy:
            target = "/minienvoy/faults?cluster=service&type=timeout&timeout=50"
            assert (await ask(proxy, target, "POST", "admin"))[0] == 200
            assert await outcome(proxy) == "503"
            target = "/minienvoy/faults?cluster=service&remove=timeout_downstream"
            assert (await ask(proxy, target, "POST", "admin"))[0] == 200
            assert await outcome(proxy) == "complete"

    run(test)


@pytest.mark.skipif(not hasattr(os, "splice"), reason="splice is Linux's")
def test_a_connection_that_is_spliced_gets_a_bad_network(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    real = os.splice

    def splice(*args: int, **options: int) -> int:
        sizes.append(real(*args, **options))
        return sizes[-1]

    monkeypatch.setattr(os, "splice", splice)
    chunk = bytes(range(256)) * 4096

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(1 << 20):
            writer.write(data)
            await writer.drain()
        writer.close()

    async def test() -> None:
        server = await asyncio.start_server(serve, "127.0.0.1", 0, limit=1 << 22)
        port = server.sockets[0].getsockname()[1]
        async with server, Proxy.from_dict(config(f"127.0.0.1:{port}", tcp=True)) as proxy:
            reader, writer = await asyncio.open_connection(*proxy.address("in"), limit=1 << 22)

            async def echo() -> None:
                writer.write(chunk)
                assert await reader.readexactly(len(chunk)) == chunk

            for _ in range(200):
                await echo()
                if len(sizes) > 20:
                    break
            assert len(sizes) > 20
            # Some of it is in the pipe when the network turns bad: nothing is lost, nothing goes past the toxic.
            writer.write(chunk)
            proxy.faults.add("service", "latency", latency=100)
            proxy.faults.add("service", "slicer", average_size=60_000, size_variation=0, delay=0)
            assert await reader.readexactly(len(chunk)) == chunk
            before, begun = len(sizes), time.monotonic()
            await echo()
            assert time.monotonic() - begun >= 0.1
            await echo()
            assert len(sizes) == before
            proxy.faults.clear()
            begun = time.monotonic()
            writer.write(b"soon")
            assert await reader.readexactly(4) == b"soon"
            assert time.monotonic() - begun < 0.1
            proxy.faults.add("service", "reset_peer", timeout=0)
            writer.write(b"x")
            with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
                await reader.readexactly(1)
            writer.close()

    run(test)
