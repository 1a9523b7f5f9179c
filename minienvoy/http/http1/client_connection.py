"""The upstream side of HTTP/1: writes requests, reads responses.

Envoy: `Http1::ClientConnectionImpl`, `Http1::RequestEncoderImpl`.
"""

from __future__ import annotations

import re
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Final

from ...errors import CodecProtocolError
from ...lazy_pattern import lazy_pattern
from ...network.connection import ConnectionCloseType
from ..codec import Metadata, ResponseDecoder, StreamResetReason
from ..header_map import (
    CASED,
    KIND,
    ORDINARY,
    RESPONSE_JOINED,
    SUSPECT,
    Entry,
    HeaderMap,
    RequestHeaderMap,
    ResponseHeaderMap,
    join_repeated,
    refusal,
)
from .chunked import LAST_CHUNK, ChunkedReader
from .codec import (
    BOTH_LENGTHS,
    CHUNKED,
    CLOSED,
    CONNECTION,
    CONTENT_LENGTH,
    HEAD,
    LENGTH,
    MAX_HEAD,
    MAX_HEADS,
    TRANSFER_ENCODING,
    UNTIL_CLOSE,
    UPGRADE,
    WAIT,
    Http1Connection,
)
from .connection_header import connection_tokens
from .header_lines import CODEC_ERROR, UNDERSCORE, known_line, parse_new, parse_unknown
from .settings import Http1Settings

if TYPE_CHECKING:
    from ...network.connection import Connection
    from ..codec_stats import Http1CodecStats

_quick_status_line = re.compile(rb"HTTP/1\.1 ([2-9][0-9]{2})(?: [\t \x21-\x7e\x80-\xff]*)?").fullmatch
_status_line = lazy_pattern(rb"HTTP/([0-9]\.[0-9])[ \t\r]+\+?0*([1-9][0-9]{2,4})(?:[ \t\r].*)?")
_MAX_STATUS: Final = 65535
_FIRST_BYTE: Final = ord("H")

_PROXY_CONNECTION: Final = KIND[b"proxy-connection"]
_KEEP_ALIVE: Final = KIND[b"keep-alive"]
_UNUSUAL: Final = CASED | SUSPECT
_CLOSING: Final = CONNECTION | _PROXY_CONNECTION
_EXAMINED: Final = BOTH_LENGTHS | _CLOSING | _KEEP_ALIVE
_BODILESS_METHODS: Final = frozenset((b"GET", b"HEAD", b"DELETE", b"CONNECT", b"TRACE"))
"""Their requests do not say `content-length: 0`."""

_Response = tuple[int, list[Entry], int, int, bool, bool, int]
"""(status, entries, seen, length, chunked, close, number of header lines); see `server_connection`."""

_RESPONSES: Final[dict[bytes, _Response]] = {}


_wire_line = itemgetter(2)


class ClientConnection(Http1Connection):
    """One upstream connection.

    Attributes:
        tunneling: the request ends with the connection, and so does the response, whatever its method is
            (`enableTcpTunneling`).
    """

    tunneling = False

    def __init__(self, connection: Connection, settings: Http1Settings, stats: Http1CodecStats) -> None:
        super().__init__(connection, settings, stats)
        self._state = WAIT
        self._decoder: ResponseDecoder | None = None
        self._head_request = False
        self._connect_request = False
        self._upgrade_request = False
        self.request_over = True
        """The last request has been written to its end."""
        self._tunnel = False
        self.should_close = False
        """The peer (or a broken message) rules out another request on this connection."""
        self.close_notified = False
        """A response has announced that it is the last one (`HeaderUtility::shouldCloseConnection`)."""
        self.extra_bytes = False
        """More came than the response that was asked for."""

    # -- writing requests

    def new_stream(self, decoder: ResponseDecoder) -> ClientConnection:
        self._decoder = decoder
        self.request_over = False
        self._state = HEAD
        return self

    def encode_headers(self, headers: RequestHeaderMap, end_stream: bool) -> None:
        method = headers.method
        seen = headers.seen
        connect = self._connect_request = method == b"CONNECT"
        self._head_request = method == b"HEAD"
        upgrade = self._upgrade_request = bool(seen & UPGRADE) and b"upgrade" in connection_tokens(headers)
        self._encode_chunked = False
        if seen & CONTENT_LENGTH:
            framing = b"\r\n"
        elif end_stream:
            framing = b"\r\n" if method in _BODILESS_METHODS else self._no_body_line
        elif upgrade or connect:
            framing = b"\r\n"
        else:
            framing = self._chunked_line
            self._encode_chunked = True
        settings = self._settings
        target = headers.path
        if connect:
            target = headers.authority
            seen |= SUSPECT  # of something that has a path, it is none
        elif settings.send_fully_qualified_url:
            target = b"%b://%b%b" % (headers.scheme, headers.authority, target)
        if settings.key_formatter is None and (seen <= ORDINARY or not seen & _UNUSUAL):
            line = b"%b %b HTTP/1.1\r\nhost: %b\r\n" % (method, target, headers.authority)
            write = self._write
            write(b"".join([line, *map(_wire_line, headers.entries), framing]))
        else:
            if seen & SUSPECT and (problem := refusal(headers)):
                if self._decoder is not None:
                    self._decoder.on_request_refused(problem)
                return
            formatter = self._formatter_of(headers)
            host = b"host" if formatter is None else formatter(b"host")
            line = b"%b %b HTTP/1.1\r\n%b: %b\r\n" % (method, target, host, headers.authority)
            self._write(line + self._format(headers, framing))
        self.request_over = end_stream
        if end_stream and connect:
            self._end_tunnel()

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
            self.request_over = True
            if self._connect_request or self.tunneling:
                self._end_tunnel()

    def encode_trailers(self, trailers: HeaderMap) -> None:
        if self._encode_chunked:
            self._write_trailers(trailers)
        self.request_over = True
        if self._connect_request or self.tunneling:
            self._end_tunnel()

    def _end_tunnel(self) -> None:
        """It is told by the end of the connection."""
        self._connection.close(ConnectionCloseType.FLUSH_WRITE)

    def encode_metadata(self, metadata: Metadata) -> None:
        self._stats.metadata_not_supported_error += 1

    def reset_stream(self, reason: StreamResetReason) -> None:
        """Nobody wants the answer any more; the connection is of no further use. Its owner closes it."""
        self._decoder = None
        self._state = CLOSED
        self.should_close = True

    # -- reading responses

    def dispatch(self, data: bytes) -> None:
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
                    elif len(data) == remaining:
                        self._complete_response(b"")
                        decoder.decode_data(data, True)
                    else:
                        self._complete_response(data[remaining:])
                        decoder.decode_data(data[:remaining], True)
                    return
                elif state == CHUNKED:
                    self._read_chunks(data)
                    return
                elif state == UNTIL_CLOSE:
                    assert self._decoder is not None
                    self._decoder.decode_data(data, False)
                    return
                elif state == WAIT:
                    raise CodecProtocolError(CODEC_ERROR)
                else:
                    return
        except CodecProtocolError:
            self._state = CLOSED
            self.should_close = True
            raise

    def _read_head(self, data: bytes) -> bytes:
        """What comes after the head; empty when it is not complete, or when the whole response was in `data`."""
        if self._buffer:
            data = self._buffer + data
            self._buffer = b""
        response: _Response | None = None
        head, blank_line, rest = data.partition(b"\r\n\r\n")
        if blank_line and 0 < len(head) <= self._max_quick_head:
            response = _RESPONSES.get(head)
            if response is None:
                response = self._parse_quickly(head)
            elif response[6] > self._max_count:
                raise CodecProtocolError("http1.too_many_headers", 431)
        if response is not None:
            self._scanned = 0
        else:
            if data[0] != _FIRST_BYTE:
                raise CodecProtocolError(CODEC_ERROR)
            parts = self._split_head(data)
            if parts is None:
                return b""
            start_line, lines, rest = parts
            http_11, status = _parse_status_line(start_line)
            response = self._examine(status, lines, http_11)
        status, entries, seen, length, chunked, close, _ = response
        decoder = self._decoder
        assert decoder is not None
        headers = ResponseHeaderMap(status, entries.copy(), seen)
        if self._make_key_formatter is not None:
            headers.key_formatter = self._make_key_formatter(data[: len(data) - len(rest)])
            headers.seen |= CASED
        if status < 200 and status != 101:
            # What it says of the connection is not looked at.
            decoder.decode_1xx_headers(headers)
            return rest if self._state == HEAD else b""
        if close:
            self.should_close = self.close_notified = True
        if (self._connect_request or self._upgrade_request) and self._is_raw(headers):
            self._state = UNTIL_CLOSE
            self._tunnel = self.should_close = True
            decoder.decode_headers(headers, False)
            return rest
        if length == 0 or self._head_request or status == 204 or status == 304 or status == 101:
            self._complete_response(rest)
            decoder.decode_headers(headers, True)
            return b""
        if chunked:
            self._state = CHUNKED
            self._chunks = ChunkedReader(self._settings.max_headers_size)
        elif length > 0:
            self._state = LENGTH
            self._remaining = length
            headers.body_follows = bool(rest)
        else:
            self._state = UNTIL_CLOSE
            self.should_close = True
        decoder.decode_headers(headers, False)
        return rest

    def _is_raw(self, headers: ResponseHeaderMap) -> bool:
        """What follows is no body: CONNECT has succeeded, or the upgrade that was asked for is granted."""
        if self._connect_request:
            return 200 <= headers.status < 300
        return bool(self._upgrade_request and headers.seen & UPGRADE and b"upgrade" in connection_tokens(headers))

    def _parse_quickly(self, head: bytes) -> _Response | None:
        """What nearly every response is; None asks for the lenient way."""
        lines = head.split(b"\r\n")
        match = _quick_status_line(lines[0])
        if match is None:
            return None
        del lines[0]
        if self._new_heads:
            self._new_heads = (self._new_heads + 1) & 15
            entries = parse_new(head, lines)
            return None if entries is None else self._examine(int(match[1]), entries, True)
        found: list[Any] = [known_line(line) for line in lines]
        # A head with a line that was never seen is no repetition, and will hardly be repeated.
        repeats = all(found)
        if not repeats:
            self._new_heads = int(found.count(None) * 2 > len(found))
            if not parse_unknown(head, lines, found):
                return None
        response = self._examine(int(match[1]), found, True)
        if repeats and response[6] >= 0 and len(head) <= MAX_HEAD:
            if len(_RESPONSES) >= MAX_HEADS:
                _RESPONSES.clear()
            _RESPONSES[head] = response
        return response

    def _check_start_line(self, line: bytes) -> None:
        _parse_status_line(line)

    def _examine(self, status: int, entries: list[Entry], http_11: bool) -> _Response:
        """What a response says of its body and of its connection, once its lines are known to be well-formed."""
        count = len(entries)
        if count > self._max_count:
            raise CodecProtocolError("http1.too_many_headers", 431)
        seen = repeated = 0
        for item in entries:
            kind = item[3]
            if kind:
                repeated |= seen & kind
                seen |= kind
        if repeated & RESPONSE_JOINED:
            entries = join_repeated(entries, repeated & RESPONSE_JOINED)
        if seen & UNDERSCORE:
            count = -1
            entries = self._count_and_filter(entries)
        length, chunked, close = -1, False, not http_11
        if seen & _EXAMINED:
            headers = HeaderMap(entries, seen)
            if seen & BOTH_LENGTHS:
                length, chunked = self._framing(headers, status == 304)
                if seen & BOTH_LENGTHS == BOTH_LENGTHS:
                    count = -1
                if status < 200 or status == 204:
                    if seen & TRANSFER_ENCODING:
                        raise CodecProtocolError("http1.transfer_encoding_not_allowed")
                    if headers.get(b"content-length") != b"0":
                        raise CodecProtocolError("http1.content_length_not_allowed")
                    headers.remove_kinds(CONTENT_LENGTH)
            if seen & CONNECTION:
                tokens = connection_tokens(headers)
                close = b"close" in tokens or (not http_11 and b"keep-alive" not in tokens)
            if seen & _PROXY_CONNECTION and b"close" in (headers.joined(b"proxy-connection") or b"").lower():
                close = True
            if status >= 200 or status == 101:
                # It is about this connection; interim responses go on with it.
                headers.remove_kinds(_KEEP_ALIVE)
            entries, seen = headers.entries, headers.seen
        return status, entries, seen, length, chunked, close, count

    def _read_chunks(self, data: bytes) -> None:
        decoder = self._decoder
        assert decoder is not None
        body, done, trailers, rest = self._read_body(decoder, data)
        if not done:
            if body:
                decoder.decode_data(body, False)
        elif trailers is None:
            self._complete_response(rest)
            decoder.decode_data(body, True)
        else:
            if body:
                decoder.decode_data(body, False)
            if self._state == CHUNKED:
                self._complete_response(rest)
                decoder.decode_trailers(trailers)

    def _complete_response(self, rest: bytes) -> None:
        """The codec is free before the decoder hears of the end: it may start the next request at once."""
        self._decoder = None
        self._state = WAIT
        if rest:
            # Bytes after the response belong to nothing that was asked for: never let them answer the next request.
            self.extra_bytes = self.should_close = True
        elif not self.request_over:
            self.should_close = True

    def abandon(self) -> ResponseDecoder | None:
        """The peer broke the protocol: nothing more is read. Returns the stream that was under way."""
        decoder, self._decoder = self._decoder, None
        self._state = CLOSED
        self.should_close = True
        return decoder

    @property
    def reads_until_close(self) -> bool:
        """The end of the connection is the end of the body that is being read."""
        return self._state == UNTIL_CLOSE and self._decoder is not None and not self._tunnel

    @property
    def half_closes(self) -> bool:
        """To the peer's FIN the connection is ended here, as what it carries is no HTTP."""
        return self._connect_request

    def on_connection_closed(self, remote: bool) -> bool:
        state = self._state
        self._state = CLOSED
        self.should_close = True
        decoder, self._decoder = self._decoder, None
        if decoder is None:
            return False
        if state == UNTIL_CLOSE and self._tunnel:
            decoder.on_reset_stream(StreamResetReason.CONNECTION_TERMINATION, "")
            return False
        if state == UNTIL_CLOSE and remote:
            decoder.decode_data(b"", True)
            return False
        if state == HEAD and not self._buffer:
            decoder.on_reset_stream(StreamResetReason.CONNECTION_TERMINATION, "")
            return False
        decoder.on_reset_stream(StreamResetReason.PROTOCOL_ERROR, "")
        return True


def _parse_status_line(line: bytes) -> tuple[bool, int]:
    """(whether it is HTTP/1.1, status); any other version counts as HTTP/1.0. Raises CodecProtocolError."""
    match = _status_line.fullmatch(line)
    if match is None or (status := int(match[2])) > _MAX_STATUS:
        raise CodecProtocolError(CODEC_ERROR)
    return match[1] == b"1.1", status
