"""A connection to a host of a cluster, with what the cluster says about connections.

Envoy: `Upstream::HostImpl::createConnection`.
"""

from __future__ import annotations

from ..network.client_connection import ClientConnection
from ..network.happy_eyeballs import HappyEyeballsConnection, sorted_addresses
from ..network.socket_option import NO_OPTIONS, tcp_keepalive_options
from .cluster import Cluster
from .host import Host
from .local_address_selector import ANYWHERE


def create_connection(cluster: Cluster, host: Host) -> ClientConnection:
    """Not connecting yet: add callbacks and filters, then `connection.connect(cluster.connect_timeout)`."""
    selector = cluster.local_address_selector
    local = ANYWHERE if selector is None else selector.select(host.address)
    options = local.options
    if not host.address.path and cluster.tcp_keepalive is not None:
        keepalive = cluster.tcp_keepalive
        options = tcp_keepalive_options(keepalive.probes, keepalive.time, keepalive.interval) + options
    if len(host.addresses) == 1:
        return ClientConnection(
            cluster.dispatcher,
            host.address,
            source_address=local.address,
            options=options or NO_OPTIONS,
            buffer_limit=cluster.per_connection_buffer_limit,
        )

    def on_another() -> None:
        cluster.stats.traffic.upstream_cx_total += 1

    return HappyEyeballsConnection(
        sorted_addresses(host.addresses, *cluster.happy_eyeballs),
        on_another,
        cluster.dispatcher,
        host.address,
        source_address=local.address,
        options=options or NO_OPTIONS,
        buffer_limit=cluster.per_connection_buffer_limit,
    )
