"""`envoy.bootstrap.internal_listener`: lets clusters lead to listeners inside this process.

Envoy: `Extensions::Bootstrap::InternalListener::InternalListenerExtension`; docs "Internal listener".
"""

from __future__ import annotations

from typing import Any, Final

from ...config.fields import honours
from ...network.internal_connection import InternalListeners
from ...server.bootstrap_extension import BOOTSTRAP_EXTENSIONS

TYPE: Final = "envoy.extensions.bootstrap.internal_listener.v3.InternalListener"
DEFAULT_BUFFER_SIZE: Final = 1024
"""KiB."""

honours(TYPE, "buffer_size_kb")


@BOOTSTRAP_EXTENSIONS.register("envoy.bootstrap.internal_listener", TYPE)
def create_internal_listener(config: Any, server: Any) -> None:
    size = config.buffer_size_kb.value if config.HasField("buffer_size_kb") else DEFAULT_BUFFER_SIZE
    server.dispatcher.internal_listeners = InternalListeners(size * 1024)
