"""What an HTTP filter is, and what it may do to its stream.

Envoy: `envoy/http/filter.h`; docs "HTTP filters". The statuses and what they oblige the caller to do are Envoy's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import Enum
from typing import TYPE_CHECKING, Any, Protocol

from ..registry import Registry
from .header_map import HeaderMap, RequestHeaderMap, ResponseHeaderMap

if TYPE_CHECKING:
    from ..event.dispatcher import Dispatcher
    from ..explain.explanation import Explanation
    from ..network.connection import Connection
    from ..stream_info import StreamInfo
    from .codec import Metadata


class FilterHeadersStatus(Enum):
    CONTINUE = 1
    STOP_ITERATION = 2
    """Later filters do not see the headers yet, but this filter still gets the data."""
    CONTINUE_AND_DONT_END_STREAM = 3
    """As CONTINUE, but even if the headers were all there was, more will come (`inject_decoded_data`)."""
    STOP_ALL_ITERATION_AND_BUFFER = 4
    """Nothing moves until `continue_decoding`; data is buffered, up to a limit (then 413, or 500 for a response)."""
    STOP_ALL_ITERATION_AND_WATERMARK = 5
    """Nothing moves until `continue_decoding`; above the limit the sender is made to wait."""


class FilterDataStatus(Enum):
    CONTINUE = 1
    STOP_ITERATION_AND_BUFFER = 2
    STOP_ITERATION_AND_WATERMARK = 3
    STOP_ITERATION_NO_BUFFER = 4


class FilterTrailersStatus(Enum):
    CONTINUE = 1
    STOP_ITERATION = 2


class Route(Protocol):
    """As much of a route as the connection manager and most filters need; `router.config` makes them."""

    @property
    def name(self) -> str: ...
    @property
    def virtual_host_name(self) -> str: ...
    @property
    def cluster_name(self) -> str:
        """Empty if the route answers by itself."""

    @property
    def metadata(self) -> Mapping[str, Any]:
        """`filter_metadata` as plain values."""

    @property
    def virtual_host_metadata(self) -> Mapping[str, Any]: ...
    @property
    def idle_timeout(self) -> float | None:
        """Seconds; overrides `stream_idle_timeout`; 0 disables it, None leaves it."""

    @property
    def flush_timeout(self) -> float | None:
        """Seconds; overrides `stream_flush_timeout`."""

    @property
    def has_timeouts(self) -> bool:
        """Some of these three are not None."""

    @property
    def max_stream_duration(self) -> float | None:
        """Seconds; 0 disables it, None leaves the connection manager's."""

    @property
    def upgrades(self) -> Mapping[bytes, bool]:
        """Which upgrades (names in lower case) it lets through or does not, whatever the connection manager's say."""

    @property
    def disabled_filters(self) -> Mapping[str, bool]:
        """Filters by name that are not for this route (True), or are although the chain has them disabled (False)."""

    @property
    def changes_response(self) -> bool:
        """There may be something to do to the headers of a response."""

    @property
    def direct_response(self) -> Any:
        """What answers in place of an upstream, or None."""

    @property
    def cors_policies(self) -> tuple[Any, ...]:
        """What its `cors` field says and that of its virtual host (`router.cors_policy`), the most specific first."""

    def finalize_response_headers(
        self, headers: ResponseHeaderMap, stream: Any, request: RequestHeaderMap | None
    ) -> None: ...

    def per_filter_config(self, filter_name: str) -> Any: ...
    def per_filter_configs(self, filter_name: str) -> tuple[Any, ...]: ...


class RouteConfig(Protocol):
    """What chooses a route for a request (`Router::Config`); `router.config` makes them."""

    @property
    def internal_only_headers(self) -> tuple[bytes, ...]: ...
    @property
    def switched_filters(self) -> frozenset[str]:
        """Names of the filters that some route disables or enables."""

    def route(self, headers: RequestHeaderMap, stream: Any) -> Route | None: ...


class StreamFilterCallbacks(Protocol):
    """What a filter may ask of its stream."""

    @property
    def upstream(self) -> bool:
        """The filter stands between the router and an upstream."""

    @property
    def dispatcher(self) -> Dispatcher: ...
    @property
    def explain(self) -> Explanation: ...
    @property
    def stream_info(self) -> StreamInfo: ...
    @property
    def downstream_connection(self) -> Connection: ...
    def route(self) -> Route | None: ...
    def clear_route_cache(self) -> None: ...
    def send_local_reply(
        self,
        status: int,
        body: str | bytes,
        details: str,
        modify_headers: Callable[[ResponseHeaderMap], None] | None = None,
        grpc_status: int | None = None,
    ) -> None:
        """Answer from here. `details` becomes `%RESPONSE_CODE_DETAILS%` and the explanation's `because`; a gRPC client
        gets `grpc_status` in place of what `status` would become."""

    def reset_stream(self) -> None:
        """Give up: the peer sees its stream or connection reset."""


class StreamDecoderFilterCallbacks(StreamFilterCallbacks, Protocol):
    def continue_decoding(self) -> None:
        """Resume after this filter stopped the request. Inside its own hook: what the hook stops goes on."""

    def add_decoded_data(self, data: bytes) -> None:
        """Put `data` behind what is held back: to give a request without body one (from `decode_headers`), to add to
        what this filter holds, or to the end of the body (from `decode_trailers`)."""

    def add_decoded_trailers(self) -> HeaderMap:
        """From the hook that sees the end of a request without trailers: trailers for the filters after this one."""

    def inject_decoded_data(self, data: bytes, end_stream: bool) -> None:
        """Give `data` to the filters after this one, past what is held back: a filter that changes a body takes it with
        STOP_ITERATION_NO_BUFFER and injects another."""

    def replace_decoded_data(self, data: bytes) -> None:
        """From `decode_data`: what it returns is about `data`, in place of what it was given."""

    def decoding_buffer(self) -> bytes:
        """What is held back of the request body."""

    def modify_decoding_buffer(self, data: bytes) -> None:
        """Hold back `data` in place of that."""

    def drain_connection_upon_completion(self) -> None:
        """This is to be the last response of its connection (`setShouldDrainConnectionUponCompletion`)."""

    @property
    def request_header_limits(self) -> tuple[int, int]:
        """How many headers a request may have, pseudo-headers included, and how many bytes of names and values."""

    def set_decoder_buffer_limit(self, limit: int) -> None:
        """Hold back as many bytes of the request body, whatever the connection's limit is."""

    @property
    def decoder_buffer_limit(self) -> int:
        """Bytes of the request body that may be held back; 0 for no limit."""

    def on_decoder_filter_above_write_buffer_high_watermark(self) -> None:
        """This filter holds more of the request than it should: make the client wait."""

    def on_decoder_filter_below_write_buffer_low_watermark(self) -> None:
        """It does so no more; once for each call of the other."""

    def encode_headers(self, headers: ResponseHeaderMap, end_stream: bool, details: str) -> None:
        """Answer the request from this filter, through the encoder filters."""

    def encode_data(self, data: bytes, end_stream: bool) -> None: ...
    def encode_trailers(self, trailers: HeaderMap) -> None: ...


class StreamEncoderFilterCallbacks(StreamFilterCallbacks, Protocol):
    def continue_encoding(self) -> None: ...
    def add_encoded_data(self, data: bytes) -> None: ...
    def add_encoded_trailers(self) -> HeaderMap:
        """From the hook that sees the end of a response without trailers: trailers for the filters after this one."""

    def inject_encoded_data(self, data: bytes, end_stream: bool) -> None: ...
    def replace_encoded_data(self, data: bytes) -> None: ...
    def encoding_buffer(self) -> bytes: ...
    def modify_encoding_buffer(self, data: bytes) -> None: ...
    def set_encoder_buffer_limit(self, limit: int) -> None: ...
    @property
    def encoder_buffer_limit(self) -> int: ...
    def on_encoder_filter_above_write_buffer_high_watermark(self) -> None:
        """This filter holds more of the response than it should: make the upstream wait."""

    def on_encoder_filter_below_write_buffer_low_watermark(self) -> None:
        """It does so no more; once for each call of the other."""


class StreamDecoderFilter:
    """Sees the request, in chain order. Override only what you need: other hooks are never called."""

    decoder_callbacks: StreamDecoderFilterCallbacks

    def decode_headers(self, headers: RequestHeaderMap, end_stream: bool) -> FilterHeadersStatus:
        return FilterHeadersStatus.CONTINUE

    def decode_data(self, data: bytes, end_stream: bool) -> FilterDataStatus:
        return FilterDataStatus.CONTINUE

    def decode_trailers(self, trailers: HeaderMap) -> FilterTrailersStatus:
        return FilterTrailersStatus.CONTINUE

    def decode_metadata(self, metadata: Metadata) -> None:
        """Only the last filter of a chain is told."""

    def on_destroy(self) -> None:
        """The stream is over, one way or another: stop timers, cancel calls."""


class StreamEncoderFilter:
    """Sees the response, in reverse chain order."""

    encoder_callbacks: StreamEncoderFilterCallbacks

    def encode_headers(self, headers: ResponseHeaderMap, end_stream: bool) -> FilterHeadersStatus:
        return FilterHeadersStatus.CONTINUE

    def encode_data(self, data: bytes, end_stream: bool) -> FilterDataStatus:
        return FilterDataStatus.CONTINUE

    def encode_trailers(self, trailers: HeaderMap) -> FilterTrailersStatus:
        return FilterTrailersStatus.CONTINUE

    def on_destroy(self) -> None: ...


class StreamFilter(StreamDecoderFilter, StreamEncoderFilter):
    """Sees both."""


HttpFilter = StreamDecoderFilter | StreamEncoderFilter
HttpFilterFactory = Callable[[], HttpFilter]
"""Makes the filter of one stream."""
HTTP_FILTERS: Registry[Callable[[Any, Any], HttpFilterFactory]] = Registry("envoy.filters.http")
"""(configuration message, `FactoryContext`) -> HttpFilterFactory"""

TERMINAL_FILTERS: set[str] = {"envoy.filters.http.router"}
"""Names of the filters that answer, and so must stand last (`isTerminalFilterByProto`)."""

UPSTREAM_HTTP_FILTERS: Registry[Callable[[Any, Any], HttpFilterFactory]] = Registry("envoy.filters.http.upstream")
"""Those that may stand between the router and an upstream, made as the others are."""

UPSTREAM_TERMINAL_FILTERS: set[str] = {"envoy.filters.http.upstream_codec"}
