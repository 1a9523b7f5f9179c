"""Gives a connected socket to the event loop.

Envoy: `Event::Dispatcher::createServerConnection`, `createClientConnection`.
"""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio

    from .connection import Connection


async def start_transport(
    loop: asyncio.AbstractEventLoop,
    connection: Connection,
    raw: socket.socket,
    protocol: asyncio.Protocol | None = None,
) -> None:
    """Make a transport over `raw`, which is the loop's from now on; it answers by `connection_made`.

    `protocol` is what stands between the transport and the connection, if the connection is not plain.

    Raises:
        OSError: the socket is gone.
    """
    try:
        await loop.connect_accepted_socket(lambda: protocol or connection, raw)
    except BaseException:
        _let_go(raw)
        raise
    if connection.closed:
        _let_go(raw)


def _let_go(raw: socket.socket) -> None:
    """Close a socket that has got no transport.

    uvloop closes the descriptor of a transport that does not live to see the end of its start, but does not tell the
    socket object, which would later close the same number once more: by then it may be somebody else's.
    """
    if raw.fileno() < 0:
        return
    try:
        os.fstat(raw.fileno())
    except OSError:
        raw.detach()
    else:
        raw.close()
