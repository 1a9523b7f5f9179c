"""How a collector is told: a call of gRPC, or a request.

Envoy: `OpenTelemetry::OpenTelemetryGrpcTraceExporter`, `OpenTelemetryHttpTraceExporter`. What a collector answers
changes nothing: what it does not take is lost.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Protocol

from .... import logger
from ....http.header_map import HeaderMap, ResponseHeaderMap
from ....http.http2.fields import Http2RequestHeaderMap
from ....server.async_services import GrpcServiceConfig, HttpUriConfig, async_client
from ....stream_info import StreamInfo
from ....version import version

if TYPE_CHECKING:
    from ....server.factory_context import ServerContext
    from ....upstream.async_client import AsyncStream
    from ....upstream.grpc_client import GrpcStream

_METHOD: Final = "opentelemetry.proto.collector.trace.v1.TraceService/Export"
_log: Final = logger.get("tracing")


def user_agent() -> bytes:
    return f"OTel-OTLP-Exporter-Envoy/{version()}".encode()


class TraceExporter(Protocol):
    def export(self, request: bytes) -> None:
        """Send an `ExportTraceServiceRequest`."""
        ...

    def close(self) -> None:
        """Nothing more is told."""
        ...


class GrpcTraceExporter:
    def __init__(self, config: Any, server: ServerContext) -> None:
        """Of a `GrpcService`; raises ConfigError."""
        service = GrpcServiceConfig.from_proto(config, "grpc_service", server)
        self._client = service.client(server)
        self._metadata = (*service.call_metadata(StreamInfo()), (b"user-agent", user_agent()))
        self._under_way: set[_Call] = set()

    def export(self, request: bytes) -> None:
        call = _Call(self._under_way)
        self._under_way.add(call)
        # Envoy does not tell the service how long it may take.
        call.call = self._client.send(_METHOD, request, call, 0.0, self._metadata)

    def close(self) -> None:
        for call in tuple(self._under_way):
            call.cancel()


class _Call:
    """One call to the collector, in the set of those that are under way until it is over."""

    def __init__(self, under_way: set[_Call]) -> None:
        self._under_way = under_way
        self.call: GrpcStream | None = None

    def on_success(self, message: bytes) -> None:
        self._under_way.discard(self)

    def on_failure(self, status: int, message: str) -> None:
        self._under_way.discard(self)
        if _log.debug_on:
            _log.debug(f"OTLP trace export failed with status: {status}, message: {message}")

    def cancel(self) -> None:
        self._under_way.discard(self)
        if self.call is not None:
            self.call.reset()


class HttpTraceExporter:
    def __init__(self, config: Any, server: ServerContext) -> None:
        """Of an `HttpService`; raises ConfigError."""
        self._server = server
        self._service = HttpUriConfig.from_service(config, "http_service", server)
        self._under_way: set[_Request] = set()

    def export(self, request: bytes) -> None:
        service = self._service
        if self._server.cluster_manager.get(service.cluster) is None:
            _log.error(f"OTLP HTTP exporter failed: [cluster = {service.cluster}] is not configured")
            return
        headers = Http2RequestHeaderMap(b"POST", service.path, service.host)
        headers.pseudo_order = (b":path", b":authority", b":method", b":scheme")
        headers.add(b"content-type", b"application/x-protobuf")
        if service.headers is not None:
            service.headers.apply(headers)
        if not headers.has(b"user-agent"):
            headers.add(b"user-agent", user_agent())
        under_way = _Request(self._under_way)
        self._under_way.add(under_way)
        # Its length is not told: it is sent as Envoy sends it, in chunks.
        under_way.stream = stream = async_client(self._server).start(service.cluster, under_way, service.timeout)
        stream.send_headers(headers, False)
        stream.send_data(request, True)

    def close(self) -> None:
        for request in tuple(self._under_way):
            request.cancel()


class _Request:
    """One request to the collector, in the set of those that are under way until it is over."""

    def __init__(self, under_way: set[_Request]) -> None:
        self._under_way = under_way
        self.stream: AsyncStream | None = None

    def on_headers(self, headers: ResponseHeaderMap, end_stream: bool) -> None:
        if headers.status != 200:
            said = f"a non-success status code: {headers.status}"
            _log.error(f"OTLP HTTP exporter received {said} while exporting the OTLP message")

    def on_data(self, data: bytes, end_stream: bool) -> None:
        """Nobody reads what a collector has to say."""

    def on_trailers(self, trailers: HeaderMap) -> None:
        """Nor how it ends."""

    def on_complete(self) -> None:
        self._under_way.discard(self)

    def on_reset(self) -> None:
        self._under_way.discard(self)

    def cancel(self) -> None:
        self._under_way.discard(self)
        if self.stream is not None:
            self.stream.reset()
