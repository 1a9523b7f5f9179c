"""Tells an agent of Datadog of finished traces, every two seconds; and hears from it how many it wants.

Envoy: `Tracers::Datadog::AgentHTTPClient`, `datadog::tracing::DatadogAgent`; statistics `tracing.datadog.*`.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final

from .... import logger
from ....http.header_map import HeaderMap, RequestHeaderMap, ResponseHeaderMap
from ....server.async_services import async_client
from ....stats.store import CounterValue, StatsStruct

if TYPE_CHECKING:
    from ....server.factory_context import ServerContext
    from ....upstream.async_client import AsyncStream

FLUSH_INTERVAL: Final = 2.0
_TIMEOUT: Final = 2.0
_MAX_ANSWER: Final = 1 << 16
_MAX_WAITING: Final = 10_000
"""Spans; further traces are dropped until those are sent."""
_PATH: Final = b"/v0.4/traces"
_HEADERS: Final = (
    (b"datadog-meta-tracer-version", b"v2.1.1"),
    (b"datadog-meta-lang-version", b"202002"),
    (b"datadog-meta-lang", b"cpp"),
    (b"content-type", b"application/msgpack"),
)
_log: Final = logger.get("tracing")


class DatadogTracerStats(StatsStruct):
    """`tracing.datadog.*`."""

    reports_skipped_no_cluster: CounterValue
    reports_sent: CounterValue
    reports_dropped: CounterValue
    reports_failed: CounterValue


class Agent:
    """Attributes:
    rates: by `service:NAME,env:NAME`, what part of the traces the agent wants.
    """

    def __init__(self, server: ServerContext, cluster: str, host: str) -> None:
        self._server = server
        self._cluster, self._host = cluster, host.encode()
        self._stats = server.stats.scope("tracing.datadog").struct(DatadogTracerStats)
        self._timer = server.dispatcher.create_timer(self._on_time)
        self._waiting: list[list[dict[str, Any]]] = []
        self._spans = 0
        self._under_way: set[_Report] = set()
        self.rates: dict[str, float] = {}

    def start(self) -> None:
        self._timer.enable(FLUSH_INTERVAL)

    def close(self) -> None:
        self._timer.disable()
        for report in tuple(self._under_way):
            report.cancel()
        self._waiting = []

    def report(self, trace: list[dict[str, Any]]) -> None:
        if self._spans < _MAX_WAITING:
            self._waiting.append(trace)
            self._spans += len(trace)

    def finished(self, report: _Report, status: int | None, body: bytes) -> None:
        self._under_way.discard(report)
        if status is None:
            self._stats.reports_failed += 1
        elif status != 200:
            self._stats.reports_dropped += 1
        else:
            self._stats.reports_sent += 1
            self._take_rates(body)

    def _on_time(self) -> None:
        self._timer.enable(FLUSH_INTERVAL)
        traces, self._waiting, self._spans = self._waiting, [], 0
        if not traces:
            return
        if self._server.cluster_manager.get(self._cluster) is None:
            self._stats.reports_skipped_no_cluster += 1
            return
        headers = RequestHeaderMap(b"POST", _PATH, self._host)
        headers.add(b"x-datadog-trace-count", b"%d" % len(traces))
        for name, value in _HEADERS:
            headers.add(name, value)
        report = _Report(self)
        self._under_way.add(report)
        stream = report.stream = async_client(self._server).start(self._cluster, report, _TIMEOUT)
        stream.send_headers(headers, False)
        stream.send_data(pack(traces), True)

    def _take_rates(self, body: bytes) -> None:
        try:
            rates = json.loads(body)["rate_by_service"]
            self.rates = {str(key): float(rate) for key, rate in rates.items()}
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            # An agent need not say anything.
            _log.debug("the agent of Datadog does not say how many traces it wants")


class _Report:
    """Waits for the answer to one request."""

    def __init__(self, agent: Agent) -> None:
        self._agent = agent
        self._status: int | None = None
        self._body = b""
        self.stream: AsyncStream | None = None

    def cancel(self) -> None:
        if self.stream is not None:
            self.stream.reset()

    def on_headers(self, headers: ResponseHeaderMap, end_stream: bool) -> None:
        self._status = headers.status

    def on_data(self, data: bytes, end_stream: bool) -> None:
        if len(self._body) <= _MAX_ANSWER:
            self._body += data

    def on_trailers(self, trailers: HeaderMap) -> None:
        """There is nothing in them."""

    def on_complete(self) -> None:
        self._agent.finished(self, self._status, self._body)

    def on_reset(self) -> None:
        self._agent.finished(self, None, b"")


def pack(value: Any) -> bytes:
    """As msgpack, in the sizes that dd-trace-cpp uses; integers that are 64 bits without a sign are `Unsigned`."""
    parts: list[bytes] = []
    _pack(value, parts)
    return b"".join(parts)


class Unsigned(int):
    """Of 64 bits."""


def _pack(value: Any, parts: list[bytes]) -> None:
    if isinstance(value, str):
        raw = value.encode("utf-8", "replace")
        parts.append(struct.pack(">BI", 0xDB, len(raw)) + raw)
    elif isinstance(value, Unsigned):
        parts.append(struct.pack(">BQ", 0xCF, value))
    elif isinstance(value, float):
        parts.append(struct.pack(">Bd", 0xCB, value))
    elif isinstance(value, int):
        parts.append(struct.pack(">Bq", 0xD3, value))
    elif isinstance(value, dict):
        parts.append(struct.pack(">BI", 0xDF, len(value)))
        for key, item in value.items():
            _pack(key, parts)
            _pack(item, parts)
    else:
        items: Iterable[Any] = value
        parts.append(struct.pack(">BI", 0xDD, len(value)))
        for item in items:
            _pack(item, parts)
