"""A proxy that has no file descriptor left waits for one: it neither spins nor ends."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

DESCRIPTORS = 48
CONFIG = """
admin: {address: {socket_address: {address: 127.0.0.1, port_value: 0}}}
static_resources:
  listeners:
  - name: main
    address: {socket_address: {address: 127.0.0.1, port_value: %(port)d}}
    filter_chains:
    - filters:
      - name: hcm
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: main
          route_config:
            virtual_hosts:
            - name: all
              domains: ["*"]
              routes:
              - {match: {prefix: /here}, direct_response: {status: 200, body: {inline_string: here}}}
              - {match: {prefix: /}, route: {cluster: backend}}
          http_filters:
          - name: router
            typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}
  clusters:
  - name: backend
    type: STATIC
    connect_timeout: 1s
    load_assignment:
      cluster_name: backend
      endpoints:
      - lb_endpoints: [{endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: %(backend)d}}}}]
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture
def backend() -> Iterator[int]:
    """Accepts, and answers nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.fixture
def proxy(tmp_path: Path, backend: int) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    port = free_port()
    path = tmp_path / "envoy.yaml"
    path.write_text(CONFIG % {"port": port, "backend": backend})

    def few_descriptors() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (DESCRIPTORS, DESCRIPTORS))

    command = [sys.executable, "-m", "minienvoy", "-c", str(path), "--log-level", "off"]
    with subprocess.Popen(command, preexec_fn=few_descriptors, stderr=subprocess.DEVNULL) as process:
        try:
            wait_until_it_listens(port)
            yield process, port
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(20)


def wait_until_it_listens(port: int) -> None:
    for _ in range(200):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.05)
    raise AssertionError("the proxy does not listen")


def get(connection: socket.socket, path: str) -> bytes:
    connection.sendall(f"GET {path} HTTP/1.1\r\nhost: a\r\n\r\n".encode())
    connection.settimeout(10)
    return connection.recv(65536)


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text("ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="the CPU time of another process is read from /proc")
def test_a_proxy_without_descriptors_waits_and_goes_on(proxy: tuple[subprocess.Popen[bytes], int]) -> None:
    process, port = proxy
    with contextlib.ExitStack() as stack:

        def connect() -> socket.socket:
            return stack.enter_context(socket.create_connection(("127.0.0.1", port), 5))

        first = connect()
        assert get(first, "/here").startswith(b"HTTP/1.1 200 OK")
        # More connections than the proxy can have descriptors; the rest wait in the kernel's queue.
        others = [connect() for _ in range(DESCRIPTORS * 2)]
        time.sleep(0.5)
        before = cpu_seconds(process.pid)
        time.sleep(1.0)
        assert cpu_seconds(process.pid) - before < 0.5
        assert process.poll() is None
        # Who is connected is served; what would need a descriptor is answered, too.
        assert get(first, "/here").startswith(b"HTTP/1.1 200 OK")
        assert get(first, "/upstream").startswith(b"HTTP/1.1 503 Service Unavailable")
        for other in others:
            other.close()
        assert get(connect(), "/here").startswith(b"HTTP/1.1 200 OK")
    assert process.poll() is None
