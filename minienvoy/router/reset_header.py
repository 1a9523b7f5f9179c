"""Headers in which an upstream says when to come again.

Envoy: `Router::ResetHeaderParserImpl` (`source/common/router/reset_header_parser.cc`); docs "Rate limited retry back
off". The first header that tells a time which is not too far away counts.
"""

from __future__ import annotations

from typing import Any, Final, Protocol

from ..http.ascii_number import unsigned

UNIX_TIMESTAMP: Final = 1


class Headers(Protocol):
    def get(self, name: bytes) -> bytes | None: ...


class ResetHeader:
    """One `ResetHeader`: seconds from now, or seconds since the epoch."""

    __slots__ = ("is_timestamp", "name")

    def __init__(self, name: bytes, is_timestamp: bool) -> None:
        self.name = name
        self.is_timestamp = is_timestamp

    @classmethod
    def from_proto(cls, proto: Any) -> ResetHeader:
        return cls(proto.name.lower().encode(), proto.format == UNIX_TIMESTAMP)

    def interval(self, headers: Headers, wall_time: float) -> float | None:
        """Seconds from now; None if the header is not there, is no number, or tells of the past."""
        value = headers.get(self.name)
        number = None if value is None else unsigned(value)
        if number is None:
            return None
        if not self.is_timestamp:
            return float(number)
        return number - wall_time if number > wall_time else None
