"""Runs one stream through its HTTP filters.

Envoy: `Http::FilterManager`, `ActiveStreamDecoderFilter`, `ActiveStreamEncoderFilter`.

The manager is the `RequestDecoder` that the codec feeds, the `StreamInfo` that logs read and the callbacks of the
terminal filter, in one object: a chain that is only a router pays for no adapter (`active_stream.py`), one with more
filters is `filtered_stream.py`. Every filter but the terminal one gets a `FilterCallbacks` that knows which one it
is, because only the filter that stopped a stream may let it go on.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

from ..explain.explanation import NO_EXPLANATION, Explanation
from ..stream_info import StreamInfo
from .codec import Metadata, ResponseEncoder
from .filter import HttpFilter, HttpFilterFactory, Route, StreamDecoderFilter, StreamEncoderFilter
from .header_map import HeaderMap, RequestHeaderMap, ResponseHeaderMap

if TYPE_CHECKING:
    from ..event.dispatcher import Dispatcher
    from ..network.connection import Connection

ModifyHeaders = Callable[[ResponseHeaderMap], None]

DECODER_HOOKS = ("decode_headers", "decode_data", "decode_trailers")
ENCODER_HOOKS = ("encode_headers", "encode_data", "encode_trailers")


class FilterChain:
    """Compiled once per configuration: who makes the filters of a stream. The last one answers it.

    Attributes:
        factories: of the filters before the last one, without those that are disabled unless a route says otherwise.
        plain: no route can add a filter to the last one.
    """

    __slots__ = ("_filters", "_overridden", "factories", "make_terminal", "plain", "terminal_name")

    def __init__(
        self,
        factories: Sequence[HttpFilterFactory],
        names: Sequence[str] = (),
        disabled: Container[int] = (),
    ) -> None:
        """`names` are what routes call the filters, `disabled` the positions of those that only routes enable."""
        before = factories[:-1]
        self._filters = tuple((make, names[at] if names else "", at in disabled) for at, make in enumerate(before))
        self.factories = tuple(make for make, _, off in self._filters if not off)
        self.plain = not before
        self.make_terminal = cast("Callable[[], StreamDecoderFilter]", factories[-1])
        self.terminal_name = names[-1] if names else ""
        self._overridden: dict[type, tuple[tuple[str, ...], tuple[str, ...]]] = {}

    def switched(self, disabled: Mapping[str, bool]) -> tuple[HttpFilterFactory, ...]:
        """The factories for a route that disables (True) or enables (False) filters by name."""
        return tuple(make for make, name, off in self._filters if not disabled.get(name, off))

    def hooks(self, each: HttpFilter, names: tuple[str, ...], base: type) -> list[Any]:
        """The bound methods of `names` that the filter's class overrides, None for the others."""
        cls = type(each)
        known = self._overridden.get(cls)
        if known is None:
            known = self._overridden[cls] = (
                _overridden(cls, DECODER_HOOKS, StreamDecoderFilter),
                _overridden(cls, ENCODER_HOOKS, StreamEncoderFilter),
            )
        mine = known[0] if base is StreamDecoderFilter else known[1]
        return [getattr(each, name) if name in mine else None for name in names]


def _overridden(cls: type, names: tuple[str, ...], base: type) -> tuple[str, ...]:
    if not issubclass(cls, base):
        return ()
    return tuple(name for name in names if getattr(cls, name) is not getattr(base, name))


class FilterManager(StreamInfo):
    """One stream. `encoder` is the downstream codec's side of it; subclasses say what happens at both ends.

    Attributes:
        terminal: the last filter, usually the router.
        ended: nothing more may happen: the response is complete or the stream was reset.
        watermark_callbacks: told (True) when downstream can not take more, (False) when it can again.
    """

    explain: Explanation = NO_EXPLANATION
    request_headers: RequestHeaderMap | None = None
    request_trailers: HeaderMap | None = None
    response_headers: ResponseHeaderMap | None = None
    response_trailers: HeaderMap | None = None
    terminal: StreamDecoderFilter | None = None
    upstream: bool = False
    ended: bool = False
    remote_complete: bool = False
    local_complete: bool = False
    is_local_reply: bool = False
    watermark_callbacks: Callable[[bool], None] | None = None
    response_timeout_callback: Callable[[], None] | None = None
    response_deadline: float = 0.0
    _route: Route | None = None
    _route_known: bool = False

    encoder: ResponseEncoder
    downstream_connection: Connection
    dispatcher: Dispatcher
    buffer_limit: int

    # -- the response comes back

    def encode_1xx_headers(self, headers: ResponseHeaderMap) -> None:
        raise NotImplementedError

    def encode_headers(self, headers: ResponseHeaderMap, end_stream: bool, details: str) -> None:
        """The terminal filter, or the proxy itself, has an answer; `details` is `%RESPONSE_CODE_DETAILS%`."""
        raise NotImplementedError

    def encode_data(self, data: bytes, end_stream: bool) -> None:
        raise NotImplementedError

    def encode_trailers(self, trailers: HeaderMap) -> None:
        raise NotImplementedError

    def encode_metadata(self, metadata: Metadata) -> None:
        """The upstream tells something beside its response."""
        raise NotImplementedError

    # -- what filters may ask

    @property
    def stream_info(self) -> StreamInfo:
        return self

    def route(self) -> Route | None:
        raise NotImplementedError

    def clear_route_cache(self) -> None:
        """Choose the route anew: a filter has changed what it depends on."""
        self._route = None
        self._route_known = False

    def forget_route(self) -> None:
        """There is no route any more: what has been told of one is taken back."""
        self.route_name = self.virtual_host_name = ""
        self.upstream_cluster_name = self.route_metadata = self.virtual_host_metadata = None

    def send_local_reply(
        self,
        status: int,
        body: str | bytes,
        details: str,
        modify_headers: ModifyHeaders | None = None,
        grpc_status: int | None = None,
    ) -> None:
        raise NotImplementedError

    def reset_stream(self) -> None:
        raise NotImplementedError

    def recreate_stream(self, headers: ResponseHeaderMap, body: bytes) -> bool:
        """Begin anew with the request headers as they are now; False if that is not possible.

        `headers` are the response that was the reason, `body` what the request had.
        """
        raise NotImplementedError

    def start_response_timeout(self, now: float, seconds: float, callback: Callable[[], None]) -> None:
        """Call back `seconds` after `now`, unless the stream has ended by then or `response_timeout_callback` was taken
        away."""
        raise NotImplementedError

    def pause_request(self, pause: bool) -> None:
        """Take no more of the request for now, or go on; counted."""
        raise NotImplementedError

    def describe(self) -> None:
        """Fill in what only logs and formats ask for."""
        raise NotImplementedError

    def add_decoded_data(self, data: bytes) -> None:
        """Nothing comes after the terminal filter."""

    def add_decoded_trailers(self) -> HeaderMap:
        """Nothing comes after the terminal filter."""
        raise NotImplementedError

    def inject_decoded_data(self, data: bytes, end_stream: bool) -> None:
        """Nothing comes after the terminal filter."""

    def continue_decoding(self) -> None:
        """Nothing comes after the terminal filter."""

    def continue_decoding_from(self, at: int) -> None:
        """Filter number `at` of the chain lets the request go on."""

    def continue_encoding_from(self, at: int) -> None:
        """The filter that is `at` on the way back lets the response go on."""

    def add_decoded_data_from(self, at: int, data: bytes) -> None:
        """Filter number `at` puts `data` behind what is held back of the request."""

    def add_decoded_trailers_from(self, at: int) -> HeaderMap:
        """Filter number `at` ends the request with trailers."""
        raise NotImplementedError

    def add_encoded_trailers_from(self, at: int) -> HeaderMap:
        """As `add_decoded_trailers_from`, for the response; `at` counts on the way back."""
        raise NotImplementedError

    def inject_decoded_data_from(self, at: int, data: bytes, end_stream: bool) -> None:
        """Filter number `at` gives `data` to the next one."""

    def replace_decoded_data(self, data: bytes) -> None:
        """The filter whose data hook runs goes on with `data`."""

    def replace_encoded_data(self, data: bytes) -> None:
        """As `replace_decoded_data`, for the response."""

    def decoding_buffer(self) -> bytes:
        return b""

    def modify_decoding_buffer(self, data: bytes) -> None:
        """Nothing is held back for the terminal filter."""

    def modify_encoding_buffer(self, data: bytes) -> None:
        """Likewise."""

    def drain_connection_upon_completion(self) -> None:
        """This is to be the last response of its connection."""
        raise NotImplementedError

    def set_decoder_buffer_limit(self, limit: int) -> None:
        self.buffer_limit = limit

    @property
    def decoder_buffer_limit(self) -> int:
        return self.buffer_limit

    @property
    def request_header_limits(self) -> tuple[int, int]:
        raise NotImplementedError

    def set_encoder_buffer_limit(self, limit: int) -> None:
        """As `set_decoder_buffer_limit`, for the response."""

    @property
    def encoder_buffer_limit(self) -> int:
        return self.buffer_limit

    def on_decoder_filter_above_write_buffer_high_watermark(self) -> None:
        self.encoder.read_disable(True)

    def on_decoder_filter_below_write_buffer_low_watermark(self) -> None:
        self.encoder.read_disable(False)

    def on_encoding_watermark(self, high: bool) -> None:
        """Downstream, or a filter on the way there, can take no more (True), or can again (False)."""
        if self.watermark_callbacks is not None:
            self.watermark_callbacks(high)

    def add_encoded_data_from(self, at: int, data: bytes) -> None:
        """As `add_decoded_data_from`, for the response; `at` counts on the way back."""

    def inject_encoded_data_from(self, at: int, data: bytes, end_stream: bool) -> None:
        """As `inject_decoded_data_from`, for the response."""

    def encoding_buffer(self) -> bytes:
        return b""


class FilterCallbacks:
    """The stream as one filter sees it (`StreamDecoderFilterCallbacks` and `StreamEncoderFilterCallbacks`)."""

    __slots__ = ("_decode_at", "_encode_at", "stream")

    upstream = False
    """It stands between the router and an upstream."""

    def __init__(self, stream: FilterManager, decode_at: int, encode_at: int) -> None:
        self.stream = stream
        self._decode_at = decode_at
        self._encode_at = encode_at

    @property
    def dispatcher(self) -> Dispatcher:
        return self.stream.dispatcher

    @property
    def explain(self) -> Explanation:
        return self.stream.explain

    @property
    def stream_info(self) -> StreamInfo:
        self.stream.describe()
        return self.stream

    @property
    def downstream_connection(self) -> Connection:
        return self.stream.downstream_connection

    def route(self) -> Route | None:
        return self.stream.route()

    def clear_route_cache(self) -> None:
        self.stream.clear_route_cache()

    def send_local_reply(
        self,
        status: int,
        body: str | bytes,
        details: str,
        modify_headers: ModifyHeaders | None = None,
        grpc_status: int | None = None,
    ) -> None:
        self.stream.send_local_reply(status, body, details, modify_headers, grpc_status)

    def reset_stream(self) -> None:
        self.stream.reset_stream()

    def continue_decoding(self) -> None:
        self.stream.continue_decoding_from(self._decode_at)

    def add_decoded_data(self, data: bytes) -> None:
        self.stream.add_decoded_data_from(self._decode_at, data)

    def add_decoded_trailers(self) -> HeaderMap:
        return self.stream.add_decoded_trailers_from(self._decode_at)

    def inject_decoded_data(self, data: bytes, end_stream: bool) -> None:
        self.stream.inject_decoded_data_from(self._decode_at, data, end_stream)

    def replace_decoded_data(self, data: bytes) -> None:
        self.stream.replace_decoded_data(data)

    def replace_encoded_data(self, data: bytes) -> None:
        self.stream.replace_encoded_data(data)

    def decoding_buffer(self) -> bytes:
        return self.stream.decoding_buffer()

    def modify_decoding_buffer(self, data: bytes) -> None:
        self.stream.modify_decoding_buffer(data)

    def modify_encoding_buffer(self, data: bytes) -> None:
        self.stream.modify_encoding_buffer(data)

    def drain_connection_upon_completion(self) -> None:
        self.stream.drain_connection_upon_completion()

    def encode_headers(self, headers: ResponseHeaderMap, end_stream: bool, details: str) -> None:
        self.stream.is_local_reply = True
        self.stream.encode_headers(headers, end_stream, details)

    def encode_data(self, data: bytes, end_stream: bool) -> None:
        self.stream.encode_data(data, end_stream)

    def encode_trailers(self, trailers: HeaderMap) -> None:
        self.stream.encode_trailers(trailers)

    def continue_encoding(self) -> None:
        self.stream.continue_encoding_from(self._encode_at)

    def add_encoded_data(self, data: bytes) -> None:
        self.stream.add_encoded_data_from(self._encode_at, data)

    def add_encoded_trailers(self) -> HeaderMap:
        return self.stream.add_encoded_trailers_from(self._encode_at)

    def inject_encoded_data(self, data: bytes, end_stream: bool) -> None:
        self.stream.inject_encoded_data_from(self._encode_at, data, end_stream)

    def encoding_buffer(self) -> bytes:
        return self.stream.encoding_buffer()

    @property
    def request_header_limits(self) -> tuple[int, int]:
        return self.stream.request_header_limits

    def set_decoder_buffer_limit(self, limit: int) -> None:
        self.stream.set_decoder_buffer_limit(limit)

    @property
    def decoder_buffer_limit(self) -> int:
        return self.stream.decoder_buffer_limit

    def set_encoder_buffer_limit(self, limit: int) -> None:
        self.stream.set_encoder_buffer_limit(limit)

    @property
    def encoder_buffer_limit(self) -> int:
        return self.stream.encoder_buffer_limit

    def on_decoder_filter_above_write_buffer_high_watermark(self) -> None:
        self.stream.on_decoder_filter_above_write_buffer_high_watermark()

    def on_decoder_filter_below_write_buffer_low_watermark(self) -> None:
        self.stream.on_decoder_filter_below_write_buffer_low_watermark()

    def on_encoder_filter_above_write_buffer_high_watermark(self) -> None:
        self.stream.on_encoding_watermark(True)

    def on_encoder_filter_below_write_buffer_low_watermark(self) -> None:
        self.stream.on_encoding_watermark(False)
