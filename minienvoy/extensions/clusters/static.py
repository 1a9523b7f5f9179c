"""STATIC: the hosts are in the configuration.

Envoy: `Upstream::StaticClusterImpl`; docs "Service discovery > Static".
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ...upstream.cluster import CLUSTERS, Cluster, ClusterContext
from ...upstream.host import Host
from ...upstream.load_assignment import resolve_address


class StaticCluster(Cluster):
    __slots__ = ("_hosts",)

    def __init__(self, config: Any, context: ClusterContext) -> None:
        super().__init__(config, context)
        self._hosts: dict[int, tuple[Host, ...]] = {}
        for locality in self.load_assignment.localities:
            hosts = []
            for endpoint in locality.endpoints:
                path = endpoint.config_path
                addresses = [resolve_address(endpoint.target, endpoint.port, endpoint.path, path)]
                addresses += [resolve_address(target, port, "", path) for target, port in endpoint.additional_targets]
                hosts.append(
                    endpoint.host_at(
                        tuple(addresses),
                        endpoint.hostname,
                        locality.priority,
                        locality.locality,
                        self.initial_health_flags,
                    )
                )
            self.stats.transport_socket.total_match_count += len(hosts)
            self._hosts[locality.priority] = (*self._hosts.get(locality.priority, ()), *hosts)

    def start(self, on_initialized: Callable[[], None]) -> None:
        self.load_assignment.update(self.priority_set, self._hosts)
        self._hosts = {}
        on_initialized()


@CLUSTERS.register("envoy.cluster.static", "envoy.cluster.static")
def create_static_cluster(config: Any, typed_config: Any, context: ClusterContext) -> Cluster:
    return StaticCluster(config, context)
