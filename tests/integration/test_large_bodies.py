"""Bodies that would not fit: through `minienvoy` as a process of its own, whose memory is looked at."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

pytestmark = pytest.mark.asyncio

MB = 1 << 20
CONFIG = """\
admin:
  address: {{socket_address: {{address: 127.0.0.1, port_value: 0}}}}
static_resources:
  listeners:
  - name: http
    address: {{socket_address: {{address: 127.0.0.1, port_value: 0}}}}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: http
          route_config:
            virtual_hosts:
            - name: all
              domains: ["*"]
              routes:
              - match: {{prefix: /}}
                route: {{cluster: service, timeout: 0s}}
          http_filters:
          - name: envoy.filters.http.router
            typed_config: {{"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}
  clusters:
  - name: service
    load_assignment:
      cluster_name: service
      endpoints:
      - lb_endpoints:
        - endpoint: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {port}}}}}}}
"""


def resident(pid: int) -> int:
    """Bytes of a process that are in memory, at most so far."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("the process is gone")


async def read_length(reader: asyncio.StreamReader) -> int:
    head = await reader.readuntil(b"\r\n\r\n")
    return int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])


async def discard(reader: asyncio.StreamReader, length: int, slowly: bool) -> None:
    while length:
        data = await reader.read(min(length, 262144))
        assert data, "it broke off"
        length -= len(data)
        if slowly:
            await asyncio.sleep(0.0005)


async def send(writer: asyncio.StreamWriter, length: int) -> None:
    block = bytes(262144)
    while length:
        size = min(length, len(block))
        writer.write(block[:size])
        length -= size
        await writer.drain()


@asynccontextmanager
async def service(slowly: bool):
    """Reads the body of each request, then answers with as many bytes."""

    async def serve(reader, writer):
        try:
            while True:
                length = await read_length(reader)
                await discard(reader, length, slowly)
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % length)
                await send(writer, length)
        except asyncio.IncompleteReadError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


@pytest.mark.parametrize("slow", ["nobody", "client", "upstream"])
async def test_a_hundred_megabytes_each_way_take_little_memory(command, tmp_path, fetch, slow):
    async with service(slow == "upstream") as port:
        (tmp_path / "envoy.yaml").write_text(CONFIG.format(port=port))
        async with command(
            "-c", str(tmp_path / "envoy.yaml"), "--admin-address-path", str(tmp_path / "admin")
        ) as process:
            async for line in process.stderr:
                if b"starting workers" in line:
                    break
            admin = (tmp_path / "admin").read_text()
            listeners = (await fetch(f"http://{admin}/listeners")).body.decode()
            host, _, port = listeners.strip().removeprefix("http::").rpartition(":")
            reader, writer = await asyncio.open_connection(host, int(port))

            async def post(size):
                writer.write(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: %d\r\n\r\n" % size)
                await send(writer, size)
                assert await read_length(reader) == size
                await discard(reader, size, slow == "client")

            for size in (0, 1, MB):
                await post(size)
            before = resident(process.pid)
            await post(100 * MB)
            grown = resident(process.pid) - before
            writer.close()
            await writer.wait_closed()
    assert grown < 20 * MB, f"grown by {grown / MB:.1f} MB"
