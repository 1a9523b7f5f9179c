"""Bodies that would not fit, in each mix of protocols, with TLS, through a slow reader on either side.

The proxy whose memory is looked at is a process of its own. Where one of its sides is HTTP/2, another proxy, in this
process, makes HTTP/2 of what a plain client sends, or HTTP/1 for a plain server.
"""

from __future__ import annotations

import asyncio
import json
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from minienvoy import Proxy

from .test_large_bodies import MB, discard, read_length, resident, send

pytestmark = pytest.mark.asyncio

BODY = 48 * MB
ALLOWED = 22 * MB
"""Above idle: a stream's window is 16 MB, as Envoy has it; so much may wait, and some of it is being copied."""
TLS = Path(__file__).parents[1] / "data" / "tls"
TYPES = "type.googleapis.com/envoy.extensions"


def config(upstream: str, port: int, *, tls_in: bool = False, tls_out: bool = False) -> dict[str, object]:
    """A proxy that understands both before it, and speaks `upstream` (h1 or h2) behind it."""
    manager = {
        "@type": f"{TYPES}.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "http",
        "stream_idle_timeout": "0s",
        "route_config": {
            "virtual_hosts": [
                {
                    "name": "all",
                    "domains": ["*"],
                    "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "next", "timeout": "0s"}}],
                }
            ]
        },
        "http_filters": [
            {"name": "envoy.filters.http.router", "typed_config": {"@type": f"{TYPES}.filters.http.router.v3.Router"}}
        ],
    }
    chain: dict[str, object] = {
        "filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]
    }
    cluster: dict[str, object] = {
        "name": "next",
        "load_assignment": {
            "cluster_name": "next",
            "endpoints": [
                {
                    "lb_endpoints": [
                        {"endpoint": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": port}}}}
                    ]
                }
            ],
        },
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": f"{TYPES}.upstreams.http.v3.HttpProtocolOptions",
                "explicit_http_config": {"http2_protocol_options" if upstream == "h2" else "http_protocol_options": {}},
            }
        },
    }
    if tls_in:
        certificate = {
            "certificate_chain": {"filename": str(TLS / "server.pem")},
            "private_key": {"filename": str(TLS / "server.key")},
        }
        chain["transport_socket"] = {
            "name": "tls",
            "typed_config": {
                "@type": f"{TYPES}.transport_sockets.tls.v3.DownstreamTlsContext",
                "common_tls_context": {"tls_certificates": [certificate], "alpn_protocols": ["h2", "http/1.1"]},
            },
        }
    if tls_out:
        cluster["transport_socket"] = {
            "name": "tls",
            "typed_config": {
                "@type": f"{TYPES}.transport_sockets.tls.v3.UpstreamTlsContext",
                "common_tls_context": {"alpn_protocols": ["h2" if upstream == "h2" else "http/1.1"]},
            },
        }
    return {
        "admin": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}}},
        "static_resources": {
            "listeners": [
                {
                    "name": "http",
                    "address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}},
                    "filter_chains": [chain],
                }
            ],
            "clusters": [cluster],
        },
    }


@asynccontextmanager
async def service(slowly: bool):
    """Reads the body of each request, whatever frames it, then answers with as many bytes."""

    async def serve(reader, writer):
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().partition(b"x-length: ")[2].partition(b"\r\n")[0])
                if b"content-length:" in head.lower():
                    await discard(reader, length, slowly)
                else:
                    await discard_chunks(reader, slowly)
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % length)
                await send(writer, length)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, limit=1 << 18)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def discard_chunks(reader, slowly: bool) -> None:
    while size := int((await reader.readuntil(b"\r\n")).partition(b";")[0], 16):
        await discard(reader, size + 2, slowly and size > 1 << 14)
    await reader.readuntil(b"\r\n")


MIXES = {
    "h1 to h1": ("h1", "h1", False),
    "h1 to h2": ("h1", "h2", False),
    "h2 to h1": ("h2", "h1", False),
    "h2 to h2": ("h2", "h2", False),
    "h1 to h1, TLS": ("h1", "h1", True),
    "h2 to h2, TLS": ("h2", "h2", True),
}


@pytest.mark.parametrize("slow", ["client", "upstream"])
@pytest.mark.parametrize(("downstream", "upstream", "tls"), MIXES.values(), ids=MIXES)
async def test_memory_stays_bounded(command, tmp_path, fetch, downstream, upstream, tls, slow):
    async with AsyncExitStack() as stack:
        port = await stack.enter_async_context(service(slow == "upstream"))
        if upstream == "h2" or tls:
            behind = await stack.enter_async_context(Proxy.from_dict(config("h1", port, tls_in=tls)))
            port = behind.address("http")[1]

        (tmp_path / "envoy.json").write_text(json.dumps(config(upstream, port, tls_in=tls, tls_out=tls)))
        process = await stack.enter_async_context(
            command(*("-c", str(tmp_path / "envoy.json"), "--admin-address-path", str(tmp_path / "admin")), seconds=120)
        )
        async for line in process.stderr:
            if b"starting workers" in line:
                break
        listeners = (await fetch(f"http://{(tmp_path / 'admin').read_text()}/listeners")).body.decode()
        host, _, bound = listeners.strip().removeprefix("http::").rpartition(":")
        if downstream == "h2" or tls:
            before = await stack.enter_async_context(Proxy.from_dict(config(downstream, int(bound), tls_out=tls)))
            host, bound = before.address("http")
        reader, writer = await asyncio.open_connection(host, int(bound), limit=1 << 18)

        async def post(size: int) -> None:
            writer.write(b"POST / HTTP/1.1\r\nhost: a\r\nx-length: %d\r\ncontent-length: %d\r\n\r\n" % (size, size))
            await send(writer, size)
            assert await read_length(reader) == size
            await discard(reader, size, slow == "client")

        for size in (0, 1, MB):
            await post(size)
        idle = resident(process.pid)
        await post(BODY)
        grown = resident(process.pid) - idle
        writer.close()
        await writer.wait_closed()
    assert grown < ALLOWED, f"grown by {grown / MB:.1f} MB"
