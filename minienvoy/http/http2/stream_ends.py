"""How streams end while bytes of the peer are read.

Envoy: `Http2::ConnectionImpl::onStreamClose`, and when nghttp2 calls it: a stream that both sides have ended, or that
the peer has broken, is over when its last frame has been sent, and that is when the bytes at hand have been read. Until
then it counts as open, and what the peer still says about it may change its end. Streams end in the order in which
their last frames leave: HEADERS and RST_STREAM go before DATA.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ..codec import StreamResetReason
from .fields import MESSAGING_RULE, MessageError
from .flood import Http2ProtocolError
from .frames import PROTOCOL_ERROR, rst_stream
from .header_blocks import HeaderBlocks
from .stream import SHUT

if TYPE_CHECKING:
    from ...errors import CodecProtocolError
    from ...network.connection import Connection
    from ..codec_stats import Http2CodecStats
    from .settings import Http2Settings
    from .stream import Http2Stream


class StreamEnds(HeaderBlocks):
    """The ends of streams.

    Attributes:
        finishing: streams that end with DATA when the bytes at hand have been read: for the peer they have not yet.
        finishing_first: those that end with HEADERS or RST_STREAM.
    """

    on_stream_closed: Callable[[], None] | None = None
    """Told when a stream is no longer among `streams`."""
    _ended_is_over = False
    """A stream that both sides have ended is no more, although the bytes at hand have not been read to their end."""
    _bad_length = MESSAGING_RULE
    """What is said of a body that is not as long as its message says."""
    _of_bad_message = StreamResetReason.LOCAL_RESET

    def __init__(
        self, connection: Connection, settings: Http2Settings, stats: Http2CodecStats, post: Callable[[Any], None]
    ) -> None:
        super().__init__(connection, settings, stats, post)
        self.finishing: list[Http2Stream] = []
        self.finishing_first: list[Http2Stream] = []
        self._broken: dict[Http2Stream, tuple[StreamResetReason, str]] = {}
        """Those that the peer has broken, and what is to be said of them."""
        self._no_messages: set[Http2Stream] = set()
        """Those among them that carried no HTTP: whatever the peer says then, that is why they end."""
        self._resets = 0
        """For them, that have not been written yet."""

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
        if self.on_stream_closed is not None:
            self.on_stream_closed()

    def _end_broken(self, stream: Http2Stream) -> None:
        """Its reset is about to be written."""
        reason, details = self._broken.pop(stream)
        self.close_stream(stream)
        self._abandon(stream, reason, details)

    def _forget_ends(self, error: CodecProtocolError) -> None:
        """The connection ends with `error`, and takes all streams with it."""
        if self._broken and isinstance(error, Http2ProtocolError):
            known = {stream.id: details for stream, (_, details) in self._broken.items() if details != self._bad_length}
            error.blamed = known | dict(error.blamed)
        self.finishing.clear()
        self.finishing_first.clear()
        self._broken.clear()
        self._resets = 0

    def _end_of_broken(
        self, stream: Http2Stream, reason: StreamResetReason, details: str
    ) -> tuple[StreamResetReason, str]:
        """What becomes of a stream that may have been broken, and has been reset by the peer in the same read."""
        broken = self._broken.pop(stream, None)
        if broken is not None and broken[1] and broken[1] != self._bad_length:
            return (broken[0] if stream in self._no_messages else reason), broken[1]
        return reason, details

    def _ignores(self, stream: Http2Stream) -> bool:
        """What still comes for `stream`, which has ended, is nothing; else it breaks a rule."""
        if stream.closed:
            return stream.expected != SHUT
        return self._ended_is_over and stream.waiting is None

    def _break_message(self, stream: Http2Stream, error: MessageError, end_stream: bool = False) -> None:
        """What the stream carries is no HTTP."""
        self.stats.rx_messaging_error += 1
        if not self.settings.stream_error_on_invalid_http_message:
            self._break_off(error.details, stream.id)
        end_stream = end_stream and error.details == MESSAGING_RULE
        self._no_messages.add(stream)
        self._break_stream(stream, PROTOCOL_ERROR, error.details, self._of_bad_message, end_stream)

    def _on_bad_length(self, stream: Http2Stream, size: int, end_stream: bool) -> None:
        """The last `size` bytes of a body were more, or not enough."""
        self._break_stream(stream, PROTOCOL_ERROR, self._bad_length, StreamResetReason.PROTOCOL_ERROR, end_stream)

    def _break_stream(
        self,
        stream: Http2Stream,
        code: int,
        details: str = "",
        reason: StreamResetReason = StreamResetReason.LOCAL_RESET,
        end_stream: bool = False,
    ) -> None:
        """End one stream for what the peer has done to it; with `end_stream` the peer may say nothing more on it."""
        self._resets += 1
        self._dropped.add(stream.id)
        self.queue_control(rst_stream(stream.id, code))
        stream.closed = stream.remote_end = True
        if end_stream:
            stream.expected = SHUT
        self._broken[stream] = reason, details
        self.finishing_first.append(stream)

    def _abandon(self, stream: Http2Stream, reason: StreamResetReason, details: str) -> None:
        stream.closed = True
        stream.forget()
        decoder, stream.decoder = stream.zombie or stream.decoder, None
        if decoder is not None:
            decoder.on_reset_stream(reason, details)
