"""`envoy.resource_monitors.downstream_connections`: how many downstream connections there may be.

Envoy: `Extensions::ResourceMonitors::DownstreamConnections::ActiveDownstreamConnectionsResourceMonitor`. Listeners ask
before each connection (`server.connection_limit`), so nothing is ever above the limit.
"""

from __future__ import annotations

from typing import Any

from ...config.fields import honours
from ...server.resource_monitor import RESOURCE_MONITORS

TYPE = "envoy.extensions.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig"

honours(TYPE, "max_active_downstream_connections")


class DownstreamConnectionsMonitor:
    def __init__(self, limit: int, connections: Any) -> None:
        self._limit = limit
        self._connections = connections

    def pressure(self) -> float:
        return float(self._connections.current / self._limit)


@RESOURCE_MONITORS.register("envoy.resource_monitors.global_downstream_max_connections", TYPE)
def create_downstream_connections_monitor(proto: Any, server: Any) -> DownstreamConnectionsMonitor:
    limit: int = proto.max_active_downstream_connections
    server.global_connections.limit = limit
    return DownstreamConnectionsMonitor(limit, server.global_connections)
