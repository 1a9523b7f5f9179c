"""`/init_dump`: what start-up still waits for.

Envoy: `Server::InitDumpHandler` (`source/server/admin/init_dump_handler.cc`), `envoy.admin.v3.UnreadyTargetsDumps`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .request import AdminRequest, AdminResponse, json_response

if TYPE_CHECKING:
    from .admin_server import AdminServer


class InitDumpHandler:
    def __init__(self, server: AdminServer) -> None:
        self._server = server

    def handler_init_dump(self, request: AdminRequest) -> AdminResponse:
        """Clusters that have no hosts yet; a mask can only ask for listeners, and those never wait for themselves."""
        warming = [f"target {name}" for name in self._server.cluster_manager.warming_clusters()]
        if not warming or request.query.first("mask"):
            return json_response({})
        dump = {"name": "init manager Cluster manager", "target_names": warming}
        return json_response({"unready_targets_dumps": [dump]})
