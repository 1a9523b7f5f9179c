"""`envoy.transport_sockets.raw_buffer`: bytes go over the wire as they are.

Envoy: `Network::RawBufferSocket`, `source/extensions/transport_sockets/raw_buffer/config.cc`. A connection is like that
unless something else is asked for, so that there is nothing to make: `minienvoy.network.transport_socket` knows it.
"""

from __future__ import annotations

from ...config.fields import honours
from ...network.transport_socket import RAW_BUFFER

honours(RAW_BUFFER)
