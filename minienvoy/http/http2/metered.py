"""An HTTP/2 connection that counts what each stream takes on the wire, for those who log it.

Envoy: `StreamInfo::BytesMeter`, kept by `Http2::ConnectionImpl` (`onBeforeFrameSend`, `onFrameReceived`). Envoy always
counts; here the plain class does not, and this one takes its place once a format has asked
(`ServerContext.byte_meters`). A frame counts with its nine bytes; CONTINUATION is part of its HEADERS; METADATA
does not count, and neither does a frame that breaks its stream or its connection.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, NoReturn, cast

from ..byte_meter import ByteMeter
from ..codec import RequestDecoder, ResponseDecoder, StreamResetReason
from ..header_map import KIND
from .client_connection import ClientConnection, ClientStream
from .connection import Handler, Http2Connection
from .fields import CONNECTION_HEADERS, MessageError
from .frames import HEADERS, METADATA, RST_STREAM
from .server_connection import ServerConnection, ServerStream

if TYPE_CHECKING:
    from ..header_map import HeaderMap, RequestHeaderMap, ResponseHeaderMap
    from .stream import Http2Stream

_FRAME_HEAD: Final = 9
_STATUS: Final = len(":status200")
_UPGRADE: Final = KIND[b"upgrade"]


def _counting_resets(handlers: tuple[Handler, ...]) -> tuple[Handler, ...]:
    """The same, but RST_STREAM counts, as DATA and HEADERS do elsewhere; no other frame does."""
    handle = handlers[RST_STREAM]

    def count(connection: Any, stream_id: int, flags: int, payload: bytes) -> None:
        connection._count_received(stream_id, len(payload))
        handle(connection, stream_id, flags, payload)

    return (*handlers[:RST_STREAM], count, *handlers[RST_STREAM + 1 :])


class _Counted(list[bytes]):
    """DATA that waits for the end of a dispatch; it counts when it is put there."""

    __slots__ = ("_count",)

    def __init__(self, count: Callable[[bytes], None]) -> None:
        super().__init__()
        self._count = count

    def append(self, frames: bytes) -> None:
        self._count(frames)
        super().append(frames)


class _Measured:
    """Stands before a decoder until the headers have come, and measures them."""

    __slots__ = ("_decoder", "_encoder")

    def __init__(self, decoder: RequestDecoder, encoder: Any) -> None:
        self._decoder = decoder
        self._encoder = encoder

    def decode_headers(self, headers: RequestHeaderMap, end_stream: bool) -> None:
        self._encoder.meter.decompressed_header_received += _pseudo_size(headers) + _size(headers)
        self._encoder.decoder = self._decoder
        self._decoder.decode_headers(headers, end_stream)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._decoder, name)


def _pseudo_size(headers: RequestHeaderMap) -> int:
    return sum(
        len(name) + len(value)
        for name, value in (
            (b":method", headers.method),
            (b":path", headers.path),
            (b":authority", headers.authority),
            (b":scheme", headers.scheme),
        )
        if value
    )


def _size(headers: HeaderMap) -> int:
    return sum(len(item[0]) + len(item[1]) for item in headers.entries)


def _sent_size(headers: HeaderMap) -> int:
    """What HTTP/2 has no use for is not sent."""
    return sum(len(item[0]) + len(item[1]) for item in headers.entries if not item[3] & CONNECTION_HEADERS)


class _Metered(Http2Connection):
    """Counts a frame before anybody hears of what is in it, and takes that back if it should not have come."""

    _meter: ByteMeter | None = None
    """Where the frame at hand has been counted, if anywhere."""
    _frame_size = _frame_header_size = 0

    def _count(self, meter: ByteMeter, size: int, header_size: int) -> None:
        self._meter = meter
        self._frame_size = size
        self._frame_header_size = header_size
        meter.wire_received += size
        meter.header_received += header_size

    def _take_back(self) -> None:
        meter, self._meter = self._meter, None
        if meter is not None:
            meter.wire_received -= self._frame_size
            meter.header_received -= self._frame_header_size

    def _break_message(self, stream: Http2Stream, error: MessageError, end_stream: bool = False) -> None:
        self._take_back()
        super()._break_message(stream, error, end_stream)

    def _break_stream(
        self,
        stream: Http2Stream,
        code: int,
        details: str = "",
        reason: StreamResetReason = StreamResetReason.LOCAL_RESET,
        end_stream: bool = False,
    ) -> None:
        self._take_back()
        super()._break_stream(stream, code, details, reason, end_stream)

    def _break_off(self, details: str = "", stream_id: int = 0) -> NoReturn:
        self._take_back()
        super()._break_off(details, stream_id)

    def _fail(self, code: int, debug: bytes = b"") -> NoReturn:
        self._take_back()
        super()._fail(code, debug)

    def _count_received(self, stream_id: int, size: int, is_header: bool = False) -> None:
        stream = self.streams.get(stream_id)
        if stream is not None and stream.meter is not None and not stream.closed:
            size += _FRAME_HEAD
            self._count(stream.meter, size, size if is_header else 0)

    def _on_data(self, stream_id: int, flags: int, payload: bytes) -> None:
        self._count_received(stream_id, len(payload))
        super()._on_data(stream_id, flags, payload)
        self._meter = None


class _MeteredServerStream(ServerStream):
    """Measures what it sends before that is compressed."""

    __slots__ = ()

    def _sends(self, size: int) -> None:
        if self.meter is not None and not self.closed and not self.local_end:
            self.meter.decompressed_header_sent = (self.meter.decompressed_header_sent or 0) + size

    def encode_1xx_headers(self, headers: ResponseHeaderMap) -> None:
        self._sends(_STATUS + _sent_size(headers))
        super().encode_1xx_headers(headers)

    def encode_headers(self, headers: ResponseHeaderMap, end_stream: bool) -> None:
        self._sends(_STATUS + _sent_size(headers))
        super().encode_headers(headers, end_stream)

    def encode_trailers(self, trailers: HeaderMap) -> None:
        self._sends(_size(trailers))
        super().encode_trailers(trailers)


class MeteredServerConnection(_Metered, ServerConnection):
    """The downstream side."""

    _handlers = _counting_resets(ServerConnection._handlers)

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.data = _Counted(self._count_sent)
        self._make_stream = self._new_stream
        self._new_stream = self._new_metered_stream
        self._head_size = 0

    def _new_metered_stream(self, encoder: Any) -> RequestDecoder:
        encoder.__class__ = _MeteredServerStream
        meter = encoder.meter = ByteMeter()
        self._count(meter, self._head_size, self._head_size)
        return cast("RequestDecoder", _Measured(self._make_stream(encoder), encoder))

    def _on_header_block(self, stream_id: int, block: bytes, end_stream: bool) -> None:
        size, self.stripped = len(block) + self.stripped, 0
        self._count_received(stream_id, size, True)
        if self._meter is None:
            self._head_size = _FRAME_HEAD + size
        super()._on_header_block(stream_id, block, end_stream)
        self._head_size = 0
        self._meter = None

    def _pass_trailers(self, stream: Http2Stream, trailers: HeaderMap) -> None:
        if isinstance(stream, ServerStream) and stream.meter is not None:
            stream.meter.decompressed_header_received += _size(trailers)
        super()._pass_trailers(stream, trailers)

    def queue(self, frames: bytes) -> None:
        self._count_sent(frames)
        super().queue(frames)

    def _count_sent(self, frames: bytes) -> None:
        stream = self.streams.get(int.from_bytes(frames[5:9], "big"))
        if isinstance(stream, ServerStream) and stream.meter is not None and frames[3] != METADATA:
            stream.meter.wire_sent += len(frames)
            if frames[3] == HEADERS:
                stream.meter.header_sent += len(frames)


class _MeteredClientStream(ClientStream):
    """Measures what it sends before that is compressed."""

    __slots__ = ()

    def encode_headers(self, headers: RequestHeaderMap, end_stream: bool) -> None:
        if self.meter is not None and not self.closed:
            size = _pseudo_size(headers) + _sent_size(headers)
            self.meter.decompressed_header_sent = (self.meter.decompressed_header_sent or 0) + size
        super().encode_headers(headers, end_stream)

    def encode_trailers(self, trailers: HeaderMap) -> None:
        if self.meter is not None and not self.closed and not self.local_end:
            self.meter.decompressed_header_sent = (self.meter.decompressed_header_sent or 0) + _size(trailers)
        super().encode_trailers(trailers)


class _Watched:
    """Stands before a decoder: measures headers and notes when the first byte of a body has come."""

    __slots__ = ("_decoder", "_meter", "_now")

    def __init__(self, decoder: ResponseDecoder, meter: ByteMeter, now: Callable[[], float]) -> None:
        self._decoder = decoder
        self._meter = meter
        self._now = now

    def decode_1xx_headers(self, headers: ResponseHeaderMap) -> None:
        self._meter.decompressed_header_received += _STATUS + _size(headers)
        self._decoder.decode_1xx_headers(headers)

    def decode_headers(self, headers: ResponseHeaderMap, end_stream: bool) -> None:
        self._meter.decompressed_header_received += _STATUS + _sent_size(headers)
        self._decoder.decode_headers(headers, end_stream)

    def decode_data(self, data: bytes, end_stream: bool) -> None:
        if data and self._meter.first_body_byte_time is None:
            self._meter.first_body_byte_time = self._now()
        self._decoder.decode_data(data, end_stream)

    def decode_trailers(self, trailers: HeaderMap) -> None:
        self._meter.decompressed_header_received += _size(trailers)
        self._decoder.decode_trailers(trailers)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._decoder, name)


class MeteredClientConnection(_Metered, ClientConnection):
    """The upstream side; only who takes the meter of a stream has it counted."""

    _handlers = _counting_resets(ClientConnection._handlers)

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.data = _Counted(self._count_sent)

    def new_stream(self, decoder: ResponseDecoder) -> ClientStream:
        take = getattr(decoder, "take_meter", None)
        if take is None:
            return super().new_stream(decoder)
        meter = ByteMeter()
        take(meter)
        watched = _Watched(decoder, meter, self._connection.dispatcher.monotonic_time)
        stream = super().new_stream(cast("ResponseDecoder", watched))
        stream.__class__ = _MeteredClientStream
        stream.meter = meter
        return stream

    def _on_header_block(self, stream_id: int, block: bytes, end_stream: bool) -> None:
        size, self.stripped = len(block) + self.stripped, 0
        self._count_received(stream_id, size, True)
        super()._on_header_block(stream_id, block, end_stream)
        self._meter = None

    def queue(self, frames: bytes) -> None:
        self._count_sent(frames)
        super().queue(frames)

    def _count_sent(self, frames: bytes) -> None:
        stream = self.streams.get(int.from_bytes(frames[5:9], "big")) if len(frames) >= _FRAME_HEAD else None
        if isinstance(stream, ClientStream) and stream.meter is not None and frames[3] != METADATA:
            stream.meter.wire_sent += len(frames)
            if frames[3] == HEADERS:
                stream.meter.header_sent += len(frames)
