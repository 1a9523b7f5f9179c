"""The xDS server as a whole; `minienvoy xds-server` runs one, and a test may."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Self

from ...event.dispatcher import Dispatcher
from ...event.random import RandomGenerator
from ...stats.store import Store
from .file_resources import FileResources
from .grpc_server import GrpcServer
from .kubernetes_endpoints import KubernetesEndpoints
from .resources import Resources
from .wanted import Wanted


class XdsServer:
    """Attributes:
    resources: what it serves; a test may put more.
    """

    def __init__(
        self, *, host: str = "127.0.0.1", port: int = 0, file: str = "", kubernetes: Mapping[str, Any] | None = None
    ) -> None:
        """`file`: resources to serve, or none. `kubernetes`: settings of discovery (docs/kubernetes.md), or None."""
        self.resources = Resources()
        self._host = host
        self._port = port
        self._file = file
        self._kubernetes = kubernetes

    @property
    def port(self) -> int:
        return self._server.port

    async def __aenter__(self) -> Self:
        """Raises ConfigError or OSError if it can not be started."""
        self._dispatcher = dispatcher = Dispatcher(asyncio.get_running_loop())
        self._endpoints: KubernetesEndpoints | None = None
        if self._kubernetes is not None:
            from ..kubernetes.api_client import check_installed
            from ..kubernetes.discovery import KubernetesDiscovery

            check_installed("kubernetes")
            self._discovery = KubernetesDiscovery(dispatcher, RandomGenerator(None), Store())
            self._endpoints = KubernetesEndpoints(self.resources, self._discovery, self._kubernetes)
        self._files = FileResources(self._file, self.resources, dispatcher) if self._file else None
        if self._files is not None:
            self._files.load()
            self._files.start()
        wanted = Wanted(self._on_first, self._on_last)
        self._server = GrpcServer(self.resources, wanted, dispatcher, self._host, self._port)
        await self._server.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._server.stop()
        if self._files is not None:
            self._files.stop()
        if self._endpoints is not None:
            self._endpoints.stop()
            self._discovery.stop()
        await self._dispatcher.stop()

    def _on_first(self, name: str) -> None:
        if self._endpoints is not None:
            self._endpoints.follow(name)

    def _on_last(self, name: str) -> None:
        if self._endpoints is not None:
            self._endpoints.unfollow(name)
