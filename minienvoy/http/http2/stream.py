"""One stream of an HTTP/2 connection: what both sides have of it.

Envoy: `Http2::ConnectionImpl::StreamImpl`.

Sending: what the windows do not let through waits in the stream, and leaves when the peer gives window. The stream
tells who feeds it (`watermark`) when more than the connection's buffer limit waits, and again when half of it is gone.

Receiving: bytes count as consumed, and give the peer window again, when nobody has disabled reading; what arrives while
somebody has is passed on and held against the window until reading goes on. So a stream that nobody reads holds at most
its window.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from ..codec import Metadata, StreamResetReason
from ..header_map import HeaderMap
from .frames import (
    CONNECT_ERROR,
    DATA,
    END_STREAM,
    MAX_FRAME,
    NO_ERROR,
    PROTOCOL_ERROR,
    REFUSED_STREAM,
    frame,
    headers_frames,
    rst_stream,
    write_header,
)
from .hpack import encode_entries
from .metadata import MetadataDecoder, metadata_frames
from .outbound import MOST_FRAMES

if TYPE_CHECKING:
    from ...event.dispatcher import Timer
    from ..byte_meter import ByteMeter
    from .active_stream import Http2ActiveStream
    from .connection import Http2Connection

UNOPENED: Final = 0.5
"""Bytes that a peer which has not said a word about a stream may send on it."""
SHUT: Final = -0.5
"""Nothing may come any more."""
RESET_CODES = {
    StreamResetReason.LOCAL_REFUSED_STREAM_RESET: REFUSED_STREAM,
    StreamResetReason.CONNECT_ERROR: CONNECT_ERROR,
    StreamResetReason.PROTOCOL_ERROR: PROTOCOL_ERROR,
}


class Http2Stream:
    """Also the encoder of its side.

    Attributes:
        decoder: who is told of what arrives; None once nobody wants to know.
        send_window: bytes the peer takes now.
        outstanding: bytes that the peer has not been given window for again.
        consumed: those among them that it can be given window for.
        watermark: told (True) to stop feeding the stream and (False) to go on.
        expected: bytes of the body that are still to come, -1 if its length is not known, a part of one if neither
            that nor an end may come yet.
        held: bytes that arrived while somebody had disabled reading.
        waiting: what is to be sent and has to wait for window; None if nothing has.
        local_end: END_STREAM has been sent, or will be after what waits.
        read_disabled: how many have disabled reading and not enabled it again.
        metadata: reads METADATA; None before the first.
        meter: counts the bytes of the stream, where that is wanted.
        tunnel: what is between its ends is no HTTP, and breaks as a connection does.
        remote_end: the peer has sent END_STREAM.
        zombie: who waits until all that was encoded has left, or nothing more will; None if nobody does.
    """

    __slots__ = (
        "_backed_up",
        "_flush_timer",
        "_trailers",
        "_waiting_at",
        "_waiting_size",
        "closed",
        "connection",
        "consumed",
        "decoder",
        "expected",
        "held",
        "id",
        "local_end",
        "metadata",
        "meter",
        "outstanding",
        "read_disabled",
        "remote_end",
        "send_window",
        "tunnel",
        "waiting",
        "watermark",
        "zombie",
    )

    def __init__(self, connection: Http2Connection, stream_id: int, decoder: Any = None, expected: float = -1) -> None:
        self.connection = connection
        self.id = stream_id
        self.decoder = decoder
        self.send_window = connection.peer_initial_window
        self.outstanding = self.consumed = 0
        self.expected = expected
        self.local_end = self.remote_end = self.closed = False
        self.watermark: Callable[[bool], None] | None = None
        self.waiting: deque[bytes] | None = None
        self._waiting_at = 0
        """Bytes of the first piece that have left already."""
        self._waiting_size = 0
        self._trailers: HeaderMap | None = None
        self._backed_up = False
        self.read_disabled = 0
        self.held = 0
        self._flush_timer: Timer | None = None
        self.meter: ByteMeter | None = None
        self.metadata: MetadataDecoder | None = None
        self.tunnel = False
        self.zombie: Http2ActiveStream | None = None

    # -- sending

    @property
    def reset_code(self) -> int:
        """What the peer is told of a reset that has no code of its own."""
        return NO_ERROR

    @property
    def unfinished_code(self) -> int:
        """What the peer is told when nothing more of what it sends is wanted."""
        return NO_ERROR

    def encode_data(self, data: bytes, end_stream: bool) -> None:
        if self.closed or self.local_end:
            return
        connection = self.connection
        length = len(data)
        if (
            self.waiting is None
            and length <= MAX_FRAME
            and 0 < self.send_window >= length
            and 0 < connection.send_window >= length
        ):
            # Nearly always: it leaves as it is.
            self.send_window -= length
            connection.send_window -= length
            connection.data_frames_sent += 1
            head = write_header(length >> 8, length & 255, DATA, END_STREAM if end_stream else 0, self.id)
            if connection.dispatching:
                connection.data.append(head + data)
            else:
                connection.queue(head + data)
            if end_stream:
                self.local_end = True
                if self.remote_end and not connection.dispatching:
                    connection.close_stream(self)
                    self.decoder = None  # it knows us, too: only the garbage collector could find the two
                elif self.remote_end:
                    self.finish()
            return
        if self.waiting is None:
            self.waiting = deque()
        if data:
            self.waiting.append(data)
            self._set_waiting_size(self._waiting_size + length)
        self.local_end = end_stream
        self.pump()
        if end_stream and self._waiting_size:
            connection.on_flush_pending(self)
        if self._waiting_size > connection.buffer_limit and not self._backed_up:
            self._backed_up = True
            self.tell_feeder(True)

    def encode_trailers(self, trailers: HeaderMap) -> None:
        if self.closed or self.local_end:
            return
        if not trailers.entries:
            # Envoy sends no empty block (`skip_encoding_empty_trailers`).
            self.encode_data(b"", True)
            return
        if self.waiting is None:
            self._send_trailers(trailers)
        else:
            self._trailers = trailers
            self.local_end = True
            self.connection.on_flush_pending(self)

    def encode_metadata(self, metadata: Metadata) -> None:
        """Say `metadata`, where that is allowed; it does not wait for window."""
        connection = self.connection
        if connection.settings.allow_metadata and not self.closed and (not self.local_end or self.waiting is not None):
            connection.queue_data(metadata_frames(self.id, metadata))

    def pump(self) -> None:
        """Send what waits, as far as the windows go."""
        if self.waiting is None:
            return
        connection = self.connection
        size = left = self._waiting_size
        ends = self.local_end and self._trailers is None
        parts: list[bytes | memoryview] = []
        frames = 0
        while left:
            length = min(self.send_window, connection.send_window, MAX_FRAME, left)
            if length <= 0:
                break
            self.send_window -= length
            connection.send_window -= length
            left -= length
            last = ends and not left
            parts.append(write_header(length >> 8, length & 255, DATA, END_STREAM if last else 0, self.id))
            self._take_waiting(length, parts)
            frames += 1
            if frames == MOST_FRAMES:
                connection.queue_data_frames(parts, frames)
                frames = 0
        if frames:
            connection.queue_data_frames(parts, frames)
        self._set_waiting_size(left)
        if self._backed_up and left <= connection.buffer_limit // 2:
            self._backed_up = False
            if self.local_end:
                self.tell_feeder(False)
            else:
                # Not at once: a peer that gives megabytes of window at a time may still be slow to read them, and who
                # feeds would send as many again. When they are written the connection may be what is backed up.
                connection.relieved.append(self)
        if left or (ends and not size and (self.send_window <= 0 or connection.send_window <= 0)):
            # As with nghttp2, a frame of DATA needs window even if there is nothing in it.
            connection.block(self)
        else:
            self.waiting = None
            if self._flush_timer is not None:
                self._flush_timer.disable()
                self._flush_timer = None
            if ends:
                if not size:
                    connection.queue_data(frame(DATA, END_STREAM, self.id))
                self._end_sending()
            elif self._trailers is not None:
                trailers, self._trailers = self._trailers, None
                self._send_trailers(trailers)

    def _take_waiting(self, length: int, parts: list[bytes | memoryview]) -> None:
        """Add the next `length` bytes to `parts`: what waits may be as large as a window, and is copied once only."""
        waiting = self.waiting
        assert waiting is not None
        while length:
            first, at = waiting[0], self._waiting_at
            end = at + length
            if end < len(first):
                self._waiting_at = end
                parts.append(memoryview(first)[at:end])
                break
            parts.append(memoryview(first)[at:] if at else first)
            length = end - len(first)
            self._waiting_at = 0
            waiting.popleft()

    def _set_waiting_size(self, size: int) -> None:
        self.connection.stats.pending_send_bytes += size - self._waiting_size
        self._waiting_size = size

    def tell_feeder(self, high: bool) -> None:
        """To stop (True), and to go on (False)."""
        callback = self.watermark
        if callback is None:
            # The server's streams are fed by who decodes them.
            callback = getattr(self.decoder, "watermark_callbacks", None)
        if callback is not None:
            callback(high)

    def send_block(self, fields: list[bytes], end_stream: bool) -> None:
        """Send a header block."""
        connection = self.connection
        if connection.table_update:
            fields.insert(0, connection.table_update)
            connection.table_update = b""
        connection.queue(headers_frames(self.id, b"".join(fields), end_stream))
        if end_stream:
            self._end_sending_first()

    def _send_trailers(self, trailers: HeaderMap) -> None:
        connection = self.connection
        block = connection.table_update + b"".join(encode_entries(trailers.entries))
        connection.table_update = b""
        connection.queue_data(headers_frames(self.id, block, True))
        self._end_sending()

    def _end_sending(self) -> None:
        self.local_end = True
        if self.remote_end:
            self.finish()

    def _end_sending_first(self) -> None:
        self.local_end = True
        if self.remote_end:
            self.finish_first()

    def finish(self) -> None:
        """Everything has been sent: the stream is over when the bytes at hand have been read."""
        if self.connection.dispatching:
            self.connection.finishing.append(self)
        else:
            self.complete()

    def finish_first(self) -> None:
        """Likewise, and no DATA was the last of it."""
        if self.connection.dispatching:
            self.connection.finishing_first.append(self)
        else:
            self.complete()

    def complete(self) -> None:
        """Nothing more of the request is wanted, whether it has come to its end or not."""
        if not self.closed:
            if not self.remote_end:
                self._send_reset(self.unfinished_code)
            else:
                self.connection.close_stream(self)
            self.decoder = None
        if self.zombie is not None:
            self.zombie.on_encode_complete()

    def reset_stream(self, reason: StreamResetReason) -> None:
        """Give the stream up; what has been encoded to its end has been sent, unless it waits for the peer's window."""
        if self.closed:
            self.decoder = None
        elif self.local_end and reason is StreamResetReason.LOCAL_RESET and self.waiting is None:
            if not self.tunnel:
                # That of a tunnel is asked how it ended.
                self.decoder = None
            self.finish()
        else:
            code = RESET_CODES.get(reason, self.reset_code)
            self.decoder = None
            self._send_reset(code)

    def _send_reset(self, code: int) -> None:
        connection = self.connection
        connection.stats.tx_reset += 1
        connection.queue_data(rst_stream(self.id, code))
        connection.close_stream(self)
        if self.zombie is not None:
            self.zombie.on_encode_complete()

    # -- receiving

    def read_disable(self, disable: bool) -> None:
        """Counted: as many calls must enable as have disabled before bytes give window again."""
        if disable:
            self.read_disabled += 1
        else:
            self.read_disabled -= 1
            if not self.read_disabled and self.held:
                held, self.held = self.held, 0
                self.connection.consume(self, held)

    def take(self, length: int) -> None:
        """Bytes of DATA frames have arrived."""
        if self.read_disabled:
            self.held += length
        else:
            self.connection.consume(self, length)

    def forget(self) -> int:
        """The stream is over: the bytes that were held against it are the connection's again."""
        held, self.held = self.held, 0
        self.waiting = None
        self._waiting_at = 0
        if self._waiting_size:
            self._set_waiting_size(0)
        if self._flush_timer is not None:
            self._flush_timer.disable()
            self._flush_timer = None
        return held
