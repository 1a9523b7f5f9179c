"""Runs one attempt through the filters between the router and the codec of the upstream.

Envoy: `Router::UpstreamFilterManager`, `UpstreamRequestFilterManagerCallbacks`, `UpstreamCodecFilter`; docs "Upstream
HTTP filters". A chain of a cluster (`HttpProtocolOptions.http_filters`) or of a router (`upstream_http_filters`); each
attempt has filters of its own, but what they know of the stream is what is known of the client's.

The request goes down the chain as soon as a connection is asked for. Its last filter, the codec, holds it until there
is one. An answer from one of these filters is given to the client past all other attempts; the filters do not see it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Protocol, cast

from .filter import FilterHeadersStatus, HttpFilter, Route, StreamDecoderFilter, StreamEncoderFilter
from .filter_iteration import FilterIteration
from .filter_manager import DECODER_HOOKS, ENCODER_HOOKS, FilterCallbacks, FilterChain, FilterManager, ModifyHeaders
from .header_map import HeaderMap, RequestHeaderMap, ResponseHeaderMap

if TYPE_CHECKING:
    from ..event.dispatcher import Dispatcher
    from ..explain.explanation import Explanation
    from ..network.connection import Connection
    from ..stream_info import StreamInfo

_WAIT: Final = FilterHeadersStatus.STOP_ALL_ITERATION_AND_WATERMARK
_CONTINUE: Final = FilterHeadersStatus.CONTINUE


class Downstream(Protocol):
    """On whose behalf the attempt is made: the client's stream, or what stands for it where the proxy itself asks."""

    response_code_details: str | None

    @property
    def dispatcher(self) -> Dispatcher: ...
    @property
    def explain(self) -> Explanation: ...
    @property
    def downstream_connection(self) -> Connection: ...
    @property
    def buffer_limit(self) -> int: ...
    @property
    def request_header_limits(self) -> tuple[int, int]: ...
    def route(self) -> Route | None: ...
    def describe(self) -> None: ...
    def reset_stream(self) -> None: ...
    def send_local_reply(
        self,
        status: int,
        body: str | bytes,
        details: str,
        modify_headers: ModifyHeaders | None = None,
        grpc_status: int | None = None,
    ) -> None: ...


class UpstreamEnds(Protocol):
    """What is at both ends of the chain: the attempt.

    Attributes:
        done: nothing more may happen to it.
        connected: the upstream can be sent the request.
    """

    @property
    def done(self) -> bool: ...
    @property
    def connected(self) -> bool: ...
    def codec_headers(self, headers: RequestHeaderMap, end_stream: bool) -> None: ...
    def codec_data(self, data: bytes, end_stream: bool) -> None: ...
    def codec_trailers(self, trailers: HeaderMap) -> None: ...
    def router_headers(self, headers: ResponseHeaderMap, end_stream: bool) -> None: ...
    def router_data(self, data: bytes, end_stream: bool) -> None: ...
    def router_trailers(self, trailers: HeaderMap) -> None: ...
    def on_request_watermark(self, high: bool) -> None:
        """The filters hold too much of the request (True), or do no more."""

    def on_response_watermark(self, high: bool) -> None: ...


class UpstreamFilterCallbacks(FilterCallbacks):
    """The attempt as one of its filters sees it."""

    __slots__ = ()

    upstream = True

    @property
    def stream_info(self) -> StreamInfo:
        manager = cast("UpstreamFilterManager", self.stream)
        manager.downstream.describe()
        return cast("StreamInfo", manager.downstream)


class UpstreamFilterManager:
    """Attributes:
    downstream: on whose behalf; what is known of the stream is known there.
    """

    __slots__ = ("_codec_at", "_decoding", "_encoding", "_ends", "_filters", "downstream")

    def __init__(self, chain: FilterChain | None, downstream: Downstream, ends: UpstreamEnds) -> None:
        """Without a `chain` there is only the codec."""
        self.downstream = downstream
        self._ends = ends
        route = downstream.route()
        factories = () if chain is None else chain.factories
        if chain is not None and route is not None and route.disabled_filters:
            factories = chain.switched(route.disabled_filters)
        filters: list[HttpFilter] = [make() for make in factories]
        self._filters = filters
        self._codec_at = last = len(filters)
        decoding: list[list[Any]] = []
        encoding: list[list[Any]] = []
        for at, each in enumerate(filters):
            callbacks = UpstreamFilterCallbacks(cast(FilterManager, self), at, last - 1 - at)
            if isinstance(each, StreamDecoderFilter):
                each.decoder_callbacks = callbacks
            if isinstance(each, StreamEncoderFilter):
                each.encoder_callbacks = callbacks
            assert chain is not None
            decoding.append(chain.hooks(each, DECODER_HOOKS, StreamDecoderFilter))
            encoding.append(chain.hooks(each, ENCODER_HOOKS, StreamEncoderFilter))
        decoding.append([self._wait_for_connection, None, None])
        encoding.reverse()
        self._decoding = FilterIteration(
            [hooks[0] for hooks in decoding],
            [hooks[1] for hooks in decoding],
            [hooks[2] for hooks in decoding],
            ends.codec_headers,
            ends.codec_data,
            ends.codec_trailers,
            self._is_over,
            downstream.buffer_limit,
            self._on_request_too_large,
            ends.on_request_watermark,
        )
        self._encoding = FilterIteration(
            [hooks[0] for hooks in encoding],
            [hooks[1] for hooks in encoding],
            [hooks[2] for hooks in encoding],
            ends.router_headers,
            ends.router_data,
            ends.router_trailers,
            self._is_over,
            downstream.buffer_limit,
            self._on_response_too_large,
            ends.on_response_watermark,
        )

    # -- what the attempt gives to the filters

    def decode_headers(self, headers: RequestHeaderMap, end_stream: bool) -> None:
        self._decoding.headers(headers, end_stream)

    def decode_data(self, data: bytes, end_stream: bool) -> None:
        if not self._ends.done:
            self._decoding.data(data, end_stream)

    def decode_trailers(self, trailers: HeaderMap) -> None:
        if not self._ends.done:
            self._decoding.trailers(trailers)

    def on_connected(self) -> None:
        """There is an upstream now: what has come as far as the codec goes on."""
        self._decoding.resume(self._codec_at)

    def encode_headers(self, headers: ResponseHeaderMap, end_stream: bool) -> None:
        if self._ends.done:
            return
        self.downstream.response_code_details = "via_upstream"
        # A filter may hold the body back: the head must not wait for it.
        headers.body_follows = False
        self._encoding.headers(headers, end_stream)

    def encode_data(self, data: bytes, end_stream: bool) -> None:
        if not self._ends.done:
            self._encoding.data(data, end_stream)

    def encode_trailers(self, trailers: HeaderMap) -> None:
        if not self._ends.done:
            self._encoding.trailers(trailers)

    def destroy(self) -> None:
        """The attempt is over."""
        filters, self._filters = self._filters, []
        for each in filters:
            each.on_destroy()
        self._decoding.close()
        self._encoding.close()

    # -- what filters ask (`FilterCallbacks`)

    @property
    def dispatcher(self) -> Dispatcher:
        return self.downstream.dispatcher

    @property
    def explain(self) -> Explanation:
        return self.downstream.explain

    @property
    def downstream_connection(self) -> Connection:
        return self.downstream.downstream_connection

    @property
    def request_header_limits(self) -> tuple[int, int]:
        return self.downstream.request_header_limits

    def route(self) -> Route | None:
        return self.downstream.route()

    def clear_route_cache(self) -> None:
        """The route has been taken."""

    def send_local_reply(
        self,
        status: int,
        body: str | bytes,
        details: str,
        modify_headers: ModifyHeaders | None = None,
        grpc_status: int | None = None,
    ) -> None:
        if not self._ends.done:
            self.downstream.send_local_reply(status, body, details, modify_headers, grpc_status)

    def reset_stream(self) -> None:
        self.downstream.reset_stream()

    def continue_decoding_from(self, at: int) -> None:
        self._decoding.resume(at)

    def continue_encoding_from(self, at: int) -> None:
        self._encoding.resume(at)

    def add_decoded_data_from(self, at: int, data: bytes) -> None:
        self._decoding.add_data(at, data)

    def add_encoded_data_from(self, at: int, data: bytes) -> None:
        self._encoding.add_data(at, data)

    def add_decoded_trailers_from(self, at: int) -> HeaderMap:
        trailers = HeaderMap()
        self._decoding.add_trailers(trailers)
        return trailers

    def add_encoded_trailers_from(self, at: int) -> HeaderMap:
        trailers = HeaderMap()
        self._encoding.add_trailers(trailers)
        return trailers

    def inject_decoded_data_from(self, at: int, data: bytes, end_stream: bool) -> None:
        self._decoding.inject_data(at, data, end_stream)

    def inject_encoded_data_from(self, at: int, data: bytes, end_stream: bool) -> None:
        self._encoding.inject_data(at, data, end_stream)

    def replace_decoded_data(self, data: bytes) -> None:
        self._decoding.replace_data(data)

    def replace_encoded_data(self, data: bytes) -> None:
        self._encoding.replace_data(data)

    def modify_decoding_buffer(self, data: bytes) -> None:
        self._decoding.modify_buffer(data)

    def modify_encoding_buffer(self, data: bytes) -> None:
        self._encoding.modify_buffer(data)

    def decoding_buffer(self) -> bytes:
        return self._decoding.buffer

    def encoding_buffer(self) -> bytes:
        return self._encoding.buffer

    def set_decoder_buffer_limit(self, limit: int) -> None:
        self._decoding.buffer_limit = limit

    @property
    def decoder_buffer_limit(self) -> int:
        return self._decoding.buffer_limit

    def set_encoder_buffer_limit(self, limit: int) -> None:
        self._encoding.buffer_limit = limit

    @property
    def encoder_buffer_limit(self) -> int:
        return self._encoding.buffer_limit

    def on_decoder_filter_above_write_buffer_high_watermark(self) -> None:
        self._ends.on_request_watermark(True)

    def on_decoder_filter_below_write_buffer_low_watermark(self) -> None:
        self._ends.on_request_watermark(False)

    def on_encoding_watermark(self, high: bool) -> None:
        self._ends.on_response_watermark(high)

    # -- inside

    def _wait_for_connection(self, headers: Any, end_stream: bool) -> FilterHeadersStatus:
        return _CONTINUE if self._ends.connected else _WAIT

    def _is_over(self) -> bool:
        return self._ends.done

    def _on_request_too_large(self) -> None:
        self.send_local_reply(413, "Payload Too Large", "request_payload_too_large")

    def _on_response_too_large(self) -> None:
        self.send_local_reply(500, "Internal Server Error", "response_payload_too_large")
