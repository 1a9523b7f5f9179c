"""Connections to one host, one for each that asks.

Envoy: `Tcp::ConnPoolImpl`, `Tcp::ActiveTcpClient`, `ConnectionPool::ConnPoolImplBase`; docs "Connection pooling".

A TCP connection belongs to one downstream connection from beginning to end, so nothing is kept for the next one. What
is left of a pool is its order of events and what it counts: a *pending request* waits for its connection, an *active
request* has it.
"""

from __future__ import annotations

from typing import Protocol

from ..network.client_connection import ClientConnection
from ..network.connection import ConnectionCallbacks, ConnectionCloseType, ConnectionEvent
from .cluster import Cluster
from .conn_pool import PoolFailureReason
from .host import Host
from .host_connection import create_connection
from .resource_manager import DEFAULT


class TcpPoolCallbacks(Protocol):
    """Exactly one of these is called, unless the request is cancelled; perhaps before `new_connection` returns."""

    def on_pool_ready(self, connection: ClientConnection, host: Host) -> None:
        """The caller adds its read filter and its callbacks; bytes of the peer wait for that."""

    def on_pool_failure(self, reason: PoolFailureReason, failure_reason: str, host: Host) -> None:
        """`failure_reason` is the transport's, in Envoy's words; it may be empty."""


class TcpConnPool:
    """To `host`, for one routing priority."""

    __slots__ = ("_clients", "cluster", "host", "resources")

    def __init__(self, cluster: Cluster, host: Host, priority: int = DEFAULT) -> None:
        self._clients: set[ActiveTcpClient] = set()
        self.cluster = cluster
        self.host = host
        self.resources = cluster.resource_managers[priority]

    def new_connection(self, callbacks: TcpPoolCallbacks) -> ActiveTcpClient | None:
        """Ask for a connection; what is returned can be cancelled. None if the answer has been given already."""
        stats = self.cluster.stats.traffic
        if not self.resources.pending_requests.can_create:
            stats.upstream_rq_pending_overflow += 1
            callbacks.on_pool_failure(PoolFailureReason.OVERFLOW, "", self.host)
            return None
        client = ActiveTcpClient(self, callbacks)
        self._clients.add(client)
        client.connection.connect(self.cluster.connect_timeout)
        return client

    def close(self) -> None:
        """Close every connection, also those that still send what they were given."""
        for client in tuple(self._clients):
            client.connection.close(ConnectionCloseType.NO_FLUSH)

    def on_closed(self, client: ActiveTcpClient) -> None:
        self._clients.discard(client)


class ActiveTcpClient(ConnectionCallbacks):
    """One connection of the pool, and the request that it is for."""

    __slots__ = ("_callbacks", "_connected", "_pool", "_start", "connection")

    def __init__(self, pool: TcpConnPool, callbacks: TcpPoolCallbacks) -> None:
        self._pool = pool
        self._callbacks: TcpPoolCallbacks | None = callbacks
        self._connected = False
        self._start = pool.cluster.dispatcher.monotonic_time()
        self.connection = create_connection(pool.cluster, pool.host)
        self.connection.half_close = True
        self.connection.delayed_close_timeout = 0.0
        self.connection.add_callbacks(self)
        stats, host = pool.cluster.stats.traffic, pool.host.stats
        stats.upstream_rq_pending_total += 1
        stats.upstream_rq_pending_active += 1
        pool.resources.pending_requests.current += 1
        stats.upstream_cx_total += 1
        stats.upstream_cx_active += 1
        host.cx_total += 1
        host.cx_active += 1
        pool.resources.connections.current += 1

    def cancel(self) -> None:
        """Nobody waits for the connection any more: it is closed, and nothing is told."""
        if self._callbacks is not None and not self._connected:
            self._pool.cluster.stats.traffic.upstream_rq_cancelled += 1
            self._callbacks = None
            self.connection.close(ConnectionCloseType.NO_FLUSH)

    def on_event(self, event: ConnectionEvent) -> None:
        if event is ConnectionEvent.CONNECTED:
            self._on_connected()
        else:
            self._on_closed(event)

    def _on_connected(self) -> None:
        self._connected = True
        pool, callbacks = self._pool, self._callbacks
        cluster = pool.cluster
        stats = cluster.stats.traffic
        stats.upstream_cx_connect_ms.record(int((cluster.dispatcher.monotonic_time() - self._start) * 1000.0))
        self._stop_pending()
        stats.upstream_rq_total += 1
        stats.upstream_rq_active += 1
        pool.host.stats.rq_total += 1
        pool.host.stats.rq_active += 1
        pool.resources.requests.current += 1
        if callbacks is not None:
            callbacks.on_pool_ready(self.connection, pool.host)

    def _on_closed(self, event: ConnectionEvent) -> None:
        pool, callbacks = self._pool, self._callbacks
        self._callbacks = None
        pool.on_closed(self)
        cluster, host = pool.cluster, pool.host.stats
        stats = cluster.stats.traffic
        stats.upstream_cx_active -= 1
        host.cx_active -= 1
        pool.resources.connections.current -= 1
        stats.upstream_cx_destroy += 1
        stats.upstream_cx_length_ms.record(int((cluster.dispatcher.monotonic_time() - self._start) * 1000.0))
        remote = event is ConnectionEvent.REMOTE_CLOSE
        if remote:
            stats.upstream_cx_destroy_remote += 1
        else:
            stats.upstream_cx_destroy_local += 1
        if self._connected:
            stats.upstream_rq_active -= 1
            host.rq_active -= 1
            pool.resources.requests.current -= 1
            stats.upstream_cx_destroy_with_active_rq += 1
            if remote:
                stats.upstream_cx_destroy_remote_with_active_rq += 1
            else:
                stats.upstream_cx_destroy_local_with_active_rq += 1
            return
        self._stop_pending()
        if callbacks is None:
            return
        stats.upstream_cx_connect_fail += 1
        host.cx_connect_fail += 1
        stats.upstream_rq_pending_failure_eject += 1
        reason = PoolFailureReason.REMOTE_CONNECTION_FAILURE if remote else PoolFailureReason.LOCAL_CONNECTION_FAILURE
        if self.connection.connect_timed_out:
            stats.upstream_cx_connect_timeout += 1
            reason = PoolFailureReason.TIMEOUT
        callbacks.on_pool_failure(reason, self.connection.transport_failure_reason, pool.host)

    def _stop_pending(self) -> None:
        self._pool.cluster.stats.traffic.upstream_rq_pending_active -= 1
        self._pool.resources.pending_requests.current -= 1


def tcp_conn_pool(cluster: Cluster, host: Host, priority: int = DEFAULT) -> TcpConnPool:
    """The pool of a host; made when it is first asked for (`ThreadLocalCluster::tcpConnPool`)."""
    cluster = host.cluster or cluster  # the host of an aggregate belongs to one of its clusters
    key = (cluster, priority)
    pool: TcpConnPool | None = host.tcp_pools.get(key)
    if pool is None:
        pool = host.tcp_pools[key] = TcpConnPool(cluster, host, priority)
    return pool
