"""HTTP/2 in front of the proxies that speak it: `h2load` (nghttp2) with one connection and several streams on it.

What is behind them is HTTP/1.1, as for the other workloads, or HTTP/2. Without `h2load` they are left out, with a
remark.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable

from .load import Driven
from .process import HOST, BenchError

STREAMS = {"h2": 10, "h2m100": 100, "h2toh2": 10, "h2toh2m100": 100}
"""Workload to streams at the same time."""
TO_HTTP2 = ("h2toh2", "h2toh2m100")
"""Those whose upstream speaks HTTP/2, too."""

_FINISHED = re.compile(r"finished in ([0-9.]+)(us|ms|s),")
_SUCCEEDED = re.compile(r"requests: (\d+) total, .* (\d+) succeeded")
_UNITS = {"us": 1e-6, "ms": 1e-3, "s": 1.0}


def drive(port: int, cpu_seconds: Callable[[], float], workload: str, seconds: float) -> Driven:
    """GET / for about `seconds`; raises BenchError unless every request is answered."""
    program = shutil.which("h2load")
    if program is None:
        raise BenchError("h2load is not installed")
    streams = STREAMS[workload]
    _load(program, port, streams, 500)
    requests, elapsed = 2000, 0.0
    while True:
        before = cpu_seconds()
        elapsed = _load(program, port, streams, requests)
        if elapsed >= seconds * 0.7:
            return Driven(requests, elapsed, cpu_seconds() - before)
        requests = int(requests * min(10.0, seconds / elapsed)) + 1


def _load(program: str, port: int, streams: int, requests: int) -> float:
    """Seconds that so many requests took."""
    command = [program, "-n", str(requests), "-c", "1", "-m", str(streams), f"http://{HOST}:{port}/"]
    said = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False).stdout
    return read(said, requests)


def read(said: str, requests: int) -> float:
    """The seconds that the output of `h2load` tells of; raises BenchError if not all requests succeeded."""
    finished, succeeded = _FINISHED.search(said), _SUCCEEDED.search(said)
    if finished is None or succeeded is None or int(succeeded[2]) != requests:
        raise BenchError("h2load: not every request was answered")
    return float(finished[1]) * _UNITS[finished[2]]
