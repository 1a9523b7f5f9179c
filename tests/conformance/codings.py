"""Content codings: what a body says is compared, not how some library has compressed it.

A body that is compressed as its `content-encoding` says is shown decoded, between `<gzip>` and `<end of gzip>`; without
the latter it is not finished. Messages have compressed pieces as `{gzip: text}`, `{br: text}`, `{zstd: text}`;
`{unfinished: piece}` is one that is flushed and not ended, `{chunk: text}` is a chunk of HTTP/1.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Any

import brotlicffi
import zstandard

NAMES = ("gzip", "br", "zstd")
_GZIP = 31
"""`wbits` of zlib for gzip with the largest window."""


def encode(coding: str, data: bytes, *, ends: bool = True) -> bytes:
    """`data` in a content coding; flushed only if it does not end."""
    if coding == "gzip":
        gzip = zlib.compressobj(wbits=_GZIP)
        return gzip.compress(data) + gzip.flush(zlib.Z_FINISH if ends else zlib.Z_SYNC_FLUSH)
    if coding == "br":
        br = brotlicffi.Compressor()
        return bytes(br.process(data) + (br.finish() if ends else br.flush()))
    zstd = zstandard.ZstdCompressor().compressobj()
    how = zstandard.COMPRESSOBJ_FLUSH_FINISH if ends else zstandard.COMPRESSOBJ_FLUSH_BLOCK
    return bytes(zstd.compress(data) + zstd.flush(how))


def piece(part: dict[str, Any], plain: Callable[[Any], bytes], *, ends: bool = True) -> bytes:
    """What such a part of a message stands for."""
    ((verb, value),) = part.items()
    if verb == "chunk":
        content = plain(value)
        return b"%x\r\n%b\r\n" % (len(content), content)
    if verb == "unfinished":
        return piece(value, plain, ends=False)
    if verb in NAMES:
        return encode(verb, plain(value), ends=ends)
    if verb == "repeat":
        return plain(value[0]) * int(value[1])
    raise ValueError(f"{verb!r} is no piece of a message; known are repeat, chunk, unfinished, {', '.join(NAMES)}")


class Decoder:
    """One body; `feed` gives what there is to show of the next bytes of it, None if they are not so coded."""

    def __init__(self, coding: str) -> None:
        self._coding = coding
        self._begun = False
        self._ended = False
        self._feed: Callable[[bytes], bytes]
        if coding == "gzip":
            self._gzip = zlib.decompressobj(_GZIP)
            self._feed = self._gzip.decompress
        elif coding == "br":
            self._br = brotlicffi.Decompressor()
            self._feed = self._br.process
        else:
            self._zstd = zstandard.ZstdDecompressor().decompressobj()
            self._feed = self._zstd.decompress

    def _at_end(self) -> bool:
        if self._coding == "gzip":
            return self._gzip.eof
        return bool(self._br.is_finished() if self._coding == "br" else self._zstd.eof)

    def feed(self, data: bytes) -> tuple[bytes, bytes, bytes] | None:
        """(mark before it, text, mark behind it)"""
        try:
            content = bytes(self._feed(data))
        except (zlib.error, brotlicffi.error, zstandard.ZstdError):
            return None
        before = b"" if self._begun else f"<{self._coding}>".encode()
        self._begun = True
        ends = not self._ended and self._at_end()
        self._ended = self._ended or ends
        behind = f"<end of {self._coding}>".encode() if ends else b""
        if ends and self._coding == "gzip" and self._gzip.unused_data:
            behind += b" <%d bytes behind it>" % len(self._gzip.unused_data)
        return before, content, behind


def decoder(coding: str | None) -> Decoder | None:
    """For the value of a `content-encoding`; None if bodies so coded are shown as they are."""
    return Decoder(coding) if coding in NAMES else None
