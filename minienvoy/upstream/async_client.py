"""Requests of the proxy's own, over its own clusters: for filters and services that have to ask somebody.

Envoy: `Http::AsyncClientImpl`, `Http::AsyncStreamImpl`, `Http::AsyncRequestImpl`. Here it stands beside the connection
pools, which it uses as the router does.

    client = async_client(server)                                                # router/async_services.py
    request = client.send("authz", headers, b"body", callbacks, timeout=0.2)     # on_success or on_failure, once
    stream = client.start("ratelimit", callbacks, timeout=0.0)                   # send_headers, send_data, ...
    request.reset()                                                              # gives up; nothing more is told

Callbacks may come before `send` or `send_headers` has returned. A timeout is seconds, 0 for none; it counts from when
the request is complete. `StreamOptions` are what else can be said of a call: what it does not tell the upstream, and
whether it is tried again. A configuration that names a service (`GrpcService`, `HttpUri`, `HttpService`) is compiled in
`router/async_services.py`; gRPC calls are made with `grpc_client.py`.

What goes wrong before a response is a response, as Envoy has it: 503 without a host or a connection, 504 when it takes
too long. Only a stream that breaks off in the middle of its response is a failure.

What waits for a connection is bounded: above the limit whoever sends is told to stop (`above_watermark`), and if there
is nobody to be told the stream is given up. Whoever can not take more of a response says so with `read_disable`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final, Protocol

from ..http.codec import Metadata, RequestEncoder, StreamResetReason
from ..http.header_map import HeaderMap, RequestHeaderMap, ResponseHeaderMap
from ..record import record
from .conn_pool import PoolFailureReason
from .http_conn_pool import MakeCodec, PendingStream, http_conn_pool

if TYPE_CHECKING:
    from ..event.dispatcher import Timer
    from ..http.byte_meter import ByteMeter
    from ..http.conn_manager_stats import RouterStats
    from ..http.filter_manager import FilterChain
    from .cluster import Cluster
    from .codec_client import CodecClient
    from .host import Host


class Clusters(Protocol):
    """Where clusters are found; `ClusterManager` is it."""

    def clusters(self) -> Mapping[str, Cluster]: ...


class AsyncStreamCallbacks(Protocol):
    """What comes of a stream; `on_complete` or `on_reset` is the last."""

    def on_headers(self, headers: ResponseHeaderMap, end_stream: bool) -> None: ...
    def on_data(self, data: bytes, end_stream: bool) -> None: ...
    def on_trailers(self, trailers: HeaderMap) -> None: ...
    def on_complete(self) -> None: ...
    def on_reset(self) -> None: ...


class AsyncCallbacks(Protocol):
    """What comes of a request; exactly one of these is called, perhaps before `send` returns."""

    def on_success(self, headers: ResponseHeaderMap, body: bytes, trailers: HeaderMap | None) -> None: ...
    def on_failure(self) -> None: ...


class RequestSpan(Protocol):
    """What is told of a request that is traced; `router.http_call_span` makes it."""

    def complete(self, upstream: AsyncStream, headers: ResponseHeaderMap) -> None: ...
    def break_off(self, upstream: AsyncStream | None, headers: ResponseHeaderMap | None) -> None: ...


class Retries(Protocol):
    """Decides whether the attempts of one request are repeated (`Router::RetryState`).

    Attributes:
        per_try_timeout: seconds, 0 for none.
    """

    per_try_timeout: float

    def should_retry_headers(self, headers: ResponseHeaderMap, callback: Callable[[], None]) -> bool: ...
    def should_retry_reset(self, reason: StreamResetReason, started: bool, callback: Callable[[], None]) -> bool: ...
    def reset(self) -> None: ...


@record
class StreamOptions:
    """Attributes:
    send_xff: `x-forwarded-for` tells of this machine.
    send_internal: `x-envoy-internal` is said.
    send_timeout: `x-envoy-expected-rq-timeout-ms` tells how long the answer may take.
    counts: the response is counted by its status (`dynamic_stats`).
    retries: makes what decides whether an attempt is repeated; None: there is one attempt. A request whose body
        is larger than the cluster's buffer limit is not repeated.
    """

    send_xff: bool = True
    send_internal: bool = True
    send_timeout: bool = True
    counts: bool = True
    retries: Callable[[Cluster, RequestHeaderMap], Retries] | None = None


DEFAULT_OPTIONS: Final = StreamOptions()


class AsyncClient:
    """Of one server; every call names its cluster."""

    def __init__(
        self,
        clusters: Clusters,
        make_codec: MakeCodec,
        local_address: bytes = b"127.0.0.1",
        stats: RouterStats | None = None,
    ) -> None:
        """`local_address` is what `x-forwarded-for` says; `stats` are those of `http.async-client.`"""
        self._stats = stats
        self._clusters = clusters
        self._make_codec = make_codec
        self._local_address = local_address

    def send(
        self,
        cluster: str,
        headers: RequestHeaderMap,
        body: bytes,
        callbacks: AsyncCallbacks,
        timeout: float = 0.0,
        max_response: int = 0,
        options: StreamOptions = DEFAULT_OPTIONS,
        span: RequestSpan | None = None,
    ) -> AsyncStream:
        """A whole request for a whole response; `reset` of what is returned gives it up without a word.

        `timeout` in seconds, 0 for none; a body of more than `max_response` bytes is a failure, 0 for no limit.
        `span` hears how it ends, unless that is `reset`.
        """
        request = _AsyncRequest(callbacks, max_response, span)
        stream = self.start(cluster, request, timeout, options)
        request.stream = stream
        if body and not headers.has(b"content-length"):
            headers.set(b"content-length", b"%d" % len(body))
        stream.send_headers(headers, not body)
        if body:
            stream.send_data(body, True)
        return stream

    def start(
        self,
        cluster: str,
        callbacks: AsyncStreamCallbacks,
        timeout: float = 0.0,
        options: StreamOptions = DEFAULT_OPTIONS,
    ) -> AsyncStream:
        """A stream that nothing has been sent on yet; `timeout` counts from when its request is complete."""
        if self._stats is not None:
            self._stats.rq_total += 1
        found = self._clusters.clusters().get(cluster)
        if options.retries is not None and found is not None:
            from .async_retries import RetryingStream

            return RetryingStream(found, self._make_codec, callbacks, timeout, self._local_address, options)
        return new_async_stream(found, self._make_codec, callbacks, timeout, self._local_address, None, options)


def new_async_stream(
    cluster: Cluster | None,
    make_codec: MakeCodec,
    callbacks: AsyncStreamCallbacks,
    timeout: float,
    local_address: bytes,
    limit: int | None = None,
    options: StreamOptions = DEFAULT_OPTIONS,
    filters: FilterChain | None = None,
) -> AsyncStream:
    """One attempt; through the filters of its cluster, or through `filters` if it has none."""
    if cluster is not None and cluster.upstream_filters is not None:
        filters = cluster.upstream_filters
    if cluster is None or filters is None:
        return AsyncStream(cluster, make_codec, callbacks, timeout, local_address, limit, options)
    from .filtered_async_stream import FilteredAsyncStream

    return FilteredAsyncStream(filters, cluster, make_codec, callbacks, timeout, local_address, limit, options)


class AsyncStream:
    """One request and its response.

    Attributes:
        done: nothing more is told of it.
        no_host: there was nobody to ask.
        meter: what it takes on the wire, where bytes are counted; else None.
        whole: False for one attempt of several: then somebody else tells who asks, and counts what is answered.
        timed_out: it was given up because it took too long.
        failure_details: the same as `%RESPONSE_CODE_DETAILS%` says it; empty if there is a response.
        reset_reason: why there is no response, or none that is whole; None if there is.
    """

    meter: ByteMeter | None = None
    whole = True

    def __init__(
        self,
        cluster: Cluster | None,
        make_codec: MakeCodec,
        callbacks: AsyncStreamCallbacks,
        timeout: float,
        local_address: bytes,
        limit: int | None = None,
        options: StreamOptions = DEFAULT_OPTIONS,
    ) -> None:
        """`limit` is how many bytes may wait for a connection, by default the cluster's buffer limit."""
        self._options = options
        if limit is None:
            limit = 0 if cluster is None else cluster.per_connection_buffer_limit
        self._limit = limit
        self._local_address = local_address
        self._cluster = cluster
        self._make_codec = make_codec
        self._callbacks = callbacks
        self._timeout = timeout
        self._timer: Timer | None = None
        self._host: Host | None = None
        self._client: CodecClient | None = None
        self._encoder: RequestEncoder | None = None
        self._pending: PendingStream | None = None
        self._headers: RequestHeaderMap | None = None
        self._waiting: list[bytes] = []
        self._waiting_size = 0
        self._trailers: HeaderMap | None = None
        self._complete = self._responded = self.done = self.no_host = self.timed_out = False
        self.reset_reason: StreamResetReason | None = None
        self.failure_details = ""
        self._start = 0.0
        self.above_watermark: Callable[[bool], None] | None = None
        """Told (True) to stop sending and (False) to go on."""
        self.on_attempt_failed: Callable[[StreamResetReason, bool], bool] | None = None
        """Asked before a failure becomes an answer, with whether the upstream was reached; True: it is dealt with."""

    @property
    def connected(self) -> bool:
        """It has been given a connection."""
        return self._encoder is not None

    @property
    def host(self) -> Host | None:
        """That it was sent to."""
        return self._host

    # -- sending

    def send_headers(self, headers: RequestHeaderMap, end_stream: bool) -> None:
        cluster = self._cluster
        self._headers = headers
        if self.whole:
            self._announce(headers, self._timeout)
        if end_stream:
            self._on_request_complete()
        host = None if cluster is None else cluster.load_balancer.choose_host(None)
        if cluster is None or host is None:
            if cluster is not None:
                cluster.stats.traffic.upstream_cx_none_healthy += 1
            self.no_host = True
            self._answer(503, b"no healthy upstream")
            return
        self._host = host
        pool = host.http_pools.get(0) or http_conn_pool(cluster, host, self._make_codec, headers=headers)
        if pool is None:
            self.no_host = True
            self._answer(503, b"no healthy upstream")
            return
        pending = pool.new_stream(self)
        if pending is not None and not self.done:
            self._pending = pending

    def send_data(self, data: bytes, end_stream: bool) -> None:
        if self.done or self._complete:
            return
        if end_stream:
            self._on_request_complete()
        if self._encoder is not None:
            self._encoder.encode_data(data, end_stream)
            return
        before = self._waiting_size
        self._waiting.append(data)
        self._waiting_size += len(data)
        if before <= self._limit < self._waiting_size:
            self._on_too_much_waiting()

    def send_trailers(self, trailers: HeaderMap) -> None:
        if self.done or self._complete:
            return
        self._on_request_complete()
        if self._encoder is not None:
            self._encoder.encode_trailers(trailers)
        else:
            self._trailers = trailers

    def read_disable(self, disable: bool) -> None:
        """Counted: take no more of the response for now."""
        if self._client is not None:
            self._client.read_disable(disable)

    def reset(self) -> None:
        """Give it up; nothing more is told."""
        if self.done:
            return
        client, pending = self._client, self._pending
        self._finish()
        if pending is not None:
            pending.cancel()
        if client is not None:
            client.watermark = None
            client.reset_stream(StreamResetReason.LOCAL_RESET)

    # -- from the pool

    def on_pool_ready(self, client: CodecClient) -> None:
        headers = self._headers
        assert headers is not None
        encoder = self._take(client)
        waiting, self._waiting = self._waiting, []
        trailers = self._trailers
        encoder.encode_headers(headers, self._complete and not waiting and trailers is None)
        self._drain()
        if waiting:
            encoder.encode_data(b"".join(waiting), self._complete and trailers is None)
        if trailers is not None:
            encoder.encode_trailers(trailers)

    def _take(self, client: CodecClient) -> RequestEncoder:
        self._pending = None
        self._client = client
        if self._host is not None and self._host.outlier is not None:
            self._host.outlier.put_connected()
        client.watermark = self._on_watermark
        encoder: RequestEncoder = client.new_stream(self)
        self._encoder = encoder
        return encoder

    def on_pool_failure(self, reason: PoolFailureReason, details: str, host: Host | None) -> None:
        self._pending = None
        if host is not None:
            host.stats.rq_error += 1
            if host.outlier is not None and reason is not PoolFailureReason.OVERFLOW:
                host.outlier.put_connect_failure()
        words = reason.value.replace(" ", "_")
        if details:
            words = f"{words}|{details.replace(' ', '_')}"
        self.failure_details = f"upstream_reset_before_response_started{{{words}}}"
        self._fail(StreamResetReason(reason.value), started=False)

    # -- from the codec

    def take_meter(self, meter: ByteMeter) -> None:
        """Where bytes are counted, these are this stream's."""
        self.meter = meter

    def on_request_refused(self, problem: str) -> None:
        self.reset()
        self._callbacks.on_reset()

    def decode_metadata(self, metadata: Metadata) -> None:
        """Nobody here wants to know it."""

    def decode_1xx_headers(self, headers: ResponseHeaderMap) -> None:
        """Not the answer yet."""
        self._charge(headers.status)

    def decode_headers(self, headers: ResponseHeaderMap, end_stream: bool) -> None:
        status = headers.status
        self._responded = True
        self._charge(status)
        if self._cluster is not None and self._complete:
            elapsed = self._cluster.dispatcher.monotonic_time() - self._start
            headers.set(b"x-envoy-upstream-service-time", b"%d" % int(elapsed * 1000))
        if self._host is not None:
            if status >= 500:
                self._host.stats.rq_error += 1
            else:
                self._host.stats.rq_success += 1
            if self._host.outlier is not None:
                self._host.outlier.put_http_response_code(status)
        if not end_stream:
            self._callbacks.on_headers(headers, False)
            return
        client = self._complete_response()
        self._callbacks.on_headers(headers, True)
        self._callbacks.on_complete()
        self._give_back(client)

    def decode_data(self, data: bytes, end_stream: bool) -> None:
        if not end_stream:
            self._callbacks.on_data(data, False)
            return
        client = self._complete_response()
        self._callbacks.on_data(data, True)
        self._callbacks.on_complete()
        self._give_back(client)

    def decode_trailers(self, trailers: HeaderMap) -> None:
        client = self._complete_response()
        self._callbacks.on_trailers(trailers)
        self._callbacks.on_complete()
        self._give_back(client)

    def on_reset_stream(self, reason: StreamResetReason, details: str) -> None:
        if self.done:
            return
        self._client = None
        if self._cluster is not None and reason is StreamResetReason.REMOTE_RESET:
            self._cluster.stats.traffic.upstream_rq_rx_reset += 1
        if self._host is not None:
            self._host.stats.rq_error += 1
            if self._host.outlier is not None:
                self._host.outlier.put_connect_failure()
        self._fail(reason, 502 if reason is StreamResetReason.PROTOCOL_ERROR else 503)

    # -- inside

    def _announce(self, headers: RequestHeaderMap, timeout: float) -> None:
        """Who asks, and how long he waits (seconds, 0 for ever)."""
        if self._options.send_internal:
            headers.set(b"x-envoy-internal", b"true")
        if self._options.send_xff:
            before = headers.get(b"x-forwarded-for")
            address = self._local_address
            headers.set(b"x-forwarded-for", b"%b,%b" % (before, address) if before else address)
        if timeout and self._options.send_timeout:
            headers.set(b"x-envoy-expected-rq-timeout-ms", b"%d" % round(timeout * 1000))

    def _charge(self, status: int) -> None:
        if self.whole and self._options.counts and self._cluster is not None:
            self._cluster.code_stats.charge_response(status, self._options.send_internal)

    def _on_too_much_waiting(self) -> None:
        if self._cluster is not None:
            self._cluster.stats.traffic.upstream_flow_control_backed_up_total += 1
        if self.above_watermark is not None:
            self.above_watermark(True)
        elif not self._complete:
            self.reset()
            self._callbacks.on_reset()

    def _drain(self) -> None:
        """What waited for a connection waits no longer."""
        if self._waiting_size > self._limit:
            self._waiting_size = 0
            if self._cluster is not None:
                self._cluster.stats.traffic.upstream_flow_control_drained_total += 1
            self._on_watermark(False)

    def _on_watermark(self, high: bool) -> None:
        if self.above_watermark is not None:
            self.above_watermark(high)

    def _on_request_complete(self) -> None:
        self._complete = True
        if self._cluster is None:
            return
        self._start = self._cluster.dispatcher.monotonic_time()
        if self._timeout:
            self._timer = self._cluster.dispatcher.create_timer(self._on_timeout)
            self._timer.enable(self._timeout)

    def _on_timeout(self) -> None:
        self.timed_out = True
        responded, cluster = self._responded, self._cluster
        assert cluster is not None
        cluster.stats.traffic.upstream_rq_timeout += 1
        if self._host is not None:
            self._host.stats.rq_timeout += 1
            if self._host.outlier is not None:
                self._host.outlier.put_timeout()
        self.reset()
        if responded:
            self._callbacks.on_reset()
        else:
            self._answer(504, b"upstream request timeout")

    def _complete_response(self) -> CodecClient | None:
        """The whole response is there. The connection is free when everybody has heard of it, as in Envoy: who asks
        again meanwhile has another one."""
        client, cluster = self._client, self._cluster
        self._finish()
        if cluster is not None and self._complete:
            now = cluster.dispatcher.monotonic_time()
            cluster.code_stats.charge_timing(int((now - self._start) * 1000), self._options.send_internal)
        if client is not None:
            client.watermark = None
        return client

    def _give_back(self, client: CodecClient | None) -> None:
        if client is not None and self._cluster is not None:
            if client.connection.closed:
                client.draining = True  # whoever heard of it has ended the connection
            client.pool.on_stream_complete(client, self._cluster.dispatcher.monotonic_time())

    def _fail(self, reason: StreamResetReason, status: int = 503, started: bool = True) -> None:
        self.reset_reason = reason
        if self._responded:
            self._finish()
            self._callbacks.on_reset()
        elif self.on_attempt_failed is not None and self.on_attempt_failed(reason, started):
            self._finish()
        else:
            words = "upstream connect error or disconnect/reset before headers. reset reason: "
            self._answer(status, f"{words}{reason.value}".encode())

    def _answer(self, status: int, body: bytes) -> None:
        """There is no response: this is what is told in its place."""
        self._finish()
        self._charge(status)
        headers = ResponseHeaderMap(status)
        headers.add(b"content-length", b"%d" % len(body))
        headers.add(b"content-type", b"text/plain")
        self._callbacks.on_headers(headers, False)
        self._callbacks.on_data(body, True)
        self._callbacks.on_complete()

    def _finish(self) -> None:
        self.done = True
        self._drain()
        self._client = self._pending = self._encoder = None
        self._waiting = []
        if self._timer is not None:
            self._timer.disable()


class _AsyncRequest:
    """Collects a response."""

    def __init__(self, callbacks: AsyncCallbacks, max_response: int, span: RequestSpan | None) -> None:
        self.stream: AsyncStream | None = None
        self._span = span
        self._callbacks = callbacks
        self._max = max_response
        self._headers: ResponseHeaderMap | None = None
        self._trailers: HeaderMap | None = None
        self._body: list[bytes] = []
        self._size = 0
        self._over = False

    def on_headers(self, headers: ResponseHeaderMap, end_stream: bool) -> None:
        self._headers = headers

    def on_data(self, data: bytes, end_stream: bool) -> None:
        self._size += len(data)
        if self._max and self._size > self._max:
            if self.stream is not None:
                self.stream.reset()
            self.on_reset()
            return
        self._body.append(data)

    def on_trailers(self, trailers: HeaderMap) -> None:
        self._trailers = trailers

    def on_complete(self) -> None:
        if not self._over and self._headers is not None:
            self._over = True
            if self._span is not None and self.stream is not None:
                self._span.complete(self.stream, self._headers)
            self._callbacks.on_success(self._headers, b"".join(self._body), self._trailers)

    def on_reset(self) -> None:
        if not self._over:
            self._over = True
            if self._span is not None:
                self._span.break_off(self.stream, self._headers)
            self._callbacks.on_failure()
