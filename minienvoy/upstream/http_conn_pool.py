"""HTTP/1 connections to one host.

Envoy: `Http::HttpConnPoolImplBase`, `Http1::ConnPoolImpl`, `ConnectionPool::ConnPoolImplBase`; docs "Connection
pooling".

A stream takes an idle connection (the one that was used last), or waits for one. Waiting streams are served in order,
by whatever connection comes free first. When a connection fails to come up all of them fail, so that whoever waits
can decide what to do instead.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

from .codec_client import CodecClient
from .conn_pool import PoolFailureReason
from .host_connection import create_connection
from .resource_manager import DEFAULT

if TYPE_CHECKING:
    from ..event.dispatcher import Dispatcher
    from ..http.http1.settings import Http1Settings
    from ..network.client_connection import ClientConnection
    from .cluster import Cluster
    from .host import Host


class HttpPoolCallbacks(Protocol):
    """Exactly one of these is called, perhaps before `new_stream` returns."""

    def on_pool_ready(self, client: CodecClient) -> None: ...
    def on_pool_failure(self, reason: PoolFailureReason, details: str, host: Host | None) -> None:
        """`host` is None if it has not come to one."""


class PendingStream:
    """A stream that waits for a connection."""

    __slots__ = ("_pool", "callbacks")

    def __init__(self, pool: HttpConnPool, callbacks: HttpPoolCallbacks) -> None:
        self._pool = pool
        self.callbacks = callbacks

    def cancel(self) -> None:
        """Do not call back."""
        self._pool.cancel(self)


MakeCodec = Callable[["ClientConnection", "Http1Settings", Any], Any]


class HttpConnPool:
    """Made on the first stream to a host; `draining` once the host has left the cluster."""

    def __init__(self, cluster: Cluster, host: Host, make_codec: MakeCodec, priority: int = DEFAULT) -> None:
        self.cluster = cluster
        self.host = host
        self.stats = cluster.stats.traffic
        self.draining = False
        self._dispatcher: Dispatcher = cluster.dispatcher
        self._resources = cluster.resource_managers[priority]
        self._make_codec = make_codec
        self._settings = cluster.http_options.http1
        self._idle: list[CodecClient] = []
        self._clients: set[CodecClient] = set()
        self._pending: deque[PendingStream] = deque()
        self._connecting = 0
        self._max_requests = cluster.http_options.max_requests_per_connection
        self.idle_timeout = cluster.http_options.idle_timeout
        self.max_stream_duration = cluster.http_options.max_stream_duration
        cluster.stats.scope.provider(self._bytes, reset=self._reset_bytes)

    def new_stream(self, callbacks: HttpPoolCallbacks) -> PendingStream | None:
        """Give `callbacks` a connection now, or later; what is returned can cancel the wait."""
        if self._idle:
            client = self._idle.pop()
            requests = self._resources.requests
            if requests.current < requests.max:
                requests.current += 1
                stats = self.stats
                stats.upstream_rq_total += 1
                stats.upstream_rq_active += 1
                host_stats = self.host.stats
                host_stats.rq_total += 1
                host_stats.rq_active += 1
                client.busy = True
                client.requests += 1
                callbacks.on_pool_ready(client)
            else:
                self._idle.append(client)
                self._overflow(callbacks, self.host)
            return None
        resources, stats = self._resources, self.stats
        if not resources.pending_requests.can_create:
            self._overflow(callbacks, None)
            return None
        pending = PendingStream(self, callbacks)
        self._pending.append(pending)
        resources.pending_requests.current += 1
        stats.upstream_rq_pending_total += 1
        stats.upstream_rq_pending_active += 1
        self._connect_for_pending()
        return pending

    def cancel(self, pending: PendingStream) -> None:
        if pending in self._pending:
            self._pending.remove(pending)
            self._resources.pending_requests.current -= 1
            self.stats.upstream_rq_pending_active -= 1
            self.stats.upstream_rq_cancelled += 1

    def drain(self) -> None:
        """The host is gone: close what is idle now, and the rest when it has done its duty."""
        self.draining = True
        for client in tuple(self._idle):
            client.close()

    def drain_connections(self) -> None:
        """Something is wrong with the host: new streams get new connections (`DrainExistingConnections`)."""
        for client in tuple(self._idle):
            client.close()
        for client in self._clients:
            if client.busy:
                client.draining = True

    def close(self) -> None:
        """Close everything, busy or not; who waits is told."""
        self.draining = True
        self._fail_pending(PoolFailureReason.LOCAL_CONNECTION_FAILURE, "")
        for client in tuple(self._clients):
            client.close()

    # -- from the connections

    def on_connected(self, client: CodecClient) -> None:
        self._connecting -= 1
        now = self._dispatcher.monotonic_time()
        self.stats.upstream_cx_connect_ms.record(int((now - client.start) * 1000))
        client.wait_idle(now)
        self._give_work(client)

    def on_stream_complete(self, client: CodecClient, now: float) -> None:
        """`client` has a whole response: it may carry the next stream, or has done its duty."""
        client.busy = False
        self._resources.requests.current -= 1
        self.stats.upstream_rq_active -= 1
        self.host.stats.rq_active -= 1
        if client.codec.should_close or client.draining or self.draining:
            if not client.codec.request_over:
                # A response that came before the end of its request: Envoy's stream is still there.
                self.stats.upstream_cx_destroy_with_active_rq += 1
                self.stats.upstream_cx_destroy_local_with_active_rq += 1
            client.close()
        elif self._max_requests is not None and client.requests >= self._max_requests:
            self.stats.upstream_cx_max_requests += 1
            client.close()
        elif self._pending:
            self._give_work(client)
        else:
            self._idle.append(client)
            client.idle_since = now

    def on_closed(self, client: CodecClient, remote: bool) -> None:
        stats, resources = self.stats, self._resources
        self._clients.discard(client)
        stats.upstream_cx_rx_bytes_total += client.connection.bytes_received - client.bytes_received_before
        stats.upstream_cx_tx_bytes_total += client.connection.bytes_sent - client.bytes_sent_before
        stats.upstream_cx_active -= 1
        self.host.stats.cx_active -= 1
        resources.connections.current -= 1
        stats.upstream_cx_destroy += 1
        if remote:
            stats.upstream_cx_destroy_remote += 1
        else:
            stats.upstream_cx_destroy_local += 1
        connection = client.connection
        if not client.ready:
            self._connecting -= 1
            stats.upstream_cx_connect_fail += 1
            self.host.stats.cx_connect_fail += 1
            timed_out = connection.connect_timed_out
            if timed_out:
                stats.upstream_cx_connect_timeout += 1
            if timed_out or remote:
                self._fail_pending(
                    PoolFailureReason.TIMEOUT if timed_out else PoolFailureReason.REMOTE_CONNECTION_FAILURE,
                    connection.transport_failure_reason,
                )
            return
        client.ready = False
        if not (remote and client.codec.reads_until_close):
            self._count_busy(client, remote)
        if client.codec.on_connection_closed(remote) and remote:
            stats.upstream_cx_protocol_error += 1
        stats.upstream_rq_per_cx.record(client.requests)
        stats.upstream_cx_length_ms.record(int((self._dispatcher.monotonic_time() - client.start) * 1000))
        if client in self._idle:
            self._idle.remove(client)
        self._connect_for_pending()

    # -- inside

    def _count_busy(self, client: CodecClient, remote: bool) -> None:
        """A connection ends while a stream is on it."""
        if client.busy:
            client.busy = False
            stats = self.stats
            stats.upstream_cx_destroy_with_active_rq += 1
            if remote:
                stats.upstream_cx_destroy_remote_with_active_rq += 1
            else:
                stats.upstream_cx_destroy_local_with_active_rq += 1
            self._stream_over()

    def _connect(self) -> None:
        cluster, stats, host = self.cluster, self.stats, self.host
        connection = create_connection(cluster, host)
        stats.upstream_cx_http1_total += 1
        client = CodecClient(self, connection, self._make_codec(connection, self._settings, cluster.stats.http1()))
        self._clients.add(client)
        self._connecting += 1
        self._resources.connections.current += 1
        stats.upstream_cx_total += 1
        stats.upstream_cx_active += 1
        host.stats.cx_total += 1
        host.stats.cx_active += 1
        connection.connect(timeout=cluster.connect_timeout)

    def _connect_for_pending(self) -> None:
        """Open a connection if more streams wait than connections are on their way."""
        if self._connecting < len(self._pending):
            connections = self._resources.connections
            if not connections.can_create:
                self.stats.upstream_cx_overflow += 1
            # A host always gets one connection: the breaker must not starve it for good.
            if connections.can_create or not self._clients:
                self._connect()

    def _give_work(self, client: CodecClient) -> None:
        """`client` takes who has waited longest; at the limit of requests all of them have waited in vain."""
        while self._pending:
            pending = self._pending.popleft()
            self._resources.pending_requests.current -= 1
            self.stats.upstream_rq_pending_active -= 1
            if self._resources.requests.can_create:
                self._idle.append(client)
                self.new_stream(pending.callbacks)
                return
            self._overflow(pending.callbacks, self.host)
        if self.draining:
            client.close()
        else:
            self._idle.append(client)
            client.idle_since = self._dispatcher.monotonic_time()

    def _overflow(self, callbacks: HttpPoolCallbacks, host: Host | None) -> None:
        self.stats.upstream_rq_pending_overflow += 1
        callbacks.on_pool_failure(PoolFailureReason.OVERFLOW, "", host)

    def _bytes(self) -> list[tuple[str, int]]:
        """Bytes of open connections are added up when statistics are read: no read or write pays for it."""
        received = sent = 0
        for client in self._clients:
            received += client.connection.bytes_received - client.bytes_received_before
            sent += client.connection.bytes_sent - client.bytes_sent_before
        return [("upstream_cx_rx_bytes_total", received), ("upstream_cx_tx_bytes_total", sent)]

    def _reset_bytes(self) -> None:
        for client in self._clients:
            client.bytes_received_before = client.connection.bytes_received
            client.bytes_sent_before = client.connection.bytes_sent

    def _stream_over(self) -> None:
        self._resources.requests.current -= 1
        self.stats.upstream_rq_active -= 1
        self.host.stats.rq_active -= 1

    def _fail_pending(self, reason: PoolFailureReason, details: str) -> None:
        waiting, self._pending = self._pending, deque()
        self._resources.pending_requests.current -= len(waiting)
        self.stats.upstream_rq_pending_active -= len(waiting)
        for pending in waiting:
            self.stats.upstream_rq_pending_failure_eject += 1
            pending.callbacks.on_pool_failure(reason, details, self.host)


def http_conn_pool(cluster: Cluster, host: Host, make_codec: MakeCodec, priority: int = DEFAULT) -> HttpConnPool:
    """The pool of `host`, made if this is the first stream to it."""
    pool: HttpConnPool | None = host.http_pools.get(priority)
    if pool is None:
        # The host of an aggregate belongs to one of its clusters.
        pool = host.http_pools[priority] = HttpConnPool(host.cluster or cluster, host, make_codec, priority)
    return pool
