"""`envoy.compression.zstd.decompressor`: Zstandard.

Envoy: `Compression::Zstd::Decompressor::ZstdDecompressorImpl`. Which dictionary is used is told by the first piece of
a body.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from ....config.fields import honours
from ....stats.store import CounterValue, StatsStruct
from .. import import_library
from ..decompressor import DECOMPRESSOR_LIBRARIES, MAX_INFLATE_RATIO, DecompressorLibrary
from .dictionary import read_dictionary

TYPE: Final = "envoy.extensions.compression.zstd.decompressor.v3.Zstd"
honours(TYPE, "dictionaries", "chunk_size")


class ZstdDecompressorStats(StatsStruct):
    """`http.<stat_prefix>.decompressor.<name of the library>.zstd.decompressor_library.`"""

    zstd_generic_error: CounterValue
    zstd_dictionary_error: CounterValue
    zstd_checksum_wrong_error: CounterValue
    zstd_memory_error: CounterValue


class _Bomb(Exception):
    """More than may come of a piece has come."""


class _Sink:
    """Takes what is decompressed, chunk by chunk."""

    __slots__ = ("content", "limit", "size")

    def __init__(self) -> None:
        self.content: list[bytes] = []
        self.size = self.limit = 0

    def write(self, chunk: Any) -> int:
        self.content.append(bytes(chunk))
        self.size += len(chunk)
        if self.size > self.limit:
            raise _Bomb
        return len(chunk)

    def take(self) -> bytes:
        taken = b"".join(self.content)
        self.content = []
        self.size = 0
        return taken


class ZstdDecompressor:
    __slots__ = ("_chunk_size", "_dictionaries", "_sink", "_stats", "_stream", "_zstandard")

    def __init__(
        self, zstandard: Any, dictionaries: Mapping[int, Any], chunk_size: int, stats: ZstdDecompressorStats
    ) -> None:
        self._zstandard = zstandard
        self._dictionaries = dictionaries
        self._chunk_size = chunk_size
        self._stats = stats
        self._sink = _Sink()
        self._stream: Any = None

    def decompress(self, data: bytes) -> bytes:
        if not data:
            return b""
        if self._stream is None and not self._begin(data):
            return b""
        sink = self._sink
        sink.limit = MAX_INFLATE_RATIO * len(data)
        try:
            self._stream.write(data)
        except _Bomb:
            # The rest of the input is lost, as it is to Envoy.
            self._stats.zstd_generic_error += 1
        except self._zstandard.ZstdError as error:
            self._count(str(error))
        return sink.take()

    def _begin(self, data: bytes) -> bool:
        """Whether there is the dictionary that the first piece asks for."""
        dictionary = None
        missing = False
        if self._dictionaries:
            try:
                number = self._zstandard.get_frame_parameters(data).dict_id
            except self._zstandard.ZstdError:
                number = 0
            dictionary = self._dictionaries.get(number)
            missing = number != 0 and dictionary is None
        decompressor = self._zstandard.ZstdDecompressor(dict_data=dictionary)
        self._stream = decompressor.stream_writer(self._sink, write_size=self._chunk_size, closefd=False)
        if missing:
            self._stats.zstd_dictionary_error += 1
        return not missing

    def _count(self, words: str) -> None:
        stats = self._stats
        if "checksum" in words:
            stats.zstd_checksum_wrong_error += 1
        elif "ictionary" in words:
            stats.zstd_dictionary_error += 1
        elif "memory" in words and "Frame" not in words:
            stats.zstd_memory_error += 1
        else:
            stats.zstd_generic_error += 1


@DECOMPRESSOR_LIBRARIES.register("envoy.compression.zstd.decompressor", TYPE)
def create_zstd(proto: Any) -> DecompressorLibrary:
    zstandard = import_library("zstandard")
    dictionaries: dict[int, Any] = {}
    for at, source in enumerate(proto.dictionaries):
        dictionary = read_dictionary(zstandard, source, f"dictionaries[{at}]")
        dictionaries.setdefault(dictionary.dict_id(), dictionary)
    chunk_size = (
        proto.chunk_size.value if proto.HasField("chunk_size") else zstandard.DECOMPRESSION_RECOMMENDED_OUTPUT_SIZE
    )
    return DecompressorLibrary(
        b"zstd",
        "zstd",
        ZstdDecompressorStats,
        lambda stats: ZstdDecompressor(zstandard, dictionaries, chunk_size, stats),
    )
