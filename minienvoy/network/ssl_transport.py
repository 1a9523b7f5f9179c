"""What a connection takes for its transport, if there is TLS between.

No Envoy counterpart: there a connection knows its `TransportSocket`.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .ssl_socket import SslSocket


class SslTransport(asyncio.Transport):
    """What a connection takes for its transport."""

    def __init__(self, socket: SslSocket, raw: asyncio.Transport) -> None:
        super().__init__()
        self.socket = socket
        self.write = socket.write  # type: ignore[method-assign, assignment]
        self.go_through(raw)

    def go_through(self, raw: asyncio.Transport) -> None:
        """Send and read by `raw` from now on."""
        self.raw = self.socket.raw = raw
        self.pause_reading = raw.pause_reading  # type: ignore[method-assign]
        self.resume_reading = raw.resume_reading  # type: ignore[method-assign]
        self.get_write_buffer_size = raw.get_write_buffer_size  # type: ignore[method-assign]
        self.set_write_buffer_limits = raw.set_write_buffer_limits  # type: ignore[method-assign]

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        if name == "ssl_object":
            return self.socket.session
        return self.raw.get_extra_info(name, default)

    def is_closing(self) -> bool:
        return self.raw.is_closing()

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self.socket.say_goodbye()

    def close(self) -> None:
        self.socket.say_goodbye()
        self.raw.close()

    def abort(self) -> None:
        """The end. If everything before it has left, the peer hears that this is all."""
        if self.raw.is_closing() or self.raw.get_write_buffer_size():
            self.raw.abort()
            return
        self.socket.say_goodbye()
        self.socket.leave()
