"""The windows of an HTTP/2 connection: what the peer may send, what it takes.

Envoy: the flow control of the nghttp2 session (`nghttp2_session_consume`, `nghttp2_session_update_recv_*_window_size`);
`Http2::ConnectionImpl::StreamImpl::readDisable`, docs "Flow control".

A peer gets window again for what the owner has taken, in pieces of half a window. Streams that wait for window get
their turns when there is some again, the oldest first.
"""

from __future__ import annotations

from collections.abc import Callable
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final, NoReturn

from .flood import Http2ProtocolError
from .frames import DEFAULT_WINDOW, FRAME_SIZE_ERROR, MAX_WINDOW, window_update
from .outbound import OutboundFrames

if TYPE_CHECKING:
    from ...network.connection import Connection
    from ..codec_stats import Http2CodecStats
    from .settings import Http2Settings
    from .stream import Http2Stream

_number: Final = attrgetter("id")
LOST: Final = "codec_error:The_user_callback_function_failed"
UNKNOWN: Final = "http2.unknown.nghttp2.error"


class FlowControl(OutboundFrames):
    """The windows of both directions.

    Attributes:
        streams: that are open, by their number.
        send_window: bytes the peer takes now, of all streams together.
        peer_initial_window: of a new stream.
    """

    def __init__(
        self, connection: Connection, settings: Http2Settings, stats: Http2CodecStats, post: Callable[[Any], None]
    ) -> None:
        super().__init__(connection, settings, stats, post)
        self.streams: dict[int, Http2Stream] = {}
        self.send_window = DEFAULT_WINDOW
        self.peer_initial_window = DEFAULT_WINDOW
        self._initial_window = DEFAULT_WINDOW
        """Of a stream of the peer; what the settings say counts when the peer has acknowledged them."""
        self._window = max(DEFAULT_WINDOW, settings.initial_connection_window_size)
        self._outstanding = 0
        """Bytes of DATA that the peer has not been given window for again."""
        self._consumed = 0
        """Those among them that it can be given window for."""
        self._blocked: dict[Http2Stream, None] = {}
        """Streams that wait for window, the longest first."""
        self._told: list[int] = []
        """Who has been given window again by the bytes at hand: streams by their number, 0 for the connection."""
        self._resumed: set[Http2Stream] = set()
        """Those that have been given some by the bytes at hand."""

    def _is_idle(self, stream_id: int) -> bool:
        """The stream has not been opened yet."""
        raise NotImplementedError

    def _fail(self, code: int, debug: bytes = b"") -> NoReturn:
        """The framing is broken: say so, and end."""
        raise NotImplementedError

    def _break_off(self, details: str = "", stream_id: int = 0) -> NoReturn:
        """A rule of streams or messages is broken; `details` are about that stream only."""
        raise Http2ProtocolError(LOST, {stream_id: details})

    def block(self, stream: Http2Stream) -> None:
        """`stream` has to wait for window."""
        self._blocked[stream] = None

    def consume(self, stream: Http2Stream, length: int) -> None:
        """The owner has taken `length` bytes: give the peer as much window again, in not too small pieces."""
        self._consume_of_connection(length)
        self._consume_of_stream(stream, length)

    def _consume_of_stream(self, stream: Http2Stream, length: int) -> None:
        if not stream.remote_end and not stream.closed:
            stream.consumed = consumed = stream.consumed + length
            if consumed >= self._initial_window // 2 and stream.id not in self._told:
                self._tell(stream.id, consumed)
                stream.outstanding -= consumed
                stream.consumed = 0

    def _consume_of_connection(self, length: int) -> None:
        self._consumed = consumed = self._consumed + length
        if consumed >= self._window // 2 and 0 not in self._told:
            self._tell(0, consumed)
            self._outstanding -= consumed
            self._consumed = 0

    def _tell(self, number: int, consumed: int) -> None:
        """Only once while the bytes at hand are read: as with nghttp2, there is one WINDOW_UPDATE to send at a time."""
        if self.dispatching:
            self._told.append(number)
        self.queue(window_update(number, consumed))

    def tell_again(self) -> None:
        """What has become free since then, if it is enough."""
        told, self._told = self._told, []
        for number in told:
            stream = self.streams.get(number)
            if stream is not None:
                self._consume_of_stream(stream, 0)
            elif not number:
                self._consume_of_connection(0)
        self._told.clear()

    def _change_initial_window(self, value: int) -> None:
        difference = value - self.peer_initial_window
        self.peer_initial_window = value
        for stream in tuple(self.streams.values()):
            stream.send_window += difference
            if stream.send_window > MAX_WINDOW:
                self._break_off()
        if difference > 0:
            self._unblock()

    def _on_window_update(self, stream_id: int, flags: int, payload: bytes) -> None:
        self._constraints.on_window_update(self.data_frames_sent)
        if len(payload) != 4:
            self._fail(FRAME_SIZE_ERROR)
        increment = int.from_bytes(payload, "big") & MAX_WINDOW
        if not stream_id:
            self.send_window += increment
            if not increment or self.send_window > MAX_WINDOW:
                self._break_off()
            if self._blocked:
                self._unblock()
            return
        stream = self.streams.get(stream_id)
        if stream is None:
            if self._is_idle(stream_id):
                self._break_off()
            return
        stream.send_window += increment
        if not increment or stream.send_window > MAX_WINDOW:
            self._break_off(UNKNOWN, stream_id)
        if stream.waiting is not None:
            self._resume_soon(stream)

    def _resume_soon(self, stream: Http2Stream) -> None:
        """As nghttp2 has it, what may leave now leaves when the bytes at hand have been read, stream by stream."""
        if self.dispatching:
            self._resumed.add(stream)
        else:
            stream.pump()

    def resume(self) -> None:
        """Let those go on that have been given window, the lowest number first."""
        resumed, self._resumed = self._resumed, set()
        for stream in sorted(resumed, key=_number):
            if not stream.closed:
                stream.pump()

    def _unblock(self) -> None:
        """There is window again: every stream that waited gets its turn."""
        blocked, self._blocked = self._blocked, {}
        for stream in blocked:
            self._resume_soon(stream)

    def _more_window(self) -> bytes:
        more = self._window - DEFAULT_WINDOW
        return window_update(0, more) if more > 0 else b""
