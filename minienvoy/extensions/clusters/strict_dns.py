"""STRICT_DNS: every address of every name is a host.

Envoy: `Upstream::StrictDnsClusterImpl`; docs "Service discovery > Strict DNS".

A host stays as long as its address is in the answers. A name that is known not to exist (any more) loses its hosts;
where nothing is known, because no server answers, they stay.
"""

from __future__ import annotations

from typing import Any

from ...network.address import Address
from ...upstream.cluster import CLUSTERS, Cluster, ClusterContext
from ...upstream.host import HealthFlag, Host
from .dns import DnsCluster, ResolveTarget


class StrictDnsCluster(DnsCluster):
    __slots__ = ()

    def hosts_for(self, target: ResolveTarget, addresses: tuple[Address, ...]) -> tuple[Host, ...] | None:
        # Envoy makes a host of every address before it looks which of them it has already, and counts that.
        self.stats.transport_socket.total_match_count += len(addresses)
        known = {host.address: host for host in target.hosts}
        staying = self.keep_while_well(host for host in target.hosts if host.address not in addresses)
        for address in addresses:
            if address in known:
                known[address].health_flags &= ~HealthFlag.PENDING_DYNAMIC_REMOVAL
        if known.keys() == {*addresses, *(host.address for host in staying)}:
            hosts = None
        else:
            hosts = tuple(known.get(address) or target.host_at((address,)) for address in addresses) + staying
        self.stats.endpoint.max_host_weight = max(1, *(each.endpoint.weight for each in self.targets))
        return hosts


@CLUSTERS.register("envoy.cluster.strict_dns", "envoy.cluster.strict_dns")
def create_strict_dns_cluster(config: Any, typed_config: Any, context: ClusterContext) -> Cluster:
    return StrictDnsCluster(config, typed_config, context)
