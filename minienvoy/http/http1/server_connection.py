"""The downstream side of HTTP/1: reads requests, writes responses.

Envoy: `Http1::ServerConnectionImpl`, `Http1::ResponseEncoderImpl`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Final

from ...errors import CodecProtocolError, ResponseFloodError
from ..codec import Metadata, RequestDecoder, ResponseEncoder, ServerConnectionCallbacks, StreamResetReason
from ..codes import STATUS_LINES, reason_phrase
from ..header_map import CASED, JOINED, ORDINARY, Entry, HeaderMap, RequestHeaderMap, ResponseHeaderMap, join_repeated
from .chunked import LAST_CHUNK, ChunkedReader
from .codec import (
    BOTH_LENGTHS,
    CHUNKED,
    CLOSED,
    CONNECTION,
    CONTENT_LENGTH,
    HEAD,
    HOST,
    LENGTH,
    MAX_HEAD,
    MAX_HEADS,
    TRANSFER_ENCODING,
    UNTIL_CLOSE,
    UPGRADE,
    WAIT,
    Http1Connection,
)
from .connection_header import ignore_upgrades, sanitize_connection_header, take_upgrade
from .header_lines import UNDERSCORE, known_line, parse_new, parse_unknown
from .request_target import (
    INVALID_URL,
    METHODS,
    AbsoluteFormHeaderMap,
    check_authority,
    check_authority_form,
    parse_request_line,
    split_absolute_form,
)
from .settings import Http1Settings

if TYPE_CHECKING:
    from ...network.connection import Connection
    from ..codec_stats import Http1CodecStats

_quick_request_line = re.compile(rb"([A-Z]+) (/[\x21-\x7e]*) HTTP/1\.1").fullmatch
_QUICK_METHODS: Final = METHODS - {b"CONNECT"}
_MAX_UNFLUSHED_RESPONSES: Final = 2
_EXAMINED: Final = HOST | CONTENT_LENGTH | TRANSFER_ENCODING | CONNECTION | UPGRADE

_Request = tuple[bytes, bytes, bytes | None, bytes, list[Entry], int, int, bool, bool, int]
"""(method, path, authority, scheme, entries, seen, length, chunked, raw, number of header lines)

`authority` is None if there is none; `raw` says that what follows is no HTTP message (CONNECT, upgrades). The number is
-1 if a setting decided: then this is not the outcome for every connection.
"""

_REQUESTS: Final[dict[bytes, _Request]] = {}


_wire_line = itemgetter(2)


class ServerConnection(Http1Connection):
    """One downstream connection."""

    def __init__(
        self,
        connection: Connection,
        callbacks: ServerConnectionCallbacks,
        settings: Http1Settings,
        stats: Http1CodecStats,
    ) -> None:
        super().__init__(connection, settings, stats)
        self._state = HEAD
        self._decoder: RequestDecoder | None = None
        self.dispatching = False
        self._reading_stopped = False
        self._head_request = False
        self._connect_request = False
        self.last_response = False
        """The response under way is the last one: no request is read after it. Its owner says so."""
        self._head = b""
        self._unflushed = self._answered = 0
        """Responses that have been written since bytes came: none of them has left yet."""
        self._follows = False
        """What waits has come in one piece with the request under way. Envoy goes on with it in the same breath as its
        response is written, which is then the first that has not left."""
        self._callbacks = callbacks
        self._new_stream: Callable[[ResponseEncoder], RequestDecoder] = callbacks.new_stream
        self.http_10 = False
        """The request under way is HTTP/1.0 (or calls itself anything but 1.1), and that is accepted."""

    def make_streams_by(self, new_stream: Callable[[ResponseEncoder], RequestDecoder]) -> None:
        """Streams from now on are made by somebody else than the callbacks' `new_stream`."""
        self._new_stream = new_stream

    # -- reading requests

    def dispatch(self, data: bytes) -> None:
        self.dispatching = True
        self._unflushed, self._answered = self._answered, 0
        waited = self._state == WAIT
        try:
            while data:
                state = self._state
                if state == HEAD:
                    data = self._read_head(data)
                elif state == LENGTH:
                    decoder = self._decoder
                    assert decoder is not None
                    remaining = self._remaining
                    if len(data) < remaining:
                        self._remaining = remaining - len(data)
                        decoder.decode_data(data, False)
                        return
                    self._state = WAIT
                    if len(data) == remaining:
                        decoder.decode_data(data, True)
                        return
                    decoder.decode_data(data[:remaining], True)
                    data = data[remaining:]
                elif state == CHUNKED:
                    data = self._read_chunks(data)
                elif state == UNTIL_CLOSE:
                    if self._decoder is not None:
                        self._decoder.decode_data(data, False)
                    return
                elif state == WAIT:
                    self._buffer += data
                    if not waited:
                        self._follows = True
                    if not self._reading_stopped:
                        self._reading_stopped = True
                        self._connection.read_disable(True)
                    return
                else:
                    return
        except CodecProtocolError:
            self._state = CLOSED
            raise
        finally:
            self.dispatching = False

    def abort(self, error: CodecProtocolError) -> None:
        """Read nothing more: `error` is raised, and there is a stream to answer it on."""
        self._state = CLOSED
        if self._decoder is None:
            self._decoder = self._new_stream(self)
        raise error

    def _read_head(self, data: bytes) -> bytes:
        """What comes after the head; empty when there is nothing left to do for now."""
        if self._buffer:
            data = self._buffer + data
            self._buffer = b""
        try:
            if self._unflushed >= _MAX_UNFLUSHED_RESPONSES and self._decoder is None and data:
                # Who asks faster than answers can leave would have them all in memory.
                self._stats.response_flood += 1
                raise ResponseFloodError("codec_error:Too_many_responses_queued.")
            request: _Request | None = None
            head, blank_line, rest = data.partition(b"\r\n\r\n")
            if blank_line and 0 < len(head) <= self._max_quick_head:
                request = _REQUESTS.get(head)
                if request is None:
                    request = self._parse_quickly(head)
                elif request[9] > self._max_count:
                    raise CodecProtocolError("http1.too_many_headers", 431)
            if request is not None:
                self.http_10 = False
                self._scanned = 0
            else:
                # Empty lines before a request are skipped, as many as there are; a request has begun with them.
                data = data.lstrip(b"\r\n")
                parts = self._split_head(data) if data else None
                if parts is None:
                    if self._decoder is None:
                        self._decoder = self._new_stream(self)
                    return b""
                start_line, entries, rest = parts
                request = self._parse_leniently(start_line, entries)
        except CodecProtocolError:
            # Nobody knows what was asked for: not even HEAD.
            self._head_request = self._connect_request = False
            if self._decoder is None:
                self._decoder = self._new_stream(self)
            raise
        method, path, authority, scheme, entries, seen, length, chunked, raw, _ = request
        if authority is None:
            headers = RequestHeaderMap(method, path, b"", entries.copy(), seen, scheme)
            headers.no_authority = True
        else:
            make = AbsoluteFormHeaderMap if scheme else RequestHeaderMap
            headers = make(method, path, authority, entries.copy(), seen, scheme)
        if self._make_key_formatter is not None:
            headers.key_formatter = self._make_key_formatter(data[: len(data) - len(rest)])
            headers.seen |= CASED
        self._head_request = method == b"HEAD"
        self._connect_request = method == b"CONNECT"
        decoder = self._decoder
        if decoder is None:
            new_stream = self._new_stream
            decoder = self._decoder = new_stream(self)
        if raw:
            self._state = UNTIL_CLOSE
            decoder.decode_headers(headers, False)
        elif chunked:
            self._state = CHUNKED
            self._chunks = ChunkedReader(self._settings.max_headers_size)
            decoder.decode_headers(headers, False)
        elif length > 0:
            self._state = LENGTH
            self._remaining = length
            decoder.decode_headers(headers, False)
        else:
            self._state = WAIT
            decoder.decode_headers(headers, True)
        return rest

    def _parse_quickly(self, head: bytes) -> _Request | None:
        """What nearly every request is: origin form, HTTP/1.1, lines end in CRLF. None asks for the lenient way."""
        lines = head.split(b"\r\n")
        match = _quick_request_line(lines[0])
        if match is None:
            return None
        method, path = match.groups()
        if method not in _QUICK_METHODS:
            return None
        del lines[0]
        if self._new_heads:
            self._new_heads = (self._new_heads + 1) & 15
            entries = parse_new(head, lines)
            return None if entries is None else self._examine(method, path, entries, True)
        found: list[Any] = [known_line(line) for line in lines]
        # A head with a line that was never seen is no repetition, and will hardly be repeated.
        repeats = all(found)
        if not repeats:
            self._new_heads = int(found.count(None) * 2 > len(found))
            if not parse_unknown(head, lines, found):
                return None
        request = self._examine(method, path, found, True)
        if repeats and request[9] >= 0 and len(head) <= MAX_HEAD:
            if len(_REQUESTS) >= MAX_HEADS:
                _REQUESTS.clear()
            _REQUESTS[head] = request
        return request

    def _parse_leniently(self, start_line: bytes, entries: list[Entry]) -> _Request:
        method, target, version = parse_request_line(start_line, self._settings.allow_custom_methods)
        # A target that ends like that is all there is; Envoy takes it for a version, too.
        http_11 = version == b"1.1" or (version is None and target.endswith(b"HTTP/1.1"))
        self.http_10 = not http_11 and self._settings.accept_http_10
        return self._examine(method, target, entries, http_11)

    def _check_start_line(self, line: bytes) -> None:
        parse_request_line(line, self._settings.allow_custom_methods)

    def _is_whole_head(self, start_line: bytes) -> bool:
        try:
            return parse_request_line(start_line, self._settings.allow_custom_methods)[2] is None
        except CodecProtocolError:
            return False

    def _examine(self, method: bytes, target: bytes, entries: list[Entry], http_11: bool) -> _Request:
        """What a request asks for, once its lines are known to be well-formed. The order of errors is Envoy's."""
        count = len(entries)
        authority: bytes | None = None
        # Host comes first in nearly every request: take it out without looking at the others.
        if entries and entries[0][3] == HOST:
            authority = entries[0][1]
            del entries[0]
        seen = repeated = 0
        for item in entries:
            kind = item[3]
            if kind:
                repeated |= seen & kind
                seen |= kind
        if repeated & JOINED:
            entries = join_repeated(entries, repeated & JOINED)
        if count > self._max_count:
            raise CodecProtocolError("http1.too_many_headers", 431)
        if seen & UNDERSCORE:
            count = -1
            if self._settings.underscores:
                entries = self._count_and_filter(entries)
        length, chunked, raw = -1, False, False
        if seen & _EXAMINED:
            headers = HeaderMap(entries, seen)
            if seen & HOST:
                hosts = ([] if authority is None else [authority]) + headers.get_all(b"host")
                authority = b",".join([host for host in hosts if host])
                headers.remove_kinds(HOST)
            if seen & UPGRADE:
                # Settings may decide.
                count = -1
                if self._settings.ignored_upgrades:
                    ignore_upgrades(headers, self._settings.ignored_upgrades)
                raw = take_upgrade(headers)
            if seen & BOTH_LENGTHS:
                length, chunked = self._framing(headers)
                if seen & BOTH_LENGTHS == BOTH_LENGTHS:
                    count = -1
            if seen & CONNECTION and not raw and method != b"CONNECT" and sanitize_connection_header(headers):
                authority = None
            entries, seen = headers.entries, headers.seen
        scheme, path = b"", target
        if target[:1] != b"/" or method == b"CONNECT":
            if method == b"CONNECT":
                path, raw = b"", True
                entries, seen = self._no_body(entries, seen, length, chunked)
                check_authority_form(target)
                authority = target
            elif target[:1] == b"*":
                if method != b"OPTIONS" and self._settings.allow_absolute_url:
                    raise CodecProtocolError(INVALID_URL)
            elif self._settings.allow_absolute_url:
                scheme, authority, path = split_absolute_form(target)
                if self._settings.validate_scheme and scheme == b"https" and self._connection.info.ssl is None:
                    raise CodecProtocolError("http1.https_url_on_plaintext_connection", 403)
        if not http_11:
            if not self._settings.accept_http_10:
                raise CodecProtocolError("low_version", 426)
            if authority is None:
                authority = self._settings.default_host_for_http_10 or None
        if authority is not None:
            check_authority(authority)
        return method, path, authority, scheme, entries, seen, length, chunked, raw, count

    def _no_body(self, entries: list[Entry], seen: int, length: int, chunked: bool) -> tuple[list[Entry], int]:
        """CONNECT has none: an empty one is forgotten, any other refused."""
        if chunked:
            raise CodecProtocolError("http1.invalid_transfer_encoding", 501)
        if length >= 0:
            headers = HeaderMap(entries, seen)
            if headers.get(b"content-length") != b"0":
                raise CodecProtocolError("http1.body_disallowed")
            headers.remove_kinds(CONTENT_LENGTH)
            return headers.entries, headers.seen
        return entries, seen

    def _read_chunks(self, data: bytes) -> bytes:
        decoder = self._decoder
        assert decoder is not None
        body, done, trailers, rest = self._read_body(decoder, data)
        if not done:
            if body:
                decoder.decode_data(body, False)
        elif trailers is None:
            self._state = WAIT
            decoder.decode_data(body, True)
        else:
            if body:
                decoder.decode_data(body, False)
            if self._state == CHUNKED:
                self._state = WAIT
                decoder.decode_trailers(trailers)
        return rest

    # -- writing responses

    def encode_1xx_headers(self, headers: ResponseHeaderMap) -> None:
        status = headers.status
        version = b"HTTP/1.0" if self.http_10 else b"HTTP/1.1"
        self._write(b"%b %d %b\r\n%b" % (version, status, reason_phrase(status), self._format(headers)))

    def encode_headers(self, headers: ResponseHeaderMap, end_stream: bool) -> None:
        status = headers.status
        seen = headers.seen
        self._encode_chunked = False
        if seen & CONTENT_LENGTH or status < 200 or status == 204 or status == 304:
            framing = b"\r\n"
        elif end_stream and not self._head_request:
            framing = self._no_body_line
        elif self.http_10 or (self._connect_request and 200 <= status < 300):
            framing = b"\r\n"
        else:
            framing = self._chunked_line
            self._encode_chunked = not self._head_request
        try:
            line = STATUS_LINES[status]
        except KeyError:
            line = b"HTTP/1.1 %d %b\r\n" % (status, reason_phrase(status))
        if self.http_10:
            line = b"HTTP/1.0" + line[8:]
        if self._settings.key_formatter is None and (seen <= ORDINARY or not seen & CASED):
            head = b"".join([line, *map(_wire_line, headers.entries), framing])
        else:
            if seen & CASED and headers.key_formatter.reason:
                line = b"%b %d %b\r\n" % (line[:8], status, headers.key_formatter.reason)
            head = line + self._format(headers, framing)
        if end_stream:
            write = self._write
            write(head)
            self._complete_response()
        elif headers.body_follows and not self._head_request:
            self._head = head
        else:
            self._write(head)

    def encode_data(self, data: bytes, end_stream: bool) -> None:
        head = self._head
        if head:
            # Head and body leave in one write.
            self._head = b""
        if data and not self._head_request:
            write = self._write
            if self._encode_chunked:
                write(b"%b%x\r\n%b\r\n%b" % (head, len(data), data, LAST_CHUNK if end_stream else b""))
            else:
                write(head + data if head else data)
        elif end_stream and self._encode_chunked:
            self._write(head + LAST_CHUNK)
        elif head:
            self._write(head)
        if end_stream:
            self._complete_response()

    def encode_trailers(self, trailers: HeaderMap) -> None:
        self._flush_head()
        if self._encode_chunked:
            self._write_trailers(trailers)
        self._complete_response()

    def encode_metadata(self, metadata: Metadata) -> None:
        self._stats.metadata_not_supported_error += 1

    def _flush_head(self) -> None:
        """Write the head that waited for a body that does not come."""
        if self._head:
            head, self._head = self._head, b""
            self._write(head)

    def set_request_decoder(self, decoder: RequestDecoder) -> None:
        self._decoder = decoder

    def reset_stream(self, reason: StreamResetReason) -> None:
        """The stream can not go on: neither can the connection. Its owner closes it."""
        self._flush_head()
        self._state = CLOSED
        self._decoder = None

    def _complete_response(self) -> None:
        self._decoder = None
        self._unflushed += 1
        if self._state == WAIT and not self.last_response:
            self._state = HEAD
            if self._reading_stopped or (self._buffer and not self.dispatching):
                self._answered, self._follows = int(self._follows), False
                self._connection.dispatcher.post(self._read_on)
        else:
            # Answered before the request was complete, or for the last time: what still comes is not looked at.
            self._state = CLOSED
            self._buffer = b""

    def _read_on(self) -> None:
        """Go on with the requests that came while the last one was answered."""
        if self._state != HEAD or self.last_response:
            return
        if self._buffer:
            buffered, self._buffer = self._buffer, b""
            if self._connection.closed:
                return
            self._callbacks.redispatch(buffered)
        if self._reading_stopped and self._state != WAIT:
            self._reading_stopped = False
            self._connection.read_disable(False)

    def on_connection_closed(self) -> None:
        self._state = CLOSED
        self._buffer = b""
        decoder, self._decoder = self._decoder, None
        if decoder is not None:
            decoder.on_reset_stream(StreamResetReason.CONNECTION_TERMINATION, "")
