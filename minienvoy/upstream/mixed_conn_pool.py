"""Connections to one host that speak HTTP/1 or HTTP/2, as TLS agrees on.

Envoy: `Http::HttpConnPoolImplMixed`; `auto_config` of `HttpProtocolOptions`.

Until a connection is up nobody knows what it will speak, and it is hoped to be HTTP/2: as many streams wait for it as
that would carry. If it is HTTP/1 then, the first takes it and the others get connections of their own. As in Envoy each
connection is counted twice, when it is begun and when it is known what it is.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import TYPE_CHECKING, Any

from ..network.connection import ConnectionEvent
from .codec_client import CodecClient
from .http2_codec_client import Http2CodecClient, Http2StreamClient
from .http2_conn_pool import Http2ConnPool
from .http_conn_pool import HttpConnPool, HttpPoolCallbacks, MakeCodec, PendingStream
from .resource_manager import DEFAULT

if TYPE_CHECKING:
    from ..network.client_connection import ClientConnection
    from ..network.transport_socket import TransportSocketOptions
    from .cluster import Cluster
    from .host import Host


class UndecidedClient(CodecClient):
    """A connection on its way; once connected it is an `Http2CodecClient`, or a `CodecClient` alone."""

    pool: MixedConnPool

    def __init__(self, pool: MixedConnPool, connection: ClientConnection) -> None:
        super().__init__(pool, connection, None)

    @property
    def room(self) -> int:
        """Streams that may wait for it."""
        return 0 if self.draining else self.pool.max_concurrent_streams

    def on_event(self, event: ConnectionEvent) -> None:
        if event is not ConnectionEvent.CONNECTED:
            super().on_event(event)
            return
        pool, stats, host_stats = self.pool, self.pool.stats, self.pool.host.stats
        stats.upstream_cx_total += 1
        host_stats.cx_total += 1
        ssl = self.connection.info.ssl
        if ssl is not None and ssl.alpn == "h2":
            self.__class__ = Http2CodecClient  # type: ignore[assignment]
            assert isinstance(self, Http2CodecClient)
            stats.upstream_cx_http2_total += 1
            self.begin()
        else:
            self.__class__ = CodecClient  # type: ignore[assignment]
            stats.upstream_cx_http1_total += 1
            self.take_codec(pool.make_codec(self.connection))
        self.on_event(event)


class MixedConnPool(Http2ConnPool):
    """As `Http2ConnPool`, with HTTP/1 connections beside those of HTTP/2: who is idle is in `_idle`."""

    alpn = ("h2", "http/1.1")

    def __init__(
        self,
        cluster: Cluster,
        host: Host,
        make_codec: MakeCodec,
        priority: int = DEFAULT,
        key: Hashable = DEFAULT,
        transport_options: TransportSocketOptions | None = None,
    ) -> None:
        super().__init__(cluster, host, priority, key, transport_options)
        self._make_codec = make_codec

    def make_codec(self, connection: ClientConnection) -> Any:
        return self._make_codec(connection, self._settings, self.cluster.stats.http1())

    def new_stream(self, callbacks: HttpPoolCallbacks) -> PendingStream | None:
        if self._idle and not self._ready:
            return HttpConnPool.new_stream(self, callbacks)
        return super().new_stream(callbacks)

    def retire(self, client: CodecClient) -> None:
        if isinstance(client, Http2CodecClient):
            super().retire(client)
            return
        client.draining = True
        if not client.busy:
            client.close()

    # -- from the connections

    def on_connected(self, client: CodecClient) -> None:
        if isinstance(client, Http2CodecClient):
            super().on_connected(client)
            return
        self._connecting_clients.remove(client)  # type: ignore[arg-type]
        if self.draining:
            client.draining = True
        HttpConnPool.on_connected(self, client)
        if self._pending:
            self._connect_for_pending()

    def on_stream_complete(self, client: CodecClient | Http2StreamClient, now: float) -> None:
        if isinstance(client, CodecClient):
            HttpConnPool.on_stream_complete(self, client, now)
        else:
            super().on_stream_complete(client, now)

    def on_closed(self, client: CodecClient, remote: bool) -> None:
        if isinstance(client, Http2CodecClient):
            super().on_closed(client, remote)
            return
        if client in self._connecting_clients:
            self._connecting_clients.remove(client)
        HttpConnPool.on_closed(self, client, remote)

    def _end_streams(self, client: CodecClient, remote: bool) -> None:
        if isinstance(client, Http2CodecClient):
            super()._end_streams(client, remote)
        else:
            HttpConnPool._end_streams(self, client, remote)

    # -- inside

    def _made_for(self, host: Host) -> HttpConnPool:
        return HttpConnPool._made_for(self, host)

    def _connect(self) -> None:
        client = UndecidedClient(self, self._create_connection())
        self._connecting_clients.append(client)  # type: ignore[arg-type]
        self._start(client)

    def _load(self) -> tuple[int, int]:
        http2 = [client for client in self._clients if isinstance(client, Http2CodecClient)]
        busy = sum(client.busy for client in self._clients if client not in http2)
        return busy + sum(each.active for each in http2), len(self._idle) + sum(each.room for each in self._ready)
