"""The body of a request that may have to be sent a second time.

Envoy: `Router::Filter::decodeData`, as far as it buffers. It takes the body beside the upstream, as a shadow does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..http.header_map import HeaderMap

if TYPE_CHECKING:
    from ..upstream.cluster import Cluster


class RequestBuffer:
    """Attributes:
    chunks: the body as far as it has come.
    overflowed: it was larger than `limit`, and was forgotten: this request is sent only once.
    """

    __slots__ = ("_cluster", "_limit", "_size", "chunks", "overflowed")

    def __init__(self, cluster: Cluster, limit: int) -> None:
        self.chunks: list[bytes] = []
        self.overflowed = False
        self._cluster = cluster
        self._limit = limit
        self._size = 0

    def encode_data(self, data: bytes, end_stream: bool) -> None:
        if self.overflowed:
            return
        self._size += len(data)
        if self._size > self._limit:
            self.abandon()
            self._cluster.stats.traffic.retry_or_shadow_abandoned += 1
        elif data:
            self.chunks.append(data)

    def abandon(self) -> None:
        """It was too much for whoever else wanted it, which has been counted."""
        self.overflowed = True
        self.chunks.clear()

    def encode_trailers(self, trailers: HeaderMap) -> None:
        """They are not kept."""

    def reset(self) -> None:
        """The request is not sent again."""
        self.chunks.clear()
