"""`envoy.compression.gzip.decompressor`: gzip, by zlib.

Envoy: `Compression::Gzip::Decompressor::ZlibDecompressorImpl`. What is said before an error is passed on; what comes
behind the end is ignored.
"""

from __future__ import annotations

import zlib
from typing import Any, Final

from ....config.fields import honours
from ....stats.store import CounterValue, StatsStruct
from ..decompressor import CHUNK_SIZE, DECOMPRESSOR_LIBRARIES, MAX_INFLATE_RATIO, DecompressorLibrary
from .compressor import GZIP

TYPE: Final = "envoy.extensions.compression.gzip.decompressor.v3.Gzip"
honours(TYPE, "window_bits", "chunk_size", "max_inflate_ratio")

_WINDOW_BITS: Final = 15


class ZlibDecompressorStats(StatsStruct):
    """`http.<stat_prefix>.decompressor.<name of the library>.gzip.decompressor_library.`"""

    zlib_errno: CounterValue
    zlib_stream_error: CounterValue
    zlib_data_error: CounterValue
    zlib_mem_error: CounterValue
    zlib_buf_error: CounterValue
    zlib_version_error: CounterValue


class ZlibDecompressor:
    __slots__ = ("_chunk_size", "_inflate", "_ratio", "_stats", "_wrong")

    def __init__(self, window_bits: int, chunk_size: int, ratio: int, stats: ZlibDecompressorStats) -> None:
        self._inflate = zlib.decompressobj(window_bits | GZIP)
        self._chunk_size = chunk_size
        self._ratio = ratio
        self._stats = stats
        self._wrong = False

    def decompress(self, data: bytes) -> bytes:
        inflate = self._inflate
        if not data or inflate.eof:
            return b""
        if self._wrong:
            self._stats.zlib_data_error += 1
            return b""
        limit = self._ratio * len(data)
        before = inflate.copy()
        content: list[bytes] = []
        size = 0
        rest = data
        while True:
            try:
                chunk = inflate.decompress(rest, self._chunk_size)
            except zlib.error:
                self._wrong = True
                self._stats.zlib_data_error += 1
                return _before_error(before, data, limit + self._chunk_size)
            rest = inflate.unconsumed_tail
            content.append(chunk)
            size += len(chunk)
            full = len(chunk) == self._chunk_size
            if full and size > limit:
                # The rest of the input is lost, as it is to Envoy.
                self._stats.zlib_data_error += 1
                break
            if inflate.eof or not (rest or full):
                break
        return b"".join(content)


def _before_error(inflate: Any, data: bytes, limit: int) -> bytes:
    """What `data` says up to the error in it, which zlib's binding keeps to itself: the byte is found by halving."""
    content: list[bytes] = []
    while len(data) > 1:
        half = data[: len(data) // 2]
        attempt = inflate.copy()
        try:
            content.append(attempt.decompress(half, limit))
        except zlib.error:
            data = half
            continue
        inflate = attempt
        data = data[len(half) :]
    try:
        while chunk := inflate.decompress(data, 1):
            content.append(chunk)
            data = inflate.unconsumed_tail
    except zlib.error:
        pass
    return b"".join(content)[:limit]


@DECOMPRESSOR_LIBRARIES.register("envoy.compression.gzip.decompressor", TYPE)
def create_gzip(proto: Any) -> DecompressorLibrary:
    def setting(field: str, default: int) -> int:
        return getattr(proto, field).value if proto.HasField(field) else default

    window_bits = setting("window_bits", _WINDOW_BITS)
    chunk_size, ratio = setting("chunk_size", CHUNK_SIZE), setting("max_inflate_ratio", MAX_INFLATE_RATIO)
    return DecompressorLibrary(
        b"gzip",
        "gzip",
        ZlibDecompressorStats,
        lambda stats: ZlibDecompressor(window_bits, chunk_size, ratio, stats),
    )
