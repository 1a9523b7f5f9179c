"""SETTINGS: what the peer lets us do, and what we let the peer do.

Envoy: nghttp2's `nghttp2_session_on_settings_received`, `Http2::ConnectionImpl::sendSettings`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from .fields import STATIC_ENTRIES, make_entry
from .flow_control import UNKNOWN, FlowControl
from .frames import (
    ACK,
    ENHANCE_YOUR_CALM,
    FRAME_SIZE_ERROR,
    MAX_FRAME,
    MAX_STREAM_ID,
    MAX_WINDOW,
    PROTOCOL_ERROR,
    SETTINGS,
    SETTINGS_ENABLE_CONNECT_PROTOCOL,
    SETTINGS_ENABLE_PUSH,
    SETTINGS_HEADER_TABLE_SIZE,
    SETTINGS_INITIAL_WINDOW_SIZE,
    SETTINGS_MAX_CONCURRENT_STREAMS,
    SETTINGS_MAX_FRAME_SIZE,
    SETTINGS_NO_RFC7540_PRIORITIES,
    frame,
    read_setting,
    settings_frame,
)
from .hpack import DEFAULT_TABLE_SIZE, Decoder, table_size_update

if TYPE_CHECKING:
    from ...network.connection import Connection
    from ..codec_stats import Http2CodecStats
    from .settings import Http2Settings

_MAX_SETTINGS: Final = 32
_RANGES: Final = {
    SETTINGS_MAX_FRAME_SIZE: (MAX_FRAME, (1 << 24) - 1),
    SETTINGS_INITIAL_WINDOW_SIZE: (0, MAX_WINDOW),
}
"""Values outside are no settings."""


class Negotiation(FlowControl):
    """The settings of both sides, and the compression tables that follow them.

    Attributes:
        peer_max_streams: that the peer lets us open at the same time.
        table_update: what the next header block has to begin with.
    """

    _most_push = 1
    """A client may allow push; a server has nothing to allow."""
    _keeps_connect = False
    """A server may not take back that it allows extended CONNECT."""
    _joined = 0
    """Kinds of headers that are one, however often they come."""

    def __init__(
        self, connection: Connection, settings: Http2Settings, stats: Http2CodecStats, post: Callable[[Any], None]
    ) -> None:
        super().__init__(connection, settings, stats, post)
        self.peer_max_streams = MAX_STREAM_ID
        self.peer_allows_connect = False
        self._peer_priorities: int | None = None
        self.table_update = b""
        self._encoder_table_size = DEFAULT_TABLE_SIZE
        self._least_table_size = DEFAULT_TABLE_SIZE
        """The smallest that we ask the peer for."""
        self._decoder = Decoder(
            make_entry,
            STATIC_ENTRIES,
            settings.max_headers_size,
            settings.max_headers_count,
            settings.hpack_table_size,
            self._joined,
            settings.max_field_size,
        )
        self._awaits_ack = False
        """Ours have been sent, and the peer has not said that it heeds them."""
        self._settled = False
        """The peer has sent its first SETTINGS."""

    def _on_peer_settings(self) -> None:
        """The peer's settings have changed."""

    def _on_settings(self, stream_id: int, flags: int, payload: bytes) -> None:
        if len(payload) % 6 or (flags & ACK and payload):
            self._fail(FRAME_SIZE_ERROR)
        if stream_id:
            self._break_off(UNKNOWN, stream_id)
        if len(payload) > 6 * _MAX_SETTINGS:
            self._fail(ENHANCE_YOUR_CALM, b"SETTINGS: too many setting entries")
        if flags & ACK:
            if not self._awaits_ack:
                self._break_off()
            self._awaits_ack = False
            self._initial_window = self.settings.initial_stream_window_size
            if self._least_table_size < DEFAULT_TABLE_SIZE:
                self._decoder.allow_table_size(self.settings.hpack_table_size, self._least_table_size)
            return
        for identifier, value in read_setting(payload):
            if identifier == SETTINGS_INITIAL_WINDOW_SIZE:
                if value > MAX_WINDOW:
                    self._break_off()
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
                    self._break_off()
            elif identifier == SETTINGS_ENABLE_PUSH:
                if value > self._most_push:
                    self._break_off()
            elif identifier == SETTINGS_ENABLE_CONNECT_PROTOCOL:
                if value > 1 or (self._keeps_connect and self.peer_allows_connect and not value):
                    self._break_off()
                self.peer_allows_connect = bool(value)
            elif identifier == SETTINGS_NO_RFC7540_PRIORITIES:
                # Nobody looks at priorities, but whether they are sent may be said once only (RFC 9218, 2.1).
                if value > 1 or self._peer_priorities not in (None, value):
                    self._break_off()
                self._peer_priorities = value
        if self._peer_priorities is None:
            self._peer_priorities = 0
        self._queue_urgent(frame(SETTINGS, ACK, 0))
        self._on_peer_settings()

    def _expect_settings(self, kind: int, flags: int) -> None:
        if kind != SETTINGS or flags & ACK:
            self._fail(PROTOCOL_ERROR, b"SETTINGS expected")
        self._settled = True

    def _hello(self, first: list[tuple[int, int]], max_streams: int) -> bytes:
        """SETTINGS as nghttp2 puts them; nothing if one of them is none, which it does not look at any further."""
        settings = self.settings
        values = [
            *dict.fromkeys((*first, *settings.custom_settings)),
            (SETTINGS_HEADER_TABLE_SIZE, settings.hpack_table_size),
            (SETTINGS_ENABLE_CONNECT_PROTOCOL, int(settings.allow_connect)),
            (SETTINGS_MAX_CONCURRENT_STREAMS, max_streams),
            (SETTINGS_INITIAL_WINDOW_SIZE, settings.initial_stream_window_size),
        ]
        for identifier, value in values:
            if identifier == SETTINGS_HEADER_TABLE_SIZE:
                self._least_table_size = min(self._least_table_size, value)
            low, high = _RANGES.get(identifier, (0, 1 << 32))
            if not low <= value <= high:
                return b""
        self._awaits_ack = True
        return settings_frame(values)
