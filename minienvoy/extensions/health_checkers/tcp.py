"""`envoy.health_checkers.tcp`: a connection, perhaps bytes, and bytes that must come back.

Envoy: `Upstream::TcpHealthCheckerImpl` (`source/extensions/health_checkers/tcp/`); docs "Health checking > L3/L4".

Where nothing is to be received, a connection that comes up is all that is asked for, and it is closed at once.
Otherwise it is kept from check to check, and whatever comes is looked at, even between checks: a match is a success.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from ...network.connection import ConnectionCallbacks, ConnectionCloseType, ConnectionEvent
from ...network.filter import FilterStatus, ReadFilter
from ...upstream.health_check_config import HealthCheckSettings
from ...upstream.health_check_session import ActiveHealthCheckSession
from ...upstream.health_checker import HEALTH_CHECKERS, HealthChecker, HealthCheckerContext
from ...upstream.health_transition import FailureType
from ...upstream.host import Host
from ...upstream.host_connection import create_connection
from ...upstream.payload_matcher import PayloadMatcher, load_payload, load_payloads

if TYPE_CHECKING:
    from ...network.client_connection import ClientConnection
    from ...stream_info import ConnectionInfo


PROXY_PROTOCOL_V2_LOCAL: Final = b"\r\n\r\n\x00\r\nQUIT\n\x20\x00\x00\x00"
"""Version 2, command LOCAL: the connection is the sender's own."""


def proxy_protocol_v1(info: ConnectionInfo) -> bytes:
    """The header that tells this connection's own addresses."""
    local, remote = info.local_address, info.remote_address
    if local is None or remote is None or local.path or remote.path:
        return b"PROXY UNKNOWN\r\n"
    family = "TCP6" if ":" in remote.host else "TCP4"
    return f"PROXY {family} {local.host} {remote.host} {local.port} {remote.port}\r\n".encode()


class TcpHealthChecker(HealthChecker):
    """`send` and `receive` are bytes, perhaps empty; `proxy_protocol` is the version of the header, 0 for none."""

    checker_type = "TCP"

    def __init__(self, config: Any, settings: HealthCheckSettings, context: HealthCheckerContext) -> None:
        tcp, path = config.tcp_health_check, f"{context.path}.tcp_health_check"
        # Envoy sends no binary payload.
        self.send = load_payload(tcp.send, f"{path}.send") if tcp.send.text else b""
        self.receive = load_payloads(tcp.receive, f"{path}.receive")
        self.proxy_protocol = tcp.proxy_protocol_config.version + 1 if tcp.HasField("proxy_protocol_config") else 0
        super().__init__(settings, context)

    def question(self, connection: ClientConnection) -> bytes:
        """What is sent for one check; `connection` is established."""
        if self.proxy_protocol == 1:
            return proxy_protocol_v1(connection.info) + self.send
        return (PROXY_PROTOCOL_V2_LOCAL if self.proxy_protocol else b"") + self.send

    def new_session(self, host: Host) -> ActiveHealthCheckSession:
        return TcpActiveHealthCheckSession(self, host)


class TcpActiveHealthCheckSession(ActiveHealthCheckSession):
    _checker: TcpHealthChecker

    def __init__(self, checker: TcpHealthChecker, host: Host) -> None:
        super().__init__(checker, host)
        self._client: TcpHealthCheckClient | None = None

    def check(self) -> None:
        if self._client is None:
            self._client = TcpHealthCheckClient(self._checker, self)
        self._client.ask()

    def on_timeout(self) -> None:
        self.close()

    def close(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            client.close()

    def on_found(self) -> None:
        self.handle_success(False)
        if not self._checker.settings.reuse_connection:
            self.close()

    def on_connected(self) -> None:
        """There is nothing to receive: that is enough."""
        self.close()
        self.handle_success(False)

    def on_closed(self) -> None:
        """The connection has ended from the other side, during a check or between two."""
        self._client = None
        self.handle_failure(FailureType.NETWORK)


class TcpHealthCheckClient(ReadFilter, ConnectionCallbacks):
    def __init__(self, checker: TcpHealthChecker, session: TcpActiveHealthCheckSession) -> None:
        self._checker = checker
        self._session: TcpActiveHealthCheckSession | None = session
        self._matcher = PayloadMatcher(checker.receive)
        self._connected = self._asking = False
        self._unmatched = 0
        connection: ClientConnection = create_connection(
            checker.cluster,
            session.host,
            session.host.health_check_address,
            criteria=checker.settings.transport_socket_criteria,
            alpn=checker.settings.alpn,
        )
        self._client = connection
        connection.add_callbacks(self)
        connection.add_read_filter(self)
        connection.connect()

    def ask(self) -> None:
        if self._connected:
            self.connection.write(self._checker.question(self._client))
        else:
            self._asking = True

    def close(self) -> None:
        """End the connection; the session hears nothing any more."""
        self._session = None
        self.connection.close(ConnectionCloseType.NO_FLUSH)

    def on_event(self, event: ConnectionEvent) -> None:
        session = self._session
        if session is None:
            return
        if event is not ConnectionEvent.CONNECTED:
            self._session = None
            session.on_closed()
        elif not self._checker.receive:
            session.on_connected()
        else:
            self._connected = True
            if self._asking:
                self.connection.write(self._checker.question(self._client))

    def on_data(self, data: bytes, end_stream: bool) -> FilterStatus:
        session = self._session
        if session is None or not self._checker.receive:
            return FilterStatus.STOP_ITERATION
        if self._matcher.feed(data):
            self._matcher.reset()
            self._unmatched = 0
            session.on_found()
            return FilterStatus.STOP_ITERATION
        self._unmatched += len(data)
        if self._unmatched > self.connection.buffer_limit:
            # Envoy keeps what it is looking at, and no more than that.
            self.connection.read_disable(True)
        return FilterStatus.STOP_ITERATION


@HEALTH_CHECKERS.register("envoy.health_checkers.tcp", "envoy.health_checkers.tcp")
def create_tcp_health_checker(
    config: Any, settings: HealthCheckSettings, context: HealthCheckerContext
) -> HealthChecker:
    return TcpHealthChecker(config, settings, context)
