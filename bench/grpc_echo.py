"""What a unary gRPC call costs: minienvoy beside Envoy and a proxy made of grpcio's server and client.

    python -m bench.grpc_echo [--rounds N] [--requests N] [--json]

`h2load` calls over one connection with ten streams; a grpcio server echoes 100 bytes. Counted is the CPU of the proxy's
process, all its threads, for one call: that the other CPU is shared with load and server does not enter it. Rates are
what one CPU could do. Without `h2load` or grpcio there is nothing to measure.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from statistics import median

from .contestants import CONTESTANTS, ENVOY
from .measure import ROOT
from .process import HOST, BenchError, StartedProcess, end_on_sigterm, free_port, wait_for_port

MESSAGE = 100
STREAMS = 10
GRPCIO = "grpcio proxy"
CONFIG = """\
admin:
  address: {{socket_address: {{address: 127.0.0.1, port_value: 0}}}}
static_resources:
  listeners:
  - name: grpc
    address: {{socket_address: {{address: 127.0.0.1, port_value: {listen}}}}}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: grpc
          route_config:
            virtual_hosts:
            - name: all
              domains: ["*"]
              routes:
              - match: {{prefix: "/"}}
                route: {{cluster: grpc}}
          http_filters:
          - name: envoy.filters.http.router
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router
  clusters:
  - name: grpc
    type: STATIC
    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: {{http2_protocol_options: {{}}}}
    load_assignment:
      cluster_name: grpc
      endpoints:
      - lb_endpoints:
        - endpoint: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {upstream}}}}}}}
"""


def proxies(directory: Path, upstream: int) -> dict[str, tuple[int, Sequence[str]]]:
    """Name to port and command, of those that can run here."""
    found: dict[str, tuple[int, Sequence[str]]] = {}
    for contestant in CONTESTANTS:
        if contestant.reads is not None and contestant.missing() is None:
            listen = free_port()
            (directory / contestant.name).mkdir()
            config = directory / contestant.name / "envoy.yaml"
            config.write_text(CONFIG.format(listen=listen, upstream=upstream))
            found[contestant.name] = (listen, contestant.reads(config))
    listen = free_port()
    found[GRPCIO] = (listen, (sys.executable, "-m", "bench.peers.grpcio_proxy", f"{listen}:{upstream}"))
    return found


def call(port: int, requests: int, body: Path) -> None:
    """Make so many calls; raises BenchError unless all are answered with what was sent."""
    command = [*("h2load", "-n", str(requests), "-c", "1", "-m", str(STREAMS), "-d", str(body))]
    command += ["-H", "content-type: application/grpc", "-H", "te: trailers", f"http://{HOST}:{port}/echo.Echo/Unary"]
    said = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False).stdout
    wanted = f" {requests} succeeded, 0 failed"
    if wanted not in said or f"({requests * (MESSAGE + 5)}) data" not in said:
        raise BenchError(f"not every call was answered: {said.strip().splitlines()[-4:]}")


def measure(rounds: int, requests: int) -> dict[str, float]:
    """Microseconds of CPU for one call, by the name of the proxy."""
    for needed, there in (("h2load", shutil.which("h2load")), ("grpcio", importlib.util.find_spec("grpc"))):
        if not there:
            raise BenchError(f"{needed} is not installed")
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        body = directory / "body"
        body.write_bytes(b"\0" + MESSAGE.to_bytes(4, "big") + b"x" * MESSAGE)

        def start(name: str, command: Sequence[str], port: int, cpu: int) -> StartedProcess:
            process = StartedProcess(name, command, cpu=cpu, log=directory / f"{port}.log", cwd=ROOT)
            stack.callback(process.stop)
            wait_for_port(port, process, 20)
            process.settle()
            return process

        upstream = free_port()
        start("echo", (sys.executable, "-m", "bench.peers.grpcio_proxy", str(upstream)), upstream, 1)
        running = {
            name: (port, start(name, command, port, 0))
            for name, (port, command) in proxies(directory, upstream).items()
        }
        costs: dict[str, list[float]] = {name: [] for name in running}
        for port, _ in running.values():
            call(port, 500, body)
        for _ in range(rounds):
            for name, (port, process) in running.items():
                before = process.cpu_seconds()
                call(port, requests, body)
                costs[name].append((process.cpu_seconds() - before) / requests * 1e6)
    return {name: median(each) for name, each in costs.items()}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.grpc_echo", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--requests", type=int, default=3000, help="in each round")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    end_on_sigterm()
    try:
        costs = measure(arguments.rounds, arguments.requests)
    except BenchError as error:
        sys.exit(str(error))
    if arguments.json:
        print(json.dumps(costs))
        return
    own = costs["minienvoy"]
    for name, cost in costs.items():
        beside = "" if name == "minienvoy" else f"   minienvoy's rate is {cost / own:.2f} of this"
        print(f"{name:14} {cost:7.1f} us of CPU a call, {1e6 / cost:7.0f} calls/s of one CPU{beside}")
    if ENVOY not in costs:
        print("no Envoy here to compare with")


if __name__ == "__main__":
    main()
