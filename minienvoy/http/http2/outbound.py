"""What leaves an HTTP/2 connection: in which order, in how few writes, and how much of it may lie unread.

Envoy: `Http2::ConnectionImpl::sendPendingFrames`, `addOutboundFrameFragment`; nghttp2's outbound queues.

Whatever is written while bytes of the peer are read, and whatever is written in the same turn of the event loop
otherwise, leaves in one write: many streams share a connection, and a system call for each of their answers would cost
more than the answers.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from ...network.connection import ConnectionCloseType
from .flood import NOBODY, OUTBOUND_FRAMES, Flood, ProtocolConstraints
from .frames import DATA, HEADERS, PREFACE, RST_STREAM, read_header

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
_MOST_ACKS: Final = 5_000
"""nghttp2 has room for 10,000. Envoy reads a megabyte before it answers; who has sent so many in one of our reads has
more of them on their way."""
_IN_A_TURN: Final = (10_000, 1_000)
"""Frames, and control frames among them: limits below could be passed in one turn of the event loop by whoever reads
all of it, as soon as it leaves. Envoy counts what has not left, and nothing leaves before the end of a turn."""


def _owners_of_data(out: list[bytes], excess: int) -> dict[int, str]:
    """The streams whose DATA is among the last `excess` frames of `out`, and what is said of them."""
    streams: list[int] = []
    for frames in out:
        at = len(PREFACE) if frames.startswith(PREFACE) else 0
        while at < len(frames):
            high, low, kind, _, stream_id = read_header(frames, at)
            streams.append(stream_id if kind == DATA else 0)
            at += 9 + (high << 8 | low)
    return {each: OUTBOUND_FRAMES for each in streams[-excess:] if each}


class OutboundFrames:
    """The writing half of a connection.

    Attributes:
        dispatching: bytes of the peer are being read.
        flood: more has piled up than may; the connection is about to end.
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
        self.flood: Flood | None = None
        self._blamed = NOBODY
        """Streams whose DATA was among what is too much."""
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
        self._acks = 0
        """Of PING and SETTINGS, that have not been written yet."""
        self._max_frames = settings.max_outbound_frames
        self._max_control_frames = settings.max_outbound_control_frames
        most, most_controls = _IN_A_TURN
        self._counts_turns = self._max_frames < most or self._max_control_frames < most_controls
        self._turn_begun = False
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
        self._acks += 1
        if self._acks > _MOST_ACKS:
            self._constraints.on_acks()
        if self.dispatching:
            self._urgent.append(frames)
        else:
            self.queue(frames)

    def _count_control(self) -> None:
        self._control_frames += 1

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
        blamed = NOBODY
        if count:
            self._out = []
            self._acks = 0
            if self._counts_turns and not self._turn_begun:
                self._begin_turn()
            excess = self._unread_frames + count + self._more_frames - self._max_frames
            if excess > 0:
                blamed = _owners_of_data(out, excess)
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
        if self._counts_turns:
            if count:
                self._note_unread(count + self._more_frames)
                self._more_frames = 0
                self._look_for_flood(blamed)
        elif self._connection.is_flushed:
            if self._control_frames > self._max_control_frames:
                self._look_for_flood(blamed)
            self._control_frames = self._unread_frames = self._unread_controls = self._more_frames = 0
            self._unread.clear()
        elif count:
            self._note_unread(count + self._more_frames)
            self._forget_read()
            self._more_frames = 0
            self._look_for_flood(blamed)

    def _begin_turn(self) -> None:
        """What is written in this turn has not left before its end, whatever becomes of it here."""
        self._turn_begun = True
        self._post(self._end_turn)
        self._forget_read()

    def _end_turn(self) -> None:
        self._turn_begun = False

    def _note_unread(self, count: int) -> None:
        """`count` frames more were written, and have not left yet."""
        self._unread.append((self._connection.bytes_sent, count, self._control_frames - self._unread_controls))
        self._unread_frames += count
        self._unread_controls = self._control_frames

    def _forget_read(self) -> None:
        """Those that have left meanwhile no longer count."""
        unread = self._unread
        left = self._connection.bytes_sent - self._connection.unsent
        while unread and unread[0][0] <= left:
            _, frames, controls = unread.popleft()
            self._unread_frames -= frames
            self._unread_controls -= controls
            self._control_frames -= controls

    def _look_for_flood(self, blamed: Mapping[int, str]) -> None:
        """Whether the peer lets pile up what it has asked for: who reads its bytes finds it out, else the connection
        ends soon."""
        if self.flood is not None or self.over:
            return
        if self._unread_frames > self._max_frames:
            self._blamed = blamed
            self.flood = self._constraints.outbound_flood(False, blamed)
        elif self._control_frames > self._max_control_frames:
            self.flood = self._constraints.outbound_flood(True, NOBODY)
        else:
            return
        self._post(self._on_flood)

    def _on_flood(self) -> None:
        if not self.over:
            self._connection.close(ConnectionCloseType.NO_FLUSH, "http2_connection_protocol_violation")

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

    def _on_posted(self) -> None:
        self._flush_posted = False
        if self._out:
            self.flush()
