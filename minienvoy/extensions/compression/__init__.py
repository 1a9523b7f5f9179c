"""Libraries for content codings.

Envoy: `source/extensions/compression`; gzip is Python's own zlib, the others are packages of the extra `compression`.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from ...errors import ConfigError


def import_library(*names: str) -> Any:
    """The first of these modules that is installed.

    Raises:
        ConfigError: none of them is.
    """
    for name in names:
        try:
            return import_module(name)
        except ImportError:
            continue
    raise ConfigError(
        f"the Python package {names[0]} is not installed", remedy="pip install 'minienvoy[compression]' brings it"
    )
