"""LOGICAL_DNS: one host, which is wherever its name leads now.

Envoy: `Upstream::LogicalDnsCluster`; docs "Service discovery > Logical DNS".

Connections go to the first address of the answer; the others stand by. Whenever the list of addresses changes, be it
only in its order, a new host takes the place of the old one: requests that are under way end on the old one's
connections (Envoy 1.40). If the name can not be resolved or has no address, the host stays.
"""

from __future__ import annotations

from typing import Any

from ...errors import ConfigError
from ...network.address import Address
from ...upstream.cluster import CLUSTERS, Cluster, ClusterContext
from ...upstream.host import Host
from .dns import DnsCluster, ResolveTarget


class LogicalDnsCluster(DnsCluster):
    __slots__ = ()

    empty_is_an_answer = False

    def _check_endpoints(self, path: str) -> None:
        localities = self.load_assignment.localities
        if len(localities) != 1 or len(localities[0].endpoints) != 1:
            raise ConfigError(
                "LOGICAL_DNS clusters must have a single locality_lb_endpoint and a single lb_endpoint",
                f"{path}.load_assignment",
            )
        super()._check_endpoints(path)

    def hosts_for(self, target: ResolveTarget, addresses: tuple[Address, ...]) -> tuple[Host, ...] | None:
        self.stats.transport_socket.total_match_count += 1
        if target.hosts and target.hosts[0].addresses == addresses:
            return None
        return (target.host_at(addresses),)


@CLUSTERS.register("envoy.cluster.logical_dns", "envoy.cluster.logical_dns")
def create_logical_dns_cluster(config: Any, typed_config: Any, context: ClusterContext) -> Cluster:
    return LogicalDnsCluster(config, typed_config, context)
