"""Counters that stop a peer which makes work and asks for nothing.

Envoy: `Http2::ProtocolConstraints`. They are counters of frames, looked at before a frame is read any further.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...errors import CodecProtocolError

if TYPE_CHECKING:
    from ..codec_stats import Http2CodecStats
    from .settings import Http2Settings


class Flood(CodecProtocolError):
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

    def on_empty_frame(self) -> None:
        self.empty += 1
        if self.empty > self._settings.max_consecutive_inbound_frames_with_empty_payload:
            self._stats.inbound_empty_frames_flood += 1
            raise Flood("http2.inbound_empty_frames_flood")

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

    def on_outbound_flood(self, control: bool) -> None:
        """The peer has not taken what was written to it."""
        if control:
            self._stats.outbound_control_flood += 1
            raise Flood("codec_error:Flooding_was_detected_in_this_HTTP/2_session,_and_it_must_be_closed")
        self._stats.outbound_flood += 1
        raise Flood("http2.outbound_frames_flood")

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
