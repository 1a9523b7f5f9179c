"""The sockets of the xDS server (grpcio, which is imported when it starts).

Envoy: the services of `envoy.service.discovery.v3` and of each resource type.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from ... import logger
from ...config.api import message_class
from .delta_stream import DeltaStream
from .resources import CLUSTERS, ENDPOINTS, LISTENERS, ROUTES, SECRETS, Resources
from .sotw_stream import SotwStream
from .wanted import Wanted

if TYPE_CHECKING:
    from ...event.dispatcher import Dispatcher

log = logger.get("config")
_SERVICES: Final = {
    "envoy.service.discovery.v3.AggregatedDiscoveryService": ("AggregatedResources", ""),
    "envoy.service.cluster.v3.ClusterDiscoveryService": ("Clusters", CLUSTERS),
    "envoy.service.endpoint.v3.EndpointDiscoveryService": ("Endpoints", ENDPOINTS),
    "envoy.service.listener.v3.ListenerDiscoveryService": ("Listeners", LISTENERS),
    "envoy.service.route.v3.RouteDiscoveryService": ("Routes", ROUTES),
    "envoy.service.secret.v3.SecretDiscoveryService": ("Secrets", SECRETS),
}
"""Service -> what its two methods are called after `Stream` and `Delta`, and the type of its resources."""
MAX_WAITING: Final = 1000
"""Responses that a client may be behind; then its stream ends, and it comes again."""
KEEPALIVE_MS: Final = 30_000

MakeStream = Callable[[Resources, Wanted, Callable[[Any], None], str], Any]


class GrpcServer:
    """Attributes:
    port: where it listens, on `host`.
    streams: open ones.
    """

    def __init__(self, resources: Resources, wanted: Wanted, dispatcher: Dispatcher, host: str, port: int) -> None:
        self._resources = resources
        self._wanted = wanted
        self._dispatcher = dispatcher
        self._host = host
        self.port = port
        self.streams = 0
        self._server: Any = None

    async def start(self) -> None:
        """Raises OSError if the address can not be had."""
        import grpc
        import grpc.aio

        options = [("grpc.keepalive_time_ms", KEEPALIVE_MS), ("grpc.so_reuseport", 0)]
        self._server = grpc.aio.server(options=options)
        handlers = []
        for service, (suffix, type_url) in _SERVICES.items():
            methods = {
                f"Stream{suffix}": self._method(grpc, SotwStream, "Discovery", type_url),
                f"Delta{suffix}": self._method(grpc, DeltaStream, "DeltaDiscovery", type_url),
            }
            handlers.append(grpc.method_handlers_generic_handler(service, methods))
        self._server.add_generic_rpc_handlers(tuple(handlers))
        try:
            self.port = self._server.add_insecure_port(f"{self._host}:{self.port}")
        except RuntimeError as error:
            raise OSError(str(error)) from None
        await self._server.start()

    async def stop(self) -> None:
        server, self._server = self._server, None
        if server is not None:
            await server.stop(None)

    def _method(self, grpc: Any, make: MakeStream, messages: str, type_url: str) -> Any:
        request = message_class(f"envoy.service.discovery.v3.{messages}Request")

        async def serve(requests: AsyncIterator[Any], context: Any) -> AsyncIterator[Any]:
            async for response in self._serve(requests, context, make, type_url):
                yield response

        return grpc.stream_stream_rpc_method_handler(
            serve,
            request_deserializer=request.FromString,
            response_serializer=lambda response: response.SerializeToString(),
        )

    async def _serve(
        self, requests: AsyncIterator[Any], context: Any, make: MakeStream, type_url: str
    ) -> AsyncIterator[Any]:
        import grpc

        waiting: asyncio.Queue[Any] = asyncio.Queue(MAX_WAITING)

        def send(response: Any) -> None:
            try:
                waiting.put_nowait(response)
            except asyncio.QueueFull:
                reading.cancel()

        stream = make(self._resources, self._wanted, send, type_url)

        async def read() -> None:
            try:
                async for request in requests:
                    stream.on_request(request)
            finally:
                while waiting.full():
                    waiting.get_nowait()
                waiting.put_nowait(None)

        self.streams += 1
        reading = self._dispatcher.create_task(read(), "xds stream")
        try:
            while (response := await waiting.get()) is not None:
                yield response
            if reading.done() and not reading.cancelled() and isinstance(reading.exception(), ValueError):
                await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(reading.exception()))
        finally:
            self.streams -= 1
            stream.close()
            reading.cancel()
            with suppress(asyncio.CancelledError, Exception):
                await reading
