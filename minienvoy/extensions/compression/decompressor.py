"""What decompresses one body, and who makes it.

Envoy: `envoy/compression/decompressor/decompressor.h`, `factory.h`, `config.h`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Protocol

from ...record import record
from ...registry import Registry
from ...stats.store import StatsStruct

MAX_INFLATE_RATIO: Final = 100
"""How many bytes each byte may become; what becomes more is a bomb."""
CHUNK_SIZE: Final = 4096


class Decompressor(Protocol):
    def decompress(self, data: bytes) -> bytes:
        """What this piece of the body says. What is wrong with it is counted, and leaves something out."""


@record
class DecompressorLibrary:
    """A content coding as it is configured (`DecompressorFactory`).

    Attributes:
        content_encoding: what headers call it.
        stats_prefix: what statistics call it.
        stats: what it counts.
        create: makes the decompressor of one body, which counts in such a struct.
    """

    content_encoding: bytes
    stats_prefix: str
    stats: type[StatsStruct]
    create: Callable[[Any], Decompressor]


DECOMPRESSOR_LIBRARIES: Final[Registry[Callable[[Any], DecompressorLibrary]]] = Registry(
    "envoy.compression.decompressor"
)
"""(configuration message) -> DecompressorLibrary"""
