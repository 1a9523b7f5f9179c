"""A connection that minienvoy opens.

Envoy: `Network::ClientConnectionImpl`.

    connection = ClientConnection(dispatcher, host.address, buffer_limit=cluster.per_connection_buffer_limit)
    connection.add_callbacks(pool_client)    # told CONNECTED, REMOTE_CLOSE or LOCAL_CLOSE; never inside connect()
    connection.add_read_filter(codec_client)
    connection.connect(timeout=cluster.connect_timeout)

A connection that fails to come up ends with REMOTE_CLOSE and a `transport_failure_reason` in Envoy's words, or with
LOCAL_CLOSE and `failed_locally` if it could not have its source address or a socket option; one that takes too long
ends with LOCAL_CLOSE and `connect_timed_out`. Closing it from this side, at any time, is LOCAL_CLOSE.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from ..stream_info import ConnectionInfo
from .address import Address
from .connection import (
    DEFAULT_BUFFER_LIMIT,
    Connection,
    ConnectionCloseType,
    ConnectionEvent,
    next_connection_id,
)
from .socket_option import NO_OPTIONS, SocketOption, SocketState, apply_socket_options
from .transport import start_transport

if TYPE_CHECKING:
    from ..event.dispatcher import Dispatcher, Timer
    from .transport_socket import TransportSocketFactory


class ClientConnection(Connection):
    """Not connected until CONNECTED is told; what is written before that is lost.

    Attributes:
        connect_timed_out: it ended because the connect timeout passed.
        bind_failed: it ended because it could not have the source address.
        transport_socket: what makes it more than plain, with what its first request wants of that.
        failed_locally: that, or because the kernel refused a socket option.
        released: whoever had it from a pool has no more use for it.
        connect_start_time, connect_complete_time: monotonic seconds; None if it has not come to that.
    """

    connect_timed_out = False
    bind_failed = False
    failed_locally = False
    released = False
    connect_start_time: float | None = None
    connect_complete_time: float | None = None
    passthrough_metadata: dict[str, Any] | None = None
    """What a listener inside this process is told, as dynamic metadata of its connection."""
    _raw: socket.socket | None = None
    _watched = False
    _connect_timer: Timer | None = None
    transport_socket: TransportSocketFactory | None = None
    transport_socket_options: Any = None

    def __init__(
        self,
        dispatcher: Dispatcher,
        address: Address,
        *,
        source_address: Address | None = None,
        options: Iterable[SocketOption] = NO_OPTIONS,
        buffer_limit: int = DEFAULT_BUFFER_LIMIT,
    ) -> None:
        super().__init__(dispatcher, ConnectionInfo(source_address, address, next_connection_id()), buffer_limit)
        self._address = address
        self._source_address = source_address
        self._options = options

    def connect(self, timeout: float = 0.0) -> None:
        """Start connecting; call it once. `timeout` in seconds, 0 for none. What comes of it is told later."""
        self.connect_start_time = self.dispatcher.monotonic_time()
        if self.dispatcher.dial is not None:
            self.dispatcher.dial(self)
            return
        if self._address.is_internal:
            self._connect_inside()
            return
        raw, error, reason = self._begin(self._address)
        self._raw = raw
        if raw is None:
            self.dispatcher.post(lambda: self._fail(reason))
        elif error:
            self._watched = True
            self.dispatcher.loop.add_writer(raw, self._on_connect_progress)
            if timeout > 0:
                self._connect_timer = self.dispatcher.create_timer(self._on_connect_timeout)
                self._connect_timer.enable(timeout)
        else:
            self._adopt(raw)

    def _connect_inside(self) -> None:
        from .internal_connection import open_internal_connection

        raw, reason = open_internal_connection(self.dispatcher, self, self._address)
        if raw is None:
            self.dispatcher.post(lambda: self._fail(reason))
        else:
            self._adopt(raw)

    def _begin(self, address: Address) -> tuple[socket.socket | None, int, str]:
        """(a socket that connects, EINPROGRESS or 0 if it is connected), or None and why there is none."""
        raw: socket.socket | None = None
        reason = ""
        try:
            raw = self._open_socket(address)
            error = raw.connect_ex(address.sockaddr)
        except OSError as failure:
            error = failure.errno or errno.EINVAL
        if self.failed_locally:
            # Envoy too has begun to connect by the time that it gives up.
            reason = self.transport_failure_reason
        elif error in (0, errno.EINPROGRESS):
            return raw, error, ""
        else:
            reason = f"immediate connect error: {os.strerror(error)}|remote address:{address}"
        if raw is not None:
            raw.close()
        return None, error, reason

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        ssl = self.info.ssl
        now = self.dispatcher.monotonic_time()
        self.connect_complete_time = now if ssl is None or ssl.connected_time is None else ssl.connected_time
        self._stop_connect_timer()
        if self.info.local_address is None:
            sockname = transport.get_extra_info("sockname")
            if sockname is not None:
                local = Address.from_sockaddr(self._address.family, sockname)
                self.info.local_address = self.info.direct_local_address = local
        super().connection_made(transport)

    def _open_socket(self, address: Address) -> socket.socket:
        raw = socket.socket(address.family, socket.SOCK_STREAM | getattr(socket, "SOCK_NONBLOCK", 0))
        raw.setblocking(False)
        if not address.path:
            raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        source = self._source_address
        try:
            apply_socket_options(raw, self._options, SocketState.PREBIND)
            if source is not None:
                if not source.port and hasattr(socket, "IP_BIND_ADDRESS_NO_PORT"):
                    raw.setsockopt(socket.IPPROTO_IP, socket.IP_BIND_ADDRESS_NO_PORT, 1)
                self._bind(raw, source)
            apply_socket_options(raw, self._options, SocketState.BOUND)
        except OSError:
            self.failed_locally = True
        return raw

    def _bind(self, raw: socket.socket, source: Address) -> None:
        try:
            raw.bind(source.sockaddr)
        except OSError as error:
            self.bind_failed = True
            self.transport_failure_reason = f"failed to bind to {source}: {os.strerror(error.errno or errno.EINVAL)}"
            raise
        self.info.local_address = self.info.direct_local_address = None

    def _on_connect_progress(self) -> None:
        raw = self._raw
        if raw is None:
            return
        self._forget_watch(raw)
        error = raw.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if error:
            self._fail(connect_error(error))
        else:
            self._adopt(raw)

    def _adopt(self, raw: socket.socket) -> None:
        """Hand the connected socket to a transport, which calls `connection_made` a little later."""
        if self.transport_socket is None:
            self._stop_connect_timer()
        self._raw = None
        self.dispatcher.create_task(self._start(raw), "connect")

    async def _start(self, raw: socket.socket) -> None:
        try:
            factory = self.transport_socket
            protocol = None if factory is None else factory.protocol(self, self.transport_socket_options)
            await start_transport(self.dispatcher.loop, self, raw, protocol)
        except OSError as error:
            self._fail(f"delayed connect error: {os.strerror(error.errno or errno.EBADF)}")

    def _fail(self, reason: str) -> None:
        if not self.closed:
            self.transport_failure_reason = reason
            self._end(ConnectionEvent.LOCAL_CLOSE if self.failed_locally else ConnectionEvent.REMOTE_CLOSE)

    def _on_connect_timeout(self) -> None:
        self.connect_timed_out = True
        self.close(ConnectionCloseType.NO_FLUSH, "connect_timeout")

    def _forget_watch(self, raw: socket.socket) -> None:
        if self._watched:
            self._watched = False
            self.dispatcher.loop.remove_writer(raw)

    def _stop_connect_timer(self) -> None:
        if self._connect_timer is not None:
            self._connect_timer.disable()
            self._connect_timer = None

    def _end(self, event: ConnectionEvent) -> None:
        self._stop_connect_timer()
        raw, self._raw = self._raw, None
        if raw is not None:
            self._forget_watch(raw)
            raw.close()
        super()._end(event)


def connect_error(error: int) -> str:
    """Envoy's words for an error that came while connecting."""
    return f"delayed connect error: {os.strerror(error)}"
