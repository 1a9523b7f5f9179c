"""`envoy.filters.network.sni_cluster`: the cluster is the one that has the name of the server that is asked for.

Envoy: `Extensions::NetworkFilters::SniCluster::SniClusterFilter`; docs "Upstream Cluster from SNI".
"""

from __future__ import annotations

from typing import Any, Final

from ....config.fields import honours
from ....network.filter import NETWORK_FILTERS, FilterStatus, NetworkFilterFactory, ReadFilter
from ....server.factory_context import FactoryContext
from ....stream_info import TextState
from .tcp_proxy import PER_CONNECTION_CLUSTER

TYPE: Final = "envoy.extensions.filters.network.sni_cluster.v3.SniCluster"
honours(TYPE)


class SniClusterFilter(ReadFilter):
    """One connection."""

    def on_new_connection(self) -> FilterStatus:
        name = self.connection.info.requested_server_name
        if name:
            self.connection.stream_info.filter_state[PER_CONNECTION_CLUSTER] = TextState(name)
        return FilterStatus.CONTINUE


@NETWORK_FILTERS.register("envoy.filters.network.sni_cluster", TYPE)
def create_sni_cluster(config: Any, context: FactoryContext) -> NetworkFilterFactory:
    return SniClusterFilter
