"""HTTP/1 between bytes and calls, without I/O: what both sides have in common.

Envoy: `Http1::ConnectionImpl`, `Http1::StreamEncoderImpl`; RFC 9112. The sides are `server_connection` and
`client_connection`.

Each side is a machine that reads one message after the other. Reading:

    HEAD     until the empty line, then `decode_headers`;
    LENGTH   that many body bytes, CHUNKED chunks, or UNTIL_CLOSE (responses, upgrades), then the message is complete;
    WAIT     server: the request is complete, its response is not: what arrives is the next request, it is kept and
             reading stops; client: no request is under way, and whatever arrives is an error;
    CLOSED   nothing is read any more.

The codec is also the encoder of the one stream that is under way: HTTP/1 has no second one.

Heads repeat: a client polls, a browser sends the same cookies with each request, a server the same second in `date`.
Each side keeps the outcome of heads up to 1 KiB that went the quick way (see `header_lines`), at most 1,024 of them, if
no setting decided it.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from ...errors import CodecProtocolError
from ..header_map import CASED, KIND, Entry, HeaderMap
from .chunked import LAST_CHUNK, ChunkedReader
from .header_lines import (
    CODEC_ERROR,
    END_OF_HEAD,
    INVALID_TRANSFER_ENCODING,
    UNDERSCORE,
    check_characters,
    lenient_entries,
)
from .settings import DROP_UNDERSCORES, REJECT_UNDERSCORES, Http1Settings

if TYPE_CHECKING:
    from ...network.connection import Connection
    from ..byte_meter import ByteMeter
    from ..codec_stats import Http1CodecStats
    from .header_formatter import KeyFormatter

HEAD, LENGTH, CHUNKED, UNTIL_CLOSE, WAIT, CLOSED = range(6)

HOST: Final = KIND[b"host"]
CONTENT_LENGTH: Final = KIND[b"content-length"]
TRANSFER_ENCODING: Final = KIND[b"transfer-encoding"]
CONNECTION: Final = KIND[b"connection"]
UPGRADE: Final = KIND[b"upgrade"]
BOTH_LENGTHS: Final = CONTENT_LENGTH | TRANSFER_ENCODING

_BLANK: Final = ord(" ")

MAX_HEADS: Final = 1024
MAX_HEAD: Final = 1024

_digits = re.compile(rb"0*([0-9]{1,20})").fullmatch
_MAX_LENGTH: Final = 2**64 - 1


def content_length(value: bytes) -> int:
    """A length is ASCII digits and nothing else: `int()` alone would take `+5`, `1_0` and other scripts' digits."""
    match = _digits(value)
    if match is None or (length := int(match[1])) > _MAX_LENGTH:
        raise CodecProtocolError(CODEC_ERROR)
    return length


class Http1Connection:
    """Finds heads, reads and writes bodies."""

    protocol = "HTTP/1.1"
    _state: int
    _remaining = 0
    _chunks: ChunkedReader | None = None
    meter: ByteMeter | None = None
    """Those who count have one (`metered`)."""

    def __init__(self, connection: Connection, settings: Http1Settings, stats: Http1CodecStats) -> None:
        # What each message reads is an attribute of the object itself: a default of the class takes longer to find.
        self._connection = connection
        self._write = connection.write
        self._buffer = b""
        self._scanned = 0
        self._new_heads = 0
        """How many heads in a row were taken to have mostly new lines, up to 15: those are not looked up line by line.
        The 16th is, so that lines which have begun to repeat are found."""
        self._encode_chunked = False
        self._chunked_line = b"transfer-encoding: chunked\r\n\r\n"
        self._no_body_line = b"content-length: 0\r\n\r\n"
        self._settings = settings
        self._stats = stats
        self._max_quick_head = settings.max_headers_size - 4
        self._max_count = settings.max_headers_count
        self._make_key_formatter = settings.make_key_formatter

    # -- heads

    def _split_head(self, data: bytes) -> tuple[bytes, list[Entry], bytes] | None:
        """The lenient way: (start line, entries, rest), or None when the head is not all there and `data` was kept.

        Raises:
            CodecProtocolError: it is too large, or not a head.
        """
        match = END_OF_HEAD(data, max(0, self._scanned - 3))
        if (len(data) if match is None else match.end()) > self._settings.max_headers_size:
            raise CodecProtocolError("http1.headers_too_large", 431)
        if match is None:
            scanned, self._scanned = self._scanned, len(data)
            if data[0] <= _BLANK:
                raise CodecProtocolError(CODEC_ERROR)
            line_feed = data.find(b"\n")
            # The start line is there: what is surely wrong is refused before the rest of the head comes.
            if line_feed >= scanned:
                start_line = data[:line_feed]
                self._check_start_line(start_line)
                if self._is_whole_head(start_line):
                    self._scanned = 0
                    return start_line, [], data[line_feed + 1 :]
            self._buffer = data
            return None
        self._scanned = 0
        if data[0] <= _BLANK:
            raise CodecProtocolError(CODEC_ERROR)
        head = data[: match.start()]
        start_line, _, section = head.partition(b"\n")
        if self._is_whole_head(start_line):
            return start_line, [], data[len(start_line) + 1 :]
        check_characters(head)
        return start_line, lenient_entries(section), data[match.end() :]

    def _check_start_line(self, line: bytes) -> None:
        raise NotImplementedError

    def _is_whole_head(self, start_line: bytes) -> bool:
        """Nothing but the start line belongs to the message, as in HTTP/0.9."""
        return False

    def _count_and_filter(self, entries: list[Entry]) -> list[Entry]:
        """What settings say of the number of headers, and of underscores in their names."""
        if len(entries) > self._max_count:
            raise CodecProtocolError("http1.too_many_headers", 431)
        settings = self._settings
        if settings.underscores in (REJECT_UNDERSCORES, DROP_UNDERSCORES):
            kept = [item for item in entries if item[3] != UNDERSCORE]
            if len(kept) < len(entries):
                if settings.underscores == REJECT_UNDERSCORES:
                    self._stats.requests_rejected_with_underscores_in_headers += 1
                    raise CodecProtocolError("http1.unexpected_underscore")
                self._stats.dropped_headers_with_underscores += len(entries) - len(kept)
                return kept
        return entries

    def _framing(self, headers: HeaderMap, bodiless: bool = False) -> tuple[int, bool]:
        """(length or -1, whether it is chunked), RFC 9112 6.3, as strictly as Envoy.

        Two ways to tell a length are an attempt at smuggling. What is `bodiless` may say anything of its length.
        """
        lengths: list[bytes] = []
        codings: list[bytes] = []
        for item in headers.entries:
            if item[3] == CONTENT_LENGTH:
                lengths.append(item[1])
            elif item[3] == TRANSFER_ENCODING:
                codings.append(item[1])
        if len(lengths) > 1:
            raise CodecProtocolError(CODEC_ERROR)
        if not codings and bodiless:
            return 0, False
        if not codings:
            return (content_length(lengths[0]) if lengths else -1), False
        chunked = b",".join([coding for coding in codings if coding]).lower() == b"chunked"
        if lengths:
            if not chunked:
                content_length(lengths[0])
            if not (chunked and self._settings.allow_chunked_length):
                raise CodecProtocolError("http1.content_length_and_chunked_not_allowed")
            headers.remove_kinds(CONTENT_LENGTH)
        if not chunked:
            raise CodecProtocolError(INVALID_TRANSFER_ENCODING, 501)
        return -1, True

    # -- bodies

    def _read_body(self, decoder: Any, data: bytes) -> tuple[bytes, bool, HeaderMap | None, bytes]:
        """Read chunks: (body, whether the message is complete, its trailers if they go on, what comes after it).

        Raises:
            CodecProtocolError: the coding is broken, or its trailers are, and then `decoder` has got the body.
        """
        chunks = self._chunks
        assert chunks is not None
        body, rest = chunks.feed(data)
        error = chunks.error
        trailers: HeaderMap | None = None
        if chunks.done and chunks.trailers and self._settings.enable_trailers:
            try:
                trailers = HeaderMap(self._count_and_filter(chunks.trailers))
            except CodecProtocolError as refused:
                error = refused
        if error is not None:
            self._chunks = None
            if body:
                decoder.decode_data(body, False)
            raise error
        if chunks.done:
            self._chunks = None
        return body, chunks.done, trailers, rest

    def _formatter_of(self, headers: HeaderMap) -> KeyFormatter | None:
        if headers.seen & CASED:
            formatter: KeyFormatter = headers.key_formatter
            return formatter
        return self._settings.key_formatter

    def _format(self, headers: HeaderMap, framing: bytes = b"\r\n") -> bytes:
        """The lines of `headers` and the one that tells how long the body is, an empty line behind them."""
        formatter = self._formatter_of(headers)
        if formatter is None:
            return b"".join([item[2] for item in headers.entries]) + framing
        lines = [b"%b: %b\r\n" % (formatter(item[0]), item[1]) for item in headers.entries]
        name, colon, value = framing.partition(b":")
        return b"".join(lines) + (formatter(name.lower()) + colon + value if colon else framing)

    def _write_trailers(self, trailers: HeaderMap) -> None:
        if self._settings.enable_trailers:
            # Their names are as they are, whatever headers look like.
            self._write(b"".join([b"0\r\n", *[item[2] for item in trailers.entries], b"\r\n"]))
        else:
            self._write(LAST_CHUNK)

    def read_disable(self, disable: bool) -> None:
        self._connection.read_disable(disable)
