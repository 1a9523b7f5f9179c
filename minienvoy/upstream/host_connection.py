"""A connection to a host of a cluster, with what the cluster says about connections.

Envoy: `Upstream::HostImpl::createConnection`, `createHealthCheckConnection`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..network.address import Address
from ..network.client_connection import ClientConnection
from ..network.socket_option import NO_OPTIONS, tcp_keepalive_options
from ..network.transport_socket import TransportSocketFactory, TransportSocketOptions
from .cluster import Cluster
from .host import Host


def create_connection(cluster: Cluster, host: Host) -> ClientConnection:
    """Not connecting yet: add callbacks and filters, then `connection.connect(cluster.connect_timeout)`."""
    return _created(cluster, host, host.addresses, cluster.transport_socket_of(host))


def create_own_connection(
    cluster: Cluster,
    host: Host,
    address: Address,
    criteria: Mapping[str, Any] | None = None,
    alpn: tuple[str, ...] = (),
) -> ClientConnection:
    """As `create_connection`, for what the proxy itself asks `host`, at `address`.

    `criteria` stand for the host's metadata where a transport socket is looked for, and `alpn` for the protocols that
    it is configured to offer.
    """
    socket = cluster.transport_socket_of(host) if criteria is None else _matching_socket(cluster, criteria)
    return _created(cluster, host, (address,), socket, alpn)


def _created(
    cluster: Cluster,
    host: Host,
    addresses: tuple[Address, ...],
    transport_socket: TransportSocketFactory | None,
    alpn: tuple[str, ...] = (),
) -> ClientConnection:
    connection = _plain_connection(cluster, host, addresses)
    if transport_socket is not None:
        connection.transport_socket = transport_socket
        connection.transport_socket_options = TransportSocketOptions(host_name=host.hostname, alpn_override=alpn)
        transport_socket.announce(connection)
        introduce = getattr(transport_socket, "introduce", None)
        if introduce is not None:
            introduce(connection, host)
        if transport_socket.wants_proxy_header:
            connection.stream_info.upstream_host = host  # TLVs may tell of it
    if cluster.dispatcher.toxics is not None:
        cluster.dispatcher.toxics.attach(cluster, host, connection)
    return connection


def _matching_socket(cluster: Cluster, criteria: Mapping[str, Any]) -> TransportSocketFactory | None:
    """What the first match makes, or the cluster's own; counted (`TransportSocketMatcher::resolve`)."""
    matcher = cluster.transport_socket_matcher
    match = None if matcher is None else matcher.find_for(criteria)
    if match is None:
        cluster.stats.transport_socket.total_match_count += 1
        return cluster.transport_socket
    match.stats.total_match_count += 1
    return match.factory


def _plain_connection(cluster: Cluster, host: Host, addresses: tuple[Address, ...]) -> ClientConnection:
    address = addresses[0]
    source, options = None, NO_OPTIONS
    if cluster.local_address_selector is not None:
        local = cluster.local_address_selector.select(address)
        source, options = local.address, local.options
    if not address.path and cluster.tcp_keepalive is not None:
        keepalive = cluster.tcp_keepalive
        options = tcp_keepalive_options(keepalive.probes, keepalive.time, keepalive.interval) + options
    if len(addresses) == 1:
        return ClientConnection(
            cluster.dispatcher,
            address,
            source_address=source,
            options=options,
            buffer_limit=cluster.per_connection_buffer_limit,
        )

    from ..network.happy_eyeballs import HappyEyeballsConnection, sorted_addresses

    def on_another() -> None:
        cluster.stats.traffic.upstream_cx_total += 1
        host.stats.cx_total += 1

    return HappyEyeballsConnection(
        sorted_addresses(addresses, *cluster.happy_eyeballs),
        on_another,
        cluster.dispatcher,
        address,
        source_address=source,
        options=options,
        buffer_limit=cluster.per_connection_buffer_limit,
    )
