"""What both sides of HTTP/2 do with the frames of the peer.

Envoy: `Http2::ConnectionImpl` and the nghttp2 session below it. From the socket up, each on the one before it:

    outbound        what leaves, in order
    flow_control    windows
    negotiation     settings
    header_blocks   HEADERS and CONTINUATION
    stream_ends     how streams end
    connection      every other frame, and the ends

`dispatch` reads whole frames.

A peer that breaks the protocol meets one of three ends, as with nghttp2: what breaks the framing is told by GOAWAY;
what breaks the rules of streams or messages ends the connection without a word (`stream_error_on_invalid_http_message`
makes the latter an RST_STREAM); what is about one stream only is an RST_STREAM. All but the last are a
`CodecProtocolError` for the owner, who closes the connection.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar, Final, NoReturn

from ...errors import CodecProtocolError
from ..codec import StreamResetReason
from .flood import Http2ProtocolError
from .flow_control import LOST, UNKNOWN
from .frames import (
    ACK,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_METADATA,
    END_STREAM,
    FLOW_CONTROL_ERROR,
    FRAME_SIZE_ERROR,
    GOAWAY,
    HEADERS,
    MAX_FRAME,
    MAX_STREAM_ID,
    METADATA,
    NO_ERROR,
    PADDED,
    PING,
    PROTOCOL_ERROR,
    REFUSED_STREAM,
    STREAM_CLOSED,
    frame,
    goaway,
    read_header,
)
from .hpack import HpackError
from .metadata import MetadataDecoder
from .stream import UNOPENED
from .stream_ends import StreamEnds

if TYPE_CHECKING:
    from ...network.connection import Connection
    from ..codec_stats import Http2CodecStats
    from .keepalive import Keepalive
    from .settings import Http2Settings
    from .stream import Http2Stream

_LARGE: Final = 2 * MAX_FRAME
_FULL: Final = 9 + MAX_FRAME


Handler = Callable[[Any, int, int, bytes], None]
"""Takes a frame: of which connection, its stream, flags and payload."""


class _FramingError(Http2ProtocolError):
    """What is told by GOAWAY (`farewell`)."""

    def __init__(self, farewell: bytes) -> None:
        super().__init__(LOST)
        self.farewell = farewell


class Http2Connection(StreamEnds):
    """One end of a connection; `ServerConnection` and `ClientConnection` say what a header block means.

    Attributes:
        last_stream: the highest number that the peer has opened.
        goaway_code: why the peer takes no new streams, as it says.
    """

    protocol = "HTTP/2"
    _own_numbers = 0
    """What is left of the numbers of streams that this side opens when they are divided by two."""
    extra_bytes = half_closes = False
    _handlers: ClassVar[tuple[Handler, ...]]
    """By the type of the frame."""

    def __init__(
        self, connection: Connection, settings: Http2Settings, stats: Http2CodecStats, post: Callable[[Any], None]
    ) -> None:
        super().__init__(connection, settings, stats, post)
        self.keepalive: Keepalive | None = None
        """Put there by the owner, where there is to be one."""
        self._goaway_sent = MAX_STREAM_ID
        """Streams above are not looked at."""
        self.last_stream = 0
        self.goaway_code = NO_ERROR
        self._last_taken = MAX_STREAM_ID
        """Of ours, that the peer has looked at: it may say less from time to time, and never more."""
        self._buffer = b""
        self._failure: _FramingError | None = None
        """What the connection ends for when the bytes at hand have been read."""
        self._greeting = b""
        """Our own first SETTINGS, while the dispatch that sends them lasts."""

    # -- for the owner

    def dispatch(self, data: bytes) -> None:
        if self.over:
            return
        if self.keepalive is not None:
            self.keepalive.on_bytes()
        begun = b""
        if self._buffer:
            if len(data) > _LARGE and len(self._buffer) >= 9 and self._settled:
                begun = self._buffer
            else:
                data = self._buffer + data
            self._buffer = b""
        if self._out:
            self.flush()
            if self.over:
                return  # the connection could not take it, and has ended: what comes is for nobody
        self.dispatching = True
        try:
            at = self._complete(begun, data) if begun else self._begin(data)
            self._buffer = data if at < 0 else self._read(data, at)
            if self._told:
                self.tell_again()
            if self._resumed:
                self.resume()
            if self._failure is not None:
                raise self._failure
        except CodecProtocolError as error:
            # Nothing that was to answer these bytes leaves any more, as nothing has left yet.
            announced = b"".join([each for each in self._out if each[3] == GOAWAY])
            self._out = [self._greeting + announced + error.farewell] if isinstance(error, _FramingError) else []
            self._urgent.clear()
            self.data.clear()
            self._dropped.clear()
            self._forget_ends(error)
            self.over = True
            self._buffer = b""
            raise
        finally:
            if self._urgent or self.data or self._dropped:
                self._sort()
            if self.finishing or self.finishing_first:
                ends = self.finishing_first + self.finishing
                self.finishing_first, self.finishing = [], []
                if self._resets:
                    self.stats.tx_reset += self._resets
                    self._resets = 0
                    self._no_messages.clear()
                for stream in ends:
                    if stream in self._broken:
                        self._end_broken(stream)
                    else:
                        stream.complete()
                if self.data:
                    self._sort()
            self.dispatching = False
            self._greeting = b""
            if self._out:
                self.flush()
        if self.flood is not None and not self.over:
            self.over = True
            raise self.flood

    def _complete(self, begun: bytes, data: bytes) -> int:
        """Take the frame that has `begun`, and where the next one begins: rather than copy all of `data` behind it."""
        high, low, *_ = read_header(begun)
        missing = 9 + (high << 8 | low) - len(begun)
        self._read(begun + data[:missing], 0)
        return len(data) if self.over else missing

    def _read(self, data: bytes, at: int) -> bytes:
        """Take the frames from `at`; what is left is the beginning of another one."""
        size = len(data)
        while size - at >= 9:
            high, low, kind, flags, stream_id = read_header(data, at)
            length = high << 8 | low
            if not self._settled:
                self._expect_settings(kind, flags)
            if length > MAX_FRAME:
                self._fail(FRAME_SIZE_ERROR, b"too large frame size")
            end = at + 9 + length
            if self._block is not None and (kind != CONTINUATION or stream_id != self._block_stream):
                self._fail(PROTOCOL_ERROR, b"unexpected non-CONTINUATION frame or stream_id is invalid")
            if end > size:
                break
            if kind == HEADERS and flags & ~END_STREAM == END_HEADERS and length and not self._constraints.empty:
                self._on_header_block(stream_id & MAX_STREAM_ID, data[at + 9 : end], flags != END_HEADERS)
            elif kind == HEADERS:
                self._on_headers(stream_id & MAX_STREAM_ID, flags, data[at + 9 : end])
            elif kind == DATA:
                if length == MAX_FRAME and not flags and size - end >= _FULL:
                    end = self._on_data_row(stream_id & MAX_STREAM_ID, data, at)
                else:
                    self._on_data(stream_id & MAX_STREAM_ID, flags, data[at + 9 : end])
            elif kind <= CONTINUATION:
                self._handlers[kind](self, stream_id & MAX_STREAM_ID, flags, data[at + 9 : end])
            elif kind == METADATA:
                self._on_metadata(stream_id & MAX_STREAM_ID, flags, data[at + 9 : end])
            at = end
            if self.over:
                break
        return data[at:]

    def go_away(self) -> None:
        """Take no more streams; those that are open go on."""
        self.stats.goaway_sent += 1
        self._goaway_sent = self.last_stream
        self.queue(goaway(self.last_stream, NO_ERROR))

    def shutdown_notice(self) -> None:
        """Ask the peer to open no more streams; what it has opened meanwhile is still taken. It counts when it ends."""
        self.queue(goaway(MAX_STREAM_ID, NO_ERROR))

    def ping(self, payload: bytes) -> None:
        self._queue_urgent(frame(PING, 0, 0, payload))

    def on_connection_closed(self, reason: StreamResetReason = StreamResetReason.CONNECTION_TERMINATION) -> None:
        """The connection is gone: every stream is reset."""
        self.over = True
        if self.keepalive is not None:
            self.keepalive.stop()
        streams, self.streams = self.streams, {}
        self.stats.streams_active -= len(streams)
        self._blocked.clear()
        for stream in reversed(streams.values()):
            # As in Envoy, the last one first.
            self._abandon(stream, reason, self._blamed.get(stream.id, ""))

    # -- what the sides do

    def _greet(self, hello: bytes) -> None:
        """Say it with the first bytes of the peer that are read; PING and SETTINGS come before windows."""
        self._greeting = hello
        if hello:
            self._urgent.append(hello)
        if more := self._more_window():
            self._out.append(more)

    def _begin(self, data: bytes) -> int:
        """Where the frames begin in `data`; -1 if that is not known yet."""
        return 0

    def _on_peer_leaves(self, last_stream: int) -> None:
        """The peer takes no new streams; it has looked at none above `last_stream`."""

    # -- frames

    def _on_data(self, stream_id: int, flags: int, payload: bytes) -> None:
        length = len(payload)
        self._outstanding += length
        if self._outstanding > self._window:
            self._fail(FLOW_CONTROL_ERROR)
        stream = self.streams.get(stream_id)
        if stream is None or stream.remote_end:
            if not stream_id:
                self._fail(PROTOCOL_ERROR, b"DATA: stream_id == 0")
            if self._is_idle(stream_id):
                self._fail(PROTOCOL_ERROR, b"DATA: stream in idle")
            if stream is not None and not self._ignores(stream):
                self._fail(STREAM_CLOSED, b"DATA: stream in half-closed(remote)")
            self._consume_of_connection(length)
            return
        if stream.expected == UNOPENED:
            self._fail(PROTOCOL_ERROR, b"DATA: stream not opened")
        stream.outstanding += length
        if stream.outstanding > self._initial_window:
            self._break_stream(stream, FLOW_CONTROL_ERROR)
            self._consume_of_connection(length)
            return
        if flags & PADDED:
            if not payload or payload[0] >= length:
                self._fail(PROTOCOL_ERROR, b"DATA: invalid padding")
            payload = payload[1 : length - payload[0]]
        end_stream = bool(flags & END_STREAM)
        size = len(payload)
        if size != length and not end_stream:
            # Nobody waits for padding: its window is given back first, and by itself.
            self.consume(stream, length - size)
            length = size
        if not size and not end_stream:
            self._constraints.on_empty_frame(stream_id)
        else:
            self._constraints.empty = 0
        if stream.expected >= 0:
            stream.expected -= size
            if stream.expected < 0 or (end_stream and stream.expected):
                self._on_bad_length(stream, size, end_stream)
                self._consume_of_connection(length)
                return
        if end_stream:
            stream.remote_end = True
            if stream.local_end and stream.waiting is None:
                self.finishing.append(stream)
        if stream.read_disabled or not end_stream:
            stream.take(length)
        else:
            # Nobody sends more on the stream: only the connection needs its window again.
            self._consumed = consumed = self._consumed + length
            if consumed >= self._window // 2:
                self._consume_of_connection(0)
        decoder = stream.decoder
        if decoder is not None and (size or end_stream):
            decoder.decode_data(payload, end_stream)

    def _on_data_row(self, stream_id: int, data: bytes, at: int) -> int:
        """Take as one what full frames of one stream bring in a row, and where they end.

        Only as many as break no rule and give the peer no window before the last one, and only of a body whose length
        is known: where a body goes on in chunks, a chunk is what a frame was. And only while somebody reads it: of what
        waits until then there may be a window full, and pieces of one size leave no holes in the memory.
        """
        end = at + _FULL
        stream = self.streams.get(stream_id)
        if stream is not None and not stream.remote_end and stream.expected > 0 and not stream.read_disabled:
            room = min(
                self._window - self._outstanding,
                self._initial_window - stream.outstanding,
                stream.expected,
                self._window // 2 - self._consumed + MAX_FRAME - 1,
                self._initial_window // 2 - stream.consumed + MAX_FRAME - 1,
            )
            most = min(len(data), at + int(room) // MAX_FRAME * _FULL) - _FULL
            head = data[at : at + 9]
            while end <= most and data.startswith(head, end):
                end += _FULL
            if stream.meter is not None:
                stream.meter.wire_received += (end - at - 1) // _FULL * 9
        if end == at + _FULL:
            payload = data[at + 9 : end]
        else:
            view = memoryview(data)
            payload = b"".join([view[each + 9 : each + _FULL] for each in range(at, end, _FULL)])
        self._on_data(stream_id, 0, payload)
        return end

    def _on_metadata(self, stream_id: int, flags: int, payload: bytes) -> None:
        stream = self.streams.get(stream_id)
        if stream is None or stream.remote_end or not self.settings.allow_metadata:
            return
        if stream.metadata is None:
            stream.metadata = MetadataDecoder(self.settings.max_metadata_size)
        if not stream.metadata.takes(len(payload)):
            self._break_off()
        try:
            metadata = stream.metadata.receive(payload, flags == END_METADATA)
        except HpackError:
            self._break_off()
        if metadata:
            if stream.decoder is not None:
                stream.decoder.decode_metadata(metadata)
        elif metadata is not None:
            self.stats.metadata_empty_frames += 1

    def _on_priority(self, stream_id: int, flags: int, payload: bytes) -> None:
        self._constraints.on_priority()
        if len(payload) != 5:
            self._fail(FRAME_SIZE_ERROR)

    def _on_rst_stream(self, stream_id: int, flags: int, payload: bytes) -> None:
        if len(payload) != 4:
            self._fail(FRAME_SIZE_ERROR)
        stream = self.streams.get(stream_id)
        if stream is not None and not (self._ended_is_over and stream.local_end and stream in self.finishing):
            self.stats.rx_reset += 1
            self._dropped.add(stream_id)
            reason, details = self._reset_by_peer(stream, int.from_bytes(payload, "big"))
            if self._broken:
                reason, details = self._end_of_broken(stream, reason, details)
            self.close_stream(stream)
            self._abandon(stream, reason, details)
        elif not stream_id or self._is_idle(stream_id):
            self._break_off()
        self._on_reset()

    def _on_reset(self) -> None:
        """The peer has reset a stream, or one that is over already."""

    def _reset_by_peer(self, stream: Http2Stream, code: int) -> tuple[StreamResetReason, str]:
        if code == REFUSED_STREAM:
            return StreamResetReason.REMOTE_REFUSED_STREAM_RESET, "http2.remote_refuse"
        return StreamResetReason.REMOTE_RESET, "http2.remote_reset"

    def _on_push_promise(self, stream_id: int, flags: int, payload: bytes) -> None:
        self._break_off(UNKNOWN, stream_id)

    def _on_ping(self, stream_id: int, flags: int, payload: bytes) -> None:
        if len(payload) != 8:
            self._fail(FRAME_SIZE_ERROR)
        if stream_id:
            self._break_off(UNKNOWN, stream_id)
        if flags & ACK:
            self._on_ping_ack(payload)
        else:
            self._queue_urgent(frame(PING, ACK, 0, payload))

    def _on_ping_ack(self, payload: bytes) -> None:
        """The peer is there."""
        if self.keepalive is not None:
            self.keepalive.on_answer()

    def on_flush_pending(self, stream: Http2Stream) -> None:
        """`stream` has been given all that is to be sent, and waits for window."""

    def _on_goaway(self, stream_id: int, flags: int, payload: bytes) -> None:
        if len(payload) < 8:
            self._fail(FRAME_SIZE_ERROR)
        if stream_id:
            self._break_off(UNKNOWN, stream_id)
        last_stream = int.from_bytes(payload[:4], "big") & MAX_STREAM_ID
        if last_stream > self._last_taken or (last_stream and last_stream & 1 != self._own_numbers):
            self._break_off()
        self._last_taken = last_stream
        self.goaway_code = int.from_bytes(payload[4:8], "big")
        self._on_peer_leaves(last_stream)

    # -- ends

    def _fail(self, code: int, debug: bytes = b"") -> NoReturn:
        """The framing is broken: say so, and end."""
        raise _FramingError(goaway(self.last_stream, code, debug))

    def _fail_soon(self, code: int) -> None:
        """Likewise, once what is at hand has been read."""
        if self._failure is None:
            self._failure = _FramingError(goaway(self.last_stream, code))


Http2Connection._handlers = (
    Http2Connection._on_data,
    Http2Connection._on_headers,
    Http2Connection._on_priority,
    Http2Connection._on_rst_stream,
    Http2Connection._on_settings,
    Http2Connection._on_push_promise,
    Http2Connection._on_ping,
    Http2Connection._on_goaway,
    Http2Connection._on_window_update,
    Http2Connection._on_continuation,
)
