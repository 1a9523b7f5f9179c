"""A request of the proxy's own that goes through filters of its cluster.

Envoy: `Http::AsyncStreamImpl`, whose router has an `UpstreamFilterManager` as any other has.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from ..explain.explanation import NO_EXPLANATION
from ..http.filter_manager import ModifyHeaders
from ..http.header_map import HeaderMap, RequestHeaderMap, ResponseHeaderMap
from ..http.upstream_filter_manager import UpstreamFilterManager
from ..stream_info import ConnectionInfo, StreamInfo
from .async_client import AsyncStream

if TYPE_CHECKING:
    from ..event.dispatcher import Dispatcher
    from ..http.filter import Route
    from ..http.filter_manager import FilterChain
    from ..network.connection import Connection
    from .cluster import Cluster
    from .codec_client import CodecClient

_MAX_HEADERS = 100, 60 * 1024


class _Downstream(StreamInfo):
    """There is no client: what filters may know of the stream is what is known here."""

    explain = NO_EXPLANATION
    protocol = "HTTP/1.1"
    attempt_count = 1

    def __init__(self, asked: FilteredAsyncStream, cluster: Cluster, limit: int) -> None:
        self._asked = asked
        self.dispatcher: Dispatcher = cluster.dispatcher
        self.buffer_limit = limit
        self.connection = ConnectionInfo(None, None)
        self.upstream_cluster_name = cluster.name
        self.cluster_metadata = cluster.metadata
        self.start_time = self.dispatcher.wall_time()
        self.start_monotonic = self.dispatcher.monotonic_time()
        self.request_headers: RequestHeaderMap | None = None
        self.response_headers: ResponseHeaderMap | None = None

    @property
    def downstream_connection(self) -> Connection:
        return cast("Connection", None)

    @property
    def request_header_limits(self) -> tuple[int, int]:
        return _MAX_HEADERS

    def route(self) -> Route | None:
        return None

    def describe(self) -> None:
        self.upstream_host = self._asked.host

    def reset_stream(self) -> None:
        self._asked.break_off()

    def send_local_reply(
        self,
        status: int,
        body: str | bytes,
        details: str,
        modify_headers: ModifyHeaders | None = None,
        grpc_status: int | None = None,
    ) -> None:
        self._asked.answer_locally(status, body.encode() if isinstance(body, str) else body)


class FilteredAsyncStream(AsyncStream):
    """Attributes:
    filters: that the request goes through.
    """

    def __init__(self, chain: FilterChain, cluster: Cluster, *arguments: Any) -> None:
        super().__init__(cluster, *arguments)
        self._started = False
        self._downstream = _Downstream(self, cluster, self._limit)
        self.filters = UpstreamFilterManager(chain, self._downstream, self)

    # -- from who asks, to the filters

    def send_headers(self, headers: RequestHeaderMap, end_stream: bool) -> None:
        self._downstream.request_headers = headers
        super().send_headers(headers, end_stream)
        if not self.done:
            self._run_filters()

    def send_data(self, data: bytes, end_stream: bool) -> None:
        if self.done or self._complete:
            return
        if end_stream:
            self._on_request_complete()
        self.filters.decode_data(data, end_stream)

    def send_trailers(self, trailers: HeaderMap) -> None:
        if self.done or self._complete:
            return
        self._on_request_complete()
        self.filters.decode_trailers(trailers)

    def on_pool_ready(self, client: CodecClient) -> None:
        self._take(client)
        if self._started:
            self.filters.on_connected()
        else:
            self._run_filters()

    def _run_filters(self) -> None:
        if not self._started:
            self._started = True
            assert self._headers is not None
            self.filters.decode_headers(self._headers, self._complete)

    # -- from the filters, to the codec

    def codec_headers(self, headers: RequestHeaderMap, end_stream: bool) -> None:
        if self._encoder is not None:
            self._encoder.encode_headers(headers, end_stream)

    def codec_data(self, data: bytes, end_stream: bool) -> None:
        if self._encoder is not None:
            self._encoder.encode_data(data, end_stream)

    def codec_trailers(self, trailers: HeaderMap) -> None:
        if self._encoder is not None:
            self._encoder.encode_trailers(trailers)

    # -- from the codec, to the filters

    def decode_headers(self, headers: ResponseHeaderMap, end_stream: bool) -> None:
        self._downstream.response_headers = headers
        self.filters.encode_headers(headers, end_stream)
        if end_stream:
            self._release()

    def decode_data(self, data: bytes, end_stream: bool) -> None:
        if end_stream and data and self._client is not None and self._client.codec.protocol != "HTTP/2":
            # Envoy's HTTP/1 codec tells the end of a body by itself, and filters can tell the difference.
            self.filters.encode_data(data, False)
            self.filters.encode_data(b"", True)
        else:
            self.filters.encode_data(data, end_stream)
        if end_stream:
            self._release()

    def decode_trailers(self, trailers: HeaderMap) -> None:
        self.filters.encode_trailers(trailers)
        self._release()

    # -- from the filters, to who has asked

    def router_headers(self, headers: ResponseHeaderMap, end_stream: bool) -> None:
        super().decode_headers(headers, end_stream)

    def router_data(self, data: bytes, end_stream: bool) -> None:
        super().decode_data(data, end_stream)

    def router_trailers(self, trailers: HeaderMap) -> None:
        super().decode_trailers(trailers)

    def on_request_watermark(self, high: bool) -> None:
        if high:
            self._on_too_much_waiting()
        else:
            self._on_watermark(False)

    def on_response_watermark(self, high: bool) -> None:
        self.read_disable(high)

    def answer_locally(self, status: int, body: bytes) -> None:
        """A filter answers."""
        if self._responded:
            self.break_off()
        else:
            self.reset()
            self._answer(status, body)

    def break_off(self) -> None:
        """A filter gives up."""
        self.reset()
        self._callbacks.on_reset()

    # -- how it ends

    def _release(self) -> None:
        """The codec has had the whole response. A filter may hold it, but the connection is free."""
        client, cluster = self._client, self._cluster
        if client is not None and cluster is not None and not self.done:
            self._client = None
            client.watermark = None
            client.pool.on_stream_complete(client, cluster.dispatcher.monotonic_time())

    def _finish(self) -> None:
        super()._finish()
        self.filters.destroy()
