"""A request of the proxy's own that is tried again.

Envoy: `Http::AsyncStreamImpl` with a retry policy: there the router does it, here this stands in for it. Each attempt
is an `AsyncStream`; a failure is asked about before it becomes an answer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..http.codec import StreamResetReason
from ..http.header_map import HeaderMap, RequestHeaderMap, ResponseHeaderMap
from .async_client import AsyncStream, AsyncStreamCallbacks, Retries, StreamOptions, new_async_stream
from .http_conn_pool import MakeCodec

if TYPE_CHECKING:
    from ..event.dispatcher import Timer
    from .cluster import Cluster


class RetryingStream(AsyncStream):
    """Several attempts that look like one stream.

    What has been sent is kept for the next attempt until the response begins or it is more than the cluster's buffer
    limit.
    """

    def __init__(
        self,
        cluster: Cluster,
        make_codec: MakeCodec,
        callbacks: AsyncStreamCallbacks,
        timeout: float,
        local_address: bytes,
        options: StreamOptions,
    ) -> None:
        super().__init__(cluster, make_codec, callbacks, timeout, local_address, options=options)
        self._retries: Retries | None = None
        self._attempt: AsyncStream | None = None
        self._kept: list[bytes] = []
        self._kept_size = 0
        self._per_try: Timer | None = None
        self._tried = False

    @property
    def connected(self) -> bool:
        return self._attempt is not None and self._attempt.connected

    # -- sending

    def send_headers(self, headers: RequestHeaderMap, end_stream: bool) -> None:
        cluster, make = self._cluster, self._options.retries
        assert cluster is not None and make is not None
        retries = self._retries = make(cluster, headers)
        self._headers = headers
        limits = [each for each in (self._timeout, retries.per_try_timeout) if each]
        self._announce(headers, min(limits, default=0.0))
        if end_stream:
            self._on_request_complete()
        self._try()

    def send_data(self, data: bytes, end_stream: bool) -> None:
        if self.done or self._complete:
            return
        if end_stream:
            self._on_request_complete()
        self._kept_size += len(data)
        if self._retries is not None:
            if self._kept_size <= self._limit:
                self._kept.append(data)
            elif self._attempt is not None:
                self._stop_retrying()
        if self._attempt is not None:
            self._attempt.send_data(data, end_stream)
            self._arm()
        elif self._kept_size > self._limit:
            self.reset()
            self._callbacks.on_reset()

    def send_trailers(self, trailers: HeaderMap) -> None:
        if self.done or self._complete:
            return
        self._on_request_complete()
        self._trailers = trailers
        if self._attempt is not None:
            self._attempt.send_trailers(trailers)
            self._arm()

    def read_disable(self, disable: bool) -> None:
        if self._attempt is not None:
            self._attempt.read_disable(disable)

    def reset(self) -> None:
        if not self.done:
            attempt = self._attempt
            self._over()
            if attempt is not None:
                attempt.reset()

    # -- from an attempt

    def on_headers(self, headers: ResponseHeaderMap, end_stream: bool) -> None:
        attempt, retries = self._attempt, self._retries
        assert attempt is not None
        if retries is not None and not attempt.no_host and retries.should_retry_headers(headers, self._try):
            if self._cluster is not None:
                self._cluster.code_stats.charge_category("retry", headers.status)
            self._attempt = None
            self._disarm()
            # It may have been the whole of it: then there is nothing to give up.
            attempt.reset()
            return
        self._stop_retrying()
        self._responded = True
        self._charge(headers.status)
        self._callbacks.on_headers(headers, end_stream)

    def on_data(self, data: bytes, end_stream: bool) -> None:
        if self._attempt is not None:
            self._callbacks.on_data(data, end_stream)

    def on_trailers(self, trailers: HeaderMap) -> None:
        if self._attempt is not None:
            self._callbacks.on_trailers(trailers)

    def on_complete(self) -> None:
        if self._attempt is not None:
            self._over()
            self._callbacks.on_complete()

    def on_reset(self) -> None:
        if self._attempt is not None:
            self._over()
            self._callbacks.on_reset()

    # -- inside

    def _try(self) -> None:
        cluster, headers = self._cluster, self._headers
        assert cluster is not None and headers is not None
        attempt = self._attempt = new_async_stream(
            cluster, self._make_codec, self, 0.0, self._local_address, self._limit, self._options
        )
        if self.above_watermark is not None:
            attempt.above_watermark = self.above_watermark
        attempt.on_attempt_failed = self._on_attempt_failed
        attempt.whole = False
        waiting = self._kept[:]
        if self._tried and self._complete and not waiting and self._trailers is None:
            # As Envoy has it: there is a body now, and it is empty.
            waiting = [b""]
        self._tried = True
        attempt.send_headers(headers.copy(), self._complete and not waiting and self._trailers is None)
        for at, data in enumerate(waiting, 1):
            attempt.send_data(data, self._complete and at == len(waiting) and self._trailers is None)
        if self._trailers is not None:
            attempt.send_trailers(self._trailers)
        if self._attempt is attempt:
            self._arm()

    def _on_attempt_failed(self, reason: StreamResetReason, started: bool) -> bool:
        retries = self._retries
        if retries is None or not retries.should_retry_reset(reason, started, self._try):
            self._stop_retrying()
            return False
        self._attempt = None
        self._disarm()
        return True

    def _on_per_try_timeout(self) -> None:
        attempt, cluster = self._attempt, self._cluster
        assert attempt is not None and cluster is not None
        cluster.stats.traffic.upstream_rq_per_try_timeout += 1
        if attempt.host is not None:
            attempt.host.stats.rq_timeout += 1
            if attempt.host.outlier is not None:
                attempt.host.outlier.put_timeout()
        attempt.reset()
        if not self._on_attempt_failed(StreamResetReason.LOCAL_RESET, True):
            self._over()
            self.timed_out = True
            self._answer(504, b"upstream request timeout")

    def _arm(self) -> None:
        retries, cluster = self._retries, self._cluster
        if self._complete and retries is not None and retries.per_try_timeout and cluster is not None:
            self._per_try = cluster.dispatcher.create_timer(self._on_per_try_timeout)
            self._per_try.enable(retries.per_try_timeout)

    def _disarm(self) -> None:
        if self._per_try is not None:
            self._per_try.disable()
            self._per_try = None

    def _on_timeout(self) -> None:
        self._host = None if self._attempt is None else self._attempt.host
        super()._on_timeout()

    def _stop_retrying(self) -> None:
        """What comes now is the answer."""
        self._disarm()
        if self._retries is not None:
            self._retries.reset()
            self._retries = None
        self._kept = []

    def _over(self) -> None:
        self._stop_retrying()
        attempt, self._attempt = self._attempt, None
        if attempt is not None:
            self._host, self.no_host, self.reset_reason = attempt.host, attempt.no_host, attempt.reset_reason
        self._finish()
