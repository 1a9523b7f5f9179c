"""HTTP/1 connections to one host.

Envoy: `Http::HttpConnPoolImplBase`, `Http1::ConnPoolImpl`, `ConnectionPool::ConnPoolImplBase`; docs "Connection
pooling".

A stream takes an idle connection (the one that was used last), or waits for one. Waiting streams are served in order,
by whatever connection comes free first. When a connection fails to come up all of them fail, so that whoever waits
can decide what to do instead. A pool that has neither connections nor waiting streams is forgotten.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable
from typing import TYPE_CHECKING, Any, Final, Protocol

from ..network.connection import DetectedCloseType
from ..network.overload_state import NEW_CONNECTION
from ..network.transport_socket import TransportSocketOptions
from ..record import replace
from .codec_client import CodecClient
from .conn_pool import PoolFailureReason
from .host_connection import create_connection
from .http_protocol_options import UpstreamProtocol
from .resource_manager import DEFAULT

if TYPE_CHECKING:
    from ..event.dispatcher import Dispatcher
    from ..http.header_map import RequestHeaderMap
    from ..http.http1.settings import Http1Settings
    from ..network.client_connection import ClientConnection
    from ..network.connection import Connection
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


MAX_PRECONNECTED: Final = 3
"""At once: a host that has just become healthy is not to be overrun."""


def no_codec(connection: ClientConnection, settings: Http1Settings, stats: Any) -> Any:
    """For a pool whose connections make their own."""
    raise NotImplementedError


MakeCodec = Callable[["ClientConnection", "Http1Settings", Any], Any]


NO_OPTIONS: Final = TransportSocketOptions()


def ends_here(client: CodecClient) -> bool:
    """What `client` carries is no HTTP: a FIN of the peer ends that, and then we end the connection."""
    if not client.busy or not client.codec.half_closes:
        return False
    return client.connection.detected_close_type is not DetectedCloseType.REMOTE_RESET


class HttpConnPool:
    """Made on the first stream to a host; `draining` once the host has left the cluster."""

    alpn: tuple[str, ...] = ("http/1.1",)
    """What its connections speak."""
    _shed = False
    """A connection has just been refused by the overload manager."""

    def __init__(
        self,
        cluster: Cluster,
        host: Host,
        make_codec: MakeCodec,
        priority: int = DEFAULT,
        key: Hashable = DEFAULT,
        transport_options: TransportSocketOptions | None = None,
    ) -> None:
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
        self._key = key
        self._priority = priority
        self._transport_options = transport_options
        self._resources.connection_pools.current += 1
        pools_of(cluster).add(self)

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
                if self._max_requests is not None and client.requests >= self._max_requests:
                    stats.upstream_cx_max_requests += 1
                callbacks.on_pool_ready(client)
            else:
                self._idle.append(client)
                self.stats.upstream_rq_active_overflow += 1
                callbacks.on_pool_failure(PoolFailureReason.OVERFLOW, "", self.host)
            return None
        return self._wait(callbacks)

    def _wait(self, callbacks: HttpPoolCallbacks) -> PendingStream | None:
        """`callbacks` waits for a connection, if it may."""
        resources, stats = self._resources, self.stats
        if not resources.pending_requests.can_create:
            stats.upstream_rq_pending_overflow += 1
            callbacks.on_pool_failure(PoolFailureReason.OVERFLOW, "", None)
            if not isinstance(self._key, int):
                # It may never be wanted again; a plain one stays, as in Envoy.
                self._retire_if_idle()
            return None
        pending = PendingStream(self, callbacks)
        self._pending.append(pending)
        resources.pending_requests.current += 1
        stats.upstream_rq_pending_total += 1
        stats.upstream_rq_pending_active += 1
        self.host.stats.rq_pending_active += 1
        self._connect_for_pending()
        if self._shed:
            self._shed = False
            pending.cancel()
            callbacks.on_pool_failure(PoolFailureReason.OVERFLOW, "", None)
            self._retire_if_idle()
            return None
        return pending

    def cancel(self, pending: PendingStream) -> None:
        if pending in self._pending:
            self._pending.remove(pending)
            self._resources.pending_requests.current -= 1
            self.stats.upstream_rq_pending_active -= 1
            self.host.stats.rq_pending_active -= 1
            self.stats.upstream_rq_cancelled += 1

    def sibling(self, host: Host) -> HttpConnPool | None:
        """The pool of another host for the same kind of streams; None if there are too many pools."""
        pool: HttpConnPool | None = host.http_pools.get(self._key)
        if pool is None and self._resources.connection_pools.can_create:
            pool = host.http_pools[self._key] = self._made_for(host)
        return pool

    def _made_for(self, host: Host) -> HttpConnPool:
        return type(self)(self.cluster, host, self._make_codec, self._priority, self._key, self._transport_options)

    def preconnect_one(self, ratio: float) -> bool:
        """One connection more for the stream that is expected next, unless there are enough (`maybePreconnect`)."""
        waiting, active, capacity = self.connectivity()
        if not self.host.healthy:
            return waiting > capacity and self._connect_within_limits()
        if (waiting + active + 1) * ratio <= capacity + active:
            return False
        if not self.cluster.may_preconnect(self.host):
            self.stats.upstream_cx_preconnect_skipped += 1
            return False
        return self._connect_within_limits()

    def connectivity(self) -> tuple[int, int, int]:
        """(streams that wait, streams that are under way, streams that connections have room for)"""
        spare = self._connecting + len(self._idle)
        return len(self._pending), len(self._clients) - spare, spare

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

    def connections(self) -> list[ClientConnection]:
        """All of them, also those that are being made."""
        return [client.connection for client in self._clients]

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
                if client.ready or client.codec.half_closes:
                    self.stats.upstream_cx_destroy_local_with_active_rq += 1
                else:
                    # The response ended with its connection.
                    self.stats.upstream_cx_destroy_remote_with_active_rq += 1
            client.close()
        elif self._max_requests is not None and client.requests >= self._max_requests:
            client.close()
        elif self._pending:
            self._give_work(client)
        else:
            self._idle.append(client)
            client.idle_since = now

    def on_closed(self, client: CodecClient, remote: bool) -> None:
        if client in self._idle:
            self._idle.remove(client)
        if client.requests and client.codec.close_notified:
            self.stats.upstream_cx_close_notify += 1
        self._end_connection(client, remote)

    # -- inside

    def _end_connection(self, client: CodecClient, remote: bool) -> None:
        stats, resources = self.stats, self._resources
        self._clients.discard(client)
        stats.upstream_cx_rx_bytes_total += client.connection.bytes_received - client.bytes_received_before
        stats.upstream_cx_tx_bytes_total += client.connection.bytes_sent - client.bytes_sent_before
        stats.upstream_cx_active -= 1
        self.host.stats.cx_active -= 1
        resources.connections.current -= 1
        stats.upstream_cx_destroy += 1
        stats.upstream_cx_length_ms.record(int((self._dispatcher.monotonic_time() - client.start) * 1000))
        if remote and not ends_here(client):
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
            if connection.bind_failed:
                stats.bind_errors += 1
            if timed_out or remote or connection.failed_locally:
                reason = PoolFailureReason.LOCAL_CONNECTION_FAILURE
                if timed_out or remote:
                    reason = PoolFailureReason.TIMEOUT if timed_out else PoolFailureReason.REMOTE_CONNECTION_FAILURE
                self._fail_pending(reason, connection.transport_failure_reason)
            self._retire_if_idle()
            return
        client.ready = False
        self._end_streams(client, remote)
        stats.upstream_rq_per_cx.record(client.requests)
        self._connect_for_pending()
        self._retire_if_idle()

    def _end_streams(self, client: CodecClient, remote: bool) -> None:
        """The connection is gone, and with it what it carried."""
        if not (remote and client.codec.reads_until_close):
            self._count_busy(client, remote and not ends_here(client))
        if client.codec.on_connection_closed(remote) and remote:
            self.stats.upstream_cx_protocol_error += 1

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
        cluster = self.cluster
        connection = self._create_connection()
        self.stats.upstream_cx_http1_total += 1
        codec = self._make_codec(connection, self._settings, cluster.stats.http1())
        self._start(CodecClient(self, connection, codec))

    def _create_connection(self) -> ClientConnection:
        connection = create_connection(self.cluster, self.host)
        if connection.transport_socket is not None:
            options = self._transport_options or NO_OPTIONS
            connection.transport_socket_options = replace(
                options, host_name=self.host.hostname, alpn_fallback=self.alpn
            )
        return connection

    def _start(self, client: CodecClient) -> None:
        stats, host = self.stats, self.host
        self._clients.add(client)
        self._connecting += 1
        self._resources.connections.current += 1
        stats.upstream_cx_total += 1
        stats.upstream_cx_active += 1
        host.stats.cx_total += 1
        host.stats.cx_active += 1
        client.connection.connect(timeout=self.cluster.connect_timeout)

    def _connect_for_pending(self) -> None:
        """Open a connection if more streams wait than connections are on their way."""
        if self._connecting < len(self._pending):
            self._connect_within_limits()

    def _connect_within_limits(self) -> bool:
        resources, overload = self._resources, self.cluster.overload
        if overload is not None and overload.sheds(NEW_CONNECTION):
            self._shed = True
            return False
        allowed = resources.connections.can_create and self.host.stats.cx_active < resources.max_connections_per_host
        if not allowed:
            self.stats.upstream_cx_overflow += 1
            if self._clients:
                return False
            # A host always gets one connection: the breaker must not starve it for good.
            resources.connections.touched = True
        self._connect()
        return True

    def _give_work(self, client: CodecClient) -> None:
        """`client` takes who has waited longest; at the limit of requests all of them have waited in vain."""
        while self._pending:
            pending = self._pending.popleft()
            self._resources.pending_requests.current -= 1
            self.stats.upstream_rq_pending_active -= 1
            self.host.stats.rq_pending_active -= 1
            if self._resources.requests.can_create:
                self._idle.append(client)
                HttpConnPool.new_stream(self, pending.callbacks)
                return
            self.stats.upstream_rq_active_overflow += 1
            pending.callbacks.on_pool_failure(PoolFailureReason.OVERFLOW, "", self.host)
        if self.draining:
            client.close()
        else:
            self._idle.append(client)
            client.idle_since = self._dispatcher.monotonic_time()

    def _retire_if_idle(self) -> None:
        if not self._clients and not self._pending:
            pools = self.host.http_pools
            if pools.get(self._key) is self:
                del pools[self._key]
                self._resources.connection_pools.current -= 1
                pools_of(self.cluster).discard(self)

    def open_bytes(self) -> tuple[int, int]:
        """Bytes of open connections are added up when statistics are read: no read or write pays for it."""
        received = sent = 0
        for client in self._clients:
            received += client.connection.bytes_received - client.bytes_received_before
            sent += client.connection.bytes_sent - client.bytes_sent_before
        return received, sent

    def reset_bytes(self) -> None:
        for client in self._clients:
            client.bytes_received_before = client.connection.bytes_received
            client.bytes_sent_before = client.connection.bytes_sent

    def _stream_over(self) -> None:
        self._resources.requests.current -= 1
        self.stats.upstream_rq_active -= 1
        self.host.stats.rq_active -= 1

    def _fail_pending(self, reason: PoolFailureReason, details: str) -> None:
        waiting, self._pending = self._pending, deque()
        for pending in waiting:
            self.stats.upstream_rq_pending_failure_eject += 1
            pending.callbacks.on_pool_failure(reason, details, self.host)
            # Only now: to whoever asks for a retry, its budget is still a part of it.
            self._resources.pending_requests.current -= 1
            self.stats.upstream_rq_pending_active -= 1
            self.host.stats.rq_pending_active -= 1


class PreconnectingHttpConnPool(HttpConnPool):
    """Has more connections than it needs just now (`shouldCreateNewConnection`, `preconnect_policy`)."""

    def new_stream(self, callbacks: HttpPoolCallbacks) -> PendingStream | None:
        ready = bool(self._idle)
        pending = super().new_stream(callbacks)
        if ready:
            self._preconnect()
        return pending

    def _connect_for_pending(self) -> None:
        if self._pending:
            self._preconnect()

    def _preconnect(self) -> None:
        ratio = self.cluster.preconnect_ratio if self.host.healthy else 1.0
        for _ in range(MAX_PRECONNECTED):
            waiting, active, spare = self.connectivity()
            if (waiting + active) * ratio <= spare + active:
                return
            if waiting <= spare and not self.cluster.may_preconnect(self.host):
                self.stats.upstream_cx_preconnect_skipped += 1
                return
            if not self._connect_within_limits():
                return


def pools_of(cluster: Cluster) -> set[HttpConnPool]:
    """Those that have connections, or streams that wait; the first call begins to count their bytes."""
    pools: set[HttpConnPool] | None = cluster.http_pools
    if pools is None:
        pools = cluster.http_pools = set()

        def read() -> list[tuple[str, int]]:
            found = [pool.open_bytes() for pool in pools]
            return [
                ("upstream_cx_rx_bytes_total", sum(received for received, _ in found)),
                ("upstream_cx_tx_bytes_total", sum(sent for _, sent in found)),
            ]

        def reset() -> None:
            for pool in pools:
                pool.reset_bytes()

        cluster.stats.scope.provider(read, reset=reset)
    return pools


def http_conn_pool(
    cluster: Cluster,
    host: Host,
    make_codec: MakeCodec,
    priority: int = DEFAULT,
    downstream: Connection | None = None,
    downstream_protocol: str | None = None,
    headers: RequestHeaderMap | None = None,
) -> HttpConnPool | None:
    """The pool of `host`, made if this is the first stream to it; None if there are too many pools.

    Only a cluster that wants a pool for each downstream connection looks at `downstream`, only one that speaks what the
    client speaks at `downstream_protocol`, and only one whose requests say the server name for TLS at `headers`: such
    pools are kept under a key that is not just `priority`.
    """
    key: Hashable = priority
    protocol = cluster.http_options.protocol
    http2 = protocol is UpstreamProtocol.HTTP2
    if protocol is UpstreamProtocol.DOWNSTREAM:
        # Never just the priority: who asks for that one does not say what the client speaks.
        http2 = downstream_protocol == "HTTP/2"
        key = (priority, http2)
    transport_options = None
    if headers is not None and cluster.http_options.names_server:
        transport_options = cluster.http_options.transport_socket_options(headers)
        key = (key, transport_options.key)
    if cluster.wants_proxy_header and downstream is not None:
        from ..network.proxy_protocol_header import header_of

        transport_options = replace(transport_options or NO_OPTIONS, proxy_header=header_of(downstream.info))
        key = (key, transport_options.key)
    if cluster.pool_per_downstream_connection and downstream is not None:
        key = (key, downstream.info.id)
    pool: HttpConnPool | None = host.http_pools.get(key)
    if pool is None:
        if not cluster.resource_managers[priority].connection_pools.can_create:
            cluster.stats.traffic.upstream_cx_pool_overflow += 1
            return None
        # The host of an aggregate belongs to one of its clusters.
        cluster = host.cluster or cluster
        if http2:
            from .http2_conn_pool import Http2ConnPool

            kind2 = Http2ConnPool
            if cluster.predictive_preconnect_ratio > 1.0:
                from .preconnect import PredictingHttp2ConnPool as kind2
            pool = host.http_pools[key] = kind2(cluster, host, priority, key, transport_options, make_codec)
            return pool
        if protocol is UpstreamProtocol.ALPN:
            from .mixed_conn_pool import MixedConnPool

            mixed = MixedConnPool
            if cluster.predictive_preconnect_ratio > 1.0:
                from .preconnect import PredictingMixedConnPool as mixed
            pool = host.http_pools[key] = mixed(cluster, host, make_codec, priority, key, transport_options)
            return pool
        kind = HttpConnPool if cluster.preconnect_ratio <= 1.0 else PreconnectingHttpConnPool
        if cluster.predictive_preconnect_ratio > 1.0:
            from .preconnect import PredictingHttpConnPool as kind
        pool = host.http_pools[key] = kind(cluster, host, make_codec, priority, key, transport_options)
    return pool
