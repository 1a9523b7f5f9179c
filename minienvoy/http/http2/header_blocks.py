"""Header blocks: HEADERS and the CONTINUATION frames after it, as one block of fields.

Envoy: nghttp2's inbound header block states; `Http2::ConnectionImpl::onBeginHeaders`, `onHeader`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from ..codec import StreamResetReason
from .flood import Http2ProtocolError
from .flow_control import UNKNOWN
from .frames import (
    COMPRESSION_ERROR,
    END_HEADERS,
    END_STREAM,
    HAS_PRIORITY,
    INTERNAL_ERROR,
    MAX_FRAME,
    MAX_STREAM_ID,
    PADDED,
    PROTOCOL_ERROR,
)
from .hpack import HeaderListTooLarge, HpackError
from .negotiation import Negotiation

if TYPE_CHECKING:
    from ...network.connection import Connection
    from ..codec_stats import Http2CodecStats
    from ..header_map import Entry
    from .settings import Http2Settings
    from .stream import Http2Stream

_MAX_CONTINUATIONS: Final = 512
_MAX_SKIPPED: Final = 1 << 20


class HeaderBlocks(Negotiation):
    """What is between the frames and the fields.

    Attributes:
        too_large: what was too large in the last block that was.
        part: what fitted of it.
        stripped: bytes of the last frame that had any beside its part of a block.
    """

    def __init__(
        self, connection: Connection, settings: Http2Settings, stats: Http2CodecStats, post: Callable[[Any], None]
    ) -> None:
        super().__init__(connection, settings, stats, post)
        self._block: list[bytes] | None = None
        self._block_stream = self._block_flags = self._block_size = self._continuations = 0
        self.too_large = ""
        self.stripped = 0
        self.part: list[Entry] = []

    def _on_header_block(self, stream_id: int, block: bytes, end_stream: bool) -> None:
        raise NotImplementedError

    def _on_headers_begin(self, stream_id: int) -> None:
        """A header block has begun, and is not complete."""

    def _break_stream(
        self,
        stream: Http2Stream,
        code: int,
        details: str = "",
        reason: StreamResetReason = StreamResetReason.LOCAL_RESET,
        end_stream: bool = False,
    ) -> None:
        """End one stream for what the peer has done to it; with `end_stream` the peer may say nothing more on it."""
        raise NotImplementedError

    def _on_headers(self, stream_id: int, flags: int, payload: bytes) -> None:
        if not stream_id:
            self._break_off()
        if flags & (PADDED | HAS_PRIORITY):
            self.stripped = len(payload)
            begin, padding = 0, 0
            if flags & PADDED:
                begin, padding = 1, payload[0] if payload else 255
            if flags & HAS_PRIORITY:
                if int.from_bytes(payload[begin : begin + 4], "big") & MAX_STREAM_ID == stream_id:
                    self._break_off(UNKNOWN, stream_id)
                begin += 5
            if begin + padding > len(payload):
                self._fail(PROTOCOL_ERROR, b"HEADERS: invalid padding")
            payload = payload[begin : len(payload) - padding]
            self.stripped -= len(payload)
        if not payload and not flags & END_STREAM:
            self._constraints.on_empty_frame(stream_id)
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
            self._constraints.on_empty_frame(stream_id)
        block.append(payload)
        self._continuations += 1
        if self._continuations > _MAX_CONTINUATIONS:
            raise Http2ProtocolError("codec_error:Too_many_CONTINUATION_frames_following_a_HEADER_frame")
        self._block_size += len(payload)
        if flags & END_HEADERS:
            self._block = None
            self._on_header_block(stream_id, b"".join(block), bool(self._block_flags & END_STREAM))
        elif self._block_size > self.settings.max_headers_size:
            if self._continuations * MAX_FRAME > _MAX_SKIPPED + self.settings.max_headers_size:
                # Envoy reads on up to the number of frames; so much work is more than we do for nothing.
                self._break_off("http2.header_list_size_too_large", stream_id)
            self._block = [self._skip_block(b"".join(block))]
            self._block_size = 0

    def _skip_block(self, block: bytes) -> bytes:
        """There is more of a header block than may be, and it goes on: read it for the table's sake only."""
        stream = self.streams.get(self._block_stream)
        if stream is not None:
            self.stats.header_list_size_too_large += 1
            self._break_stream(stream, INTERNAL_ERROR, "http2.header_list_size_too_large")
        try:
            return self._decoder.skip(block)
        except HpackError:
            self._fail(COMPRESSION_ERROR)

    def _fields(self, block: bytes) -> list[Entry] | None:
        """The fields of `block`; None if there are more than may be."""
        try:
            return self._decoder.decode(block)
        except HpackError:
            self._fail(COMPRESSION_ERROR)
        except HeaderListTooLarge as problem:
            if problem.too_many:
                self.stats.header_overflow += 1
                self.too_large = "http2.too_many_headers"
            else:
                self.stats.header_list_size_too_large += 1
                self.too_large = "http2.header_list_size_too_large"
            self.part = problem.entries
            return None
