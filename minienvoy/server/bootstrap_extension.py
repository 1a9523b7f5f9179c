"""Extensions of the server as a whole (`Bootstrap.bootstrap_extensions`).

Envoy: `Server::Configuration::BootstrapExtensionFactory`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from ..config.extension import create_extensions
from ..registry import Registry

BOOTSTRAP_EXTENSIONS: Final[Registry[Callable[[Any, Any], None]]] = Registry("envoy.bootstrap")
"""(configuration message, the `ServerContext`): changes the server before its clusters and listeners are there"""


def create_bootstrap_extensions(bootstrap: Any, server: Any) -> None:
    """Raises ConfigError: one of them is not known, or refuses its settings."""
    create_extensions(BOOTSTRAP_EXTENSIONS, bootstrap.bootstrap_extensions, "bootstrap_extensions", server)
