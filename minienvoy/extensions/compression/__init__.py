"""Libraries for content codings.

Envoy: `source/extensions/compression`; gzip is Python's own zlib, the others are packages of the extra `compression`.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from ...errors import ConfigError


def import_library(name: str) -> Any:
    """The module of that name.

    Raises:
        ConfigError: it is not installed.
    """
    try:
        return import_module(name)
    except ImportError:
        package = name.partition(".")[0]
        raise ConfigError(
            f"the Python package {package} is not installed", remedy="pip install 'minienvoy[compression]' brings it"
        ) from None
