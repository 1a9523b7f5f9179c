"""Tells a collector of SkyWalking of segments, over one stream of gRPC.

Envoy: `Tracers::SkyWalking::TraceSegmentReporter`; statistics `tracing.skywalking.*`. While there is no stream,
segments wait, as many as `max_cache_size` says; a stream that ends is begun anew after a while that grows.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, Final

from ....server.async_services import GrpcServiceConfig
from ....stats.store import CounterValue, StatsStruct
from ....stream_info import StreamInfo

if TYPE_CHECKING:
    from ....server.factory_context import ServerContext
    from ....upstream.grpc_client import GrpcStream

_METHOD: Final = "skywalking.v3.TraceSegmentReportService/collect"
_BASE, _LONGEST = 0.5, 30.0
"""Seconds between two attempts to begin a stream."""


class SkyWalkingTracerStats(StatsStruct):
    """`tracing.skywalking.*`."""

    segments_sent: CounterValue
    segments_dropped: CounterValue
    cache_flushed: CounterValue
    segments_flushed: CounterValue


class TraceSegmentReporter:
    """Of one tracer, from `start` to `close`."""

    def __init__(self, proto: Any, token: str, size: int, server: ServerContext) -> None:
        """Of a `GrpcService`; raises ConfigError below `grpc_service`."""
        service = GrpcServiceConfig.from_proto(proto, "grpc_service", server)
        self._client = service.client(server)
        self._metadata = service.call_metadata(StreamInfo())
        if token:
            self._metadata = (*self._metadata, (b"authentication", token.encode()))
        self._stats = server.stats.scope("tracing.skywalking").struct(SkyWalkingTracerStats)
        self._waiting: deque[bytes] = deque()
        self._size = size
        self._random = server.random.stream("tracing.skywalking.back_off")
        self._post = server.dispatcher.post
        self._timer = server.dispatcher.create_timer(self._begin)
        self._longest = _BASE
        self._stream: GrpcStream | None = None
        self._full = False
        self._closed = False

    def start(self) -> None:
        # Clusters start in this turn of the event loop.
        self._post(self._begin)

    def close(self) -> None:
        self._closed = True
        self._timer.disable()
        stream, self._stream = self._stream, None
        if stream is not None:
            stream.reset()

    def report(self, segment: bytes) -> None:
        stream = self._stream
        if stream is not None and not self._full:
            self._stats.segments_sent += 1
            stream.send(segment)
            return
        self._waiting.append(segment)
        if len(self._waiting) > self._size:
            self._stats.segments_dropped += 1
            self._waiting.popleft()

    # -- from the stream

    def on_receive_message(self, message: bytes) -> None:
        """The collector sends commands, which nobody carries out."""

    def on_remote_close(self, status: int, message: str) -> None:
        self._stream = None
        self._try_again()

    # -- inside

    def _begin(self) -> None:
        if self._closed:
            return
        self._full = False
        stream = self._client.start(_METHOD, self, 0.0, self._metadata)
        if stream.stream is None or stream.stream.done:
            # That there is nobody has been told to `on_remote_close`.
            return
        stream.stream.above_watermark = self._on_watermark
        self._stream = stream
        if self._waiting:
            self._flush()
        self._longest = _BASE

    def _flush(self) -> None:
        stream = self._stream
        while self._waiting and stream is not None and not self._full:
            self._stats.segments_sent += 1
            self._stats.segments_flushed += 1
            stream.send(self._waiting.popleft())
        self._stats.cache_flushed += 1

    def _on_watermark(self, above: bool) -> None:
        """What the collector does not read waits here, and not in the connection."""
        self._full = above
        if not above and self._waiting:
            self._flush()

    def _try_again(self) -> None:
        if self._closed:
            return
        self._timer.enable(self._random.random() * self._longest)
        self._longest = min(self._longest * 2, _LONGEST)
