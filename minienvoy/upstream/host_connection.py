"""A connection to a host of a cluster, with what the cluster says about connections.

Envoy: `Upstream::HostImpl::createConnection`.
"""

from __future__ import annotations

from ..network.address import Address
from ..network.client_connection import ClientConnection
from ..network.socket_option import NO_OPTIONS, tcp_keepalive_options
from .cluster import Cluster
from .host import Host


def create_connection(cluster: Cluster, host: Host, address: Address | None = None) -> ClientConnection:
    """Not connecting yet: add callbacks and filters, then `connection.connect(cluster.connect_timeout)`.

    `address` is where to, if not to `host.address`.
    """
    address = address or host.address
    options = NO_OPTIONS
    source = cluster.source_address
    if not address.path and cluster.tcp_keepalive is not None:
        keepalive = cluster.tcp_keepalive
        options = tcp_keepalive_options(keepalive.probes, keepalive.time, keepalive.interval)
    if source is not None and source.family != address.family:
        source = None
    return ClientConnection(
        cluster.dispatcher,
        address,
        source_address=source,
        options=options,
        buffer_limit=cluster.per_connection_buffer_limit,
    )
