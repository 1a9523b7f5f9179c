"""The chunked transfer coding, read.

Envoy: `quiche::BalsaFrame`'s chunk states. RFC 9112 7.1.

A body is a list of chunks, a last chunk of size 0 and a trailer section. In each state the reader waits for a line
(size, or trailer), for the rest of a chunk's bytes, or for the line end after them. A size is hex digits and nothing
else: `int()` takes signs, underscores and prefixes, and each of them has been a way to smuggle a request. After the
digits a blank or `;` begins an extension, which is dropped. A size line must end in CRLF and hold no other CR or LF. As
in Envoy, what stands between the end of a chunk and the next LF is skipped.
"""

from __future__ import annotations

import re
from typing import Final

from ...errors import CodecProtocolError
from ..header_map import Entry
from .header_lines import CODEC_ERROR, END_OF_HEAD, lenient_entries

_size_line = re.compile(rb"([0-9A-Fa-f]+)(?:[ \t;][^\r\n]*)?").fullmatch
_begun_size_line = re.compile(rb"[0-9A-Fa-f]+(?:[ \t;][^\r\n]*)?\r?").fullmatch
_SIZE, _BYTES, _LINE_END, _TRAILERS, _DONE = range(5)
_MAX_SIZE_LINE: Final = 128 * 1024
"""Bytes of one chunk size line with its extension; Envoy has no limit."""
_MAX_DIGITS: Final = 16
"""A size fits 64 bits; zeros before it do not count."""


class ChunkedReader:
    """Give it bytes, take body and trailers.

    Attributes:
        done: the message is complete; `feed` returned what came after it.
        error: the coding is broken, and nothing more can be read. As in Envoy what came with the broken bytes is lost,
            except that a body which was complete stands when its trailers are broken.
        trailers: the trailer section once it is complete.
    """

    __slots__ = ("_buffer", "_left", "_max_trailers_size", "_state", "done", "error", "trailers")

    def __init__(self, max_trailers_size: int) -> None:
        self._state = _SIZE
        self._left = 0
        self._buffer = b""
        self._max_trailers_size = max_trailers_size
        self.done = False
        self.error: CodecProtocolError | None = None
        self.trailers: list[Entry] = []

    def feed(self, data: bytes) -> tuple[bytes, bytes]:
        """Returns (body bytes, bytes after the end of the message); look at `error` after each call."""
        if self._buffer:
            data = self._buffer + data
            self._buffer = b""
        pieces: list[bytes] = []
        rest = b""
        try:
            rest = self._read(data, pieces)
        except CodecProtocolError as error:
            self.error = error
            if self._state != _TRAILERS:
                return b"", b""
        return (pieces[0] if len(pieces) == 1 else b"".join(pieces)), rest

    def _read(self, data: bytes, pieces: list[bytes]) -> bytes:
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
                self._state = _LINE_END
            elif state == _LINE_END:
                line_feed = data.find(b"\n", at)
                if line_feed < 0:
                    break
                at = line_feed + 1
                self._state = _SIZE
            elif state == _SIZE:
                line_end = data.find(b"\r\n", at)
                if line_end < 0:
                    if end - at > _MAX_SIZE_LINE or _begun_size_line(data, at) is None:
                        raise CodecProtocolError(CODEC_ERROR)
                    self._buffer = data[at:]
                    break
                match = _size_line(data, at, line_end)
                if match is None:
                    raise CodecProtocolError(CODEC_ERROR)
                digits = match[1]
                if len(digits) > _MAX_DIGITS:
                    digits = digits.lstrip(b"0") or b"0"
                    if len(digits) > _MAX_DIGITS:
                        raise CodecProtocolError(CODEC_ERROR)
                at = line_end + 2
                self._left = int(digits, 16)
                self._state = _BYTES if self._left else _TRAILERS
            else:
                return self._read_trailers(data, at)
        return b""

    def _read_trailers(self, data: bytes, at: int) -> bytes:
        if data.startswith(b"\r\n", at):
            after = at + 2
        elif data.startswith(b"\n", at):
            after = at + 1
        else:
            match = END_OF_HEAD(data, at)
            after = len(data) if match is None else match.end()
            if after - at > self._max_trailers_size:
                raise CodecProtocolError("http1.headers_too_large", 431)
            if match is None:
                self._buffer = data[at:]
                return b""
            self.trailers = lenient_entries(data[at : match.start()])
        self._state = _DONE
        self.done = True
        return data[after:]


def encode_chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


LAST_CHUNK: Final = b"0\r\n\r\n"
