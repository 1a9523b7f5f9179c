"""`envoy.transport_sockets.raw_buffer`: bytes go over the wire as they are.

Envoy: `Network::RawBufferSocket`, `source/extensions/transport_sockets/raw_buffer/config.cc`. A connection is like that
unless something else is asked for, so that there is nothing to make.
"""

from __future__ import annotations

from typing import Any

from ...config.fields import honours
from ...network.transport_socket import DOWNSTREAM_TRANSPORT_SOCKETS, RAW_BUFFER, UPSTREAM_TRANSPORT_SOCKETS

honours(RAW_BUFFER)


@DOWNSTREAM_TRANSPORT_SOCKETS.register("envoy.transport_sockets.raw_buffer", RAW_BUFFER)
@UPSTREAM_TRANSPORT_SOCKETS.register("envoy.transport_sockets.raw_buffer", RAW_BUFFER)
def create_raw_buffer(config: Any, context: Any, path: str) -> None:
    """Nothing is needed."""
