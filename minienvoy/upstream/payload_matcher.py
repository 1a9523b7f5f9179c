"""Bytes that a health check looks for.

Envoy: `Upstream::PayloadMatcher` (`source/common/upstream/health_checker_impl.cc`), `HealthCheck.Payload`.

The segments must occur one after the other, with anything before, between and after them. The first occurrence of each
counts, so the bytes can be looked at as they come: nothing but the tail that may begin a segment is kept, however much
a peer sends.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ..errors import ConfigError

_HEX = frozenset("0123456789abcdefABCDEF")


def load_payload(config: Any, path: str) -> bytes:
    """The bytes of one `envoy.config.core.v3.HealthCheck.Payload`.

    Raises:
        ConfigError: the text is not hexadecimal.
    """
    if config.WhichOneof("payload") == "binary":
        return bytes(config.binary)
    text: str = config.text
    if len(text) % 2 or not _HEX.issuperset(text):
        raise ConfigError(f"invalid hex string '{text}'", f"{path}.text")
    return bytes.fromhex(text)


def load_payloads(configs: Iterable[Any], path: str) -> tuple[bytes, ...]:
    return tuple(load_payload(config, f"{path}[{index}]") for index, config in enumerate(configs))


class PayloadMatcher:
    """One pass over a stream of bytes.

    Attributes:
        matched: every segment was found.
    """

    __slots__ = ("_at", "_segments", "_tail", "matched")

    def __init__(self, segments: tuple[bytes, ...]) -> None:
        self._segments = segments
        self.matched = not segments
        self.reset()

    def reset(self) -> None:
        """Begin anew."""
        self._at = 0
        self._tail = b""
        self.matched = not self._segments

    def feed(self, data: bytes) -> bool:
        """Look at more bytes; True as soon as every segment was found."""
        segments = self._segments
        data = self._tail + data
        start = 0
        while self._at < len(segments):
            segment = segments[self._at]
            found = data.find(segment, start)
            if found < 0:
                # What may be the beginning of the segment is looked at again.
                self._tail = data[max(start, len(data) - len(segment) + 1) :]
                return False
            start = found + len(segment)
            self._at += 1
        self._tail = b""
        self.matched = True
        return True
