"""`suppress_grpc_request_failure_code_stats`: responses to gRPC requests are not counted by their codes.

Envoy: `exclude_http_code_stats_` of `Router::Filter`. `SuppressingRouter` takes the place of `Router` where that is
wanted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..http.grpc import is_grpc
from .router import Router
from .virtual_cluster import AltStatName

if TYPE_CHECKING:
    from ..http.header_map import ResponseHeaderMap
    from ..upstream.cluster import Cluster
    from ..upstream.host import Host
    from .upstream_request import UpstreamRequest


class SuppressingRouter(Router):
    """What it charges for a gRPC request is hidden again."""

    def charge(self, status: int, host: Host | None) -> None:
        super().charge(status, host)
        self._hide(self.cluster, status)

    def on_upstream_1xx_headers(self, upstream: UpstreamRequest, headers: ResponseHeaderMap) -> None:
        cluster, status = self.cluster, headers.status
        super().on_upstream_1xx_headers(upstream, headers)
        self._hide(cluster, status)

    def on_upstream_headers(
        self,
        upstream: UpstreamRequest,
        headers: ResponseHeaderMap,
        end_stream: bool,
        now: float,
        details: str = "via_upstream",
    ) -> None:
        cluster, status = self.cluster, headers.status
        if not self.stream.is_health_check:
            self._hide(cluster, status)
        super().on_upstream_headers(upstream, headers, end_stream, now, details)

    def _hide(self, cluster: Cluster, status: int) -> None:
        if not self.config.dynamic_stats or not is_grpc(self.request_headers.get(b"content-type")):
            return
        cluster.code_stats.hide(status)
        for each in self.tally:
            if isinstance(each, AltStatName):
                each.hide(status)
