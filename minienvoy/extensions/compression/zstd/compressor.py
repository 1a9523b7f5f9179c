"""`envoy.compression.zstd.compressor`: Zstandard.

Envoy: `Compression::Zstd::Compressor::ZstdCompressorImpl`. As there, pieces of a body are not flushed: a block is sent
when it is full, or at the end.
"""

from __future__ import annotations

from typing import Any, Final

from ....config.fields import honours
from .. import import_library
from ..compressor import COMPRESSOR_LIBRARIES, CompressorLibrary
from .dictionary import read_dictionary

TYPE: Final = "envoy.extensions.compression.zstd.compressor.v3.Zstd"
honours(
    TYPE,
    "compression_level",
    "enable_checksum",
    "strategy",
    "dictionary",
    ignored={"chunk_size": "output needs no chunks here: it is as long as it is"},
)

_LEVEL: Final = 3


class ZstdCompressor:
    __slots__ = ("_frame",)

    def __init__(self, frame: Any) -> None:
        self._frame = frame

    def compress(self, data: bytes, finish: bool) -> bytes:
        content: bytes = self._frame.compress(data)
        return content + self._frame.flush() if finish else content


@COMPRESSOR_LIBRARIES.register("envoy.compression.zstd.compressor", TYPE)
def create_zstd(proto: Any) -> CompressorLibrary:
    zstandard = import_library("zstandard")
    level = proto.compression_level.value if proto.HasField("compression_level") else _LEVEL
    # The last two are zstd's own defaults, and not those of its binding.
    wanted = {"write_checksum": proto.enable_checksum, "write_content_size": True, "write_dict_id": True}
    if proto.strategy:
        # The enumeration has the numbers of zstd.h.
        wanted["strategy"] = proto.strategy
    settings = zstandard.ZstdCompressionParameters.from_level(level, **wanted)
    dictionary = read_dictionary(zstandard, proto.dictionary, "dictionary") if proto.HasField("dictionary") else None
    make = zstandard.ZstdCompressor
    return CompressorLibrary(
        b"zstd",
        "zstd",
        # Frames of one compressor would share its context.
        lambda: ZstdCompressor(make(dict_data=dictionary, compression_params=settings).compressobj()),
    )
