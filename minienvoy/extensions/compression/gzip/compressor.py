"""`envoy.compression.gzip.compressor`: gzip, by zlib.

Envoy: `Compression::Gzip::Compressor::ZlibCompressorImpl`. A body is flushed with each piece that comes.
"""

from __future__ import annotations

import zlib
from typing import Any, Final

from ....config.fields import honours
from ..compressor import COMPRESSOR_LIBRARIES, CompressorLibrary

TYPE: Final = "envoy.extensions.compression.gzip.compressor.v3.Gzip"
honours(
    TYPE,
    "memory_level",
    "compression_level",
    "compression_strategy",
    "window_bits",
    ignored={"chunk_size": "output needs no chunks here: it is as long as it is"},
)

GZIP: Final = 16
"""Added to the bits of the window: a gzip header and trailer around the data."""
_MEMORY_LEVEL: Final = 5
_WINDOW_BITS: Final = 12


class ZlibCompressor:
    __slots__ = ("_deflate",)

    def __init__(self, level: int, window_bits: int, memory_level: int, strategy: int) -> None:
        self._deflate = zlib.compressobj(level, zlib.DEFLATED, window_bits | GZIP, memory_level, strategy)

    def compress(self, data: bytes, finish: bool) -> bytes:
        deflate = self._deflate
        return deflate.compress(data) + deflate.flush(zlib.Z_FINISH if finish else zlib.Z_SYNC_FLUSH)


@COMPRESSOR_LIBRARIES.register("envoy.compression.gzip.compressor", TYPE)
def create_gzip(proto: Any) -> CompressorLibrary:
    # Both enumerations have zlib's numbers, except that its default level is not 0.
    level = proto.compression_level or zlib.Z_DEFAULT_COMPRESSION
    strategy = proto.compression_strategy
    window_bits = proto.window_bits.value if proto.HasField("window_bits") else _WINDOW_BITS
    memory_level = proto.memory_level.value if proto.HasField("memory_level") else _MEMORY_LEVEL
    return CompressorLibrary(b"gzip", "gzip", lambda: ZlibCompressor(level, window_bits, memory_level, strategy))
