"""Which HTTP/1 codec is used: our own, or the one over h11.

No Envoy counterpart (it once had two parsers, chosen by a runtime key).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

CODECS = ("native", "h11")


def server_codec(name: str, metered: bool = False) -> Callable[..., Any]:
    """The class of the downstream side; ValueError for a name that is not in `CODECS`.

    `metered` asks for one that counts bytes; the reference codec does not.
    """
    if name == "native" and metered:
        from .metered import MeteredServerConnection

        return MeteredServerConnection
    if name == "native":
        from .server_connection import ServerConnection

        return ServerConnection
    if name == "h11":
        from .codec_h11 import H11ServerConnection

        return H11ServerConnection
    raise ValueError(f"no HTTP/1 codec is called {name!r}; there are {', '.join(CODECS)}")


def client_codec(name: str, metered: bool = False) -> Callable[..., Any]:
    """The class of the upstream side; as `server_codec`."""
    if name == "native" and metered:
        from .metered import MeteredClientConnection

        return MeteredClientConnection
    if name == "native":
        from .client_connection import ClientConnection

        return ClientConnection
    if name == "h11":
        from .codec_h11 import H11ClientConnection

        return H11ClientConnection
    raise ValueError(f"no HTTP/1 codec is called {name!r}; there are {', '.join(CODECS)}")
