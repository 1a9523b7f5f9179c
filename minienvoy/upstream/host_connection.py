"""A connection to a host of a cluster, with what the cluster says about connections.

Envoy: `Upstream::HostImpl::createConnection`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..network.address import Address
from ..network.client_connection import ClientConnection
from ..network.happy_eyeballs import HappyEyeballsConnection, sorted_addresses
from ..network.socket_option import NO_OPTIONS, tcp_keepalive_options
from ..network.transport_socket import TransportSocketOptions
from .cluster import Cluster
from .host import Host
from .local_address_selector import ANYWHERE


def create_connection(
    cluster: Cluster,
    host: Host,
    address: Address | None = None,
    *,
    criteria: Mapping[str, Any] | None = None,
    alpn: tuple[str, ...] = (),
) -> ClientConnection:
    """Not connecting yet: add callbacks and filters, then `connection.connect(cluster.connect_timeout)`.

    `address` is where to, if not to one of `host.addresses`; `criteria` and `alpn` are those of a health check.
    """
    connection = _create_connection(cluster, host, address)
    transport_socket = cluster.transport_socket_of(host, criteria)
    if transport_socket is not None:
        connection.transport_socket = transport_socket
        connection.transport_socket_options = TransportSocketOptions(host_name=host.hostname, alpn_override=alpn)
        transport_socket.announce(connection)
    if cluster.dispatcher.toxics is not None:
        cluster.dispatcher.toxics.attach(cluster, host, connection)
    return connection


def _create_connection(cluster: Cluster, host: Host, address: Address | None) -> ClientConnection:
    addresses = host.addresses if address is None else (address,)
    address = address or host.address
    selector = cluster.local_address_selector
    local = ANYWHERE if selector is None else selector.select(address)
    options = local.options
    if not address.path and cluster.tcp_keepalive is not None:
        keepalive = cluster.tcp_keepalive
        options = tcp_keepalive_options(keepalive.probes, keepalive.time, keepalive.interval) + options
    connection: ClientConnection
    if len(addresses) == 1:
        connection = ClientConnection(
            cluster.dispatcher,
            address,
            source_address=local.address,
            options=options or NO_OPTIONS,
            buffer_limit=cluster.per_connection_buffer_limit,
        )
    else:

        def on_another() -> None:
            cluster.stats.traffic.upstream_cx_total += 1

        connection = HappyEyeballsConnection(
            sorted_addresses(addresses, *cluster.happy_eyeballs),
            on_another,
            cluster.dispatcher,
            address,
            source_address=local.address,
            options=options or NO_OPTIONS,
            buffer_limit=cluster.per_connection_buffer_limit,
        )
    return connection
