"""Connections to one host, one for each that asks.

Envoy: `Tcp::ConnPoolImpl`, `Tcp::ActiveTcpClient`, `ConnectionPool::ConnPoolImplBase`; docs "Connection pooling".

A TCP connection belongs to one downstream connection from beginning to end, so nothing is kept for the next one. What
is left of a pool is its order of events and what it counts: a *pending request* waits for its connection, an *active
request* has it. Above the limit of connections a request waits until another connection of this pool ends.
"""

from __future__ import annotations

from collections import deque
from typing import Final, Protocol

from ..network.client_connection import ClientConnection
from ..network.connection import Connection, ConnectionCallbacks, ConnectionCloseType, ConnectionEvent
from ..network.overload_state import NEW_CONNECTION
from ..network.transport_socket import TransportSocketOptions
from ..record import replace
from .cluster import Cluster
from .conn_pool import PoolFailureReason
from .host import Host
from .host_connection import create_connection
from .resource_manager import DEFAULT

NO_OPTIONS: Final = TransportSocketOptions()
MAX_PRECONNECTED: Final = 3
"""At once."""


class TcpPoolCallbacks(Protocol):
    """Exactly one of these is called, unless the request is cancelled; perhaps before `new_connection` returns."""

    connection: Connection
    """The downstream one."""

    def on_pool_ready(self, connection: ClientConnection, host: Host) -> None:
        """The caller adds its read filter and its callbacks; bytes of the peer wait for that."""

    def on_pool_failure(self, reason: PoolFailureReason, failure_reason: str, host: Host) -> None:
        """`failure_reason` is the transport's, in Envoy's words; it may be empty."""


class TcpConnPool:
    """To `host`, for one routing priority."""

    __slots__ = ("_clients", "_idle", "_key", "_waiting", "cluster", "host", "resources")

    def __init__(self, cluster: Cluster, host: Host, priority: int = DEFAULT) -> None:
        self._clients: set[ActiveTcpClient] = set()
        self._idle: list[ActiveTcpClient] = []
        self._waiting: deque[PendingConnection] = deque()
        self.cluster = cluster
        self.host = host
        self._key = (cluster, priority)
        self.resources = cluster.resource_managers[priority]

    def new_connection(self, callbacks: TcpPoolCallbacks) -> PendingConnection | None:
        """Ask for a connection; what is returned can be cancelled. None if the answer has been given already."""
        if self._idle:
            self._idle.pop().attach(callbacks)
            self.preconnect()
            return None
        stats, pending_requests = self.cluster.stats.traffic, self.resources.pending_requests
        if not pending_requests.can_create:
            stats.upstream_rq_pending_overflow += 1
            callbacks.on_pool_failure(PoolFailureReason.OVERFLOW, "", self.host)
            return None
        stats.upstream_rq_pending_total += 1
        stats.upstream_rq_pending_active += 1
        self.host.stats.rq_pending_active += 1
        pending_requests.current += 1
        request = PendingConnection(self, callbacks)
        overload = self.cluster.overload
        if overload is not None and overload.sheds(NEW_CONNECTION):
            self.stop_pending()
            stats.upstream_rq_cancelled += 1
            callbacks.on_pool_failure(PoolFailureReason.OVERFLOW, "", self.host)
            return None
        if self._spare_connecting() > len(self._waiting):
            # One is on its way that nobody has asked for yet.
            self._waiting.append(request)
            self.preconnect()
        elif not self._connect(request):
            self._waiting.append(request)
        else:
            self.preconnect()
        return request

    def preconnect(self) -> None:
        """Have as many connections in stock as `preconnect_policy` wants."""
        ratio = self.cluster.preconnect_ratio
        if ratio <= 1.0 or not self.host.healthy:
            return
        for _ in range(MAX_PRECONNECTED):
            spare = sum(not client.wanted for client in self._clients)
            wanted = len(self._clients) - spare + len(self._waiting)
            if wanted * ratio <= len(self._clients):
                return
            if not self.cluster.may_preconnect(self.host):
                self.cluster.stats.traffic.upstream_cx_preconnect_skipped += 1
                return
            if not self._connect(None):
                return

    def _spare_connecting(self) -> int:
        return sum(not client.wanted for client in self._clients) - len(self._idle)

    def sibling(self, host: Host) -> TcpConnPool:
        """The pool of another host for the same kind of requests."""
        pool: TcpConnPool | None = host.tcp_pools.get(self._key)
        if pool is None:
            pool = host.tcp_pools[self._key] = type(self)(self.cluster, host, self._key[1])
        return pool

    def preconnect_one(self, ratio: float) -> bool:
        """One connection more for the request that is expected next, unless there are enough (`maybePreconnect`)."""
        spare = sum(not client.wanted for client in self._clients)
        wanted = len(self._clients) - spare + len(self._waiting)
        if not self.host.healthy or (wanted + 1) * ratio <= len(self._clients):
            return False
        if not self.cluster.may_preconnect(self.host):
            self.cluster.stats.traffic.upstream_cx_preconnect_skipped += 1
            return False
        return self._connect(None)

    def on_idle(self, client: ActiveTcpClient) -> None:
        """A connection that nobody has asked for yet is there."""
        if self._waiting:
            request = self._waiting.popleft()
            self.stop_pending()
            client.attach(request.callbacks)
        else:
            self._idle.append(client)

    def drain(self) -> None:
        """Nobody will ask any more: close what is in stock, and what is on its way there."""
        for client in tuple(self._clients):
            if not client.wanted:
                client.connection.close(ConnectionCloseType.NO_FLUSH)

    def close(self) -> None:
        """Close every connection, also those that still send what they were given."""
        for client in tuple(self._clients):
            client.connection.close(ConnectionCloseType.NO_FLUSH)

    def connections(self) -> list[ClientConnection]:
        """All of them, also those that are being made."""
        return [client.connection for client in self._clients]

    def stop_pending(self) -> None:
        """A request has its connection, or waits no more."""
        self.cluster.stats.traffic.upstream_rq_pending_active -= 1
        self.host.stats.rq_pending_active -= 1
        self.resources.pending_requests.current -= 1

    def on_closed(self, client: ActiveTcpClient) -> None:
        """There may be room for another one."""
        self._clients.discard(client)
        if client in self._idle:
            self._idle.remove(client)

    def serve_waiting(self) -> None:
        while self._waiting and self._connect(self._waiting[0]):
            self._waiting.popleft()

    def fail_waiting(self, reason: PoolFailureReason, failure_reason: str) -> None:
        """A connection could not be had: whoever waits is told, so as to look elsewhere."""
        waiting, self._waiting = self._waiting, deque()
        for request in waiting:
            self.stop_pending()
            self.cluster.stats.traffic.upstream_rq_pending_failure_eject += 1
            request.callbacks.on_pool_failure(reason, failure_reason, self.host)

    def cancel(self, request: PendingConnection) -> None:
        if request in self._waiting:
            self._waiting.remove(request)
            self.stop_pending()
            self.cluster.stats.traffic.upstream_rq_cancelled += 1

    def _connect(self, request: PendingConnection | None) -> bool:
        """A connection for `request`, or for nobody yet; False if there is no room."""
        resources = self.resources
        allowed = resources.connections.can_create and self.host.stats.cx_active < resources.max_connections_per_host
        if not allowed:
            self.cluster.stats.traffic.upstream_cx_overflow += 1
            if self._clients:
                return False
            # A host always gets one connection: the breaker must not starve it for good.
            resources.connections.touched = True
        client = ActiveTcpClient(self, None if request is None else request.callbacks)
        if request is not None:
            request.client = client
        self._clients.add(client)
        client.connection.connect(self.cluster.connect_timeout)
        return True


class PendingConnection:
    """A request for a connection.

    Attributes:
        client: the connection that is made for it; None while there is no room for one.
    """

    __slots__ = ("_pool", "callbacks", "client")

    def __init__(self, pool: TcpConnPool, callbacks: TcpPoolCallbacks) -> None:
        self._pool = pool
        self.callbacks = callbacks
        self.client: ActiveTcpClient | None = None

    def cancel(self) -> None:
        """Nobody waits for the connection any more: it is closed, and nothing is told."""
        if self.client is not None:
            self.client.cancel()
        else:
            self._pool.cancel(self)


class ActiveTcpClient(ConnectionCallbacks):
    """One connection of the pool, and the request that it is for.

    Attributes:
        wanted: there is, or was, such a request; without it the connection is in stock.
    """

    __slots__ = ("_callbacks", "_connected", "_pool", "_start", "_up", "connection", "wanted")

    def __init__(self, pool: TcpConnPool, callbacks: TcpPoolCallbacks | None) -> None:
        self.wanted = callbacks is not None
        self._pool = pool
        self._callbacks: TcpPoolCallbacks | None = callbacks
        self._connected = self._up = False
        self._start = pool.cluster.dispatcher.monotonic_time()
        self.connection = create_connection(pool.cluster, pool.host)
        if pool.cluster.wants_proxy_header and callbacks is not None:
            from ..network.proxy_protocol_header import header_of

            options = self.connection.transport_socket_options or NO_OPTIONS
            header = header_of(callbacks.connection.info)
            self.connection.transport_socket_options = replace(options, proxy_header=header)
        self.connection.half_close = True
        self.connection.delayed_close_timeout = 0.0
        self.connection.add_callbacks(self)
        stats, host = pool.cluster.stats.traffic, pool.host.stats
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

    def attach(self, callbacks: TcpPoolCallbacks) -> None:
        """Somebody wants this connection, which has been in stock."""
        self.wanted = True
        self._callbacks = callbacks
        self.connection.read_disable(False)
        self._begin()

    def _on_connected(self) -> None:
        cluster = self._pool.cluster
        stats = cluster.stats.traffic
        self._up = True
        stats.upstream_cx_connect_ms.record(int((cluster.dispatcher.monotonic_time() - self._start) * 1000.0))
        if self.wanted:
            self._pool.stop_pending()
            self._begin()
        else:
            # What the peer says waits for who listens.
            self.connection.read_disable(True)
            self._pool.on_idle(self)

    def _begin(self) -> None:
        pool, callbacks = self._pool, self._callbacks
        stats = pool.cluster.stats.traffic
        self._connected = True
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
            if not self.connection.released:
                stats.upstream_cx_destroy_with_active_rq += 1
                if remote:
                    stats.upstream_cx_destroy_remote_with_active_rq += 1
                else:
                    stats.upstream_cx_destroy_local_with_active_rq += 1
            pool.serve_waiting()
            return
        if not self.wanted:
            self._on_spare_closed(remote)
            return
        pool.stop_pending()
        if callbacks is None:
            pool.serve_waiting()
            return
        stats.upstream_cx_connect_fail += 1
        host.cx_connect_fail += 1
        stats.upstream_rq_pending_failure_eject += 1
        reason = self._failure(remote)
        callbacks.on_pool_failure(reason, self.connection.transport_failure_reason, pool.host)
        pool.fail_waiting(reason, self.connection.transport_failure_reason)

    def _on_spare_closed(self, remote: bool) -> None:
        """Nobody had asked for it; if it did not come up, those who wait in this pool will not get one either."""
        pool = self._pool
        if self._up:
            pool.serve_waiting()
            return
        pool.cluster.stats.traffic.upstream_cx_connect_fail += 1
        pool.host.stats.cx_connect_fail += 1
        pool.fail_waiting(self._failure(remote), self.connection.transport_failure_reason)

    def _failure(self, remote: bool) -> PoolFailureReason:
        stats = self._pool.cluster.stats.traffic
        if self.connection.bind_failed:
            stats.bind_errors += 1
        if self.connection.connect_timed_out:
            stats.upstream_cx_connect_timeout += 1
            return PoolFailureReason.TIMEOUT
        return PoolFailureReason.REMOTE_CONNECTION_FAILURE if remote else PoolFailureReason.LOCAL_CONNECTION_FAILURE


def tcp_conn_pool(cluster: Cluster, host: Host, priority: int = DEFAULT) -> TcpConnPool:
    """The pool of a host; made when it is first asked for (`ThreadLocalCluster::tcpConnPool`)."""
    cluster = host.cluster or cluster  # the host of an aggregate belongs to one of its clusters
    key = (cluster, priority)
    pool: TcpConnPool | None = host.tcp_pools.get(key)
    if pool is None:
        kind = TcpConnPool
        if cluster.predictive_preconnect_ratio > 1.0:
            from .preconnect import PredictingTcpConnPool as kind
        pool = host.tcp_pools[key] = kind(cluster, host, priority)
    return pool
