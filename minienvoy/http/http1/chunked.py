"""The chunked transfer coding, read.

Envoy: `quiche::BalsaFrame`'s chunk states. RFC 9112 7.1.

A body is a list of chunks, a last chunk of size 0 and a trailer section. In each state the reader waits for a line
(size, or trailer), for the rest of a chunk's bytes, or for the CRLF after them. A size is 1-15 hex digits and nothing else:
`int()` takes signs, underscores and prefixes, and each of them has been a way to smuggle a request.
"""

from __future__ import annotations

import re
from typing import Final

from ...errors import CodecProtocolError
from ..header_map import Entry
from .header_lines import has_illegal_byte, lenient_lines, parse_lines

_SIZE_LINE = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;[\t \x21-\x7e\x80-\xff]*)?").fullmatch
_SIZE, _BYTES, _CRLF, _TRAILERS, _DONE = range(5)
_MAX_SIZE_LINE: Final = 128 * 1024
"""Bytes of one chunk size line with its extension; Envoy takes 70 KB ones."""


class ChunkedReader:
    """Give it bytes, take body and trailers.

    Attributes:
        done: the message is complete; `feed` returned what came after it.
        trailers: the trailer section once it is complete.
    """

    __slots__ = ("_buffer", "_left", "_max_trailers_size", "_state", "done", "trailers")

    def __init__(self, max_trailers_size: int) -> None:
        self._state = _SIZE
        self._left = 0
        self._buffer = b""
        self._max_trailers_size = max_trailers_size
        self.done = False
        self.trailers: list[Entry] = []

    def feed(self, data: bytes) -> tuple[bytes, bytes]:
        """Returns (body bytes, bytes after the end of the message).

        Raises:
            CodecProtocolError: the coding is broken.
        """
        if self._buffer:
            data = self._buffer + data
            self._buffer = b""
        pieces: list[bytes] = []
        at, end = 0, len(data)
        while at < end:
            state = self._state
            if state == _BYTES:
                stop = at + self._left
                if stop > end:
                    pieces.append(data[at:])
                    self._left = stop - end
                    break
                pieces.append(data[at:stop])
                at = stop
                self._state = _CRLF
            elif state == _CRLF:
                if end - at < 2:
                    if data[at] != 13:
                        raise CodecProtocolError("http1.codec_error")
                    self._buffer = data[at:]
                    break
                if data[at : at + 2] != b"\r\n":
                    raise CodecProtocolError("http1.codec_error")
                at += 2
                self._state = _SIZE
            elif state == _SIZE:
                line_end = data.find(b"\r\n", at)
                if line_end < 0:
                    self._hold(data, at, _MAX_SIZE_LINE)
                    break
                match = _SIZE_LINE(data, at, line_end)
                if match is None:
                    raise CodecProtocolError("http1.codec_error")
                at = line_end + 2
                self._left = int(match[1], 16)
                self._state = _BYTES if self._left else _TRAILERS
            else:
                after = self._trailers(data, at)
                if after < 0:
                    self._hold(data, at, self._max_trailers_size)
                    break
                self.done = True
                self._state = _DONE
                return (pieces[0] if len(pieces) == 1 else b"".join(pieces)), data[after:]
        return (pieces[0] if len(pieces) == 1 else b"".join(pieces)), b""

    def _hold(self, data: bytes, at: int, limit: int) -> None:
        if len(data) - at > limit:
            raise CodecProtocolError("http1.codec_error")
        held = data[at:]
        line_feed = held.find(b"\n")
        if self._state == _SIZE and line_feed >= 0:
            # A size line, or its extension, that ends in a bare LF reads differently elsewhere (TERM.EXT smuggling).
            raise CodecProtocolError("http1.codec_error")
        self._buffer = held

    def _trailers(self, data: bytes, at: int) -> int:
        """Where the message ends; -1 if that is not there yet."""
        if data.startswith(b"\r\n", at):
            return at + 2
        end = data.find(b"\r\n\r\n", at)
        if end < 0:
            return -1
        section = data[at:end]
        if has_illegal_byte(section):
            raise CodecProtocolError("http1.invalid_characters")
        lines = section.split(b"\r\n")
        if section.count(b"\n") != len(lines) - 1 or section.count(b"\r") != len(lines) - 1:
            lines = lenient_lines(section)
        self.trailers = parse_lines(lines)
        return end + 4


def encode_chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


LAST_CHUNK: Final = b"0\r\n\r\n"
