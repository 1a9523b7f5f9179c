"""TLS between a connection and its transport.

Envoy: `Extensions::TransportSockets::Tls::SslSocket` (`source/common/tls/ssl_socket.cc`).

asyncio and uvloop have TLS of their own, which hides too much: how much of what was written has left, which alert ends
a handshake, that a `close_notify` is to go out and nothing is to be waited for, a certificate before the handshake is
over. So `ssl.SSLObject` works here on two buffers in memory. The event loop's transport tells `SslSocket` of bytes;
the connection is given `SslTransport`, which looks to it like any other transport. Neither connection, codec nor pool
knows. Until there is a session, `SslHandshaker` has the word.
"""

from __future__ import annotations

import asyncio
import ssl
from typing import Any, Final

from .connection import Connection, ConnectionCallbacks, ConnectionEvent
from .ssl_connection_info import SslConnectionInfo
from .ssl_handshaker import SslContext, SslHandshaker
from .ssl_transport import SslTransport
from .tls_error import tls_error

_READ: Final = 256 * 1024
_RESET: Final = "TLS_error:|33554536:system library:OPENSSL_internal:Connection reset by peer:TLS_error_end"


class SslSocket(asyncio.Protocol, ConnectionCallbacks):
    """Between one transport of the event loop and one connection.

    Attributes:
        handshaker: None when there is a session.
        session: None until there is one.
    """

    def __init__(self, connection: Connection, context: SslContext, options: Any = None) -> None:
        self.connection = connection
        self.context = context
        self.options = options
        info = connection.info.ssl
        if info is None:
            info = connection.info.ssl = SslConnectionInfo()
        self.info: SslConnectionInfo = info
        self.raw: asyncio.Transport | None = None
        self.incoming = ssl.MemoryBIO()
        self.outgoing = ssl.MemoryBIO()
        self.session: Any = None
        self._said_goodbye = False
        self.handshaker: SslHandshaker | None = SslHandshaker(self)
        connection.add_callbacks(self)

    # -- what the event loop calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport) or hasattr(transport, "write")
        self.raw = transport  # type: ignore[assignment]
        if self.connection.closed:
            transport.abort()  # type: ignore[attr-defined]
            return
        self.info.connected_time = self.connection.dispatcher.monotonic_time()
        assert self.handshaker is not None
        self.handshaker.begin()

    def data_received(self, data: bytes) -> None:
        if self.connection.closed:
            return
        self.incoming.write(data)
        if self.handshaker is None:
            self._read()
            return
        if self.info.handshake_begin_time is None:
            self.info.handshake_begin_time = self.connection.dispatcher.monotonic_time()
        self.handshaker.data_received(data)

    def eof_received(self) -> bool:
        """A FIN without a `close_notify`: nothing more can be believed."""
        if self.connection.closed:
            return False
        if self.handshaker is None:
            self.connection._end(ConnectionEvent.REMOTE_CLOSE)
        else:
            self.connection.connection_lost(None)
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self.raw = None
        connection = self.connection
        if not connection.closed and isinstance(exc, ConnectionResetError):
            connection.transport_failure_reason = _RESET
            if self.context.server_side:
                connection.stream_info.downstream_transport_failure_reason = _RESET
        connection.connection_lost(exc)

    def pause_writing(self) -> None:
        if self.handshaker is None:
            self.connection.pause_writing()

    def resume_writing(self) -> None:
        if self.handshaker is None:
            self.connection.resume_writing()

    # -- what the connection tells

    def on_event(self, event: ConnectionEvent) -> None:
        """It has ended before there was a session, and knows no transport that it could close."""
        if event is not ConnectionEvent.CONNECTED and self.handshaker is not None and self.raw is not None:
            self.leave()

    # -- what the handshaker tells

    def on_handshake_complete(self, session: Any) -> None:
        raw, connection = self.raw, self.connection
        assert raw is not None
        self.session = session
        self.handshaker = None
        connection.connection_made(SslTransport(self, raw))
        if not connection.closed and (self.incoming.pending or session.pending()):
            self._read()

    def give_up(self, reason: str) -> None:
        """There will be no session; an alert may wait to be sent."""
        connection = self.connection
        connection.transport_failure_reason = reason
        if self.context.server_side:
            connection.stream_info.downstream_transport_failure_reason = reason
        self.flush()
        self._said_goodbye = True
        connection.connection_lost(None)

    # -- bytes

    def flush(self) -> None:
        """Hand what OpenSSL has written to the transport."""
        if self.outgoing.pending and self.raw is not None:
            self.raw.write(self.outgoing.read())

    def write(self, data: bytes) -> None:
        session = self.session
        try:
            written = session.write(data)
            if written < len(data):
                view = memoryview(data)
                while written < len(data):
                    written += session.write(view[written:])
        except ssl.SSLError:
            self.connection._end(ConnectionEvent.REMOTE_CLOSE)
            return
        if self.raw is not None:
            self.raw.write(self.outgoing.read())

    def _read(self) -> None:
        """Everything that has come, a record at a time, is delivered in one piece."""
        connection, read = self.connection, self.session.read
        records: list[bytes] = []
        reason: str | None = None
        ended = True
        try:
            while record := read(_READ):
                records.append(record)
        except ssl.SSLWantReadError:
            ended = False
        except ssl.SSLZeroReturnError:
            pass
        except ssl.SSLError as error:
            reason = error.reason or ""
        if records:
            connection.data_received(records[0] if len(records) == 1 else b"".join(records))
        if self.outgoing.pending:
            self.flush()
            if not ended and not self.context.may_renegotiate and self.session.version() != "TLSv1.3":
                # All that a session says by itself: the library has refused to begin anew, and would go on.
                ended, reason = True, "NO_RENEGOTIATION"
        if connection.closed or not ended:
            return
        if reason is None:
            connection.eof_received()  # close_notify
            return
        self._said_goodbye = True
        self._fail_within_session(reason)
        connection._end(ConnectionEvent.REMOTE_CLOSE)

    def _fail_within_session(self, reason: str) -> None:
        """What has come is no record of this session. Then BoringSSL can not say goodbye either; Envoy counts that."""
        connection, counters = self.connection, self.context.stats.counters
        counters.connection_error += 1
        text = tls_error(reason)
        if "_ALERT_" not in reason:
            counters.connection_error += 1
            text = f"{text}|{tls_error('PROTOCOL_IS_SHUTDOWN').removeprefix('TLS_error:|')}"
        connection.transport_failure_reason = text
        if self.context.server_side:
            connection.stream_info.downstream_transport_failure_reason = text

    def say_goodbye(self) -> None:
        """Send a `close_notify`, once; no answer is waited for."""
        if self._said_goodbye or self.handshaker is not None:
            return
        self._said_goodbye = True
        try:
            self.session.unwrap()
        except (ssl.SSLError, OSError, ValueError):
            pass  # it waits for the peer's; that is ours already written
        self.flush()

    def leave(self) -> None:
        """Close the transport; what it was given goes out if the kernel takes it at once."""
        raw = self.raw
        if raw is None:
            return
        raw.close()
        self.connection.dispatcher.post(raw.abort)
