"""Counters that stop a peer which makes work and asks for nothing.

Envoy: `Http2::ProtocolConstraints`. They are counters of frames, looked at before a frame is read any further.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from ...errors import CodecProtocolError

if TYPE_CHECKING:
    from ..codec_stats import Http2CodecStats
    from .settings import Http2Settings

EMPTY_FRAMES: Final = "http2.inbound_empty_frames_flood"
OUTBOUND_FRAMES: Final = "http2.outbound_frames_flood"
"""What is said of streams whose DATA was too much."""
NOBODY: Final[Mapping[int, str]] = MappingProxyType({})


class Http2ProtocolError(CodecProtocolError):
    """The connection ends, and all streams with it.

    Attributes:
        blamed: what is said of streams that are the reason, by their number; of all others it is `details`.
    """

    def __init__(self, details: str, blamed: Mapping[int, str] = NOBODY) -> None:
        super().__init__(details)
        self.blamed = blamed


class Flood(Http2ProtocolError):
    """The peer went over a limit; the connection ends without a word."""


class ProtocolConstraints:
    """One connection's counts.

    Attributes:
        empty: consecutive frames that brought nothing.
        priority: PRIORITY frames.
        window_updates: WINDOW_UPDATE frames.
        opened_streams: so far.
    """

    __slots__ = (
        "_reset_second",
        "_resets_left",
        "_settings",
        "_stats",
        "empty",
        "opened_streams",
        "priority",
        "window_updates",
    )

    def __init__(self, settings: Http2Settings, stats: Http2CodecStats) -> None:
        self._settings = settings
        self._stats = stats
        self.empty = self.priority = self.window_updates = self.opened_streams = 0
        self._resets_left = settings.stream_reset_burst
        self._reset_second = 0

    def on_empty_frame(self, stream_id: int) -> None:
        self.empty += 1
        if self.empty > self._settings.max_consecutive_inbound_frames_with_empty_payload:
            self._stats.inbound_empty_frames_flood += 1
            raise Flood(
                "codec_error:Too_many_consecutive_frames_with_an_empty_payload",
                {stream_id: EMPTY_FRAMES},
            )

    def on_priority(self) -> None:
        self.priority += 1
        if self.priority > self._settings.max_inbound_priority_frames_per_stream * (1 + self.opened_streams):
            self._stats.inbound_priority_frames_flood += 1
            raise Flood("codec_error:Too_many_PRIORITY_frames")

    def on_window_update(self, data_frames_sent: int) -> None:
        self.window_updates += 1
        factor = self._settings.max_inbound_window_update_frames_per_data_frame_sent
        if self.window_updates > 5 + 2 * (self.opened_streams + factor * data_frames_sent):
            self._stats.inbound_window_update_frames_flood += 1
            raise Flood("codec_error:Too_many_WINDOW_UPDATE_frames")

    def on_acks(self) -> None:
        """More than nghttp2 has room for are to be sent when the bytes at hand have been read."""
        raise Flood("codec_error:Flooding_was_detected_in_this_HTTP/2_session,_and_it_must_be_closed")

    def outbound_flood(self, control: bool, blamed: Mapping[int, str]) -> Flood:
        """The peer has not taken what was written to it."""
        if control:
            self._stats.outbound_control_flood += 1
            return Flood("codec_error:Too_many_control_frames_in_the_outbound_queue.", blamed)
        self._stats.outbound_flood += 1
        return Flood("codec_error:Too_many_frames_in_the_outbound_queue.", blamed)

    def allows_reset(self, second: int) -> bool:
        """Whether the peer may reset a stream now; as nghttp2's, the bucket is filled once in a second of the clock."""
        if second != self._reset_second:
            gained = (second - self._reset_second) * self._settings.stream_reset_rate
            self._resets_left = min(self._resets_left + gained, self._settings.stream_reset_burst)
            self._reset_second = second
        if not self._resets_left:
            return False
        self._resets_left -= 1
        return True
