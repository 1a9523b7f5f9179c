"""How an OpenTelemetry collector is told: a call of gRPC, or a request.

Envoy: `OpenTelemetry::OpenTelemetryGrpcTraceExporter`, `OpenTelemetryHttpTraceExporter`,
`AccessLoggers::OpenTelemetry::GrpcAccessLoggerImpl`, `HttpAccessLoggerImpl`. What a collector does not take is lost.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, Protocol

from ... import logger
from ...http.header_map import HeaderMap, ResponseHeaderMap
from ...http.http2.fields import Http2RequestHeaderMap
from ...server.async_services import GrpcServiceConfig, HttpUriConfig, async_client
from ...stream_info import StreamInfo
from ...version import version

if TYPE_CHECKING:
    from ...server.factory_context import ServerContext
    from ...upstream.async_client import AsyncStream
    from ...upstream.grpc_client import GrpcStream

OnAnswer = Callable[["bytes | None"], None]
"""Told what the collector has answered: a message of gRPC, nothing over HTTP, or None if it has not taken it."""


def user_agent() -> bytes:
    return f"OTel-OTLP-Exporter-Envoy/{version()}".encode()


def _nothing(answer: bytes | None) -> None:
    """Nobody wants to know."""


class OtlpExporter(Protocol):
    def export(self, request: bytes, on_answer: OnAnswer = _nothing) -> None:
        """Send a message; `on_answer` may be called before this returns."""
        ...

    def close(self) -> None:
        """What is under way is given up."""
        ...


class OtlpGrpcExporter:
    """`method` takes the messages; what it is called for is told in `log`."""

    def __init__(self, config: Any, path: str, server: ServerContext, method: str, log: logger.Logger) -> None:
        """Of a `GrpcService`; raises ConfigError below `path`."""
        service = GrpcServiceConfig.from_proto(config, path, server)
        self._client = service.client(server)
        self._metadata = service.call_metadata(StreamInfo())
        self._method = method
        self._log = log
        self._under_way: set[_Call] = set()

    def say(self, name: bytes, value: bytes) -> None:
        """Say that with every call."""
        self._metadata = (*self._metadata, (name, value))

    def export(self, request: bytes, on_answer: OnAnswer = _nothing) -> None:
        call = _Call(self._under_way, on_answer, self._log)
        self._under_way.add(call)
        # Envoy does not tell the service how long it may take.
        call.call = self._client.send(self._method, request, call, 0.0, self._metadata)

    def close(self) -> None:
        for call in tuple(self._under_way):
            call.cancel()


class _Call:
    """One call to the collector, in the set of those that are under way until it is over."""

    def __init__(self, under_way: set[_Call], on_answer: OnAnswer, log: logger.Logger) -> None:
        self._under_way = under_way
        self._on_answer = on_answer
        self._log = log
        self.call: GrpcStream | None = None

    def on_success(self, message: bytes) -> None:
        self._under_way.discard(self)
        self._on_answer(message)

    def on_failure(self, status: int, message: str) -> None:
        self._under_way.discard(self)
        if self._log.debug_on:
            self._log.debug(f"OTLP export failed with status: {status}, message: {message}")
        self._on_answer(None)

    def cancel(self) -> None:
        self._under_way.discard(self)
        if self.call is not None:
            self.call.reset()


class OtlpHttpExporter:
    """`agent_first`: the configuration's headers stand behind `user-agent`, or replace it."""

    def __init__(
        self, config: Any, path: str, server: ServerContext, log: logger.Logger, *, agent_first: bool = False
    ) -> None:
        """Of an `HttpService`; raises ConfigError below `path`."""
        self._server = server
        self._service = HttpUriConfig.from_service(config, path, server)
        self._log = log
        self._agent_first = agent_first
        self._under_way: set[_Request] = set()

    def export(self, request: bytes, on_answer: OnAnswer = _nothing) -> None:
        service = self._service
        if self._server.cluster_manager.get(service.cluster) is None:
            self._log.error(f"OTLP HTTP exporter failed: [cluster = {service.cluster}] is not configured")
            on_answer(None)
            return
        headers = Http2RequestHeaderMap(b"POST", service.path, service.host)
        headers.pseudo_order = _PSEUDO_ORDER
        headers.add(b"content-type", b"application/x-protobuf")
        if self._agent_first:
            headers.add(b"user-agent", user_agent())
        if service.headers is not None:
            service.headers.apply(headers)
        if not headers.has(b"user-agent"):
            headers.add(b"user-agent", user_agent())
        under_way = _Request(self._under_way, on_answer, self._log)
        self._under_way.add(under_way)
        # Its length is not told: it is sent as Envoy sends it, in chunks.
        under_way.stream = stream = async_client(self._server).start(service.cluster, under_way, service.timeout)
        stream.send_headers(headers, False)
        stream.send_data(request, True)

    def close(self) -> None:
        for request in tuple(self._under_way):
            request.cancel()


_PSEUDO_ORDER: Final = (b":path", b":authority", b":method", b":scheme")


class _Request:
    """One request to the collector, in the set of those that are under way until it is over."""

    def __init__(self, under_way: set[_Request], on_answer: OnAnswer, log: logger.Logger) -> None:
        self._under_way = under_way
        self._on_answer = on_answer
        self._log = log
        self._status = 0
        self.stream: AsyncStream | None = None

    def on_headers(self, headers: ResponseHeaderMap, end_stream: bool) -> None:
        self._status = headers.status
        if headers.status != 200:
            said = f"a non-success status code: {headers.status}"
            self._log.error(f"OTLP HTTP exporter received {said} while exporting the OTLP message")

    def on_data(self, data: bytes, end_stream: bool) -> None:
        """Nobody reads what a collector has to say."""

    def on_trailers(self, trailers: HeaderMap) -> None:
        """Nor how it ends."""

    def on_complete(self) -> None:
        self._under_way.discard(self)
        self._on_answer(b"" if self._status == 200 else None)

    def on_reset(self) -> None:
        self._under_way.discard(self)
        self._on_answer(None)

    def cancel(self) -> None:
        self._under_way.discard(self)
        if self.stream is not None:
            self.stream.reset()
