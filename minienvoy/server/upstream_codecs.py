"""The codecs of upstream connections, as the command line chose them.

Envoy: `Http::CodecClientProd`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..http.http1.selection import client_codec

if TYPE_CHECKING:
    from .factory_context import ServerContext


class UpstreamCodecs:
    """Makes HTTP/1 codecs for upstream connections, and tells those who make others whether bytes are counted.

    Asked at each connection: a format that is compiled later may be the first that wants to know.
    """

    def __init__(self, server: ServerContext) -> None:
        self._server = server

    def __call__(self, *arguments: Any) -> Any:
        return client_codec(self._server.http1_codec, self._server.byte_meters)(*arguments)

    @property
    def counts_bytes(self) -> bool:
        return self._server.byte_meters
