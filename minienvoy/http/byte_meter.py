"""What one stream takes on the wire of one connection.

Envoy: `StreamInfo::BytesMeter`.
"""

from __future__ import annotations


class ByteMeter:
    """Bytes so far.

    Attributes:
        decompressed_header_sent: only where it is not `header_sent`, that is in HTTP/2.
    """

    __slots__ = (
        "decompressed_header_received",
        "decompressed_header_sent",
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
        self.decompressed_header_sent: int | None = None
        self.first_body_byte_time: float | None = None

    def add(self, other: ByteMeter) -> None:
        """Begin with what `other` has counted."""
        self.wire_received += other.wire_received
        self.wire_sent += other.wire_sent
        self.header_received += other.header_received
        self.header_sent += other.header_sent
        self.decompressed_header_received += other.decompressed_header_received
        if other.decompressed_header_sent is not None:
            self.decompressed_header_sent = (self.decompressed_header_sent or 0) + other.decompressed_header_sent
