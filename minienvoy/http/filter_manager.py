"""Runs one stream through its HTTP filters.

Envoy: `Http::FilterManager`, `ActiveStreamDecoderFilter`, `ActiveStreamEncoderFilter`.

The manager is the `RequestDecoder` that the codec feeds, the `StreamInfo` that logs read and the callbacks of the terminal
filter, in one object: a chain that is only a router pays for no adapter. Every other filter gets a `FilterCallbacks` that
knows which one it is, because only the filter that stopped a stream may let it go on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, cast

from ..explain.explanation import NO_EXPLANATION, Explanation
from ..stream_info import StreamInfo
from .codec import ResponseEncoder
from .filter import HttpFilter, HttpFilterFactory, Route, StreamDecoderFilter, StreamEncoderFilter
from .filter_iteration import FilterIteration
from .header_map import HeaderMap, RequestHeaderMap, ResponseHeaderMap

if TYPE_CHECKING:
    from ..event.dispatcher import Dispatcher
    from ..network.connection import Connection

ModifyHeaders = Callable[[ResponseHeaderMap], None]

_DECODER_HOOKS = ("decode_headers", "decode_data", "decode_trailers")
_ENCODER_HOOKS = ("encode_headers", "encode_data", "encode_trailers")


class FilterChain:
    """Compiled once per configuration: who makes the filters of a stream. The last one answers it."""

    __slots__ = ("_overridden", "factories", "terminal")

    def __init__(self, factories: Sequence[HttpFilterFactory]) -> None:
        self.factories = tuple(factories[:-1])
        self.terminal = factories[-1]
        self._overridden: dict[type, tuple[tuple[str, ...], tuple[str, ...]]] = {}

    def hooks(self, each: HttpFilter, names: tuple[str, ...], base: type) -> list[Any]:
        """The bound methods of `names` that the filter's class overrides, None for the others."""
        cls = type(each)
        known = self._overridden.get(cls)
        if known is None:
            known = self._overridden[cls] = (
                _overridden(cls, _DECODER_HOOKS, StreamDecoderFilter),
                _overridden(cls, _ENCODER_HOOKS, StreamEncoderFilter),
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
    ended: bool = False
    remote_complete: bool = False
    local_complete: bool = False
    is_local_reply: bool = False
    watermark_callbacks: Callable[[bool], None] | None = None
    _filters: list[HttpFilter] | None = None
    _decoding: FilterIteration | None = None
    _encoding: FilterIteration | None = None
    _route: Route | None = None
    _route_known: bool = False

    encoder: ResponseEncoder
    connection_: Connection
    dispatcher: Dispatcher
    buffer_limit: int

    def create_filters(self, chain: FilterChain) -> None:
        terminal = chain.terminal()
        self.terminal = terminal
        terminal.decoder_callbacks = self  # type: ignore[union-attr]
        if chain.factories:
            self._create_more_filters(chain)

    def _create_more_filters(self, chain: FilterChain) -> None:
        filters: list[HttpFilter] = [make() for make in chain.factories]
        self._filters = filters
        decoding: list[list[Any]] = []
        encoding: list[list[Any]] = []
        for at, each in enumerate(filters):
            callbacks = FilterCallbacks(self, at, len(filters) - 1 - at)
            if isinstance(each, StreamDecoderFilter):
                each.decoder_callbacks = callbacks
            if isinstance(each, StreamEncoderFilter):
                each.encoder_callbacks = callbacks
            decoding.append(chain.hooks(each, _DECODER_HOOKS, StreamDecoderFilter))
            encoding.append(chain.hooks(each, _ENCODER_HOOKS, StreamEncoderFilter))
        encoding.reverse()
        terminal = cast(StreamDecoderFilter, self.terminal)
        self._decoding = FilterIteration(
            [hooks[0] for hooks in decoding],
            [hooks[1] for hooks in decoding],
            [hooks[2] for hooks in decoding],
            terminal.decode_headers,
            terminal.decode_data,
            terminal.decode_trailers,
            self._decoding_is_over,
            self.buffer_limit,
            self._on_request_too_large,
            self._on_decoding_watermark,
        )
        self._encoding = FilterIteration(
            [hooks[0] for hooks in encoding],
            [hooks[1] for hooks in encoding],
            [hooks[2] for hooks in encoding],
            self._encode_headers_downstream,
            self._encode_data_downstream,
            self._encode_trailers_downstream,
            self._is_ended,
            self.buffer_limit,
            self._on_response_too_large,
            self._on_encoding_watermark,
        )

    def destroy_filters(self) -> None:
        terminal = self.__dict__.get("terminal")
        if terminal is not None:
            terminal.on_destroy()
            for each in self._filters or ():
                each.on_destroy()

    # -- the request goes down the chain

    def _run_decode_headers(self, headers: RequestHeaderMap, end_stream: bool) -> None:
        if self._decoding is None:
            cast(StreamDecoderFilter, self.terminal).decode_headers(headers, end_stream)
        else:
            self._decoding.headers(headers, end_stream)

    def _run_decode_data(self, data: bytes, end_stream: bool) -> None:
        if self._decoding is None:
            cast(StreamDecoderFilter, self.terminal).decode_data(data, end_stream)
        else:
            self._decoding.data(data, end_stream)

    def _run_decode_trailers(self, trailers: HeaderMap) -> None:
        self.request_trailers = trailers
        if self._decoding is None:
            cast(StreamDecoderFilter, self.terminal).decode_trailers(trailers)
        else:
            self._decoding.trailers(trailers)

    # -- the response comes back

    def encode_1xx_headers(self, headers: ResponseHeaderMap) -> None:
        raise NotImplementedError

    def encode_headers(self, headers: ResponseHeaderMap, end_stream: bool, details: str) -> None:
        """The terminal filter has an answer."""
        self.response_code_details = details
        self.response_headers = headers
        if self._encoding is None:
            self._encode_headers_downstream(headers, end_stream)
        else:
            self._encoding.headers(headers, end_stream)

    def encode_data(self, data: bytes, end_stream: bool) -> None:
        if self.ended:
            return
        if self._encoding is None:
            self._encode_data_downstream(data, end_stream)
        else:
            self._encoding.data(data, end_stream)

    def encode_trailers(self, trailers: HeaderMap) -> None:
        if self.ended:
            return
        self.response_trailers = trailers
        if self._encoding is None:
            self._encode_trailers_downstream(trailers)
        else:
            self._encoding.trailers(trailers)

    def _encode_headers_downstream(self, headers: ResponseHeaderMap, end_stream: bool) -> None:
        raise NotImplementedError

    def _encode_data_downstream(self, data: bytes, end_stream: bool) -> None:
        raise NotImplementedError

    def _encode_trailers_downstream(self, trailers: HeaderMap) -> None:
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

    def send_local_reply(
        self, status: int, body: str, details: str, modify_headers: ModifyHeaders | None = None
    ) -> None:
        raise NotImplementedError

    def reset_stream(self) -> None:
        raise NotImplementedError

    def continue_decoding(self) -> None:
        """Nothing comes after the terminal filter."""

    def add_decoded_data(self, data: bytes) -> None:
        if self._decoding is not None:
            self._decoding.add_data(data)

    def decoding_buffer(self) -> bytes:
        return b"" if self._decoding is None else self._decoding.buffer

    # -- inside

    def _is_ended(self) -> bool:
        return self.ended

    def _decoding_is_over(self) -> bool:
        # After a local reply no filter sees more of the request.
        return self.ended or self.is_local_reply

    def _on_request_too_large(self) -> None:
        self.send_local_reply(413, "Payload Too Large", "request_payload_too_large")

    def _on_response_too_large(self) -> None:
        raise NotImplementedError

    def _on_decoding_watermark(self, high: bool) -> None:
        self.encoder.read_disable(high)

    def _on_encoding_watermark(self, high: bool) -> None:
        if self.watermark_callbacks is not None:
            self.watermark_callbacks(high)


class FilterCallbacks:
    """The stream as one filter sees it (`StreamDecoderFilterCallbacks` and `StreamEncoderFilterCallbacks`)."""

    __slots__ = ("_decode_at", "_encode_at", "stream")

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
        return self.stream

    @property
    def connection(self) -> Connection:
        return self.stream.connection_

    def route(self) -> Route | None:
        return self.stream.route()

    def clear_route_cache(self) -> None:
        self.stream.clear_route_cache()

    def send_local_reply(
        self, status: int, body: str, details: str, modify_headers: ModifyHeaders | None = None
    ) -> None:
        self.stream.send_local_reply(status, body, details, modify_headers)

    def reset_stream(self) -> None:
        self.stream.reset_stream()

    def continue_decoding(self) -> None:
        if self.stream._decoding is not None:
            self.stream._decoding.resume(self._decode_at)

    def add_decoded_data(self, data: bytes) -> None:
        self.stream.add_decoded_data(data)

    def decoding_buffer(self) -> bytes:
        return self.stream.decoding_buffer()

    def encode_headers(self, headers: ResponseHeaderMap, end_stream: bool, details: str) -> None:
        self.stream.is_local_reply = True
        self.stream.encode_headers(headers, end_stream, details)

    def encode_data(self, data: bytes, end_stream: bool) -> None:
        self.stream.encode_data(data, end_stream)

    def encode_trailers(self, trailers: HeaderMap) -> None:
        self.stream.encode_trailers(trailers)

    def continue_encoding(self) -> None:
        if self.stream._encoding is not None:
            self.stream._encoding.resume(self._encode_at)

    def add_encoded_data(self, data: bytes) -> None:
        if self.stream._encoding is not None:
            self.stream._encoding.add_data(data)

    def encoding_buffer(self) -> bytes:
        return b"" if self.stream._encoding is None else self.stream._encoding.buffer
