"""The upstream side of HTTP/2: writes requests, reads responses.

Envoy: `Http2::ClientConnectionImpl`, `Http2::ConnectionImpl::ClientStreamImpl`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, Protocol

from ..codec import ResponseDecoder, StreamResetReason
from ..conn_manager_utility import is_upgrade
from ..header_map import KIND, ORDINARY, SUSPECT, HeaderMap, RequestHeaderMap, ResponseHeaderMap, entry, refusal
from .connection import Http2Connection
from .fields import CONNECTION_HEADERS, MESSAGING_RULE, MessageError, ResponseHead, response_head, trailer_entries
from .flow_control import UNKNOWN
from .frames import (
    CONNECT_ERROR,
    END_HEADERS,
    END_STREAM,
    HEADERS,
    INTERNAL_ERROR,
    MAX_FRAME,
    MAX_STREAM_ID,
    PING,
    PREFACE,
    PROTOCOL_ERROR,
    SETTINGS_ENABLE_PUSH,
    frame,
    headers_frames,
    rst_stream,
    write_header,
)
from .hpack import ENCODED, encode_entries, encode_entry, encode_field, encode_pseudo
from .stream import RESET_CODES, UNOPENED, Http2Stream

if TYPE_CHECKING:
    from ...network.connection import Connection
    from ..codec_stats import Http2CodecStats
    from .settings import Http2Settings

_UPGRADE: Final = KIND[b"upgrade"]
_UNUSUAL: Final = SUSPECT | CONNECTION_HEADERS
_NO_LENGTH: Final = (b"content-length", b"0")
_CONNECTION_UPGRADE: Final = entry(b"connection", b"upgrade")


_PEERS: Final = {CONNECT_ERROR: StreamResetReason.CONNECT_ERROR, PROTOCOL_ERROR: StreamResetReason.PROTOCOL_ERROR}
_NO_DATA_YET: Final = 0.25
"""After an interim response: neither DATA nor the end of the stream may come before the response."""
_OURS: Final = (StreamResetReason.LOCAL_RESET, StreamResetReason.PROTOCOL_ERROR)


class ClientConnectionCallbacks(Protocol):
    """What the owner of the connection hears (`Http::ConnectionCallbacks`)."""

    def on_go_away(self) -> None:
        """The peer takes no new streams; those that it has taken go on."""

    def on_max_streams_changed(self, maximum: int) -> None:
        """The peer takes so many streams at the same time."""

    def on_stream_closed(self) -> None:
        """There is room for another stream."""

    def on_stream_broken(self) -> None:
        """What the peer has sent on a stream could not be taken."""


class ClientStream(Http2Stream):
    """A request that is sent, and the response to it.

    Attributes:
        head_request: the response has no body, whatever it says.
        upgrade: what the request asked for, as HTTP/1 has it; empty if it did not.
    """

    __slots__ = ("head_request", "upgrade")

    def encode_headers(self, headers: RequestHeaderMap, end_stream: bool) -> None:
        if self.closed:
            return
        connection = self.connection
        method = headers.method
        seen = headers.seen
        if (seen > ORDINARY and seen & _UNUSUAL) or method == b"CONNECT" or connection.table_update:
            self._encode_unusual(headers, end_stream)
            return
        if method == b"HEAD":
            self.head_request = True
        fields = [encode_pseudo(method, headers.path, headers.authority, headers.scheme, headers.pseudo_order)]
        known = ENCODED.get
        for item in headers.entries:
            field = known(item[2])
            fields.append(encode_entry(item) if field is None else field)
        block = b"".join(fields)
        length = len(block)
        if length > MAX_FRAME:
            connection.queue(headers_frames(self.id, block, end_stream))
        else:
            flags = END_HEADERS | END_STREAM if end_stream else END_HEADERS
            connection.queue(write_header(length >> 8, length & 255, HEADERS, flags, self.id) + block)
        if end_stream:
            self.local_end = True
            if self.remote_end:
                self.finish()

    def _encode_unusual(self, headers: RequestHeaderMap, end_stream: bool) -> None:
        """With something in it that HTTP/2 says otherwise, or does not say."""
        if headers.seen & SUSPECT and (problem := refusal(headers)):
            decoder, self.decoder = self.decoder, None
            # Nothing has been sent of it: there is no stream that could be reset.
            self.connection.close_stream(self)
            if decoder is not None:
                decoder.on_request_refused(problem)
            return
        entries = headers.entries
        method = headers.method
        self.head_request = method == b"HEAD"
        values = {
            b":method": method,
            b":path": headers.path,
            b":authority": headers.authority,
            b":scheme": headers.scheme,
        }
        order = headers.pseudo_order
        if headers.seen & CONNECTION_HEADERS:
            if is_upgrade(headers) and (protocol := headers.get(b"upgrade")):
                # An upgrade is an extended CONNECT here (RFC 8441).
                values[b":method"] = b"CONNECT"
                values[b":protocol"] = self.upgrade = protocol
                self.tunnel = True
                if b":protocol" not in order:
                    order = (*order, b":protocol")
            entries = [item for item in entries if not item[3] & CONNECTION_HEADERS]
            if self.upgrade:
                # There is no body, and what follows is none.
                entries = [item for item in entries if item[:2] != _NO_LENGTH]
        if method == b"CONNECT":
            self.tunnel = True
            order = tuple(name for name in order if name in (b":authority", b":method"))
        elif b":authority" not in order:
            # The client had a host header.
            order = (*order, b":authority")
        fields = [encode_field(name, values[name]) for name in order if name in values]
        fields += encode_entries(entries)
        self.send_block(fields, end_stream)

    def reset_stream(self, reason: StreamResetReason) -> None:
        """Nobody wants the answer: what is left of the request is not sent either."""
        self.decoder = None
        if not self.closed:
            self._send_reset(RESET_CODES.get(reason, INTERNAL_ERROR))

    def _send_reset(self, code: int) -> None:
        connection = self.connection
        connection.close_stream(self)
        if not connection.over:
            # Else it was the last one of a connection that takes no more, and has gone without a word.
            connection.stats.tx_reset += 1
            connection.queue_reset(self.id, rst_stream(self.id, code))


class ClientConnection(Http2Connection):
    """One upstream connection.

    Attributes:
        goaway_received: the peer takes no new streams.
        left: nothing was on it any more when the peer said so, and it was closed.
    """

    goaway_received = left = False

    _own_numbers = 1
    _keeps_connect = True
    _of_bad_message = StreamResetReason.PROTOCOL_ERROR
    _most_push = 0
    _ended_is_over = True

    def __init__(
        self,
        connection: Connection,
        callbacks: ClientConnectionCallbacks,
        settings: Http2Settings,
        stats: Http2CodecStats,
        post: Callable[[Callable[[], None]], Any],
    ) -> None:
        super().__init__(connection, settings, stats, post)
        self._callbacks = callbacks
        self.on_stream_closed = callbacks.on_stream_closed
        self._next_stream = 1
        self._unsaid = PREFACE + self._hello([(SETTINGS_ENABLE_PUSH, 0)], settings.max_concurrent_streams)
        """What is said with the first stream, or with what the peer says first, whatever comes sooner."""

    @property
    def exhausted(self) -> bool:
        """There are no numbers left for new streams."""
        return self._next_stream > MAX_STREAM_ID

    def _begin(self, data: bytes) -> int:
        if self._unsaid:
            hello, self._unsaid = self._unsaid, b""
            self._greet(hello)
        return 0

    def _introduce(self, ping: bytes = b"") -> None:
        hello, self._unsaid = self._unsaid, b""
        for frames in (hello, ping, self._more_window()):
            if frames:
                self.queue(frames)

    def ping(self, payload: bytes) -> None:
        if self._unsaid:
            self._introduce(frame(PING, 0, 0, payload))
        else:
            super().ping(payload)

    def new_stream(self, decoder: ResponseDecoder) -> ClientStream:
        if self._unsaid:
            self._introduce()
        stream_id = self._next_stream
        stream = self.streams[stream_id] = ClientStream(self, stream_id, decoder, UNOPENED)
        stream.head_request = False
        stream.upgrade = b""
        self._next_stream = stream_id + 2
        self._constraints.opened_streams += 1
        self.stats.streams_active += 1
        return stream

    def _is_idle(self, stream_id: int) -> bool:
        return stream_id >= self._next_stream or not stream_id & 1

    def _reset_by_peer(self, stream: Http2Stream, code: int) -> tuple[StreamResetReason, str]:
        if code in _PEERS:
            return _PEERS[code], "http2.remote_reset"
        return super()._reset_by_peer(stream, code)

    def _abandon(self, stream: Http2Stream, reason: StreamResetReason, details: str) -> None:
        if reason in _OURS:
            self._callbacks.on_stream_broken()
        super()._abandon(stream, reason, details)

    def _on_peer_settings(self) -> None:
        self._callbacks.on_max_streams_changed(self.peer_max_streams)

    def _on_peer_leaves(self, last_stream: int) -> None:
        finishing, self.finishing = self.finishing, []
        for stream in finishing:
            stream.complete()
        if not self.goaway_received:
            self.goaway_received = True
            self._callbacks.on_go_away()
        for number in [each for each in self.streams if each > last_stream]:
            # The peer has not looked at these: they may be tried again elsewhere.
            stream = self.streams[number]
            self.close_stream(stream)
            self._abandon(stream, StreamResetReason.REMOTE_REFUSED_STREAM_RESET, "http2.remote_refuse")
        self.left = self.over

    def _on_header_block(self, stream_id: int, block: bytes, end_stream: bool) -> None:
        stream: ClientStream | None = self.streams.get(stream_id)  # type: ignore[assignment]
        if stream is None:
            if self._is_idle(stream_id):
                self._break_off()
            self._fields(block)
            return
        if stream.remote_end and (stream.closed or stream.waiting is None):
            # It is over, or about to be reset.
            self._fields(block)
            if not self._ignores(stream):
                self._break_off(UNKNOWN, stream_id)
            return
        if stream.expected != UNOPENED and stream.expected != _NO_DATA_YET:
            self._on_trailers(stream, block, end_stream)
            return
        head: ResponseHead | None = self._decoder.blocks.get(block)
        if head is None:
            fields = self._fields(block)
            if fields is None:
                self._break_stream(stream, INTERNAL_ERROR, self.too_large, StreamResetReason.REMOTE_RESET)
                return
            try:
                head = response_head(fields)
            except MessageError as error:
                self._break_message(stream, error, end_stream)
                return
            self._decoder.remember(block, head)
        status, entries, seen, length = head
        headers = ResponseHeaderMap(status, entries[:], seen)
        decoder = stream.decoder
        if status < 200:
            stream.expected = _NO_DATA_YET
            if end_stream:
                self._break_message(stream, MessageError(MESSAGING_RULE), True)
            elif decoder is not None:
                decoder.decode_1xx_headers(headers)
            return
        if stream.upgrade and status == 200:
            # To the rest of the proxy an upgrade is what it is in HTTP/1 (`transformUpgradeResponseFromH2toH1`).
            headers = ResponseHeaderMap(101, [*entries, entry(b"upgrade", stream.upgrade), _CONNECTION_UPGRADE], seen)
            headers.seen |= _UPGRADE | KIND[b"connection"]
        if stream.tunnel and 200 <= status < 300:
            # Of a tunnel nobody knows the length (RFC 9110 9.3.6).
            headers.remove(b"content-length")
            length = -1
        if stream.head_request or status == 204 or status == 304:
            # Not a byte may come where no body is: it would be taken for the next response further on.
            length = 0
        stream.expected = length
        if end_stream:
            if length > 0:
                self._break_message(stream, MessageError(MESSAGING_RULE), True)
                return
            self._end_receiving(stream)
        if decoder is not None:
            decoder.decode_headers(headers, end_stream)

    def _on_bad_length(self, stream: Http2Stream, size: int, end_stream: bool) -> None:
        if not size and stream.expected == _NO_DATA_YET:
            self._break_off()
        super()._on_bad_length(stream, size, end_stream)

    def _on_trailers(self, stream: ClientStream, block: bytes, end_stream: bool) -> None:
        fields = self._fields(block)
        if fields is None:
            self._break_stream(stream, INTERNAL_ERROR, self.too_large)
            return
        try:
            trailers = trailer_entries(fields)
            if not end_stream or stream.expected > 0 or stream.remote_end:
                raise MessageError(MESSAGING_RULE)
        except MessageError as error:
            self._break_message(stream, error, end_stream)
            return
        decoder = stream.decoder
        self._end_receiving(stream)
        if decoder is not None:
            decoder.decode_trailers(HeaderMap(trailers))

    def _end_receiving(self, stream: Http2Stream) -> None:
        stream.remote_end = True
        if stream.local_end and stream.waiting is None:
            stream.finish()
