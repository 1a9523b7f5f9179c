"""HTTP/1 connections that count what each stream takes on the wire, for those who log it.

Envoy: `StreamInfo::BytesMeter`, kept by `Http1::ConnectionImpl` and `StreamEncoderImpl`. Envoy always counts; here the
plain classes do not, and these take their place once a format has asked (`ServerContext.byte_meters`). Envoy's count is
the one to match: all bytes of a read belong to the stream that is under way then, also those of the next request; of a
header that is read three bytes are counted besides name and value, of one that is written its whole line.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

from ..byte_meter import ByteMeter
from ..codec import ResponseDecoder
from ..header_map import HeaderMap, RequestHeaderMap, ResponseHeaderMap
from .client_connection import ClientConnection
from .codec import HEAD, Http1Connection
from .header_lines import END_OF_HEAD
from .server_connection import ServerConnection

if TYPE_CHECKING:
    from ...network.connection import Connection

_BLANKS = b" \t\r"


class _Metered(Http1Connection):
    """What both sides count."""

    meter: ByteMeter
    _head_is_next = False

    def _start_counting(self, connection: Connection) -> None:
        self.meter = ByteMeter()
        self._send = connection.write
        self._write = self._count_write

    def _count_write(self, data: bytes) -> None:
        self.meter.wire_sent += len(data)
        if self._head_is_next:
            self._head_is_next = False
            first = data.find(b"\n") + 1
            self.meter.header_sent += data.find(b"\r\n\r\n") + 2 - first
        self._send(data)

    def _count_head(self, data: bytes) -> None:
        """`data` is everything that has come of a head; it counts once it is complete."""
        end = END_OF_HEAD(data, 0)
        if end is None:
            return
        size = 0
        for line in data[: end.start()].split(b"\n")[1:]:
            name, _, value = line.partition(b":")
            size += len(name) + len(value.strip(_BLANKS)) + 3
        self.meter.header_received += size
        self.meter.decompressed_header_received += size

    def _read_body(self, decoder: Any, data: bytes) -> tuple[bytes, bool, HeaderMap | None, bytes]:
        result = super()._read_body(decoder, data)
        if result[2] is not None:
            self.meter.header_received += sum(len(item[0]) + len(item[1]) + 3 for item in result[2].entries)
        return result

    def _write_trailers(self, trailers: HeaderMap) -> None:
        if self._settings.enable_trailers:
            self.meter.header_sent += sum(len(item[2]) for item in trailers.entries)
        super()._write_trailers(trailers)


class _Watched:
    """Stands before a decoder, and notes when the first byte of a body has come."""

    __slots__ = ("_decoder", "_meter", "_now")

    def __init__(self, decoder: ResponseDecoder, meter: ByteMeter, now: Callable[[], float]) -> None:
        self._decoder = decoder
        self._meter = meter
        self._now = now

    def decode_data(self, data: bytes, end_stream: bool) -> None:
        if data and self._meter.first_body_byte_time is None:
            self._meter.first_body_byte_time = self._now()
        self._decoder.decode_data(data, end_stream)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._decoder, name)


class MeteredServerConnection(_Metered, ServerConnection):
    """The downstream side."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._start_counting(self._connection)
        self._counted = False

    def dispatch(self, data: bytes) -> None:
        if self._decoder is None and not self._buffer:
            self.meter = ByteMeter()
        self.meter.wire_received += len(data)
        self._counted = True
        super().dispatch(data)

    def _read_head(self, data: bytes) -> bytes:
        if self._decoder is None and not self._counted:
            # The one before was answered while its own read was still looked at: what is left is the next one's.
            self.meter = ByteMeter()
            self.meter.wire_received = len(data)
        self._counted = False
        self._count_head(self._buffer + data)
        return super()._read_head(data)

    def encode_headers(self, headers: ResponseHeaderMap, end_stream: bool) -> None:
        self._head_is_next = True
        super().encode_headers(headers, end_stream)


class MeteredClientConnection(_Metered, ClientConnection):
    """The upstream side; each stream has a meter of its own, which outlives its turn on the connection."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._start_counting(self._connection)

    def new_stream(self, decoder: ResponseDecoder) -> ClientConnection:
        self.meter = ByteMeter()
        take = getattr(decoder, "take_meter", None)
        if take is None:
            return super().new_stream(decoder)
        take(self.meter)
        watched = _Watched(decoder, self.meter, self._connection.dispatcher.monotonic_time)
        return super().new_stream(cast(ResponseDecoder, watched))

    def dispatch(self, data: bytes) -> None:
        self.meter.wire_received += len(data)
        super().dispatch(data)

    def _read_head(self, data: bytes) -> bytes:
        if self._state == HEAD:
            self._count_head(self._buffer + data)
        return super()._read_head(data)

    def encode_headers(self, headers: RequestHeaderMap, end_stream: bool) -> None:
        self._head_is_next = True
        super().encode_headers(headers, end_stream)
