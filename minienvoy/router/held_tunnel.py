"""What a client says to a tunnel that is not there yet: it is kept until the upstream has granted it.

Envoy: `Router::UpstreamRequest` and `UpstreamCodecFilter` (`paused_for_connect_`, `paused_for_websocket_`). Whoever
refuses a CONNECT or an upgrade is not sent what was meant for the other end of it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from ..http.codec import Metadata
    from ..http.header_map import HeaderMap, RequestHeaderMap


class BodySink(Protocol):
    """What takes what comes after the headers of a request."""

    def encode_data(self, data: bytes, end_stream: bool) -> object: ...
    def encode_trailers(self, trailers: HeaderMap) -> object: ...


class RequestSink(BodySink, Protocol):
    """What takes a request."""

    def encode_headers(self, headers: RequestHeaderMap, end_stream: bool) -> None: ...
    def encode_metadata(self, metadata: Metadata) -> None: ...


class HeldTunnel:
    """Stands where the encoder would.

    Attributes:
        upgrade: an upgrade, not CONNECT.
        websocket: to WebSocket.
    """

    __slots__ = (
        "_data",
        "_encoder",
        "_ended",
        "_full",
        "_limit",
        "_metadata",
        "_on_watermark",
        "_size",
        "_trailers",
        "upgrade",
        "websocket",
    )

    def __init__(
        self,
        encoder: RequestSink,
        upgrade: bool,
        websocket: bool,
        limit: int,
        on_watermark: Callable[[bool], None],
    ) -> None:
        """`on_watermark` is told (True) when more than `limit` bytes are kept, 0 for any number, and (False) when they
        are not any more."""
        self._encoder = encoder
        self.upgrade = upgrade
        self.websocket = websocket
        self._limit = limit
        self._on_watermark = on_watermark
        self._data: list[bytes] = []
        self._size = 0
        self._ended = self._full = False
        self._trailers: HeaderMap | None = None
        self._metadata: list[Metadata] = []

    def encode_headers(self, headers: RequestHeaderMap, end_stream: bool) -> None:
        self._encoder.encode_headers(headers, end_stream)

    def encode_data(self, data: bytes, end_stream: bool) -> None:
        self._data.append(data)
        self._size += len(data)
        self._ended = end_stream
        if self._limit and self._size > self._limit and not self._full:
            self._full = True
            self._on_watermark(True)

    def encode_trailers(self, trailers: HeaderMap) -> None:
        self._trailers = trailers

    def encode_metadata(self, metadata: Metadata) -> None:
        self._metadata.append(metadata)

    def release(self) -> RequestSink:
        """Send what was kept; the encoder that takes what comes from now on."""
        if self._full:
            self._on_watermark(False)
        for metadata in self._metadata:
            self._encoder.encode_metadata(metadata)
        self._metadata.clear()
        if self._data:
            self._encoder.encode_data(b"".join(self._data), self._ended)
            self._data.clear()
        if self._trailers is not None:
            self._encoder.encode_trailers(self._trailers)
        return self._encoder
