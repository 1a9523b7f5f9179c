"""What leaves an HTTP/2 connection: in which order, in how few writes, and how much of it may lie unread.

Envoy: `Http2::ConnectionImpl::sendPendingFrames`, `addOutboundFrameFragment`; nghttp2's outbound queues.

Whatever is written while bytes of the peer are read, and whatever is written in the same turn of the event loop
otherwise, leaves in one write: many streams share a connection, and a system call for each of their answers would cost
more than the answers.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from ...errors import CodecProtocolError
from .flood import ProtocolConstraints
from .frames import HEADERS, RST_STREAM

if TYPE_CHECKING:
    from ...network.connection import Connection
    from ..codec_stats import Http2CodecStats
    from .settings import Http2Settings
    from .stream import Http2Stream

MOST_FRAMES: Final = 16
"""Of DATA, in a row, that are put together."""
_SMALL: Final = 4096
_FRAMES_OF_A_TURN: Final = 16
"""That are kept for its end, with one among them that is not small: a turn may read many megabytes, and who takes them
slowly should be felt before."""
_PIECE: Final = 1 << 16
"""What is larger does not wait for the end of the turn: it would only leave the caches, and be held meanwhile."""
_FRAMES_OF_A_WRITE: Final = 64
_LARGE: Final = 1 << 17
_MOST_BYTES: Final = 1 << 20


class OutboundFrames:
    """The writing half of a connection.

    Attributes:
        dispatching: bytes of the peer are being read.
        over: no more is read, and what is queued is for nobody.
        data_frames_sent: so far.
    """

    def __init__(
        self, connection: Connection, settings: Http2Settings, stats: Http2CodecStats, post: Callable[[Any], None]
    ) -> None:
        """`post` calls back when what is going on now is done (`Dispatcher.write_soon`)."""
        self.settings = settings
        self.stats = stats
        self.buffer_limit = min(connection.buffer_limit or 1 << 20, settings.initial_stream_window_size)
        self._connection = connection
        self._post = post
        self._write = connection.write
        self.on_flood: Callable[[CodecProtocolError], None] | None = None
        """Told when a limit is passed while nothing is read; put there by the owner."""
        self._constraints = ProtocolConstraints(settings, stats)
        self.data_frames_sent = 0
        self._out: list[bytes] = []
        self._urgent: list[bytes] = []
        self.data: list[bytes] = []
        """As nghttp2 has it, what one dispatch leads to is sorted: PING and SETTINGS, then HEADERS and the like, then
        DATA of all streams and what ends them."""
        self._dropped: set[int] = set()
        """Streams that were reset in this dispatch: nothing else of them leaves any more."""
        self._more_frames = 0
        """In what is queued, beside the first frame of each row."""
        self._unread_frames = 0
        self._unread: deque[tuple[int, int, int]] = deque()
        """Of each write behind bytes that had not left: where it ends, its frames, the control frames among them."""
        self._unread_controls = 0
        self._control_frames = 0
        self._max_control_frames = settings.max_outbound_control_frames
        self._flush_posted = False
        self.relieved: list[Http2Stream] = []
        """Streams whose feeders may go on, once it is known whether what has left them leaves the connection too."""
        self.dispatching = False
        self.over = False

    def queue(self, frames: bytes) -> None:
        """Write `frames` in this turn of the event loop."""
        out = self._out
        out.append(frames)
        if not self.dispatching:
            if len(frames) > _PIECE:
                self.flush()
            elif not self._flush_posted:
                self._flush_posted = True
                self._post(self._on_posted)
            elif len(frames) > _SMALL and len(out) >= _FRAMES_OF_A_TURN:
                self.flush()

    def queue_data(self, frames: bytes) -> None:
        """DATA, or what may not overtake it."""
        if self.dispatching:
            self.data.append(frames)
        else:
            self.queue(frames)

    def queue_data_frames(self, parts: list[bytes | memoryview], count: int) -> None:
        """A row of DATA of one stream: headers and payloads, which are taken out of `parts`."""
        self.data_frames_sent += count
        self._more_frames += count - 1
        self.queue_data(b"".join(parts))
        parts.clear()

    def queue_reset(self, stream_id: int, frames: bytes) -> None:
        """RST_STREAM of a request: it goes before the HEADERS of later ones, and in place of the DATA of its stream."""
        if self.data:
            self.data[:] = [each for each in self.data if int.from_bytes(each[5:9], "big") != stream_id]
        self.queue(frames)
        out = self._out
        if out:
            later = (at for at, each in enumerate(out) if each[3] == HEADERS and each[5:9] > frames[5:9])
            out.insert(next(later, len(out) - 1), out.pop())

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
        if self._control_frames > self._max_control_frames and self.dispatching:
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
        count = len(out)
        if count:
            self._out = []
            if count == 1:
                self._write(out[0])
            elif (count > _FRAMES_OF_A_WRITE or self._more_frames) and sum(map(len, out)) > _LARGE:
                self._write_many(out)
            else:
                self._write(b"".join(out))
        if self.relieved:
            relieved, self.relieved = self.relieved, []
            for stream in relieved:
                stream.tell_feeder(False)
        if self._connection.is_flushed:
            self._control_frames = self._unread_frames = self._unread_controls = self._more_frames = 0
            self._unread.clear()
        elif count:
            self._count_unread(count + self._more_frames)
            self._more_frames = 0
            if self._unread_frames > self.settings.max_outbound_frames and not self.over:
                self.over = True
                self._post(self._on_unread)

    def _count_unread(self, count: int) -> None:
        """`count` frames more were written, and not all have left: those that have meanwhile no longer count."""
        written = self._connection.bytes_sent
        unread = self._unread
        unread.append((written, count, self._control_frames - self._unread_controls))
        self._unread_frames += count
        self._unread_controls = self._control_frames
        left = written - self._connection.unsent
        while unread and unread[0][0] <= left:
            _, frames, controls = unread.popleft()
            self._unread_frames -= frames
            self._unread_controls -= controls
            self._control_frames -= controls

    def _write_many(self, out: list[bytes]) -> None:
        """A window of megabytes, perhaps: it is not there twice."""
        frames = deque(out)
        out.clear()
        batch: list[bytes] = []
        size = 0
        while frames:
            each = frames.popleft()
            if len(each) > _LARGE:
                if batch:
                    self._write(b"".join(batch))
                    batch.clear()
                    size = 0
                self._write(each)
                continue
            batch.append(each)
            size += len(each)
            if size >= _MOST_BYTES:
                self._write(b"".join(batch))
                batch.clear()
                size = 0
        if batch:
            self._write(b"".join(batch))

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
