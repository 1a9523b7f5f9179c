"""HTTP/2 as python-hyper's h2 reads it: the reference that the native codec is compared with.

No Envoy counterpart. Frames, header blocks and the states of streams are read by h2, written in another house for
another purpose; what they mean to a proxy (what a header list is, who may open how many streams, who has window, what
is a flood) and what is written is shared with the native codec. h2 is given one frame at a time, and told of every
frame that leaves. Where both accept the same bytes they say the same of them. h2 is stricter than nghttp2:

* what comes for a stream that has ended is an error of the connection, not ignored; so are a number that is lower than
  the last, and what is opened after GOAWAY and then refused;
* so is a body that is not as long as its message said, and trailers that are not the end;
* so is a block that does not take up the smaller table that it acknowledged;
* a block goes on for 64 CONTINUATION frames at most, where nghttp2 takes 512.

What is an error to both ends the connection, but may be told by another code of GOAWAY, or by none. The peer's
GOAWAY is not given to h2, to which open streams would be over too. What a stream takes on the wire is not
counted. It is slower: a request costs some hundred microseconds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.exceptions
import h2.settings
import hpack

from .client_connection import ClientConnection
from .connection import Http2Connection
from .frames import (
    ACK,
    CONTINUATION,
    DATA,
    DEFAULT_WINDOW,
    END_HEADERS,
    END_STREAM,
    FRAME_SIZE_ERROR,
    GOAWAY,
    HEADERS,
    MAX_FRAME,
    MAX_STREAM_ID,
    METADATA,
    PREFACE,
    RST_STREAM,
    WINDOW_UPDATE,
    read_header,
    settings_frame,
)
from .hpack import write_integer
from .server_connection import ServerConnection

if TYPE_CHECKING:
    from .settings import Http2Settings

_HEADER_EVENTS: Final = (
    h2.events.RequestReceived,
    h2.events.ResponseReceived,
    h2.events.InformationalResponseReceived,
    h2.events.TrailersReceived,
)
_UNLIMITED: Final = (1 << 31) - 1


class _Noted(list[bytes]):
    """DATA that waits for the end of a dispatch; it is noted when it is put there."""

    __slots__ = ("_note",)

    def __init__(self, note: Callable[[bytes], None]) -> None:
        super().__init__()
        self._note = note

    def append(self, frames: bytes) -> None:
        self._note(frames)
        super().append(frames)


class _H2Reader(Http2Connection):
    """Reads with h2."""

    client_side = False
    _h2: h2.connection.H2Connection | None = None

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.data = _Noted(self._note)
        self._sent_blocks = hpack.Decoder(max_header_list_size=_UNLIMITED)
        self._sent_block = b""
        self._sent_flags = 0
        reader = h2.connection.H2Connection(
            h2.config.H2Configuration(
                client_side=self.client_side,
                header_encoding=False,
                validate_inbound_headers=False,
                normalize_inbound_headers=False,
                validate_outbound_headers=False,
                normalize_outbound_headers=False,
            )
        )
        reader.local_settings = _local_settings(self.settings, self.client_side)
        reader.initiate_connection()
        reader.clear_outbound_data_buffer()
        reader.decoder.max_header_list_size = _UNLIMITED
        reader.decoder.max_allowed_table_size = self.settings.hpack_table_size
        if self._window > DEFAULT_WINDOW:
            reader.increment_flow_control_window(self._window - DEFAULT_WINDOW)
            reader.clear_outbound_data_buffer()
        if not self.client_side:
            reader.receive_data(PREFACE)
        self._h2 = reader

    # -- what arrives

    def _read(self, data: bytes, at: int) -> bytes:
        size = len(data)
        while size - at >= 9:
            high, low, kind, flags, _ = read_header(data, at)
            length = high << 8 | low
            if not self._settled:
                self._expect_settings(kind, flags)
            if length > MAX_FRAME:
                self._fail(FRAME_SIZE_ERROR, b"too large frame size")
            end = at + 9 + length
            if end > size:
                break
            self._read_frame(kind, data[at:end])
            at = end
            if self.over:
                break
        return data[at:]

    def _read_frame(self, kind: int, frame: bytes) -> None:
        assert self._h2 is not None
        if kind == GOAWAY:
            # To h2 it is the end of everything, not of new streams alone.
            self._on_goaway(int.from_bytes(frame[5:9], "big") & MAX_STREAM_ID, frame[4], frame[9:])
            return
        try:
            events = self._h2.receive_data(frame)
        except h2.exceptions.ProtocolError as error:
            self._fail(int(error.error_code), str(error).encode("latin-1", "replace")[:100])
        finally:
            # Acknowledgements are written by the native codec, in nghttp2's order.
            self._h2.clear_outbound_data_buffer()
        if kind == HEADERS and not frame[4] & END_HEADERS:
            self._on_headers_begin(int.from_bytes(frame[5:9], "big") & MAX_STREAM_ID)
        for event in events:
            self._take(event, kind)

    def _take(self, event: Any, kind: int) -> None:
        if isinstance(event, _HEADER_EVENTS):
            ends = getattr(event, "stream_ended", None) is not None
            self._on_header_block(event.stream_id, literal_block(event.headers), ends)
        elif isinstance(event, h2.events.DataReceived):
            padding = event.flow_controlled_length - len(event.data)
            if padding:
                self._outstanding += padding
                self._consume_of_connection(padding)
            self._on_data(event.stream_id, END_STREAM if event.stream_ended is not None else 0, event.data)
        elif isinstance(event, h2.events.StreamReset):
            if event.remote_reset:
                self._on_rst_stream(event.stream_id, 0, int(event.error_code).to_bytes(4, "big"))
        elif isinstance(event, h2.events.WindowUpdated):
            self._on_window_update(event.stream_id or 0, 0, event.delta.to_bytes(4, "big"))
        elif isinstance(event, h2.events.RemoteSettingsChanged):
            changed = [(int(each.setting), each.new_value) for each in event.changed_settings.values()]
            self._on_settings(0, 0, settings_frame(changed)[9:])
        elif isinstance(event, h2.events.SettingsAcknowledged):
            self._on_settings(0, ACK, b"")
        elif isinstance(event, h2.events.PingReceived):
            self._on_ping(0, 0, event.ping_data)
        elif isinstance(event, h2.events.PingAckReceived):
            self._on_ping(0, ACK, event.ping_data)
        elif isinstance(event, h2.events.PriorityUpdated) and kind != HEADERS:
            self._on_priority(event.stream_id or 0, 0, bytes(5))
        elif isinstance(event, h2.events.UnknownFrameReceived) and kind == METADATA:
            unknown: Any = event.frame
            self._on_metadata(unknown.stream_id, unknown.flag_byte, unknown.body)

    # -- what leaves

    def queue(self, frames: bytes) -> None:
        self._note(frames)
        super().queue(frames)

    def _queue_urgent(self, frames: bytes) -> None:
        self._note(frames)
        super()._queue_urgent(frames)

    def _note(self, frames: bytes) -> None:
        """Tell h2 of frames that leave."""
        reader = self._h2
        if reader is None:
            return
        at = 0
        while at < len(frames):
            high, low, kind, flags, stream_id = read_header(frames, at)
            end = at + 9 + (high << 8 | low)
            # To h2 the stream may be over already, or not have begun before its block is complete.
            with suppress(h2.exceptions.ProtocolError):
                self._note_frame(reader, kind, flags, stream_id, frames[at + 9 : end])
            at = end
        reader.clear_outbound_data_buffer()

    def _note_frame(self, reader: Any, kind: int, flags: int, stream_id: int, payload: bytes) -> None:
        if kind in (HEADERS, CONTINUATION):
            self._sent_block += payload
            self._sent_flags |= flags
            if flags & END_HEADERS:
                fields = self._sent_blocks.decode(self._sent_block, raw=True)
                ends = bool(self._sent_flags & END_STREAM)
                self._sent_block, self._sent_flags = b"", 0
                reader.send_headers(stream_id, fields, end_stream=ends)
        elif kind == DATA:
            reader.send_data(stream_id, payload, end_stream=bool(flags & END_STREAM))
        elif kind == RST_STREAM:
            reader.reset_stream(stream_id, int.from_bytes(payload, "big"))
        elif kind == WINDOW_UPDATE:
            reader.increment_flow_control_window(int.from_bytes(payload, "big"), stream_id or None)


def literal_block(fields: Iterable[tuple[bytes, bytes]]) -> bytes:
    """A block that depends on no table."""
    return b"".join(
        b"\0" + write_integer(len(name), 7, 0) + name + write_integer(len(value), 7, 0) + value
        for name, value in ((bytes(name), bytes(value)) for name, value in fields)
    )


def _local_settings(settings: Http2Settings, client_side: bool) -> h2.settings.Settings:
    codes = h2.settings.SettingCodes
    return h2.settings.Settings(
        client=client_side,
        initial_values={
            codes.HEADER_TABLE_SIZE: settings.hpack_table_size,
            codes.ENABLE_PUSH: 0,
            # Who goes beyond is refused by the native codec, as by nghttp2.
            codes.MAX_CONCURRENT_STREAMS: _UNLIMITED,
            codes.MAX_HEADER_LIST_SIZE: _UNLIMITED,
            codes.INITIAL_WINDOW_SIZE: settings.initial_stream_window_size,
            codes.ENABLE_CONNECT_PROTOCOL: int(settings.allow_connect),
        },
    )


class H2ServerConnection(_H2Reader, ServerConnection):
    """One downstream connection."""


class H2ClientConnection(_H2Reader, ClientConnection):
    """One upstream connection."""

    client_side = True
