"""Large bodies through the proxy, over TCP and in each mix of HTTP/1.1 and HTTP/2: what they cost, how much is held.

    python -m bench.bodies [--size MB] [--rate MB] [--no-memory] [--tls] [--json]

`curl` downloads and uploads. The CPU of the proxy's process alone is counted: the rate is what one CPU could do,
whoever shares the machine. Then the same again, each time through a process that was idle before, with a client or an
upstream that does only `--rate` MB a second, whether it reads or writes: the resident memory at its peak is set beside
what it was when idle. Who reads slowly has a sender before it that is ten times as fast.

With `--tls` clients speak it to the proxy, which takes the protocol that they ask for by ALPN.

An HTTP/2 server is another proxy (Envoy, where there is one) before the HTTP/1.1 server.
"""

from __future__ import annotations

import argparse
import json
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from minienvoy.network.certificate_authority import CertificateAuthority

from .contestants import CONTESTANTS, ENVOY, Contestant
from .measure import ROOT
from .process import HOST, BenchError, StartedProcess, end_on_sigterm, free_port, wait_for_port

MB = 1 << 20
WAYS = ("download", "upload")
SLOW = ("client", "upstream")
MIXES = (("tcp", "tcp"), ("h1", "h1"), ("h1", "h2"), ("h2", "h1"), ("h2", "h2"))
OPTIONS = {"tcp": "http_protocol_options", "h1": "http_protocol_options", "h2": "http2_protocol_options"}
LISTENER = """\
admin:
  address: {{socket_address: {{address: 127.0.0.1, port_value: 0}}}}
static_resources:
  listeners:
  - name: from_{listen}
    address: {{socket_address: {{address: 127.0.0.1, port_value: {listen}}}}}
    filter_chains:
    - {tls}
      filters:
"""
TLS = """\
transport_socket:
        name: envoy.transport_sockets.tls
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext
          common_tls_context:
            alpn_protocols: [h2, http/1.1]
            tls_certificates:
            - {{certificate_chain: {{filename: {chain}}}, private_key: {{filename: {key}}}}}"""
HTTP = """\
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: http
          stream_idle_timeout: 0s
          route_config:
            virtual_hosts:
            - name: all
              domains: ["*"]
              routes:
              - match: {{prefix: "/"}}
                route: {{cluster: to_{listen}, timeout: 0s}}
          http_filters:
          - name: envoy.filters.http.router
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router
"""
TCP = """\
      - name: envoy.filters.network.tcp_proxy
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy
          stat_prefix: tcp
          cluster: to_{listen}
"""
CLUSTER = """\
  clusters:
  - name: to_{listen}
    type: STATIC
    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: {{{options}: {{}}}}
    load_assignment:
      cluster_name: to_{listen}
      endpoints:
      - lb_endpoints:
        - endpoint: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {upstream}}}}}}}
"""


@dataclass(frozen=True, slots=True)
class Row:
    """One way through one proxy: MB a second of one CPU; MB that it grew by beside a slow client, a slow upstream."""

    proxy: str
    mix: str
    way: str
    rate: float
    grown: dict[str, float]


class Server:
    """HTTP/1.1, a thread for each connection: `GET /SIZE` is answered with so many bytes, a body is thrown away.

    `rate` is how many bytes of a body it takes or gives in a second, 0 for all there are.
    """

    def __init__(self) -> None:
        self.rate = 0.0
        self._listener = socket.create_server((HOST, 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            connection, _ = self._listener.accept()
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        piece = bytes(MB)
        with connection, connection.makefile("rb") as stream:
            try:
                while line := stream.readline():
                    length = 0
                    while (header := stream.readline()) not in (b"\r\n", b""):
                        name, _, value = header.lower().partition(b":")
                        length = int(value) if name == b"content-length" else length
                    self._take(stream.read, length)
                    size = int(line.split()[1].strip(b"/") or b"0")
                    connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % size)
                    for _ in range(size // MB):
                        connection.sendall(piece)
                        if self.rate:
                            time.sleep(MB / self.rate)
            except OSError:
                pass

    def _take(self, read: Callable[[int], bytes], length: int) -> None:
        while length > 0 and (got := len(read(min(length, MB)))):
            length -= got
            if self.rate:
                time.sleep(got / self.rate)


class Proxies:
    """Starts them, and stops them when `stack` is unwound."""

    def __init__(self, stack: ExitStack, directory: Path) -> None:
        self._stack = stack
        self._directory = directory
        leaf = CertificateAuthority().issue("localhost")
        chain, key = directory / "chain.pem", directory / "key.pem"
        chain.write_bytes(leaf.certificate)
        key.write_bytes(leaf.private_key)
        self._tls = TLS.format(chain=chain, key=key)

    def start(
        self, contestant: Contestant, listen: int, upstream: int, protocol: str, cpu: int, tls: bool = False
    ) -> StartedProcess:
        """`listen` takes both protocols of HTTP, or bytes; `upstream` gets `protocol`."""
        # Not by the port: that may have been another's before.
        directory = Path(tempfile.mkdtemp(dir=self._directory))
        config = directory / "envoy.yaml"
        cluster = CLUSTER.format(listen=listen, upstream=upstream, options=OPTIONS[protocol])
        listener = (LISTENER + (TCP if protocol == "tcp" else HTTP)).format(
            listen=listen, tls=self._tls if tls else "name: only"
        )
        config.write_text(listener + cluster)
        assert contestant.reads is not None
        command = contestant.reads(config)
        process = StartedProcess(contestant.name, command, cpu=cpu, log=directory / "log", cwd=ROOT)
        self._stack.callback(process.stop)
        wait_for_port(listen, process, 20)
        process.settle()
        return process


def curl(protocol: str, port: int, way: str, size: int, upload: Path, tls: bool, rate: int = 0) -> None:
    """Raises BenchError unless the whole body has arrived."""
    http2 = "--http2" if tls else "--http2-prior-knowledge"
    command = ["curl", "-sSk", http2 if protocol == "h2" else "--http1.1", "-o", "/dev/null"]
    url = f"{'https' if tls else 'http'}://{HOST}:{port}"
    command += ["-w", "%{http_code} %{size_download} %{size_upload}", "-H", "expect:"]
    if rate:
        command += ["--limit-rate", str(rate)]
    if way == "upload":
        command += ["-T", str(upload), f"{url}/0"]
        wanted = f"200 0 {size}"
    else:
        command += [f"{url}/{size}"]
        wanted = f"200 {size} 0"
    said = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    if said.stdout != wanted:
        raise BenchError(f"curl: {said.stdout} {said.stderr.strip()}, not {wanted}")


def peak(process: StartedProcess, act: Callable[[], None]) -> float:
    """By how many bytes the memory of `process` grows at most while `act` runs; looked at every 20 ms."""
    before = highest = process.resident_bytes()
    over = threading.Event()

    def look() -> None:
        nonlocal highest
        while not over.wait(0.02):
            highest = max(highest, process.resident_bytes())

    looking = threading.Thread(target=look)
    looking.start()
    try:
        act()
    finally:
        over.set()
        looking.join()
    return highest - before


def measure(size: int, rate: int, memory: bool, tls: bool, say: Callable[[str], None]) -> list[Row]:
    """`size` bytes each way through each mix of each proxy; `rate` bytes a second for who is slow."""
    if shutil.which("curl") is None:
        raise BenchError("curl is not installed")
    contestants = [each for each in CONTESTANTS if each.reads is not None and each.missing() is None]
    rows: list[Row] = []
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        upload = directory / "upload"
        with upload.open("wb") as file:
            file.truncate(size)
        server = Server()
        proxies = Proxies(stack, directory)
        before_server = free_port()
        # Envoy is the first of the contestants, where there is one.
        proxies.start(contestants[0], before_server, server.port, "h1", 1)
        for downstream, upstream in MIXES:
            behind = before_server if upstream == "h2" else server.port

            @contextmanager
            def warm(
                contestant: Contestant, downstream: str = downstream, upstream: str = upstream, behind: int = behind
            ) -> Iterator[tuple[StartedProcess, int]]:
                listen = free_port()
                process = proxies.start(contestant, listen, behind, upstream, 0, tls)
                curl(downstream, listen, "download", MB, upload, tls)
                yield process, listen
                process.stop()

            for way in WAYS:
                for contestant in contestants:
                    with warm(contestant) as (process, listen):
                        used = process.cpu_seconds()
                        curl(downstream, listen, way, size, upload, tls)
                        cpu = process.cpu_seconds() - used
                    grown: dict[str, float] = {}
                    for slow in SLOW if memory else ():
                        with warm(contestant) as (process, listen):
                            server.rate = rate if slow == "upstream" else 0.0
                            asked = (downstream, listen, way, size, upload, tls, rate if slow == "client" else 0)
                            grown[slow] = peak(process, partial(curl, *asked)) / MB
                            server.rate = 0.0
                    rows.append(Row(contestant.name, f"{downstream} to {upstream}", way, size / MB / cpu, grown))
                    say(as_line(rows[-1]))
    return rows


def as_line(row: Row) -> str:
    grown = "".join(f", {grown:5.1f} MB more with a slow {slow}" for slow, grown in row.grown.items())
    return f"{row.mix:10}, {row.way:8}  {row.proxy:10} {row.rate:7.0f} MB/s of one CPU{grown}"


def as_table(rows: Sequence[Row]) -> list[str]:
    """Markdown: minienvoy beside Envoy."""
    found = {(row.proxy, row.mix, row.way): row for row in rows}
    lines = [
        "| mix, way | Envoy, MB/s of one CPU | minienvoy | x Envoy | MB above idle, slow client | slow upstream |",
        "|--|--|--|--|--|--|",
    ]
    for (proxy, mix, way), row in found.items():
        other = found.get((ENVOY, mix, way))
        if proxy != "minienvoy":
            continue
        beside = ("-", "-") if other is None else (f"{other.rate:.0f}", f"{row.rate / other.rate:.2f}")
        held = [f"{row.grown[slow]:.1f}" if slow in row.grown else "-" for slow in SLOW]
        if other is not None and other.grown:
            held = [f"{mine} (Envoy {other.grown[slow]:.1f})" for mine, slow in zip(held, SLOW, strict=True)]
        lines.append(f"| {mix}, {way} | {beside[0]} | {row.rate:.0f} | {beside[1]} | {' | '.join(held)} |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.bodies", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--size", type=int, default=1024, help="MB of a body")
    parser.add_argument("--rate", type=int, default=200, help="MB a second of who is slow")
    parser.add_argument("--no-memory", action="store_true", help="leave out who is slow")
    parser.add_argument("--tls", action="store_true", help="between client and proxy")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    end_on_sigterm()
    say = (lambda line: None) if arguments.json else print
    try:
        rows = measure(arguments.size * MB, arguments.rate * MB, not arguments.no_memory, arguments.tls, say)
    except BenchError as error:
        sys.exit(str(error))
    if arguments.json:
        print(json.dumps([{name: getattr(row, name) for name in Row.__slots__} for row in rows]))
    else:
        print("", *as_table(rows), sep="\n")


if __name__ == "__main__":
    main()
