"""An accepted socket before it is a connection: what listener filters look at and filter chains are matched on.

Envoy: `Network::ConnectionSocket`, `Network::AcceptedSocketImpl`.
"""

from __future__ import annotations

import socket

from ..stream_info import ConnectionInfo
from .address import Address


class ConnectionSocket:
    """Attributes that listener filters fill in start empty.

    Attributes:
        raw: the non-blocking kernel socket.
        detected_transport_protocol: `tls`, `raw_buffer` or empty.
        requested_application_protocols: ALPN, or what the HTTP inspector saw.
        ja3_hash, ja4_hash: fingerprints of the ClientHello.
    """

    __slots__ = (
        "detected_transport_protocol",
        "info",
        "ja3_hash",
        "ja4_hash",
        "raw",
        "requested_application_protocols",
    )

    def __init__(self, raw: socket.socket, info: ConnectionInfo) -> None:
        self.raw = raw
        self.info = info
        self.detected_transport_protocol = ""
        self.requested_application_protocols: tuple[str, ...] = ()
        self.ja3_hash = ""
        self.ja4_hash = ""

    @property
    def requested_server_name(self) -> str:
        return self.info.requested_server_name

    @property
    def local_address(self) -> Address:
        assert self.info.local_address is not None
        return self.info.local_address

    @property
    def remote_address(self) -> Address:
        assert self.info.remote_address is not None
        return self.info.remote_address
