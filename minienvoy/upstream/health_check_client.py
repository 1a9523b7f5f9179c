"""The connection of a session of active health checks.

Envoy: the callbacks that `HttpHealthCheckerImpl`, `TcpHealthCheckerImpl` and `GrpcHealthCheckerImpl` add to theirs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, TypeVar

from ..network.connection import ConnectionCallbacks, ConnectionCloseType, ConnectionEvent
from ..network.filter import ReadFilter
from .host_connection import create_own_connection

if TYPE_CHECKING:
    from ..network.client_connection import ClientConnection
    from .health_check_session import ActiveHealthCheckSession
    from .health_checker import HealthChecker

Checker = TypeVar("Checker", bound="HealthChecker")
Session = TypeVar("Session", bound="ActiveHealthCheckSession")


class HealthCheckClient(ReadFilter, ConnectionCallbacks, Generic[Checker, Session]):
    """Connecting, then asking or idle, then closed. Subclasses know what a question looks like (`send`).

    Attributes:
        session: None once it does not want to hear any more.
        asking: a question has no answer yet, sent or not.
    """

    def __init__(self, checker: Checker, session: Session) -> None:
        settings = checker.settings
        self.checker = checker
        self.session: Session | None = session
        self.host = session.host
        self.connected = self.asking = False
        connection = create_own_connection(
            checker.cluster,
            self.host,
            self.host.health_check_address,
            settings.transport_socket_criteria,
            settings.alpn_protocols,
        )
        self.client: ClientConnection = connection
        connection.add_callbacks(self)
        connection.add_read_filter(self)
        connection.connect()

    def send(self) -> None:
        """Ask, over the established connection."""
        raise NotImplementedError

    def ask(self) -> None:
        self.asking = True
        if self.connected:
            self.send()

    def close(self) -> None:
        self.session = None
        self.client.close(ConnectionCloseType.NO_FLUSH)

    # -- from the connection

    def on_event(self, event: ConnectionEvent) -> None:
        if event is ConnectionEvent.CONNECTED:
            self.connected = True
            self.on_connected()
        else:
            self.on_disconnected(event is ConnectionEvent.REMOTE_CLOSE)

    def on_connected(self) -> None:
        if self.asking:
            self.send()

    def on_disconnected(self, remote: bool) -> None:
        """`remote`: the host has ended it."""
        session, self.session = self.session, None
        asked, self.asking = self.asking, False
        if session is not None:
            if asked:
                session.on_failed()
            else:
                session.on_closed()
