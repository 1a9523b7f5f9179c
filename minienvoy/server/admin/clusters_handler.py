"""`/clusters`: every cluster and every host in it.

Envoy: `Server::ClustersHandler` (`source/server/admin/clusters_handler.cc`); what it says is made in
`upstream/cluster_status.py`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...stats.params import NameFilter
from ...upstream.cluster_status import clusters_json, clusters_text
from .name_filter import compile_name_filter
from .request import AdminRequest, AdminResponse, json_response, text_response

if TYPE_CHECKING:
    from .admin_server import AdminServer


class ClustersHandler:
    def __init__(self, server: AdminServer) -> None:
        self._server = server

    def handler_clusters(self, request: AdminRequest) -> AdminResponse:
        """As text, or with `format=json`; Envoy keeps clusters in no order, we in that of the configuration."""
        wanted: NameFilter | None = None
        if pattern := request.query.first("filter"):
            try:
                wanted = compile_name_filter(pattern)
            except ValueError:
                return text_response("Invalid re2 regex", 400)
        clusters = [
            cluster
            for name, cluster in self._server.cluster_manager.clusters().items()
            if wanted is None or wanted(name)
        ]
        if request.query.first("format") == "json":
            return json_response(clusters_json(clusters))
        return text_response(clusters_text(clusters))
