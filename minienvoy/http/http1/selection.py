"""Which HTTP/1 codec is used: our own, or the one over h11.

No Envoy counterpart (it once had two parsers, chosen by a runtime key).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

CODECS = ("native", "h11")


def server_codec(name: str) -> Callable[..., Any]:
    """The class of the downstream side; ValueError for a name that is not in `CODECS`."""
    if name == "native":
        from .codec import ServerConnection

        return ServerConnection
    if name == "h11":
        from . import codec_h11

        server: Callable[..., Any] = codec_h11.H11ServerConnection
        return server
    raise ValueError(f"no HTTP/1 codec is called {name!r}; there are {', '.join(CODECS)}")


def client_codec(name: str) -> Callable[..., Any]:
    """The class of the upstream side; ValueError for a name that is not in `CODECS`."""
    if name == "native":
        from .codec import ClientConnection

        return ClientConnection
    if name == "h11":
        from . import codec_h11

        client: Callable[..., Any] = codec_h11.H11ClientConnection
        return client
    raise ValueError(f"no HTTP/1 codec is called {name!r}; there are {', '.join(CODECS)}")
