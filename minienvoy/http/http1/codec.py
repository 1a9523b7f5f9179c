"""HTTP/1 between bytes and calls, both sides, without I/O.

Envoy: `Http1::ServerConnectionImpl`, `Http1::ClientConnectionImpl`; RFC 9112.

Each side is a machine that reads one message after the other. Reading:

    HEAD     until the empty line, then `decode_headers`;
    LENGTH   that many body bytes, CHUNKED chunks, or UNTIL_CLOSE (responses only), then the message is complete;
    WAIT     server: the request is complete, its response is not: what arrives is the next request, it is kept and reading
             stops; client: no request is under way, and whatever arrives is an error.

The codec is also the encoder of the one stream that is under way: HTTP/1 has no second one.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from ...errors import CodecProtocolError
from ..codec import RequestDecoder, ResponseDecoder, ServerConnectionCallbacks, StreamResetReason
from ..codes import STATUS_LINES, reason_phrase
from ..header_map import KIND, Entry, HeaderMap, RequestHeaderMap, ResponseHeaderMap
from .chunked import LAST_CHUNK, ChunkedReader
from .header_lines import (
    TOKEN,
    find_end_of_head,
    has_illegal_byte,
    lenient_lines,
    parse_line,
    parse_lines,
    quick_lines,
)
from .settings import ALLOW_UNDERSCORES, REJECT_UNDERSCORES, Http1Settings

if TYPE_CHECKING:
    from ...network.connection import Connection
    from ..codec_stats import Http1CodecStats

HEAD, LENGTH, CHUNKED, UNTIL_CLOSE, WAIT, CLOSED = range(6)

_HOST: Final = KIND[b"host"]
_CONTENT_LENGTH: Final = KIND[b"content-length"]
_TRANSFER_ENCODING: Final = KIND[b"transfer-encoding"]
_CONNECTION: Final = KIND[b"connection"]
_UPGRADE: Final = KIND[b"upgrade"]
_EXPECT: Final = KIND[b"expect"]
_FRAMING: Final = _HOST | _CONTENT_LENGTH | _TRANSFER_ENCODING | _CONNECTION | _UPGRADE

_request_line = re.compile(rb"([A-Z\-]+) ([\x21-\x7e]+) HTTP/1\.1").fullmatch
_lenient_request_line = re.compile(rb"(" + TOKEN + rb")[ \t]+([\x21-\x7e]+)[ \t]+HTTP/(\d)\.(\d)[ \t]*").fullmatch
_status_line = re.compile(rb"HTTP/1\.([01]) ([0-9]{3})(?: [\t \x21-\x7e\x80-\xff]*)?").fullmatch
_lenient_status_line = re.compile(rb"HTTP/(\d)\.(\d)[ \t]+([0-9]{2,4})(?:[ \t][\t \x21-\x7e\x80-\xff]*)?").fullmatch
_digits = re.compile(rb"[0-9]{1,18}").fullmatch

METHODS: Final = frozenset(
    b"ACL BIND CHECKOUT CONNECT COPY DELETE GET HEAD LINK LOCK MERGE MKACTIVITY MKCALENDAR MKCOL MOVE M-SEARCH NOTIFY "
    b"OPTIONS PATCH POST PROPFIND PROPPATCH PURGE PUT REBIND REPORT SEARCH SOURCE SUBSCRIBE TRACE UNBIND UNLINK UNLOCK "
    b"UNSUBSCRIBE".split()
)
"""What Envoy's parser takes; anything else is a 400."""

_BODILESS_METHODS: Final = frozenset((b"GET", b"HEAD", b"DELETE", b"CONNECT", b"OPTIONS", b"TRACE"))
_NEVER_NOMINATED: Final = frozenset((b"x-forwarded-for", b"x-forwarded-host", b"x-forwarded-proto", b"forwarded"))
_MAX_NOMINATED: Final = 10


def content_length(value: bytes) -> int:
    """A length is ASCII digits and nothing else: `int()` alone would take `+5`, `1_0` and other scripts' digits."""
    if _digits(value) is None:
        raise CodecProtocolError("http1.codec_error")
    return int(value)


class _Connection:
    """What both sides have in common: finding heads and reading bodies."""

    protocol = "HTTP/1.1"
    _state: int
    _buffer = b""
    _scanned = 0
    _remaining = 0
    _chunks: ChunkedReader | None = None

    def __init__(self, connection: Connection, settings: Http1Settings, stats: Http1CodecStats) -> None:
        self._connection = connection
        self._write = connection.write
        self._settings = settings
        self._stats = stats
        self._encode_chunked = False

    def _split_head(self, data: bytes) -> tuple[bytes, list[Entry], bytes] | None:
        """(start line, header entries, rest), or None when the head is not all there (and `data` was kept).

        Raises:
            CodecProtocolError: it is too large, or not a head.
        """
        end = data.find(b"\r\n\r\n")
        if 0 <= end <= self._settings.max_headers_size:
            lines = data[:end].split(b"\r\n")
            start_line = lines[0]
            del lines[0]
            entries = quick_lines(lines, data, end)
            if entries is not None and b"\n" not in start_line and start_line:
                if len(entries) > self._settings.max_headers_count:
                    raise CodecProtocolError("http1.too_many_headers", 431)
                return start_line, entries, data[end + 4 :]
        return self._split_lenient_head(data)

    def _split_lenient_head(self, data: bytes) -> tuple[bytes, list[Entry], bytes] | None:
        # Empty lines before a message are skipped, as many as there are.
        if data[:1] in (b"\r", b"\n"):
            data = data.lstrip(b"\r\n")
            self._scanned = 0
        found = find_end_of_head(data, self._scanned)
        size = len(data) if found is None else found[0]
        if size > self._settings.max_headers_size:
            raise CodecProtocolError("http1.headers_too_large", 431)
        if found is None:
            self._refuse_early(data)
            self._buffer = data
            self._scanned = len(data)
            return None
        self._scanned = 0
        lines = lenient_lines(data[: found[0]])
        start_line = lines[0]
        entries = parse_lines(lines[1:])
        if len(entries) > self._settings.max_headers_count:
            raise CodecProtocolError("http1.too_many_headers", 431)
        return start_line, entries, data[found[1] :]

    def _refuse_early(self, data: bytes) -> None:
        """What is surely wrong is refused before the rest of the head comes."""
        start = data.find(b"\n")
        if start > 0:
            self._check_start_line(data[:start].rstrip(b"\r"))

    def _check_start_line(self, line: bytes) -> None:
        raise NotImplementedError

    def _drop_underscores(self, entries: list[Entry]) -> list[Entry]:
        if any(b"_" in item[0] for item in entries):
            if self._settings.underscores == REJECT_UNDERSCORES:
                self._stats.requests_rejected_with_underscores_in_headers += 1
                raise CodecProtocolError("http1.unexpected_underscore")
            kept = [item for item in entries if b"_" not in item[0]]
            self._stats.dropped_headers_with_underscores += len(entries) - len(kept)
            return kept
        return entries

    def _format(self, entries: list[Entry]) -> bytes:
        formatter = self._settings.key_formatter
        if formatter is None:
            return b"".join([item[2] for item in entries])
        return b"".join([b"%b: %b\r\n" % (formatter(item[0]), item[1]) for item in entries])

    def _format_one(self, name: bytes, value: bytes) -> bytes:
        formatter = self._settings.key_formatter
        return b"%b: %b\r\n" % (name if formatter is None else formatter(name), value)

    def read_disable(self, disable: bool) -> None:
        self._connection.read_disable(disable)


class ServerConnection(_Connection):
    """The downstream side."""

    def __init__(
        self,
        connection: Connection,
        callbacks: ServerConnectionCallbacks,
        settings: Http1Settings,
        stats: Http1CodecStats,
    ) -> None:
        super().__init__(connection, settings, stats)
        self._state = HEAD
        self._callbacks = callbacks
        self._new_stream = callbacks.new_stream
        self._decoder: RequestDecoder | None = None
        self._dispatching = False
        self._reading_stopped = False
        self._head_request = False
        self._connect_request = False
        self._http_10 = False
        self._response_over = False

    # -- reading requests

    def dispatch(self, data: bytes) -> None:
        self._dispatching = True
        try:
            while data:
                state = self._state
                if state == HEAD:
                    if self._buffer:
                        data = self._buffer + data
                        self._buffer = b""
                    rest = self._read_head(data)
                    if not rest:
                        return
                    data = rest
                elif state == LENGTH:
                    left = self._remaining - len(data)
                    decoder = self._decoder
                    assert decoder is not None
                    if left > 0:
                        self._remaining = left
                        decoder.decode_data(data, False)
                        return
                    rest = data[self._remaining :] if left else b""
                    self._complete_request()
                    decoder.decode_data(data[: self._remaining] if left else data, True)
                    data = rest
                elif state == CHUNKED:
                    data = self._read_chunks(data)
                elif state == UNTIL_CLOSE:
                    # An upgraded connection: bytes until somebody closes.
                    if self._decoder is not None:
                        self._decoder.decode_data(data, False)
                    return
                elif state == WAIT:
                    self._buffer += data
                    if not self._reading_stopped:
                        self._reading_stopped = True
                        self._connection.read_disable(True)
                    return
                else:
                    return
        finally:
            self._dispatching = False

    def _read_head(self, data: bytes) -> bytes | None:
        """What comes after the head; None or empty when there is nothing left to do for now."""
        try:
            parts = self._split_head(data)
            if parts is None:
                if self._decoder is None and self._buffer:
                    self._decoder = self._new_stream(self)
                return None
            start_line, entries, rest = parts
            match = _request_line(start_line)
            if match is None or match[1] not in METHODS:
                method, target = self._lenient_request_line(start_line)
            else:
                method, target = match.groups()
                self._http_10 = False
            if self._settings.underscores != ALLOW_UNDERSCORES:
                entries = self._drop_underscores(entries)
            # Host comes first in nearly every request: take it out without looking at the others.
            authority: bytes | None = None
            if entries and entries[0][3] == _HOST:
                authority = entries[0][1]
                del entries[0]
            seen = 0
            for item in entries:
                seen |= item[3]
            headers = RequestHeaderMap(method, target, b"", entries, seen)
            length = -1
            chunked = False
            if seen & _FRAMING:
                authority, length, chunked = self._framing(headers, authority)
            if target[0] != 47 or authority is None:
                authority = self._target(headers, authority)
            headers.authority = authority
        except CodecProtocolError:
            self._state = CLOSED
            if self._decoder is None:
                self._decoder = self._new_stream(self)
            raise
        self._response_over = False
        self._head_request = method == b"HEAD"
        self._connect_request = method == b"CONNECT"
        decoder = self._decoder
        if decoder is None:
            decoder = self._decoder = self._new_stream(self)
        if chunked:
            self._state = CHUNKED
            self._chunks = ChunkedReader(self._settings.max_headers_size)
            decoder.decode_headers(headers, False)
        elif length > 0:
            self._state = LENGTH
            self._remaining = length
            decoder.decode_headers(headers, False)
        elif self._connect_request or headers.seen & _UPGRADE:
            self._state = UNTIL_CLOSE
            decoder.decode_headers(headers, False)
        else:
            self._complete_request()
            decoder.decode_headers(headers, True)
        return rest

    def _lenient_request_line(self, line: bytes) -> tuple[bytes, bytes]:
        match = _lenient_request_line(line)
        if match is None or match[1] not in METHODS:
            raise CodecProtocolError("http1.codec_error")
        # Whatever is not HTTP/1.1 counts as HTTP/1.0, which is refused unless the configuration accepts it.
        self._http_10 = match[3] != b"1" or match[4] != b"1"
        if self._http_10 and not self._settings.accept_http_10:
            raise CodecProtocolError("low_version", 426)
        return match[1], match[2]

    def _check_start_line(self, line: bytes) -> None:
        match = _lenient_request_line(line)
        if match is None or match[1] not in METHODS:
            raise CodecProtocolError("http1.codec_error")

    def _framing(self, headers: RequestHeaderMap, authority: bytes | None) -> tuple[bytes | None, int, bool]:
        """RFC 9112 6.3 for requests, as strictly as Envoy: two ways to tell a length are an attempt at smuggling."""
        length = -1
        encodings = 0
        seen = headers.seen
        for item in headers.entries:
            kind = item[3]
            if kind == _CONTENT_LENGTH:
                if length >= 0:
                    raise CodecProtocolError("http1.codec_error")
                length = content_length(item[1])
            elif kind == _TRANSFER_ENCODING:
                encodings += 1
                if encodings > 1 or item[1].lower() != b"chunked":
                    raise CodecProtocolError("http1.invalid_transfer_encoding", 501)
            elif kind == _HOST:
                authority = item[1] if authority is None else authority + b"," + item[1]
        if seen & _HOST:
            headers.remove_kinds(_HOST)
        if encodings and length >= 0:
            if not self._settings.allow_chunked_length:
                raise CodecProtocolError("http1.content_length_and_chunked_not_allowed")
            headers.remove_kinds(_CONTENT_LENGTH)
            length = -1
        if seen & (_CONNECTION | _UPGRADE):
            sanitize_connection(headers)
        return authority, length, encodings > 0

    def _target(self, headers: RequestHeaderMap, authority: bytes | None) -> bytes:
        """Absolute, authority and asterisk forms; and HTTP/1.0's missing host. Returns the authority."""
        target = headers.path
        if headers.method == b"CONNECT":
            if target[:1] == b"/" or b"://" in target:
                raise CodecProtocolError("http1.invalid_url")
            headers.path = b""
            return target
        if target[:1] != b"/" and target != b"*":
            match = _absolute_form(target)
            if match is None or not self._settings.allow_absolute_url:
                raise CodecProtocolError("http1.invalid_url")
            headers.scheme = match[1].lower()
            headers.path = match[3] or b"/"
            if headers.path[:1] != b"/":
                headers.path = b"/" + headers.path
            return match[2]
        if target == b"*" and headers.method != b"OPTIONS":
            raise CodecProtocolError("http1.invalid_url")
        if authority is None and self._http_10 and self._settings.default_host_for_http_10:
            return self._settings.default_host_for_http_10
        if authority is None:
            headers.no_authority = True
            return b""
        return authority

    def _read_chunks(self, data: bytes) -> bytes:
        chunks, decoder = self._chunks, self._decoder
        assert chunks is not None and decoder is not None
        body, rest = chunks.feed(data)
        if not chunks.done:
            if body:
                decoder.decode_data(body, False)
            return b""
        self._chunks = None
        if chunks.trailers and self._settings.enable_trailers:
            if body:
                decoder.decode_data(body, False)
            if self._decoder is not decoder:
                return rest
            self._complete_request()
            decoder.decode_trailers(HeaderMap(chunks.trailers))
        else:
            self._complete_request()
            decoder.decode_data(body, True)
        return rest

    def _complete_request(self) -> None:
        if self._state != CLOSED:
            self._state = WAIT

    # -- writing responses

    @property
    def http_10(self) -> bool:
        """The request under way is HTTP/1.0 (or calls itself anything but 1.1)."""
        return self._http_10

    def encode_1xx_headers(self, headers: ResponseHeaderMap) -> None:
        status = headers.status
        self._write(b"HTTP/1.1 %d %b\r\n%b\r\n" % (status, reason_phrase(status), self._format(headers.entries)))

    def encode_headers(self, headers: ResponseHeaderMap, end_stream: bool) -> None:
        status = headers.status
        if headers.seen & _CONTENT_LENGTH:
            framing = b"\r\n"
            self._encode_chunked = False
        elif end_stream and not self._head_request:
            framing = b"\r\n" if status < 200 or status == 204 else self._format_one(b"content-length", b"0") + b"\r\n"
            self._encode_chunked = False
        elif self._http_10 or status < 200 or status == 204:
            framing = b"\r\n"
            self._encode_chunked = False
        elif self._connect_request and 200 <= status < 300:
            framing = b"\r\n"
            self._encode_chunked = False
        else:
            framing = self._format_one(b"transfer-encoding", b"chunked") + b"\r\n"
            self._encode_chunked = not self._head_request
        line = STATUS_LINES.get(status)
        if line is None:
            line = b"HTTP/1.1 %d %b\r\n" % (status, reason_phrase(status))
        if self._http_10:
            line = b"HTTP/1.0" + line[8:]
        if self._settings.key_formatter is None:
            self._write(b"".join([line, *[item[2] for item in headers.entries], framing]))
        else:
            self._write(line + self._format(headers.entries) + framing)
        if end_stream:
            self._complete_response()

    def encode_data(self, data: bytes, end_stream: bool) -> None:
        if data and not self._head_request:
            if self._encode_chunked:
                data = b"%x\r\n%b\r\n" % (len(data), data)
                self._write(data + LAST_CHUNK if end_stream else data)
            else:
                self._write(data)
        elif end_stream and self._encode_chunked:
            self._write(LAST_CHUNK)
        if end_stream:
            self._complete_response()

    def encode_trailers(self, trailers: HeaderMap) -> None:
        if self._encode_chunked:
            if self._settings.enable_trailers:
                self._write(b"0\r\n%b\r\n" % self._format(trailers.entries))
            else:
                self._write(LAST_CHUNK)
        self._complete_response()

    def reset_stream(self, reason: StreamResetReason) -> None:
        """The stream can not go on: neither can the connection. Its owner closes it."""
        self._state = CLOSED
        self._decoder = None

    def _complete_response(self) -> None:
        self._decoder = None
        if self._state == WAIT:
            self._state = HEAD
            if self._buffer and not self._dispatching:
                self._connection.dispatcher.post(self._read_on)
            elif self._reading_stopped:
                self._connection.dispatcher.post(self._read_on)
        else:
            # Answered before the request was complete: what still comes of it is not looked at.
            self._state = CLOSED

    def _read_on(self) -> None:
        """Go on with the requests that came while the last one was answered."""
        if self._state != HEAD:
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


_absolute_form = re.compile(rb"(?i)(https?)://([^/?#]+)([/?#].*)?").fullmatch


def sanitize_connection(headers: HeaderMap) -> None:
    """Drop what `connection` nominates; an attempt to drop what the proxy itself relies on is an error.

    Envoy: `Http::Utility::sanitizeConnectionHeader`, and the removal of h2c upgrades.
    """
    upgrade = headers.get(b"upgrade")
    if upgrade is not None and upgrade.strip().lower() == b"h2c":
        headers.remove(b"upgrade")
        headers.remove(b"http2-settings")
        tokens = [token.strip() for token in (headers.joined(b"connection") or b"").split(b",")]
        kept = [token for token in tokens if token.lower() not in (b"upgrade", b"http2-settings") and token]
        if kept:
            headers.set(b"connection", b",".join(kept))
        else:
            headers.remove(b"connection")
    value = headers.joined(b"connection")
    if value is None:
        return
    lowered = value.strip().lower()
    if lowered in (b"keep-alive", b"close"):
        return
    tokens = [token.strip().lower() for token in value.split(b",") if token.strip()]
    if len(tokens) >= _MAX_NOMINATED:
        raise CodecProtocolError("http1.connection_header_rejected")
    for token in tokens:
        if token in (b"close", b"keep-alive", b"upgrade", b"te", b"http2-settings"):
            continue
        if token in _NEVER_NOMINATED or token[:1] == b":":
            raise CodecProtocolError("http1.connection_header_rejected")
        headers.remove(token)


class ClientConnection(_Connection):
    """The upstream side."""

    def __init__(self, connection: Connection, settings: Http1Settings, stats: Http1CodecStats) -> None:
        super().__init__(connection, settings, stats)
        self._state = WAIT
        self._decoder: ResponseDecoder | None = None
        self._head_request = False
        self._request_over = True
        self.should_close = False
        """The peer (or a broken message) rules out another request on this connection."""

    # -- writing requests

    def new_stream(self, decoder: ResponseDecoder) -> ClientConnection:
        self._decoder = decoder
        self._request_over = False
        self._state = HEAD
        return self

    def encode_headers(self, headers: RequestHeaderMap, end_stream: bool) -> None:
        method = headers.method
        self._head_request = method == b"HEAD"
        self._connect_request = method == b"CONNECT"
        if headers.seen & _CONTENT_LENGTH:
            framing = b"\r\n"
            self._encode_chunked = False
        elif end_stream:
            framing = b"\r\n" if method in _BODILESS_METHODS else self._format_one(b"content-length", b"0") + b"\r\n"
            self._encode_chunked = False
        elif headers.seen & _UPGRADE or self._connect_request:
            framing = b"\r\n"
            self._encode_chunked = False
        else:
            framing = self._format_one(b"transfer-encoding", b"chunked") + b"\r\n"
            self._encode_chunked = True
        target = headers.path
        if self._connect_request:
            target = headers.authority
        elif self._settings.send_fully_qualified_url:
            target = b"%b://%b%b" % (headers.scheme, headers.authority, target)
        if self._settings.key_formatter is None:
            line = b"%b %b HTTP/1.1\r\nhost: %b\r\n" % (method, target, headers.authority)
            self._write(b"".join([line, *[item[2] for item in headers.entries], framing]))
        else:
            line = b"%b %b HTTP/1.1\r\n" % (method, target)
            self._write(line + self._format_one(b"host", headers.authority) + self._format(headers.entries) + framing)
        self._request_over = end_stream

    def encode_data(self, data: bytes, end_stream: bool) -> None:
        if data:
            if self._encode_chunked:
                data = b"%x\r\n%b\r\n" % (len(data), data)
                self._write(data + LAST_CHUNK if end_stream else data)
            else:
                self._write(data)
        elif end_stream and self._encode_chunked:
            self._write(LAST_CHUNK)
        if end_stream:
            self._request_over = True

    def encode_trailers(self, trailers: HeaderMap) -> None:
        if self._encode_chunked:
            if self._settings.enable_trailers:
                self._write(b"0\r\n%b\r\n" % self._format(trailers.entries))
            else:
                self._write(LAST_CHUNK)
        self._request_over = True

    def reset_stream(self, reason: StreamResetReason) -> None:
        """Nobody wants the answer any more; the connection is of no further use. Its owner closes it."""
        self._decoder = None
        self._state = CLOSED
        self.should_close = True

    # -- reading responses

    def dispatch(self, data: bytes) -> None:
        while data:
            state = self._state
            if state == HEAD:
                if self._buffer:
                    data = self._buffer + data
                    self._buffer = b""
                rest = self._read_head(data)
                if rest is None:
                    return
                data = rest
            elif state == LENGTH:
                left = self._remaining - len(data)
                decoder = self._decoder
                assert decoder is not None
                if left > 0:
                    self._remaining = left
                    decoder.decode_data(data, False)
                    return
                rest = data[self._remaining :] if left else b""
                body = data[: self._remaining] if left else data
                self._complete_response(rest)
                decoder.decode_data(body, True)
                return
            elif state == CHUNKED:
                self._read_chunks(data)
                return
            elif state == UNTIL_CLOSE:
                assert self._decoder is not None
                self._decoder.decode_data(data, False)
                return
            elif state == WAIT:
                self.should_close = True
                raise CodecProtocolError("http1.codec_error")
            else:
                return

    def _read_head(self, data: bytes) -> bytes | None:
        """What comes after the head, None when the head is not complete or the whole response was in `data`."""
        parts = self._split_head(data)
        if parts is None:
            return None
        start_line, entries, rest = parts
        match = _status_line(start_line)
        if match is not None:
            minor, code = match.groups()
            status = int(code)
        else:
            lenient = _lenient_status_line(start_line)
            if lenient is None:
                raise CodecProtocolError("http1.codec_error")
            minor = b"0" if lenient[1] == b"1" and lenient[2] == b"0" else b"1"
            status = int(lenient[3])
        if self._settings.underscores != ALLOW_UNDERSCORES:
            entries = self._drop_underscores(entries)
        seen = 0
        for item in entries:
            seen |= item[3]
        headers = ResponseHeaderMap(status, entries, seen)
        decoder = self._decoder
        if decoder is None:
            raise CodecProtocolError("http1.codec_error")
        length = -1
        chunked = False
        if seen & _FRAMING:
            length, chunked = self._framing(headers, minor)
        elif minor == b"0":
            self.should_close = True
        if status < 200 and status >= 100 and status != 101:
            decoder.decode_1xx_headers(headers)
            return rest if self._state == HEAD else None
        if self._head_request or status == 204 or status == 304:
            if status == 204 and (length > 0 or chunked):
                raise CodecProtocolError("http1.codec_error")
            self._complete_response(rest)
            decoder.decode_headers(headers, True)
            return None
        if status == 101 or (self._connect_request and status < 300):
            self._state = UNTIL_CLOSE
            self.should_close = True
            decoder.decode_headers(headers, False)
            return rest
        if chunked:
            self._state = CHUNKED
            self._chunks = ChunkedReader(self._settings.max_headers_size)
        elif length > 0:
            self._state = LENGTH
            self._remaining = length
        elif length == 0:
            self._complete_response(rest)
            decoder.decode_headers(headers, True)
            return None
        else:
            self._state = UNTIL_CLOSE
            self.should_close = True
        decoder.decode_headers(headers, False)
        return rest

    def _framing(self, headers: ResponseHeaderMap, minor: bytes) -> tuple[int, bool]:
        length = -1
        encodings = 0
        for item in headers.entries:
            kind = item[3]
            if kind == _CONTENT_LENGTH:
                if length >= 0:
                    raise CodecProtocolError("http1.codec_error")
                length = content_length(item[1])
            elif kind == _TRANSFER_ENCODING:
                encodings += 1
                if encodings > 1 or item[1].lower() != b"chunked":
                    raise CodecProtocolError("http1.invalid_transfer_encoding")
        if encodings and length >= 0:
            if not self._settings.allow_chunked_length:
                raise CodecProtocolError("http1.content_length_and_chunked_not_allowed")
            headers.remove_kinds(_CONTENT_LENGTH)
            length = -1
        connection = (headers.joined(b"connection") or b"").lower()
        tokens = [token.strip() for token in connection.split(b",")]
        if b"close" in tokens or (minor == b"0" and b"keep-alive" not in tokens):
            self.should_close = True
        return length, encodings > 0

    def _read_chunks(self, data: bytes) -> None:
        chunks, decoder = self._chunks, self._decoder
        assert chunks is not None and decoder is not None
        body, rest = chunks.feed(data)
        if not chunks.done:
            if body:
                decoder.decode_data(body, False)
            return
        self._chunks = None
        if chunks.trailers and self._settings.enable_trailers:
            if body:
                decoder.decode_data(body, False)
            if self._decoder is decoder:
                self._complete_response(rest)
                decoder.decode_trailers(HeaderMap(chunks.trailers))
        else:
            self._complete_response(rest)
            decoder.decode_data(body, True)

    def _complete_response(self, rest: bytes) -> None:
        """The codec is free before the decoder hears of the end: it may start the next request at once."""
        self._decoder = None
        self._state = WAIT
        if rest or not self._request_over:
            # Bytes after the response belong to nothing that was asked for: never let them answer the next request.
            self.should_close = True

    def abandon(self) -> ResponseDecoder | None:
        """The peer broke the protocol: nothing more is read. Returns the stream that was under way."""
        decoder, self._decoder = self._decoder, None
        self._state = CLOSED
        self.should_close = True
        return decoder

    def on_connection_closed(self, remote: bool) -> None:
        state = self._state
        self._state = CLOSED
        self.should_close = True
        decoder, self._decoder = self._decoder, None
        if decoder is None:
            return
        if state == UNTIL_CLOSE and remote:
            decoder.decode_data(b"", True)
        elif state == HEAD and not self._buffer:
            decoder.on_reset_stream(StreamResetReason.CONNECTION_TERMINATION, "")
        else:
            decoder.on_reset_stream(StreamResetReason.PROTOCOL_ERROR, "")
