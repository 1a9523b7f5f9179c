"""What a connection does with its bytes before they go over the wire, as a listener or a cluster asks for it.

Envoy: `Network::TransportSocket`, `envoy.config.core.v3.TransportSocket`. So far nothing: connections are plain.
"""

from __future__ import annotations

from typing import Any, Final

from ..config.fields import honours
from ..errors import ConfigError

RAW_BUFFER: Final = "envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer"
honours("envoy.config.core.v3.TransportSocket", "name", "typed_config")


def require_raw_buffer(config: Any, path: str) -> None:
    """Take an `envoy.config.core.v3.TransportSocket` at `path` that asks for a plain connection.

    Raises:
        ConfigError: it asks for anything else.
    """
    type_url: str = config.typed_config.type_url
    if not type_url:
        raise ConfigError(
            f"Didn't find a registered implementation for '{config.name}' with type URL: ''",
            path,
            remedy="a transport socket needs a typed_config",
        )
    type_name = type_url.rpartition("/")[2]
    if type_name != RAW_BUFFER:
        raise ConfigError(
            f"Didn't find a registered implementation for type: '{type_name}'",
            f"{path}.typed_config",
            remedy="connections are plain TCP so far; see docs/supported.md",
        )
