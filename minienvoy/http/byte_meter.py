"""What one stream takes on the wire of one connection.

Envoy: `StreamInfo::BytesMeter`.
"""

from __future__ import annotations


class ByteMeter:
    """Bytes so far; to Envoy, `decompressed_header_received` is without trailers."""

    __slots__ = (
        "decompressed_header_received",
        "first_body_byte_time",
        "header_received",
        "header_sent",
        "wire_received",
        "wire_sent",
    )

    def __init__(self) -> None:
        self.wire_received = 0
        self.wire_sent = 0
        self.header_received = 0
        self.header_sent = 0
        self.decompressed_header_received = 0
        self.first_body_byte_time: float | None = None
