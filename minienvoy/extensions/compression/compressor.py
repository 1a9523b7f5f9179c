"""What compresses one body, and who makes it.

Envoy: `envoy/compression/compressor/compressor.h`, `factory.h`, `config.h`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Protocol

from ...record import record
from ...registry import Registry


class Compressor(Protocol):
    def compress(self, data: bytes, finish: bool) -> bytes:
        """What may be sent now that there is this more of the body; `finish`: it was the last of it."""


@record
class CompressorLibrary:
    """A content coding as it is configured (`CompressorFactory`).

    Attributes:
        content_encoding: what headers call it.
        stats_prefix: what statistics call it.
        create: makes the compressor of one body.
    """

    content_encoding: bytes
    stats_prefix: str
    create: Callable[[], Compressor]


COMPRESSOR_LIBRARIES: Final[Registry[Callable[[Any], CompressorLibrary]]] = Registry("envoy.compression.compressor")
"""(configuration message) -> CompressorLibrary"""
