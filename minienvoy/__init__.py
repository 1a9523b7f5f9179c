"""minienvoy: Envoy in pure Python, for the people who test against it, develop behind it or learn it.

The public names are resolved on first use, so that `import minienvoy` stays cheap.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .version import __version__

if TYPE_CHECKING:
    from .errors import ConfigError
    from .explain.explanation import Decision, Explanation
    from .proxy import Proxy

__all__ = ["ConfigError", "Decision", "Explanation", "Proxy", "__version__"]

_HOME = {
    "ConfigError": "errors",
    "Decision": "explain.explanation",
    "Explanation": "explain.explanation",
    "Proxy": "proxy",
}


def __getattr__(name: str) -> object:
    home = _HOME.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(f"{__name__}.{home}"), name)
    globals()[name] = value
    return value
