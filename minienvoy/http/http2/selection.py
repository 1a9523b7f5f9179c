"""Which HTTP/2 codec is used: our own, or the one over python-hyper's h2.

Envoy: `http2_protocol_options.use_oghttp2_codec`, which chooses between its two.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .client_connection import ClientConnection
    from .server_connection import ServerConnection

CODECS = ("native", "h2")


def server_codec(name: str, metered: bool = False) -> type[ServerConnection]:
    """The class of the downstream side; ValueError for a name that is not in `CODECS`.

    `metered` asks for one that counts bytes; the reference codec does not.
    """
    if name == "native" and metered:
        from .metered import MeteredServerConnection

        return MeteredServerConnection
    if name == "native":
        from .server_connection import ServerConnection

        return ServerConnection
    if name == "h2":
        from .codec_h2 import H2ServerConnection

        return H2ServerConnection
    raise ValueError(f"no HTTP/2 codec is called {name!r}; there are {', '.join(CODECS)}")


def client_codec(name: str, metered: bool = False) -> type[ClientConnection]:
    """The class of the upstream side; as `server_codec`."""
    if name == "native" and metered:
        from .metered import MeteredClientConnection

        return MeteredClientConnection
    if name == "native":
        from .client_connection import ClientConnection

        return ClientConnection
    if name == "h2":
        from .codec_h2 import H2ClientConnection

        return H2ClientConnection
    raise ValueError(f"no HTTP/2 codec is called {name!r}; there are {', '.join(CODECS)}")
