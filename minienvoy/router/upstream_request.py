"""One attempt to get an answer from one host.

Envoy: `Router::UpstreamRequest`. A router has one of these for each attempt; it waits for a connection, sends the
request, and hands what comes back to the router. Once it is done or reset it says nothing more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from ..explain.explanation import NO_EXPLANATION
from ..http.codec import Metadata, StreamResetReason
from ..http.conn_manager_utility import is_upgrade
from ..http.header_map import KIND, ORDINARY, HeaderMap, RequestHeaderMap, ResponseHeaderMap
from ..upstream.conn_pool import PoolFailureReason
from .attempt_timers import AttemptTimers
from .held_tunnel import HeldTunnel, RequestSink

if TYPE_CHECKING:
    from ..http.byte_meter import ByteMeter
    from ..upstream.codec_client import CodecClient
    from ..upstream.host import Host
    from .router import Router

_UPGRADE = KIND[b"upgrade"]
_GRPC_STATUS = KIND[b"grpc-status"]
_KNOWN_INTERIM = frozenset((100, 102, 103, 104))
RESET_REASONS = {
    PoolFailureReason.OVERFLOW: StreamResetReason.OVERFLOW,
    PoolFailureReason.LOCAL_CONNECTION_FAILURE: StreamResetReason.LOCAL_CONNECTION_FAILURE,
    PoolFailureReason.REMOTE_CONNECTION_FAILURE: StreamResetReason.REMOTE_CONNECTION_FAILURE,
    PoolFailureReason.TIMEOUT: StreamResetReason.CONNECTION_TIMEOUT,
}


def _wants_websocket(headers: HeaderMap) -> bool:
    return (headers.get(b"upgrade") or b"").lower() == b"websocket"


class Cancellable(Protocol):
    """A wait for a connection (`ConnectionPool::Cancellable`)."""

    def cancel(self) -> None: ...


class UpstreamRequest:
    """Attributes:
    pending: the wait for a connection, while there is one.
    headers_received: response headers (other than 1xx) have come.
    done: the response is complete, or this attempt was given up.
    metadata: what is to be told after the headers; None if nothing is.
    timers: what limits this attempt's time; None if nothing does.
    filtered: it goes through filters of its own; a class knows (`filtered_upstream_request.py`).
    """

    filtered = False

    __slots__ = (
        "_client",
        "_downstream_full",
        "_encoder",
        "_held",
        "_interim_seen",
        "_reads_again_unseen",
        "_router",
        "_upstream_full",
        "done",
        "headers_received",
        "host",
        "met_host",
        "metadata",
        "pending",
        "timers",
    )

    def __init__(self, router: Router, host: Host) -> None:
        self._router = router
        self.host = host
        self._client: CodecClient | None = None
        self._encoder: RequestSink | None = None
        self._held: HeldTunnel | None = None
        self.metadata: list[Metadata] | None = None
        self.pending: Cancellable | None = None
        # How many buffers of a side hold too much: that of its connection, and what waits for a window of its stream.
        self._downstream_full = int(router.stream.downstream_connection.above_high_watermark)
        self._upstream_full = 0
        self.timers: AttemptTimers | None = None
        self.headers_received = self.met_host = False
        self.done = self._interim_seen = self._reads_again_unseen = False

    # -- from the pool

    def on_pool_ready(self, client: CodecClient) -> None:
        router = self._router
        self.pending = None
        self.met_host = True
        self._client = client
        if self.host.outlier is not None:
            self.host.outlier.put_connected()
        stream = router.stream
        connection = client.connection
        monotonic_time = stream.dispatcher.monotonic_time
        now = monotonic_time()
        stream.first_upstream_tx_byte_time = now
        stream.upstream_client = client
        if router.explain is not NO_EXPLANATION:
            how = "new" if client.requests == 1 else f"reused, request {client.requests}"
            router.explain.decided("connection", f"{connection.info.local_address} -> {self.host}", how)
        for each in router.tally:
            each.stats.upstream_rq_total += 1
        headers = router.request_headers
        if router.route_entry.auto_host_rewrite and self.host.hostname:
            router.route_entry.rewrite_host(headers, self.host.hostname.encode())
        # Set before encoding: the encoder's write may tell of a full buffer.
        client.watermark = self._on_upstream_watermark
        if connection.above_high_watermark:
            # It still has to send what an earlier request has written.
            self._on_upstream_watermark(True)
        if client.pool.max_stream_duration is not None:
            self.timers = AttemptTimers(stream.dispatcher)
            self.timers.limit(client.pool.max_stream_duration, self._on_max_stream_duration)
        new_stream = client.new_stream
        encoder: RequestSink = new_stream(self)
        self._encoder = encoder
        if self._downstream_full:
            self._pause_upstream(client, True)
        if router.attempts is not None:
            router.attempts.on_pool_ready(self, client)
        if self.filtered:
            self.run_filters()
            return
        ends = router.request_complete and not router.buffered and router.request_trailers is None
        if ends and self.metadata is None:
            stream.last_upstream_tx_byte_time = now
            encoder.encode_headers(headers, True)
        else:
            encoder.encode_headers(headers, False)
            seen = headers.seen
            upgrade = seen > ORDINARY and seen & _UPGRADE
            if upgrade or self.metadata is not None or headers.method == b"CONNECT":
                encoder = self._after_headers(encoder, headers, ends)
            if router.buffered or router.request_trailers is not None:
                router.send_buffered(encoder)

    def run_filters(self) -> None:
        """The request has asked for a connection, and then: it has one. Only if it is `filtered`."""

    def on_pool_failure(self, reason: PoolFailureReason, details: str, host: Host | None) -> None:
        self.pending = None
        self.met_host = host is not None
        stream = self._router.stream
        stream.upstream_host = host
        stream.attempt_count = stream.attempt_count or 1
        stream.upstream_connection_pool_ready_time = stream.dispatcher.monotonic_time()
        if host is not None and self._router.attempts is not None:
            self._router.attempts.on_host_attempted(host)
        self.done = True
        self._router.on_upstream_reset(self, RESET_REASONS[reason], details)

    # -- from the router

    def note(self, flag: int) -> None:
        """What has happened to this attempt, for one that tells a story of its own."""

    @property
    def connected(self) -> bool:
        """It has been given a connection, and what there was of the request."""
        return self._encoder is not None

    @property
    def has_request(self) -> bool:
        """It has been given what there was of the request."""
        return self._encoder is not None

    def encode_data(self, data: bytes, end_stream: bool) -> bool:
        """Send body; False if there is no connection yet."""
        encoder = self._encoder
        if encoder is None:
            return False
        encoder.encode_data(data, end_stream)
        return True

    def encode_trailers(self, trailers: HeaderMap) -> bool:
        encoder = self._encoder
        if encoder is None:
            return False
        encoder.encode_trailers(trailers)
        return True

    def encode_metadata(self, metadata: Metadata) -> None:
        if self._encoder is not None:
            self._encoder.encode_metadata(metadata)
        elif not self.done:
            if self.metadata is None:
                self.metadata = []
            self.metadata.append(metadata)

    def reset(self) -> None:
        """Give the attempt up."""
        if self.done:
            return
        self.done = True
        if self.timers is not None:
            self.timers.stop()
        if self.pending is not None:
            self.pending.cancel()
            self.pending = None
        client = self._client
        if client is not None:
            self._client = None
            client.watermark = None
            client.reset_stream(StreamResetReason.LOCAL_RESET)
        self._resume_downstream()

    def on_downstream_watermark(self, high: bool) -> None:
        """Downstream takes no more: neither do we, until every one of its buffers does again."""
        full = self._downstream_full
        self._downstream_full = full + 1 if high else max(full - 1, 0)
        client = self._client
        if bool(full) != bool(self._downstream_full):
            if client is not None:
                self._pause_upstream(client, high)
            elif self._reads_again_unseen and not high:
                self._reads_again_unseen = False
                self._router.cluster.stats.traffic.upstream_flow_control_resumed_reading_total += 1

    def _pause_upstream(self, client: CodecClient, pause: bool) -> None:
        stats = self._router.cluster.stats.traffic
        if pause:
            stats.upstream_flow_control_paused_reading_total += 1
        else:
            stats.upstream_flow_control_resumed_reading_total += 1
        client.read_disable(pause)

    # -- from the codec

    def on_request_refused(self, problem: str) -> None:
        self.reset()
        self._router.on_request_refused(problem)

    def take_meter(self, meter: ByteMeter) -> None:
        """The codec counts bytes, and this is where."""
        stream = self._router.stream
        if stream.upstream_meter is not None:
            # To Envoy, what earlier attempts took is part of it.
            meter.add(stream.upstream_meter)
        stream.upstream_meter = meter

    def decode_1xx_headers(self, headers: ResponseHeaderMap) -> None:
        if headers.status not in _KNOWN_INTERIM:
            # It is as if it had not come.
            if self.timers is not None:
                self.timers.touch()
        elif not self._interim_seen:
            # Envoy hears of the first only.
            self._interim_seen = True
            if self.timers is not None:
                self.timers.touch()
            self._router.on_upstream_1xx_headers(self, headers)

    def decode_headers(self, headers: ResponseHeaderMap, end_stream: bool) -> None:
        self.headers_received = True
        if self.timers is not None:
            self.timers.touch()
        router = self._router
        monotonic_time = router.stream.dispatcher.monotonic_time
        now = monotonic_time()
        if router.attempts is not None:
            if end_stream and not self._may_be_followed(headers):
                self._complete(now)
            if not router.attempts.takes_headers(self, headers):
                return
        if self._held is not None and not self._open_tunnel(self._held, headers):
            self._on_handshake_refused(headers)
            return
        if router.route_entry.internal_redirect is not None and router.follow_redirect(headers):
            # The next request has been started by now: it could not have this connection, which was not free yet.
            if end_stream:
                self._complete(now)
            else:
                self.reset()
            return
        if end_stream and not self.done:
            self._complete(now)
        router.on_upstream_headers(self, headers, end_stream, now)

    def decode_data(self, data: bytes, end_stream: bool) -> None:
        stream = self._router.stream
        if end_stream:
            monotonic_time = stream.dispatcher.monotonic_time
            now = monotonic_time()
            self._complete(now)
            self._router.on_upstream_complete(now)
        elif self.timers is not None:
            self.timers.touch()
        stream.encode_data(data, end_stream)

    def decode_trailers(self, trailers: HeaderMap) -> None:
        now = self._router.stream.dispatcher.monotonic_time()
        self._complete(now)
        self._router.on_upstream_complete(now)
        if self._router.cluster.orca_load_report is not None:
            self._router.take_orca_load_report(trailers)
        if trailers.seen & _GRPC_STATUS:
            self._router.on_grpc_trailers(self, trailers)
        self._router.stream.encode_trailers(trailers)

    def decode_metadata(self, metadata: Metadata) -> None:
        if not self.done:
            self._router.stream.encode_metadata(metadata)

    def on_reset_stream(self, reason: StreamResetReason, details: str) -> None:
        if self.done:
            return
        self.done = True
        self._client = None
        if self.timers is not None:
            self.timers.stop()
        self._resume_downstream()
        self._router.on_upstream_reset(self, reason, details)

    # -- inside

    def _after_headers(self, encoder: RequestSink, headers: RequestHeaderMap, ends: bool) -> RequestSink:
        """What of the request is said after its headers, if they are not all of it; what takes the rest of it."""
        if headers.method == b"CONNECT" and not self.headers_received:
            encoder = self._hold(encoder, False, False)
        elif headers.seen > ORDINARY and headers.seen & _UPGRADE and is_upgrade(headers):
            encoder = self._hold(encoder, True, _wants_websocket(headers))
        if self.metadata is not None:
            for metadata in self.metadata:
                encoder.encode_metadata(metadata)
            self.metadata = None
            if ends:
                encoder.encode_data(b"", True)
        return encoder

    def _complete(self, now: float) -> None:
        """The whole response is there: the connection goes back before the router hears of it."""
        self.done = True
        client = self._client
        if client is not None:
            if self._downstream_full:
                # The connection's next response must not wait for what this one's client reads. It counts when it has.
                self._reads_again_unseen = True
                client.read_disable(False)
            self._client = None
            client.watermark = None
            client.pool.on_stream_complete(client, now)
        if self.timers is not None:
            self.timers.stop()
        if self._upstream_full:
            self._resume_downstream()

    def _may_be_followed(self, headers: ResponseHeaderMap) -> bool:
        """It is a redirect, and not one that is retried."""
        redirect, attempts = self._router.route_entry.internal_redirect, self._router.attempts
        if redirect is None or headers.status not in redirect.codes or attempts is None:
            return False
        state = attempts.state
        return state is None or not state.remaining or not state.would_retry_headers(headers)

    def _hold(self, encoder: RequestSink, upgrade: bool, websocket: bool) -> HeldTunnel:
        """Send no more before the upstream has granted what was asked for."""
        router = self._router
        limit = router.stream.buffer_limit
        held = HeldTunnel(encoder, upgrade, websocket, limit, self._on_upstream_watermark)
        self._held = self._encoder = held
        if websocket:
            # A handshake may take as long as another answer; what comes after it, as long as it likes.
            router.start_timeout_of_handshake()
            if router.attempts is not None:
                router.attempts.start_timers(self)
        return held

    def _open_tunnel(self, held: HeldTunnel, headers: ResponseHeaderMap) -> bool:
        """The upstream has answered; False if a WebSocket was asked for, and this is not it."""
        status = headers.status
        if held.websocket:
            assert self._client is not None
            if status != 101 and self._client.codec.protocol == "HTTP/1.1":
                return status >= 400
            self._router.end_timeout_of_handshake()
            if self.timers is not None:
                self.timers.stop_waiting()
        elif held.upgrade:
            # HTTP/2 may have another word for it than 200.
            assert self._client is not None
            if status != 101 and not (200 <= status < 300 and self._client.codec.protocol != "HTTP/1.1"):
                return True
        elif not 200 <= status < 300:
            return True
        self._held = None
        self._encoder = held.release()
        return True

    def _on_handshake_refused(self, headers: ResponseHeaderMap) -> None:
        # Whoever was promised a tunnel has no use for a body.
        headers.remove(b"content-length")
        headers.remove(b"transfer-encoding")
        self.reset()
        self._router.on_handshake_refused(self, headers)

    def _on_max_stream_duration(self) -> None:
        self.reset()
        self._router.on_max_stream_duration(self)

    def _on_upstream_watermark(self, high: bool) -> None:
        """Upstream takes no more of the request, until each of its buffers does again."""
        full = self._upstream_full
        self._upstream_full = full + 1 if high else max(full - 1, 0)
        if bool(full) != bool(self._upstream_full):
            self._router.stream.pause_request(high)

    def _resume_downstream(self) -> None:
        if self._upstream_full:
            self._upstream_full = 0
            self._router.stream.pause_request(False)
