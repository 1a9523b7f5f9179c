"""The downstream side of HTTP/2: reads requests, writes responses.

Envoy: `Http2::ServerConnectionImpl`, `Http2::ConnectionImpl::ServerStreamImpl`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from ...errors import CodecProtocolError
from ...network.overload_state import STREAM_FLUSH
from ...stream_info import ResponseFlag
from ..codec import RequestDecoder, ServerConnectionCallbacks, StreamResetReason
from ..header_map import JOINED, ORDINARY, Entry, HeaderMap, ResponseHeaderMap
from ..http1.settings import ALLOW_UNDERSCORES, REJECT_UNDERSCORES
from .connection import Http2Connection
from .fields import (
    CONNECTION_HEADERS,
    INVALID_FIELD,
    MESSAGING_RULE,
    NO_HOST,
    NO_TRAILER,
    UNDERSCORE,
    Http2RequestHeaderMap,
    MessageError,
    RequestHead,
    request_head,
    trailer_entries,
)
from .flood import Http2ProtocolError
from .flow_control import UNKNOWN
from .frames import (
    CONNECT_ERROR,
    END_HEADERS,
    END_STREAM,
    HEADERS,
    INTERNAL_ERROR,
    MAX_FRAME,
    NO_ERROR,
    PREFACE,
    PROTOCOL_ERROR,
    REFUSED_STREAM,
    headers_frames,
    rst_stream,
    write_header,
)
from .hpack import ENCODED, encode_entries, encode_entry, encode_field
from .stream import Http2Stream

if TYPE_CHECKING:
    from ...event.dispatcher import Timer
    from ...network.connection import Connection
    from ..codec_stats import Http2CodecStats
    from .settings import Http2Settings

_NO_CONNECTION: Final = ResponseFlag.UPSTREAM_CONNECTION_FAILURE | ResponseFlag.UPSTREAM_CONNECTION_TERMINATION
_STATUSES: Final = {status: encode_field(b":status", b"%d" % status) for status in range(100, 600)}


class ServerStream(Http2Stream):
    """A request, and the encoder of its response.

    Attributes:
        last_response: without meaning here: a connection ends by GOAWAY.
    """

    __slots__ = ("last_response",)

    last_response: bool
    http_10 = False

    @property
    def reset_code(self) -> int:
        return CONNECT_ERROR if self._lost_its_upstream else INTERNAL_ERROR

    @property
    def unfinished_code(self) -> int:
        return CONNECT_ERROR if self._lost_its_upstream else NO_ERROR

    @property
    def _lost_its_upstream(self) -> bool:
        """A tunnel whose other end is no connection, or none any more."""
        owner = self.zombie or self.decoder
        return self.tunnel and owner is not None and bool(owner.response_flags & _NO_CONNECTION)

    def wait_for_flush(self, timer: Timer, seconds: float) -> None:
        self._flush_timer = timer
        timer.enable(seconds)

    def on_flush_timeout(self) -> None:
        """The client does not take what it has asked for."""
        self.connection.stats.tx_flush_timeout += 1
        self._send_reset(INTERNAL_ERROR)

    def set_request_decoder(self, decoder: RequestDecoder) -> None:
        self.decoder = decoder

    def encode_1xx_headers(self, headers: ResponseHeaderMap) -> None:
        if not self.closed and not self.local_end:
            self.send_block(_response_block(headers), False)

    def encode_headers(self, headers: ResponseHeaderMap, end_stream: bool) -> None:
        if self.closed or self.local_end:
            return
        connection = self.connection
        seen = headers.seen
        if (seen > ORDINARY and seen & CONNECTION_HEADERS) or connection.table_update:
            self.send_block(_response_block(headers), end_stream)
            return
        known = ENCODED.get
        fields = [_STATUSES.get(headers.status) or encode_field(b":status", b"%d" % headers.status)]
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
            self._end_sending_first()


def _response_block(headers: ResponseHeaderMap) -> list[bytes]:
    entries = headers.entries
    if headers.seen & CONNECTION_HEADERS:
        entries = [item for item in entries if not item[3] & CONNECTION_HEADERS]
    # An upgrade that is granted: what HTTP/1 says by 101, an extended CONNECT says by 200.
    status = 200 if headers.status == 101 else headers.status
    fields = encode_entries(entries)
    fields.insert(0, _STATUSES.get(status) or encode_field(b":status", b"%d" % status))
    return fields


class ServerConnection(Http2Connection):
    """One downstream connection."""

    _joined = JOINED
    flush_timeout = 0.0
    """Seconds that a complete response may wait for window; 0 for ever."""
    scaled: Callable[[str, float], float] | None = None
    """Makes that shorter when the server runs short of something."""
    _of_bad_message = StreamResetReason.PROTOCOL_ERROR
    _bad_length = "http2.remote_reset"

    def __init__(
        self,
        connection: Connection,
        callbacks: ServerConnectionCallbacks,
        settings: Http2Settings,
        stats: Http2CodecStats,
        post: Callable[[Callable[[], None]], Any],
    ) -> None:
        super().__init__(connection, settings, stats, post)
        self._new_stream = callbacks.new_stream
        self._greeted = self._left = False
        self._said_hello = False
        self._begun = 0
        self._begun_was_opened = False
        """The stream whose header block has begun, and is not complete."""

    def _begin(self, data: bytes) -> int:
        if self._greeted:
            return 0
        if self._left:
            # As with nghttp2: who has said goodbye, and has no stream left, is not listened to.
            return 0 if self.streams else len(data)
        if not self._said_hello:
            self._said_hello = True
            self._greet(self._hello([], self.settings.max_concurrent_streams))
        if not PREFACE.startswith(data[: len(PREFACE)]):
            raise Http2ProtocolError("codec_error:Received_bad_client_magic_byte_string")
        if len(data) < len(PREFACE):
            return -1
        self._greeted = True
        self.stats.nghttp2_downstream_connections += 1
        return len(PREFACE)

    def _on_peer_leaves(self, last_stream: int) -> None:
        self._greeted, self._left = False, True

    def say_hello(self) -> None:
        """Before bytes of the peer are dispatched, if there is something to tell it that can not wait for them."""
        if not self._said_hello:
            self._said_hello = True
            for frames in (self._hello([], self.settings.max_concurrent_streams), self._more_window()):
                if frames:
                    self.queue(frames)

    def _reset_by_peer(self, stream: Http2Stream, code: int) -> tuple[StreamResetReason, str]:
        if code == NO_ERROR and stream.remote_end:
            return StreamResetReason.REMOTE_RESET, ""
        if code == PROTOCOL_ERROR:
            return StreamResetReason.PROTOCOL_ERROR, "http2.remote_reset"
        return super()._reset_by_peer(stream, code)

    def _on_reset(self) -> None:
        if not self._constraints.allows_reset(int(self._connection.dispatcher.monotonic_time())):
            self._fail_soon(INTERNAL_ERROR)

    def on_flush_pending(self, stream: Http2Stream) -> None:
        assert isinstance(stream, ServerStream)
        own: float | None = getattr(stream.decoder, "flush_timeout", None)
        seconds = self.flush_timeout if own is None else own
        if seconds and not stream.closed:
            timer = self._connection.dispatcher.create_timer(stream.on_flush_timeout)
            stream.wait_for_flush(timer, seconds if self.scaled is None else self.scaled(STREAM_FLUSH, seconds))

    def _is_idle(self, stream_id: int) -> bool:
        return stream_id > self.last_stream or not stream_id & 1

    def _on_headers_begin(self, stream_id: int) -> None:
        if stream_id > self.last_stream and stream_id & 1:
            self.last_stream = self._begun = stream_id
            taken = stream_id <= self._goaway_sent
            self._begun_was_opened = taken and len(self.streams) < self.settings.max_concurrent_streams
            if self._begun_was_opened:
                # Its time runs already (`request_headers_timeout`).
                self._open(self._add_stream(stream_id))

    def _add_stream(self, stream_id: int) -> ServerStream:
        stream = self.streams[stream_id] = ServerStream(self, stream_id)
        self.stats.streams_active += 1
        return stream

    def _on_header_block(self, stream_id: int, block: bytes, end_stream: bool) -> None:
        stream: Any = self.streams.get(stream_id)
        begun, self._begun = self._begun, 0
        if stream is not None and stream.closed:
            # It has been broken, and is about to be reset.
            self._fields(block)
            if not self._ignores(stream):
                self._break_off(UNKNOWN, stream_id)
            return
        if stream is not None and stream_id != begun:
            self._on_trailers(stream, block, end_stream)
            return
        if not stream_id & 1:
            self._break_off()
        if stream_id <= self.last_stream and (stream_id != begun or (stream is None and self._begun_was_opened)):
            # It is over, by a reset or by a timeout.
            self._fields(block)
            return
        self.last_stream = stream_id
        if stream_id > self._goaway_sent:
            self._fields(block)
            return
        self._constraints.opened_streams += 1
        if stream is None and len(self.streams) >= self.settings.max_concurrent_streams:
            self._fields(block)
            self.stats.stream_refused_errors += 1
            self.queue_control(rst_stream(stream_id, REFUSED_STREAM))
            return
        if stream is None:
            stream = self.streams[stream_id] = ServerStream(self, stream_id)
            self.stats.streams_active += 1
        head: RequestHead | None = self._decoder.blocks.get(block)
        if head is None:
            head = self._read_head(stream, block, end_stream)
            if head is None:
                return
        method, path, authority, scheme, entries, seen, length, order, protocol = head
        headers = Http2RequestHeaderMap(method, path, authority or b"", entries[:], seen, scheme)
        headers.pseudo_order = order
        if protocol:
            # The rest of the proxy knows upgrades as HTTP/1 has them (`transformUpgradeRequestFromH2toH1`).
            stream.tunnel = True
            headers.method = b"GET"
            headers.add(b"upgrade", protocol)
            headers.add(b"connection", b"upgrade")
        elif method == b"CONNECT":
            stream.tunnel = True
            # A tunnel has no length, whatever its request says.
            length = -1
        if end_stream:
            if length > 0:
                self._open(stream)
                self._break_message(stream, MessageError(MESSAGING_RULE), True)
                return
            stream.remote_end = True
        else:
            stream.expected = length
        decoder = stream.decoder
        if decoder is None:
            decoder = stream.decoder = self._new_stream(stream)
        decoder.decode_headers(headers, end_stream)

    def _read_head(self, stream: ServerStream | Http2Stream, block: bytes, end_stream: bool) -> RequestHead | None:
        """None if that was the end of the stream."""
        fields: list[Entry] | None
        try:
            fields = self._fields(block)
            if fields is None:
                self._judge_part()
                self._open(stream)
                self._break_stream(stream, INTERNAL_ERROR, self.too_large)
                return None
            head = request_head(fields, self.settings.allow_connect)
        except MessageError as error:
            self._open(stream)
            self._break_message(stream, error, end_stream)
            return None
        except CodecProtocolError:
            self._open(stream)
            raise
        if head.seen & UNDERSCORE and self.settings.underscores != ALLOW_UNDERSCORES:
            if self.settings.underscores == REJECT_UNDERSCORES:
                self._open(stream)
                self._reject_underscore(stream)
                return None
            kept = [item for item in head.entries if not item[3] & UNDERSCORE]
            self.stats.dropped_headers_with_underscores += len(head.entries) - len(kept)
            return head._replace(entries=kept, seen=head.seen & ~UNDERSCORE)
        self._decoder.remember(block, head)
        return head

    def _reject_underscore(self, stream: Http2Stream) -> None:
        self.stats.requests_rejected_with_underscores_in_headers += 1
        self._break_stream(stream, INTERNAL_ERROR, "http2.unexpected_underscore")

    def _judge_part(self) -> None:
        """MessageError if what fitted of a header list is bad already."""
        try:
            request_head(self.part, self.settings.allow_connect)
        except MessageError as error:
            if error.details == INVALID_FIELD:
                raise

    def _open(self, stream: Http2Stream) -> RequestDecoder:
        """The owner hears of the stream before it hears of its end."""
        decoder: RequestDecoder | None = stream.decoder
        if decoder is None:
            decoder = stream.decoder = self._new_stream(stream)  # type: ignore[arg-type]
        return decoder

    def _on_trailers(self, stream: Http2Stream, block: bytes, end_stream: bool) -> None:
        if stream.remote_end:
            self._fields(block)
            self._break_off(UNKNOWN, stream.id)
        fields = self._fields(block)
        if fields is None:
            self._break_stream(stream, INTERNAL_ERROR, self.too_large)
            return
        try:
            trailers = trailer_entries(fields, NO_TRAILER | NO_HOST)
            if not end_stream or stream.expected > 0:
                raise MessageError(MESSAGING_RULE)
        except MessageError as error:
            self._break_message(stream, error, end_stream)
            return
        if self.settings.underscores != ALLOW_UNDERSCORES and any(item[3] & UNDERSCORE for item in trailers):
            if self.settings.underscores == REJECT_UNDERSCORES:
                self._reject_underscore(stream)
                return
            kept = [item for item in trailers if not item[3] & UNDERSCORE]
            self.stats.dropped_headers_with_underscores += len(trailers) - len(kept)
            trailers = kept
        self.stats.trailers += 1
        stream.remote_end = True
        if stream.local_end and stream.waiting is None:
            stream.finish()
        if stream.decoder is not None:
            self._pass_trailers(stream, HeaderMap(trailers))

    def _pass_trailers(self, stream: Http2Stream, trailers: HeaderMap) -> None:
        stream.decoder.decode_trailers(trailers)
