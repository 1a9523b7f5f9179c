"""`python -m bench.tls_cost`: what TLS adds, per megabyte and per handshake, beside what it adds to a bare uvloop echo.

Two echo servers run one after the other in this process, each plain and with TLS: uvloop's own, and minienvoy's `echo`
filter. Clients are a process of their own, so the CPU time of this process is the server's. What is told is the
difference between TLS and plain; the ratio of the two is what has to stay below 1.3.
"""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from statistics import median

import uvloop

from minienvoy import Proxy
from minienvoy.network.certificate_authority import CertificateAuthority, LeafCertificate

from .process import HOST

ROUNDS = 3
MEGABYTES = 32
CHUNK = 256 * 1024
HANDSHAKES = 150
_TYPES = "type.googleapis.com/envoy.extensions"


class Echo(asyncio.Protocol):
    """The bare one."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.write = transport.write  # type: ignore[attr-defined]

    def data_received(self, data: bytes) -> None:
        self.write(data)


@asynccontextmanager
async def bare(leaf: LeafCertificate | None) -> AsyncIterator[int]:
    loop = asyncio.get_running_loop()
    context = None if leaf is None else leaf.server_context()
    server = await loop.create_server(Echo, HOST, 0, ssl=context)
    try:
        port: int = server.sockets[0].getsockname()[1]
        yield port
    finally:
        server.close()
        await server.wait_closed()


@asynccontextmanager
async def ours(leaf: LeafCertificate | None) -> AsyncIterator[int]:
    chain: dict[str, object] = {
        "filters": [{"name": "echo", "typed_config": {"@type": f"{_TYPES}.filters.network.echo.v3.Echo"}}]
    }
    if leaf is not None:
        shown = {
            "certificate_chain": {"inline_string": leaf.certificate.decode()},
            "private_key": {"inline_string": leaf.private_key.decode()},
        }
        chain["transport_socket"] = {
            "name": "tls",
            "typed_config": {
                "@type": f"{_TYPES}.transport_sockets.tls.v3.DownstreamTlsContext",
                "common_tls_context": {"tls_certificates": [shown]},
            },
        }
    address = {"socket_address": {"address": HOST, "port_value": 0}}
    listener = {"name": "main", "address": address, "filter_chains": [chain]}
    async with Proxy.from_dict({"static_resources": {"listeners": [listener]}}, explain=False) as proxy:
        yield proxy.address()[1]
        stats = {name: value for name, value in proxy.stats.items() if name.endswith((".handshake", "session_reused"))}
        if stats:
            print(f"  handshakes: {', '.join(map(str, stats.values()))}", file=sys.stderr)


@dataclass
class Cost:
    """CPU seconds of the server."""

    megabyte: float
    connection: float
    resumed: float


async def cost(port: int, secure: bool) -> Cost:
    megabyte = await _measured(port, secure, "bytes") / MEGABYTES
    connection = await _measured(port, secure, "connections") / HANDSHAKES
    resumed = await _measured(port, secure, "resumed") / HANDSHAKES if secure else connection
    return Cost(megabyte, connection, resumed)


async def _measured(port: int, secure: bool, what: str) -> float:
    client = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "bench.tls_cost",
        what,
        str(port),
        str(int(secure)),
        stdout=subprocess.PIPE,
        stdin=subprocess.PIPE,
    )
    assert client.stdin is not None and client.stdout is not None
    await client.stdout.readline()  # it is ready
    await asyncio.sleep(0.05)
    before = time.process_time()
    client.stdin.write(b"\n")
    await client.stdout.readline()
    spent = time.process_time() - before
    await client.wait()
    return spent


# -- the client, in a process of its own


def client(what: str, port: int, secure: bool) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.maximum_version = ssl.TLSVersion.TLSv1_2 if what == "resumed" else ssl.TLSVersion.TLSv1_3
    earlier: list[ssl.SSLSession | None] = [None]

    def connect() -> socket.socket:
        raw = socket.create_connection((HOST, port))
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if not secure:
            return raw
        made = context.wrap_socket(raw, session=earlier[0])
        if what == "resumed" and earlier[0] is None:
            earlier[0] = made.session
        return made

    actions: dict[str, Callable[[], None]] = {"bytes": lambda: _stream(connect())}
    with connect() as first:
        _echo(first, b"x")
    print("ready", flush=True)
    sys.stdin.readline()
    if what in actions:
        actions[what]()
    else:
        for _ in range(HANDSHAKES):
            with connect() as made:
                _echo(made, b"x")
    print("done", flush=True)


def _stream(made: socket.socket) -> None:
    with made:
        for _ in range(MEGABYTES * 1024 * 1024 // CHUNK):
            _echo(made, bytes(CHUNK))


def _echo(made: socket.socket, data: bytes) -> None:
    made.sendall(data)
    left = len(data)
    while left:
        left -= len(made.recv(min(left, 65536)))


async def main() -> None:
    leaf = CertificateAuthority().issue("localhost", HOST)
    found: dict[str, list[Cost]] = {"bare": [], "ours": []}
    for _ in range(ROUNDS):
        for name, server in (("bare", bare), ("ours", ours)):
            async with server(None) as port:
                plain = await cost(port, False)
            async with server(leaf) as port:
                secure = await cost(port, True)
            found[name].append(
                Cost(
                    secure.megabyte - plain.megabyte,
                    secure.connection - plain.connection,
                    secure.resumed - plain.resumed,
                )
            )
    rows = {}
    for part, unit, scale in (("megabyte", "us/MB", 1e6), ("connection", "us", 1e6), ("resumed", "us", 1e6)):
        mine, theirs = (median(getattr(each, part) for each in found[name]) * scale for name in ("ours", "bare"))
        rows[part] = {"bare uvloop": round(theirs, 1), "minienvoy": round(mine, 1), "ratio": round(mine / theirs, 2)}
        told = f"bare uvloop {theirs:8.0f} {unit}   minienvoy {mine:8.0f} {unit}   {mine / theirs:.2f} x"
        print(f"TLS adds per {part:<11} {told}")
    print(json.dumps(rows))


if __name__ == "__main__":
    if len(sys.argv) > 1:
        client(sys.argv[1], int(sys.argv[2]), sys.argv[3] == "1")
    else:
        uvloop.run(main())
