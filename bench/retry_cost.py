"""`python -m bench.retry_cost`: what a retry costs beside a first attempt, in CPU and in frames.

One proxy in this process, on uvloop. Upstreams are threads, clients a process of their own, so the CPU time of the
loop's thread is the proxy's. The upstream of `/retried` fails every first attempt. Several clients ask at once: with
one, the loop would sleep while a retry waits, and the cost of waking up would be counted for that of the retry.
"""

from __future__ import annotations

import asyncio
import sys
import time
from dataclasses import dataclass

from minienvoy import Proxy

from . import frames
from .backend import BODY, RESPONSE
from .process import HOST, BenchError

CLIENTS = 32
FAILURE = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n"
REQUEST = b"GET %b HTTP/1.1\r\nhost: bench\r\n\r\n"
CONFIG = """
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
          route_config:
            virtual_hosts:
            - name: all
              domains: ["*"]
              include_request_attempt_count: true
              routes:
              - {match: {path: /first}, route: {cluster: fine}}
              - match: {path: /retried}
                route: {cluster: flaky, retry_policy: {retry_on: 5xx, retry_back_off: {base_interval: 0.001s}}}
          http_filters:
          - name: envoy.filters.http.router
            typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}
  clusters:
  - name: fine
    load_assignment:
      cluster_name: fine
      endpoints:
      - lb_endpoints:
        - endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: FINE}}}
  - name: flaky
    circuit_breakers: {thresholds: [{max_retries: 1024}]}
    load_assignment:
      cluster_name: flaky
      endpoints:
      - lb_endpoints:
        - endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: FLAKY}}}
"""


@dataclass(frozen=True, slots=True)
class RetryCost:
    """CPU in microseconds, and frames, of a request that is tried once and of what a retry adds to it."""

    first: float
    retry: float
    first_frames: int
    retry_frames: int

    @property
    def ratio(self) -> float:
        return self.retry / self.first


def fail_first_attempt(request: bytes) -> bytes:
    return FAILURE if b"x-envoy-attempt-count: 1" in request else RESPONSE


async def _ask(port: int, path: bytes, times: int) -> None:
    request = REQUEST % path
    reader, writer = await asyncio.open_connection(HOST, port)
    for _ in range(times):
        writer.write(request)
        answer = await reader.readuntil(BODY)
        if not answer.startswith(b"HTTP/1.1 200 "):
            raise ConnectionError(f"not the expected answer: {answer[:80]!r}")
    writer.close()


async def _load(port: int, path: bytes, times: int) -> None:
    await asyncio.gather(*(_ask(port, path, times) for _ in range(CLIENTS)))


async def _cpu(port: int, path: bytes, times: int) -> float:
    """Microseconds of this thread for one request."""
    await _load_elsewhere(port, path, 5)
    begin = time.thread_time()
    await _load_elsewhere(port, path, times)
    return (time.thread_time() - begin) / (times * CLIENTS) * 1e6


async def _load_elsewhere(port: int, path: bytes, times: int) -> None:
    arguments = ("-m", "bench.retry_cost", str(port), path.decode(), str(times))
    process = await asyncio.create_subprocess_exec(sys.executable, *arguments)
    if await process.wait():
        raise BenchError(f"the clients of {path.decode()} failed")


async def measure(times: int = 60, rounds: int = 3) -> RetryCost:
    """The least of `rounds`, each of `times` requests of either kind."""
    with frames.upstream() as fine, frames.upstream(fail_first_attempt) as flaky:
        config = CONFIG.replace("FINE", str(fine)).replace("FLAKY", str(flaky))
        async with Proxy.from_yaml(config, explain=False) as proxy:
            _, port = proxy.address("http")
            first = min([await _cpu(port, b"/first", times) for _ in range(rounds)])
            both = min([await _cpu(port, b"/retried", times) for _ in range(rounds)])
            once = await frames.frames_per_request(port, REQUEST % b"/first", warm_up=64)
            twice = await frames.frames_per_request(port, REQUEST % b"/retried", warm_up=64)
    return RetryCost(first, both - first, once.total, twice.total - once.total)


def main() -> None:
    if len(sys.argv) == 4:
        asyncio.run(_load(int(sys.argv[1]), sys.argv[2].encode(), int(sys.argv[3])))
        return
    import uvloop

    cost = uvloop.run(measure())
    print(f"first attempt {cost.first:6.1f} us of CPU, {cost.first_frames} frames")
    print(f"retry         {cost.retry:6.1f} us of CPU, {cost.retry_frames} frames: {cost.ratio:.2f} x a first attempt")


if __name__ == "__main__":
    main()
