"""HTTP/2 connections to one host.

Envoy: `Http2::ConnPoolImpl`, `Http::HttpConnPoolImplBase`, `ConnectionPool::ConnPoolImplBase`; docs "Connection
pooling".

Streams share a connection as long as it has room for them: our limit of concurrent streams, the peer's, and
`max_requests_per_connection`. While it connects, streams wait for it, as many as it will have room for; for more of
them there is another connection. The peer ends the use of a connection by GOAWAY: it carries what it has, and closes
after the last one.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import TYPE_CHECKING

from ..http.codec import StreamResetReason
from .conn_pool import PoolFailureReason
from .http2_codec_client import Http2CodecClient, Http2StreamClient
from .http_conn_pool import MAX_PRECONNECTED, HttpConnPool, HttpPoolCallbacks, MakeCodec, PendingStream, no_codec
from .resource_manager import DEFAULT

if TYPE_CHECKING:
    from ..network.transport_socket import TransportSocketOptions
    from .cluster import Cluster
    from .codec_client import CodecClient
    from .host import Host


class Http2ConnPool(HttpConnPool):
    """As `HttpConnPool`; `_ready` are the connections that have room, who has had it last at the end.

    Attributes:
        counts_bytes: what streams take on the wire is counted on new connections.
    """

    _clients: set[Http2CodecClient]  # type: ignore[assignment]

    alpn: tuple[str, ...] = ("h2",)

    def __init__(
        self,
        cluster: Cluster,
        host: Host,
        priority: int = DEFAULT,
        key: Hashable = DEFAULT,
        transport_options: TransportSocketOptions | None = None,
        make_codec: MakeCodec = no_codec,
    ) -> None:
        super().__init__(cluster, host, make_codec, priority, key, transport_options)
        self.counts_bytes: bool = getattr(make_codec, "counts_bytes", False)
        self.settings = cluster.http_options.http2
        self.max_concurrent_streams = self.settings.max_concurrent_streams
        self.max_requests = self._max_requests
        self._ready: list[Http2CodecClient] = []
        self._connecting_clients: list[Http2CodecClient] = []
        self._preconnect_ratio = cluster.preconnect_ratio

    def new_stream(self, callbacks: HttpPoolCallbacks) -> PendingStream | None:
        if self._ready:
            self._attach(self._ready[-1], callbacks)
            if self._preconnect_ratio > 1.0:
                self._connect_for_pending()
            return None
        return self._wait(callbacks)

    def _made_for(self, host: Host) -> HttpConnPool:
        return type(self)(self.cluster, host, self._priority, self._key, self._transport_options, self._make_codec)

    def connectivity(self) -> tuple[int, int, int]:
        active, idle = self._load()
        return len(self._pending), active, idle + sum(client.room for client in self._connecting_clients)

    def capacity_beyond_connections(self) -> int:
        """How many more streams its connections have room for than if each were for one."""
        _, active, room = self.connectivity()
        return room - (len(self._clients) - active)

    def drain(self) -> None:
        self.draining = True
        self._drain_clients()

    def drain_connections(self) -> None:
        self._drain_clients()

    def _drain_clients(self) -> None:
        for client in tuple(self._clients):
            if client.ready:
                self.retire(client)

    # -- from the connections

    def on_connected(self, client: CodecClient) -> None:
        assert isinstance(client, Http2CodecClient)
        self._connecting -= 1
        self._connecting_clients.remove(client)
        now = self._dispatcher.monotonic_time()
        self.stats.upstream_cx_connect_ms.record(int((now - client.start) * 1000))
        client.wait_idle(now)
        if self.draining:
            client.draining = True
        self.on_room_changed(client)
        if client.draining and not client.active:
            client.close()

    def on_stream_complete(self, client: Http2StreamClient, now: float) -> None:  # type: ignore[override]
        """The whole response is there; who has not sent its whole request by now has no use for the stream."""
        stream = client.stream
        if stream is not None:
            stream.decoder = stream.watermark = None
            if not stream.local_end:
                client.reset_stream(StreamResetReason.LOCAL_RESET)

    def on_stream_closed(self, client: Http2CodecClient) -> None:
        """A stream of `client` is over, however that is."""
        self._resources.requests.current -= 1
        self.stats.upstream_rq_active -= 1
        self.host.stats.rq_active -= 1
        if not client.active:
            client.wait_idle(self._dispatcher.monotonic_time())
            if client.draining or self.draining:
                client.close()
                return
        if self._pending or not client.listed:
            self.on_room_changed(client)

    def on_room_changed(self, client: Http2CodecClient) -> None:
        """There is more room on `client` than there was, or less."""
        while self._pending and client.room > 0 and client.ready:
            pending = self._pending.popleft()
            self._resources.pending_requests.current -= 1
            self.stats.upstream_rq_pending_active -= 1
            self.host.stats.rq_pending_active -= 1
            self._attach(client, pending.callbacks)
        self._list(client)

    def on_closed(self, client: CodecClient, remote: bool) -> None:
        assert isinstance(client, Http2CodecClient)
        if client.listed:
            client.listed = False
            self._ready.remove(client)
        if client in self._connecting_clients:
            self._connecting_clients.remove(client)
        self._end_connection(client, remote)

    def _end_streams(self, client: CodecClient, remote: bool) -> None:
        assert isinstance(client, Http2CodecClient)
        stats = self.stats
        active, client.active = client.active, 0
        client.busy = False
        reason = StreamResetReason.CONNECTION_TERMINATION
        if client.failed:
            reason = StreamResetReason.PROTOCOL_ERROR
        elif active:
            stats.upstream_rq_pending_failure_eject += active
            stats.upstream_cx_destroy_with_active_rq += 1
            if remote:
                stats.upstream_cx_destroy_remote_with_active_rq += 1
            else:
                stats.upstream_cx_destroy_local_with_active_rq += 1
        for _ in range(active):
            self._stream_over()
        client.codec.on_connection_closed(reason)

    # -- inside

    def _attach(self, client: Http2CodecClient, callbacks: HttpPoolCallbacks) -> None:
        """Give `client` another stream, within the limit of requests."""
        requests = self._resources.requests
        if requests.current >= requests.max:
            self.stats.upstream_rq_active_overflow += 1
            callbacks.on_pool_failure(PoolFailureReason.OVERFLOW, "", self.host)
            return
        requests.current += 1
        stats, host_stats = self.stats, self.host.stats
        stats.upstream_rq_total += 1
        stats.upstream_rq_active += 1
        host_stats.rq_total += 1
        host_stats.rq_active += 1
        client.active = active = client.active + 1
        client.busy = True
        client.requests += 1
        if client.remaining is not None:
            client.remaining -= 1
            if not client.remaining:
                stats.upstream_cx_max_requests += 1
                client.draining = True
                self._list(client)
        if active >= client.limit:
            self._list(client)
        # What stands for the connection as far as that stream goes.
        callbacks.on_pool_ready(Http2StreamClient(client))  # type: ignore[arg-type]

    def _list(self, client: Http2CodecClient) -> None:
        """Keep `_ready` true."""
        listed = client.ready and client.room > 0
        if listed != client.listed:
            client.listed = listed
            if listed:
                self._ready.append(client)
            else:
                self._ready.remove(client)

    def retire(self, client: Http2CodecClient) -> None:
        """No new streams on `client`; it closes when it has none."""
        client.draining = True
        self._list(client)
        if not client.active:
            client.close()

    def _connect(self) -> None:
        connection = self._create_connection()
        self.stats.upstream_cx_http2_total += 1
        client = Http2CodecClient(self, connection)
        self._connecting_clients.append(client)
        self._start(client)

    def _connect_for_pending(self) -> None:
        """Open connections while more streams wait than those on their way will have room for."""
        ratio = self._preconnect_ratio if self.host.healthy else 1.0
        for _ in range(MAX_PRECONNECTED):
            if ratio <= 1.0:
                enough = len(self._pending) <= sum(client.room for client in self._connecting_clients)
            else:
                waiting, active, room = self.connectivity()
                enough = (waiting + active) * ratio <= room + active
                if not enough and waiting <= room and not self.cluster.may_preconnect(self.host):
                    self.stats.upstream_cx_preconnect_skipped += 1
                    return
            if enough or not self._connect_within_limits():
                return

    def _load(self) -> tuple[int, int]:
        """Streams that are on their way, and room for more of them."""
        return sum(client.active for client in self._clients), sum(client.room for client in self._ready)
