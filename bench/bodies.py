"""Large bodies through the proxy, in each mix of HTTP/1.1 and HTTP/2: what they cost, and how much of them is held.

    python -m bench.bodies [--size MB] [--rate MB] [--no-memory] [--json]

`curl` downloads and uploads. The CPU of the proxy's process alone is counted: the rate is what one CPU could do,
whoever shares the machine. Then the same again with somebody who takes only `--rate` MB a second, the client of a
download or the server of an upload: the resident memory at its peak is set beside what it was before.

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
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from .contestants import CONTESTANTS, ENVOY, Contestant
from .measure import ROOT
from .process import HOST, BenchError, StartedProcess, end_on_sigterm, free_port, wait_for_port

MB = 1 << 20
WAYS = ("download", "upload")
MIXES = (("h1", "h1"), ("h1", "h2"), ("h2", "h1"), ("h2", "h2"))
OPTIONS = {"h1": "http_protocol_options", "h2": "http2_protocol_options"}
LISTENER = """\
admin:
  address: {{socket_address: {{address: 127.0.0.1, port_value: 0}}}}
static_resources:
  listeners:
  - name: from_{listen}
    address: {{socket_address: {{address: 127.0.0.1, port_value: {listen}}}}}
    filter_chains:
    - filters:
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
    """One way through one proxy: MB a second of one CPU, and by how many MB it grew before who reads slowly."""

    proxy: str
    mix: str
    way: str
    rate: float
    grown: float | None


class Server:
    """HTTP/1.1, a thread for each connection: `GET /SIZE` is answered with so many bytes, a body is thrown away.

    `rate` is how many bytes of a body it takes in a second, 0 for all there are.
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

    def start(self, contestant: Contestant, listen: int, upstream: int, protocol: str, cpu: int) -> StartedProcess:
        """`listen` takes both protocols, `upstream` gets `protocol`."""
        directory = self._directory / str(listen)
        directory.mkdir()
        config = directory / "envoy.yaml"
        cluster = CLUSTER.format(listen=listen, upstream=upstream, options=OPTIONS[protocol])
        config.write_text(LISTENER.format(listen=listen) + cluster)
        assert contestant.reads is not None
        command = contestant.reads(config)
        process = StartedProcess(contestant.name, command, cpu=cpu, log=directory / "log", cwd=ROOT)
        self._stack.callback(process.stop)
        wait_for_port(listen, process, 20)
        process.settle()
        return process


def curl(protocol: str, port: int, way: str, size: int, upload: Path, rate: int = 0) -> None:
    """Raises BenchError unless the whole body has arrived."""
    command = ["curl", "-sS", "--http1.1" if protocol == "h1" else "--http2-prior-knowledge", "-o", "/dev/null"]
    command += ["-w", "%{http_code} %{size_download} %{size_upload}", "-H", "expect:"]
    if way == "upload":
        command += ["-T", str(upload), f"http://{HOST}:{port}/0"]
        wanted = f"200 0 {size}"
    else:
        command += [f"http://{HOST}:{port}/{size}", *(["--limit-rate", str(rate)] if rate else [])]
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


def measure(size: int, rate: int, memory: bool, say: Callable[[str], None]) -> list[Row]:
    """`size` bytes each way through each mix of each proxy; `rate` bytes a second for who reads slowly."""
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
            for contestant in contestants:
                listen = free_port()
                behind = before_server if upstream == "h2" else server.port
                process = proxies.start(contestant, listen, behind, upstream, 0)
                for way in WAYS:
                    curl(downstream, listen, "download", MB, upload)
                    used = process.cpu_seconds()
                    curl(downstream, listen, way, size, upload)
                    cpu = process.cpu_seconds() - used
                    grown = None
                    if memory:
                        server.rate = rate if way == "upload" else 0.0
                        slowly = (downstream, listen, way, size, upload, rate)
                        grown = peak(process, lambda arguments=slowly: curl(*arguments)) / MB  # type: ignore[misc]
                        server.rate = 0.0
                    rows.append(Row(contestant.name, f"{downstream} to {upstream}", way, size / MB / cpu, grown))
                    say(as_line(rows[-1]))
                process.stop()
    return rows


def as_line(row: Row) -> str:
    grown = "" if row.grown is None else f", {row.grown:6.1f} MB more before a slow reader"
    return f"{row.mix}, {row.way:8}  {row.proxy:10} {row.rate:7.0f} MB/s of one CPU{grown}"


def ratios(rows: Sequence[Row]) -> list[str]:
    """minienvoy's rate beside Envoy's."""
    rates = {(row.proxy, row.mix, row.way): row.rate for row in rows}
    return [
        f"{mix}, {way:8}  minienvoy's rate is {rate / rates[ENVOY, mix, way]:.2f} of Envoy's"
        for (proxy, mix, way), rate in rates.items()
        if proxy == "minienvoy" and (ENVOY, mix, way) in rates
    ]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.bodies", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--size", type=int, default=1024, help="MB of a body")
    parser.add_argument("--rate", type=int, default=100, help="MB a second that a slow reader takes")
    parser.add_argument("--no-memory", action="store_true", help="leave out the slow readers")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    end_on_sigterm()
    say = (lambda line: None) if arguments.json else print
    try:
        rows = measure(arguments.size * MB, arguments.rate * MB, not arguments.no_memory, say)
    except BenchError as error:
        sys.exit(str(error))
    if arguments.json:
        print(json.dumps([{name: getattr(row, name) for name in Row.__slots__} for row in rows]))
    else:
        print(*ratios(rows), sep="\n")


if __name__ == "__main__":
    main()
