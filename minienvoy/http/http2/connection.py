"""What both sides of HTTP/2 do: frames in, frames out, settings, windows.

Envoy: `Http2::ConnectionImpl` and the nghttp2 session below it.

`dispatch` reads whole frames. Whatever is written meanwhile, and whatever is written in the same turn of the event loop
otherwise, leaves in one write: many streams share a connection, and a system call for each of their answers would cost
more than the answers.

A peer that breaks the protocol meets one of three ends, as with nghttp2: what breaks the framing is told by GOAWAY;
what breaks the rules of streams or messages ends the connection without a word (`stream_error_on_invalid_http_message`
makes the latter an RST_STREAM); what is about one stream only is an RST_STREAM. All but the last are a
`CodecProtocolError` for the owner, who closes the connection.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, NoReturn

from ...errors import CodecProtocolError
from ..codec import StreamResetReason
from .fields import MESSAGING_RULE, STATIC_ENTRIES, MessageError, make_entry
from .flood import ProtocolConstraints
from .frames import (
    ACK,
    COMPRESSION_ERROR,
    CONTINUATION,
    DATA,
    DEFAULT_WINDOW,
    END_HEADERS,
    END_STREAM,
    ENHANCE_YOUR_CALM,
    FLOW_CONTROL_ERROR,
    FRAME_SIZE_ERROR,
    HAS_PRIORITY,
    HEADERS,
    INTERNAL_ERROR,
    MAX_FRAME,
    MAX_STREAM_ID,
    MAX_WINDOW,
    NO_ERROR,
    PADDED,
    PING,
    PROTOCOL_ERROR,
    REFUSED_STREAM,
    RST_STREAM,
    SETTINGS,
    SETTINGS_ENABLE_CONNECT_PROTOCOL,
    SETTINGS_ENABLE_PUSH,
    SETTINGS_HEADER_TABLE_SIZE,
    SETTINGS_INITIAL_WINDOW_SIZE,
    SETTINGS_MAX_CONCURRENT_STREAMS,
    SETTINGS_MAX_FRAME_SIZE,
    STREAM_CLOSED,
    frame,
    goaway,
    read_header,
    read_setting,
    rst_stream,
    settings_frame,
    window_update,
)
from .hpack import DEFAULT_TABLE_SIZE, Decoder, HeaderListTooLarge, HpackError, table_size_update

if TYPE_CHECKING:
    from ...network.connection import Connection
    from ..codec_stats import Http2CodecStats
    from ..header_map import Entry
    from .keepalive import Keepalive
    from .settings import Http2Settings
    from .stream import Http2Stream

_MAX_CONTINUATIONS: Final = 512
_MAX_SETTINGS: Final = 32
_MAX_SKIPPED: Final = 1 << 20
_LOST: Final = "codec_error:The_user_callback_function_failed"
_UNKNOWN: Final = "http2.unknown.nghttp2.error"


class _FramingError(CodecProtocolError):
    """What is told by GOAWAY (`farewell`)."""

    def __init__(self, farewell: bytes) -> None:
        super().__init__(_LOST)
        self.farewell = farewell


class Http2Connection:
    """One end of a connection; `ServerConnection` and `ClientConnection` say what a header block means.

    Attributes:
        streams: that are open, by their number.
        send_window: bytes the peer takes now, of all streams together.
        peer_initial_window: of a new stream.
        peer_max_streams: that the peer lets us open at the same time.
        table_update: what the next header block has to begin with.
        data_frames_sent: so far.
        last_stream: the highest number that the peer has opened.
        goaway_received: the peer takes no new streams.
        goaway_code: why, as the peer says.
        dispatching: bytes of the peer are being read.
    """

    protocol = "HTTP/2"
    extra_bytes = False
    _hears_of_closed_streams = True
    _joined = 0
    """Kinds of headers that are one, however often they come."""

    def __init__(
        self, connection: Connection, settings: Http2Settings, stats: Http2CodecStats, post: Callable[[Any], None]
    ) -> None:
        """`post` calls back when what is going on now is done (`Dispatcher.post`)."""
        self.settings = settings
        self.stats = stats
        self.buffer_limit = connection.buffer_limit or 1 << 20
        self._connection = connection
        self._post = post
        self._write = connection.write
        self.on_flood: Callable[[CodecProtocolError], None] | None = None
        """Told when a limit is passed while nothing is read; put there by the owner."""
        self.keepalive: Keepalive | None = None
        """Put there by the owner, where there is to be one."""
        self._goaway_sent = MAX_STREAM_ID
        """Streams above are not looked at."""
        self.streams: dict[int, Http2Stream] = {}
        self.send_window = DEFAULT_WINDOW
        self.peer_initial_window = DEFAULT_WINDOW
        self.peer_max_streams = MAX_STREAM_ID
        self.peer_allows_connect = False
        self.table_update = b""
        self.data_frames_sent = 0
        self.last_stream = 0
        self.goaway_received = False
        self.goaway_code = NO_ERROR
        self._encoder_table_size = DEFAULT_TABLE_SIZE
        self._decoder = Decoder(
            make_entry,
            STATIC_ENTRIES,
            settings.max_headers_size,
            settings.max_headers_count,
            settings.hpack_table_size,
            self._joined,
        )
        self._constraints = ProtocolConstraints(settings, stats)
        self._initial_window = settings.initial_stream_window_size
        self._window = max(DEFAULT_WINDOW, settings.initial_connection_window_size)
        self._outstanding = 0
        """Bytes of DATA that the peer has not been given window for again."""
        self._consumed = 0
        """Those among them that it can be given window for."""
        self._blocked: dict[Http2Stream, None] = {}
        """Streams that wait for window, the longest first."""
        self._buffer = b""
        self._block: list[bytes] | None = None
        self._block_stream = self._block_flags = self._block_size = self._continuations = 0
        self._out: list[bytes] = []
        self._urgent: list[bytes] = []
        self.data: list[bytes] = []
        """As nghttp2 has it, what one dispatch leads to is sorted: PING and SETTINGS, then HEADERS and the like, then
        DATA of all streams and what ends them."""
        self._dropped: set[int] = set()
        """Streams that were reset in this dispatch: nothing else of them leaves any more."""
        self._greeting = b""
        """Our own first SETTINGS, while the dispatch that sends them lasts."""
        self._settled = False
        """The peer has sent its first SETTINGS."""
        self._unread_frames = 0
        self._control_frames = 0
        self._flush_posted = False
        self.dispatching = False
        self._over = False
        """No more is read."""
        self.too_large = ""
        """What was too large in the last block that was."""
        self.part: list[Entry] = []
        """What fitted of it."""
        self.finishing: list[Http2Stream] = []
        """Streams that end when the bytes at hand have been read: for the peer they have not ended yet."""

    # -- for the owner

    def dispatch(self, data: bytes) -> None:
        if self._over:
            return
        if self.keepalive is not None:
            self.keepalive.on_bytes()
        if self._buffer:
            data = self._buffer + data
            self._buffer = b""
        if self._out:
            self.flush()
        self.dispatching = True
        try:
            size = len(data)
            at = self._begin(data)
            if at < 0:
                self._buffer = data
                return
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
                    self._on_data(stream_id & MAX_STREAM_ID, flags, data[at + 9 : end])
                elif kind <= CONTINUATION:
                    _HANDLERS[kind](self, stream_id & MAX_STREAM_ID, flags, data[at + 9 : end])
                at = end
                if self._over:
                    break
            self._buffer = data[at:]
        except CodecProtocolError as error:
            # Nothing that was to answer these bytes leaves any more, as nothing has left yet.
            self._out = [self._greeting + error.farewell] if isinstance(error, _FramingError) else []
            self._urgent.clear()
            self.data.clear()
            self._dropped.clear()
            self.finishing.clear()
            self._over = True
            self._buffer = b""
            raise
        finally:
            if self.finishing:
                for stream in self.finishing:
                    stream.complete()
                self.finishing.clear()
            self.dispatching = False
            self._greeting = b""
            if self._urgent or self.data or self._dropped:
                self._sort()
            if self._out:
                self.flush()

    def go_away(self) -> None:
        """Take no more streams; those that are open go on."""
        self.stats.goaway_sent += 1
        self._goaway_sent = self.last_stream
        self.queue(goaway(self.last_stream, NO_ERROR))

    def shutdown_notice(self) -> None:
        """Ask the peer to open no more streams; what it has opened meanwhile is still taken."""
        self.stats.goaway_sent += 1
        self.queue(goaway(MAX_STREAM_ID, NO_ERROR))

    def ping(self, payload: bytes) -> None:
        self._queue_urgent(frame(PING, 0, 0, payload))

    def on_connection_closed(self, reason: StreamResetReason = StreamResetReason.CONNECTION_TERMINATION) -> None:
        """The connection is gone: every stream is reset."""
        self._over = True
        if self.keepalive is not None:
            self.keepalive.stop()
        streams, self.streams = self.streams, {}
        self.stats.streams_active -= len(streams)
        self._blocked.clear()
        for stream in streams.values():
            self._abandon(stream, reason, "")

    # -- for streams

    def queue(self, frames: bytes) -> None:
        """Write `frames` in this turn of the event loop."""
        self._out.append(frames)
        if not self.dispatching and not self._flush_posted:
            self._flush_posted = True
            self._post(self._on_posted)

    def queue_data(self, frames: bytes) -> None:
        """DATA, or what may not overtake it."""
        if self.dispatching:
            self.data.append(frames)
        else:
            self.queue(frames)

    def queue_control(self, frames: bytes) -> None:
        """A frame that answers the peer: too many of them unread are a flood."""
        self._count_control()
        self.queue(frames)

    def _queue_urgent(self, frames: bytes) -> None:
        self._count_control()
        if self.dispatching:
            self._urgent.append(frames)
        else:
            self.queue(frames)

    def _count_control(self) -> None:
        self._control_frames += 1
        if self._control_frames > self.settings.max_outbound_control_frames and self.dispatching:
            self._constraints.on_outbound_flood(True)

    def _sort(self) -> None:
        if self._urgent or self.data:
            self._out = [*self._urgent, *self._out, *self.data]
            self._urgent.clear()
            self.data.clear()
        if self._dropped:
            dropped = self._dropped
            self._out = [
                each for each in self._out if each[3] == RST_STREAM or int.from_bytes(each[5:9], "big") not in dropped
            ]
            dropped.clear()

    def flush(self) -> None:
        """Write now what is queued."""
        out = self._out
        if out:
            self._out = []
            self._write(out[0] if len(out) == 1 else b"".join(out))
        if self._connection.is_flushed:
            self._control_frames = self._unread_frames = 0
        elif out:
            self._unread_frames += len(out)
            if self._unread_frames > self.settings.max_outbound_frames and not self._over:
                self._over = True
                self._post(self._on_unread)

    def _on_unread(self) -> None:
        """The peer lets pile up what it has asked for."""
        try:
            self._constraints.on_outbound_flood(False)
        except CodecProtocolError as error:
            if self.on_flood is not None:
                self.on_flood(error)

    def _on_posted(self) -> None:
        self._flush_posted = False
        if self._out:
            self.flush()

    def block(self, stream: Http2Stream) -> None:
        """`stream` has to wait for window."""
        self._blocked[stream] = None

    def consume(self, stream: Http2Stream, length: int) -> None:
        """The owner has taken `length` bytes: give the peer as much window again, in not too small pieces."""
        self._consume_of_connection(length)
        if not stream.remote_end and not stream.closed:
            stream.consumed = consumed = stream.consumed + length
            if consumed * 2 >= self._initial_window:
                self.queue(window_update(stream.id, consumed))
                stream.outstanding -= consumed
                stream.consumed = 0

    def _consume_of_connection(self, length: int) -> None:
        self._consumed = consumed = self._consumed + length
        if consumed * 2 >= self._window:
            self.queue(window_update(0, consumed))
            self._outstanding -= consumed
            self._consumed = 0

    def close_stream(self, stream: Http2Stream) -> None:
        """Both sides have ended, or one has given up."""
        stream.closed = True
        if self.streams.pop(stream.id, None) is None:
            return
        self.stats.streams_active -= 1
        if stream.waiting is not None or stream.held:
            # Most have nothing left to let go of.
            self._blocked.pop(stream, None)
            if held := stream.forget():
                self._consume_of_connection(held)
        if self._hears_of_closed_streams:
            self._on_stream_closed(stream)

    # -- what the sides do

    def _begin(self, data: bytes) -> int:
        """Where the frames begin in `data`; -1 if that is not known yet."""
        return 0

    def _on_header_block(self, stream_id: int, block: bytes, end_stream: bool) -> None:
        raise NotImplementedError

    def _on_headers_begin(self, stream_id: int) -> None:
        """A header block has begun, and is not complete."""

    def _on_stream_closed(self, stream: Http2Stream) -> None:
        """A stream is no longer among `streams`."""

    def _is_idle(self, stream_id: int) -> bool:
        """The stream has not been opened yet."""
        raise NotImplementedError

    def _on_peer_settings(self) -> None:
        """The peer's settings have changed."""

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
            if stream is not None:
                self._fail(STREAM_CLOSED, b"DATA: stream in half-closed(remote)")
            self._consume_of_connection(length)
            return
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
        if not size and not end_stream:
            self._constraints.on_empty_frame()
        else:
            self._constraints.empty = 0
        if stream.expected >= 0:
            stream.expected -= size
            if stream.expected < 0 or (end_stream and stream.expected):
                self._break_stream(stream, PROTOCOL_ERROR, MESSAGING_RULE, self._of_bad_length)
                self._consume_of_connection(length)
                return
        if end_stream:
            stream.remote_end = True
        stream.take(length)
        decoder = stream.decoder
        if end_stream and stream.local_end and stream.waiting is None:
            stream.finish()
        if decoder is not None and (size or end_stream):
            decoder.decode_data(payload, end_stream)

    def _on_headers(self, stream_id: int, flags: int, payload: bytes) -> None:
        if not stream_id:
            self._break_off(_UNKNOWN)
        if flags & (PADDED | HAS_PRIORITY):
            begin, padding = 0, 0
            if flags & PADDED:
                begin, padding = 1, payload[0] if payload else 255
            if flags & HAS_PRIORITY:
                if int.from_bytes(payload[begin : begin + 4], "big") & MAX_STREAM_ID == stream_id:
                    self._break_off(_UNKNOWN)
                begin += 5
            if begin + padding > len(payload):
                self._fail(PROTOCOL_ERROR, b"HEADERS: invalid padding")
            payload = payload[begin : len(payload) - padding]
        if not payload and not flags & END_STREAM:
            self._constraints.on_empty_frame()
        elif self._constraints.empty:
            self._constraints.empty = 0
        if flags & END_HEADERS:
            self._on_header_block(stream_id, payload, bool(flags & END_STREAM))
        else:
            self._on_headers_begin(stream_id)
            self._block = [payload]
            self._block_size = len(payload)
            self._continuations = 0
            self._block_stream = stream_id
            self._block_flags = flags

    def _on_continuation(self, stream_id: int, flags: int, payload: bytes) -> None:
        block = self._block
        if block is None:
            self._fail(PROTOCOL_ERROR, b"CONTINUATION: unexpected")
        if not payload and not flags & END_HEADERS:
            self._constraints.on_empty_frame()
        block.append(payload)
        self._continuations += 1
        if self._continuations > _MAX_CONTINUATIONS:
            self._break_off("codec_error:Too_many_CONTINUATION_frames_following_a_HEADER_frame")
        self._block_size += len(payload)
        if flags & END_HEADERS:
            self._block = None
            self._on_header_block(stream_id, b"".join(block), bool(self._block_flags & END_STREAM))
        elif self._block_size > self.settings.max_headers_size:
            if self._continuations * MAX_FRAME > _MAX_SKIPPED + self.settings.max_headers_size:
                # Envoy reads on up to the number of frames; so much work is more than we do for nothing.
                self._break_off("http2.header_list_size_too_large")
            self._block = [self._skip_block(b"".join(block))]
            self._block_size = 0

    def _skip_block(self, block: bytes) -> bytes:
        """There is more of a header block than may be, and it goes on: read it for the table's sake only."""
        stream = self.streams.get(self._block_stream)
        if stream is not None:
            self.stats.header_overflow += 1
            self._break_stream(stream, INTERNAL_ERROR, "http2.header_list_size_too_large")
        try:
            return self._decoder.skip(block)
        except HpackError:
            self._fail(COMPRESSION_ERROR)

    def _on_priority(self, stream_id: int, flags: int, payload: bytes) -> None:
        self._constraints.on_priority()
        if len(payload) != 5:
            self._fail(FRAME_SIZE_ERROR)

    def _on_rst_stream(self, stream_id: int, flags: int, payload: bytes) -> None:
        if len(payload) != 4:
            self._fail(FRAME_SIZE_ERROR)
        stream = self.streams.get(stream_id)
        if stream is None:
            if not stream_id or self._is_idle(stream_id):
                self._break_off(_UNKNOWN)
            return
        self.stats.rx_reset += 1
        self._dropped.add(stream_id)
        reason, details = self._reset_by_peer(stream, int.from_bytes(payload, "big"))
        self.close_stream(stream)
        self._abandon(stream, reason, details)

    def _reset_by_peer(self, stream: Http2Stream, code: int) -> tuple[StreamResetReason, str]:
        if code == REFUSED_STREAM:
            return StreamResetReason.REMOTE_REFUSED_STREAM_RESET, "http2.remote_refuse"
        return StreamResetReason.REMOTE_RESET, "http2.remote_reset"

    def _on_settings(self, stream_id: int, flags: int, payload: bytes) -> None:
        if len(payload) % 6 or (flags & ACK and payload):
            self._fail(FRAME_SIZE_ERROR)
        if stream_id:
            self._break_off(_UNKNOWN)
        if len(payload) > 6 * _MAX_SETTINGS:
            self._fail(ENHANCE_YOUR_CALM, b"SETTINGS: too many setting entries")
        if flags & ACK:
            if self.settings.hpack_table_size < DEFAULT_TABLE_SIZE:
                self._decoder.allow_table_size(self.settings.hpack_table_size)
            return
        for identifier, value in read_setting(payload):
            if identifier == SETTINGS_INITIAL_WINDOW_SIZE:
                if value > MAX_WINDOW:
                    self._break_off(_UNKNOWN)
                self._change_initial_window(value)
            elif identifier == SETTINGS_HEADER_TABLE_SIZE:
                size = min(value, DEFAULT_TABLE_SIZE)
                if size != self._encoder_table_size:
                    self._encoder_table_size = size
                    self.table_update = table_size_update(size)
            elif identifier == SETTINGS_MAX_CONCURRENT_STREAMS:
                self.peer_max_streams = value
            elif identifier == SETTINGS_MAX_FRAME_SIZE:
                if not MAX_FRAME <= value < 1 << 24:
                    self._break_off(_UNKNOWN)
            elif identifier == SETTINGS_ENABLE_PUSH:
                if value > 1:
                    self._break_off(_UNKNOWN)
            elif identifier == SETTINGS_ENABLE_CONNECT_PROTOCOL:
                if value > 1:
                    self._break_off(_UNKNOWN)
                self.peer_allows_connect = bool(value)
        self._queue_urgent(frame(SETTINGS, ACK, 0))
        self._on_peer_settings()

    def _change_initial_window(self, value: int) -> None:
        difference = value - self.peer_initial_window
        self.peer_initial_window = value
        for stream in tuple(self.streams.values()):
            stream.send_window += difference
            if stream.send_window > MAX_WINDOW:
                self._break_off(_UNKNOWN)
        if difference > 0:
            self._unblock()

    def _expect_settings(self, kind: int, flags: int) -> None:
        if kind != SETTINGS or flags & ACK:
            self._fail(PROTOCOL_ERROR, b"SETTINGS expected")
        self._settled = True

    def _on_push_promise(self, stream_id: int, flags: int, payload: bytes) -> None:
        self._break_off(_UNKNOWN)

    def _on_ping(self, stream_id: int, flags: int, payload: bytes) -> None:
        if len(payload) != 8:
            self._fail(FRAME_SIZE_ERROR)
        if stream_id:
            self._break_off(_UNKNOWN)
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
            self._break_off(_UNKNOWN)
        self.goaway_received = True
        self.goaway_code = int.from_bytes(payload[4:8], "big")
        self._on_peer_leaves(int.from_bytes(payload[:4], "big") & MAX_STREAM_ID)

    def _on_window_update(self, stream_id: int, flags: int, payload: bytes) -> None:
        self._constraints.on_window_update(self.data_frames_sent)
        if len(payload) != 4:
            self._fail(FRAME_SIZE_ERROR)
        increment = int.from_bytes(payload, "big") & MAX_WINDOW
        if not stream_id:
            self.send_window += increment
            if not increment or self.send_window > MAX_WINDOW:
                self._break_off(_UNKNOWN)
            if self._blocked:
                self._unblock()
            return
        stream = self.streams.get(stream_id)
        if stream is None:
            if self._is_idle(stream_id):
                self._break_off(_UNKNOWN)
            return
        stream.send_window += increment
        if not increment or stream.send_window > MAX_WINDOW:
            self._break_off(_UNKNOWN)
        stream.pump()

    def _unblock(self) -> None:
        """There is window again: every stream that waited gets its turn, who waited longest first."""
        blocked, self._blocked = self._blocked, {}
        for stream in blocked:
            if stream.closed:
                continue
            if self.send_window > 0:
                stream.pump()
            else:
                self._blocked[stream] = None

    # -- header blocks

    def _fields(self, block: bytes) -> list[Entry] | None:
        """The fields of `block`; None if there are more than may be."""
        try:
            return self._decoder.decode(block)
        except HpackError:
            self._fail(COMPRESSION_ERROR)
        except HeaderListTooLarge as problem:
            self.stats.header_overflow += 1
            self.too_large = "http2.too_many_headers" if problem.too_many else "http2.header_list_size_too_large"
            self.part = problem.entries
            return None

    # -- ends

    def _fail(self, code: int, debug: bytes = b"") -> NoReturn:
        """The framing is broken: say so, and end."""
        raise _FramingError(goaway(self.last_stream, code, debug))

    def _break_off(self, details: str) -> NoReturn:
        """A rule of streams or messages is broken."""
        raise CodecProtocolError(details)

    def _break_message(self, stream: Http2Stream, error: MessageError) -> None:
        """What the stream carries is no HTTP."""
        self.stats.rx_messaging_error += 1
        if not self.settings.stream_error_on_invalid_http_message:
            self._break_off(error.details)
        self._break_stream(stream, PROTOCOL_ERROR, error.details, self._of_bad_message)

    _of_bad_length = StreamResetReason.LOCAL_RESET
    _of_bad_message = StreamResetReason.LOCAL_RESET

    def _break_stream(
        self,
        stream: Http2Stream,
        code: int,
        details: str = "",
        reason: StreamResetReason = StreamResetReason.LOCAL_RESET,
    ) -> None:
        """End one stream for what the peer has done to it."""
        self.stats.tx_reset += 1
        if self.dispatching:
            self._dropped.add(stream.id)
        self.queue_control(rst_stream(stream.id, code))
        self.close_stream(stream)
        self._abandon(stream, reason, details)

    def _abandon(self, stream: Http2Stream, reason: StreamResetReason, details: str) -> None:
        stream.closed = True
        stream.forget()
        decoder, stream.decoder = stream.decoder, None
        if decoder is not None:
            decoder.on_reset_stream(reason, details)

    def _hello(self, first: list[tuple[int, int]], max_streams: int) -> bytes:
        """SETTINGS and the connection's window, as nghttp2 puts them."""
        settings = self.settings
        values = [
            *first,
            *settings.custom_settings,
            (SETTINGS_HEADER_TABLE_SIZE, settings.hpack_table_size),
            (SETTINGS_ENABLE_CONNECT_PROTOCOL, int(settings.allow_connect)),
            (SETTINGS_MAX_CONCURRENT_STREAMS, max_streams),
            (SETTINGS_INITIAL_WINDOW_SIZE, settings.initial_stream_window_size),
        ]
        return settings_frame(values)

    def _more_window(self) -> bytes:
        more = self._window - DEFAULT_WINDOW
        return window_update(0, more) if more > 0 else b""


_HANDLERS: Final = (
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
"""By the type of the frame."""
