"""One upstream connection that carries many streams.

Envoy: `Http::CodecClient`, `Http2::ActiveClient` (`MultiplexedActiveClientBase`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import CodecProtocolError
from ..http.codec import ResponseDecoder, StreamResetReason
from ..http.http2.client_connection import ClientConnectionCallbacks, ClientStream
from ..http.http2.keepalive import Keepalive
from ..http.http2.selection import client_codec
from ..network.connection import ConnectionCloseType, ConnectionEvent
from ..network.filter import FilterStatus
from .codec_client import CodecClient

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..http.http2.client_connection import ClientConnection as Http2ClientConnection
    from ..network.client_connection import ClientConnection
    from .cluster import Cluster
    from .http2_conn_pool import Http2ConnPool


def create_http2_codec(
    cluster: Cluster,
    connection: ClientConnection,
    callbacks: ClientConnectionCallbacks,
    *,
    counts_bytes: bool = False,
) -> Http2ClientConnection:
    """The codec of an established connection, with the cluster's settings; it greets the peer.

    With `counts_bytes` it knows what each stream takes on the wire.
    """
    settings = cluster.http_options.http2
    make = client_codec(cluster.http2_codec, counts_bytes)
    codec = make(connection, callbacks, settings, cluster.stats.http2(), connection.dispatcher.write_soon)
    if settings.keepalive_timeout:

        def on_ping_timeout() -> None:
            connection.close(ConnectionCloseType.NO_FLUSH, "http2_ping_timeout")

        codec.keepalive = Keepalive(codec, connection.dispatcher, cluster.random.random, on_ping_timeout)
    return codec


class Http2CodecClient(CodecClient):
    """Connecting, then with any number of streams up to `limit`, then closed.

    Attributes:
        active: streams on it.
        listed: it is among those of the pool that have room.
        limit: streams that it may carry at the same time: ours, or the peer's if that is less.
        remaining: streams that it may still carry; None for no end.
        failed: the peer has broken the protocol.
    """

    pool: Http2ConnPool
    codec: Http2ClientConnection  # type: ignore[assignment]
    failed: bool = False

    def __init__(self, pool: Http2ConnPool, connection: ClientConnection) -> None:
        # The codec greets the peer, which it can not before there is a connection.
        super().__init__(pool, connection, None)
        self.begin()

    def begin(self) -> None:
        """It is known that HTTP/2 is spoken."""
        pool = self.pool
        self.active = 0
        self.listed = False
        self.limit = pool.max_concurrent_streams
        self.remaining = pool.max_requests
        pool.cluster.stats.http2().nghttp2_upstream_connections += 1

    @property
    def room(self) -> int:
        """Streams that it could take now, or once it is connected."""
        if self.draining:
            return 0
        room = self.limit - self.active
        return room if self.remaining is None else min(room, self.remaining)

    # -- from the connection

    def on_event(self, event: ConnectionEvent) -> None:
        if event is ConnectionEvent.CONNECTED:
            counted = self.pool.counts_bytes
            self.codec = create_http2_codec(self.pool.cluster, self.connection, self, counts_bytes=counted)
        super().on_event(event)

    def on_data(self, data: bytes, end_stream: bool) -> FilterStatus:
        try:
            self.codec.dispatch(data)
        except CodecProtocolError as error:
            self.pool.stats.upstream_cx_protocol_error += 1
            self._on_protocol_error(error)
        else:
            if self.connection.closed and not self.codec.left:
                # Envoy's codec finds itself closed before it is done with the frame.
                self.pool.stats.upstream_cx_protocol_error += 1
        return FilterStatus.STOP_ITERATION

    def on_above_write_buffer_high_watermark(self) -> None:
        self.pool.stats.upstream_flow_control_backed_up_total += 1
        for stream in tuple(self.codec.streams.values()):
            if stream.watermark is not None:
                stream.watermark(True)

    def on_below_write_buffer_low_watermark(self) -> None:
        self.pool.stats.upstream_flow_control_drained_total += 1
        for stream in tuple(self.codec.streams.values()):
            if stream.watermark is not None:
                stream.watermark(False)

    # -- from the codec

    def on_go_away(self) -> None:
        self.pool.stats.upstream_cx_close_notify += 1
        self.pool.retire(self)

    def on_max_streams_changed(self, maximum: int) -> None:
        self.limit = min(maximum, self.pool.max_concurrent_streams)
        self.pool.on_room_changed(self)

    def on_stream_closed(self) -> None:
        self.active -= 1
        self.busy = self.active > 0
        self.pool.on_stream_closed(self)

    def on_stream_broken(self) -> None:
        self.pool.stats.upstream_rq_tx_reset += 1

    # -- inside

    def _on_protocol_error(self, error: CodecProtocolError) -> None:
        self.failed = True
        self.close()

    def _on_max_duration(self) -> None:
        self.pool.stats.upstream_cx_max_duration_reached += 1
        self.pool.retire(self)


class Http2StreamClient:
    """One stream of such a connection, for whoever knows a connection as that which carries its stream.

    Attributes:
        requests: which one of its connection's it is.
        stream: what `new_stream` has made.
        watermark: who feeds the stream; put there before it is made.
    """

    __slots__ = ("_client", "connection", "pool", "requests", "stream", "watermark")

    protocol = "HTTP/2"

    def __init__(self, client: Http2CodecClient) -> None:
        self._client = client
        self.connection = client.connection
        self.pool = client.pool
        self.requests = client.requests
        self.stream: ClientStream | None = None
        self.watermark: Callable[[bool], None] | None = None

    @property
    def codec(self) -> Http2StreamClient:
        """Of this stream."""
        return self

    def new_stream(self, decoder: ResponseDecoder) -> ClientStream:
        codec = self._client.codec
        if codec.keepalive is not None:
            codec.keepalive.on_new_stream()
        stream = self.stream = codec.new_stream(decoder)
        stream.watermark = self.watermark
        return stream

    def read_disable(self, disable: bool) -> None:
        if self.stream is not None:
            self.stream.read_disable(disable)

    def reset_stream(self, reason: StreamResetReason) -> None:
        stream = self.stream
        if stream is not None:
            stream.watermark = None
            if not stream.closed:
                self.pool.stats.upstream_rq_tx_reset += 1
            stream.reset_stream(reason)
