"""`envoy.compression.brotli.decompressor`: Brotli.

Envoy: `Compression::Brotli::Decompressor::BrotliDecompressorImpl`. The decoder is driven by its C interface, because
the Python one keeps to itself what is said before an error, or before the end of a bomb.
"""

from __future__ import annotations

from typing import Any, Final

from ....config.fields import honours
from ....stats.store import CounterValue, StatsStruct
from .. import import_library
from ..decompressor import CHUNK_SIZE, DECOMPRESSOR_LIBRARIES, MAX_INFLATE_RATIO, DecompressorLibrary

TYPE: Final = "envoy.extensions.compression.brotli.decompressor.v3.Brotli"
honours(
    TYPE,
    "chunk_size",
    ignored={"disable_ring_buffer_reallocation": "the Python package can not be told; what is decoded is the same"},
)


class BrotliDecompressorStats(StatsStruct):
    """`http.<stat_prefix>.decompressor.<name of the library>.brotli.decompressor_library.`"""

    brotli_error: CounterValue
    brotli_output_overflow: CounterValue
    brotli_redundant_input: CounterValue


class BrotliDecompressor:
    __slots__ = ("_chunk_size", "_decoder", "_ffi", "_lib", "_stats")

    def __init__(self, ffi: Any, lib: Any, chunk_size: int, stats: BrotliDecompressorStats) -> None:
        self._ffi = ffi
        self._lib = lib
        self._chunk_size = chunk_size
        self._stats = stats
        made = lib.BrotliDecoderCreateInstance(ffi.NULL, ffi.NULL, ffi.NULL)
        self._decoder = ffi.gc(made, lib.BrotliDecoderDestroyInstance)

    def decompress(self, data: bytes) -> bytes:
        ffi, lib, stats = self._ffi, self._lib, self._stats
        limit = MAX_INFLATE_RATIO * len(data)
        available_in = ffi.new("size_t *", len(data))
        held = ffi.from_buffer("uint8_t[]", data)
        next_in = ffi.new("uint8_t **", held)
        chunk = ffi.new("uint8_t[]", self._chunk_size)
        available_out = ffi.new("size_t *")
        next_out = ffi.new("uint8_t **")
        content: list[bytes] = []
        size = 0
        while True:
            available_out[0], next_out[0] = self._chunk_size, chunk
            result = lib.BrotliDecoderDecompressStream(
                self._decoder, available_in, next_in, available_out, next_out, ffi.NULL
            )
            told = self._chunk_size - available_out[0]
            content.append(bytes(ffi.buffer(chunk, told)))
            if result == lib.BROTLI_DECODER_RESULT_ERROR:
                stats.brotli_error += 1
                break
            if result == lib.BROTLI_DECODER_RESULT_SUCCESS and available_in[0]:
                stats.brotli_error += 1
                stats.brotli_redundant_input += 1
                break
            if size > limit:
                # The rest of the input is lost, as it is to Envoy.
                stats.brotli_error += 1
                stats.brotli_output_overflow += 1
                break
            size += told
            if not available_in[0] and not lib.BrotliDecoderHasMoreOutput(self._decoder):
                break
        return b"".join(content)


@DECOMPRESSOR_LIBRARIES.register("envoy.compression.brotli.decompressor", TYPE)
def create_brotli(proto: Any) -> DecompressorLibrary:
    low_level = import_library("brotlicffi._brotlicffi")
    ffi, lib = low_level.ffi, low_level.lib
    chunk_size = proto.chunk_size.value if proto.HasField("chunk_size") else CHUNK_SIZE
    return DecompressorLibrary(
        b"br", "brotli", BrotliDecompressorStats, lambda stats: BrotliDecompressor(ffi, lib, chunk_size, stats)
    )
