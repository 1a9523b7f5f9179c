"""`envoy.compression.brotli.compressor`: Brotli.

Envoy: `Compression::Brotli::Compressor::BrotliCompressorImpl`. A body is flushed with each piece that comes.
"""

from __future__ import annotations

from typing import Any, Final

from ....config.fields import honours
from .. import import_library
from ..compressor import COMPRESSOR_LIBRARIES, CompressorLibrary

TYPE: Final = "envoy.extensions.compression.brotli.compressor.v3.Brotli"
honours(
    TYPE,
    "quality",
    "encoder_mode",
    "window_bits",
    "input_block_bits",
    ignored={
        "chunk_size": "output needs no chunks here: it is as long as it is",
        "disable_literal_context_modeling": "the Python package can not be told; what is decoded is the same",
    },
)

_QUALITY: Final = 3
_WINDOW_BITS: Final = 18
_BLOCK_BITS: Final = 24
_MODES: Final = ("MODE_GENERIC", "MODE_GENERIC", "MODE_TEXT", "MODE_FONT")


class BrotliCompressor:
    __slots__ = ("_encoder",)

    def __init__(self, encoder: Any) -> None:
        self._encoder = encoder

    def compress(self, data: bytes, finish: bool) -> bytes:
        encoder = self._encoder
        content: bytes = encoder.process(data) + (encoder.finish() if finish else encoder.flush())
        return content


@COMPRESSOR_LIBRARIES.register("envoy.compression.brotli.compressor", TYPE)
def create_brotli(proto: Any) -> CompressorLibrary:
    brotli = import_library("brotlicffi")

    def setting(field: str, default: int) -> int:
        return getattr(proto, field).value if proto.HasField(field) else default

    quality, window = setting("quality", _QUALITY), setting("window_bits", _WINDOW_BITS)
    block, mode = setting("input_block_bits", _BLOCK_BITS), getattr(brotli, _MODES[proto.encoder_mode])
    make = brotli.Compressor
    return CompressorLibrary(
        b"br", "brotli", lambda: BrotliCompressor(make(mode=mode, quality=quality, lgwin=window, lgblock=block))
    )
