"""`envoy.health_checkers.tcp`: a connection, perhaps bytes, and bytes that must come back.

Envoy: `Upstream::TcpHealthCheckerImpl` (`source/extensions/health_checkers/tcp/`); docs "Health checking > L3/L4".

Where nothing is to be received, a connection that comes up is all that is asked for, and it is closed at once.
Otherwise it is kept from check to check, and whatever comes is looked at, even between checks: a match is a success.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from ...network.filter import FilterStatus
from ...upstream.health_check_client import HealthCheckClient
from ...upstream.health_check_config import HealthCheckSettings
from ...upstream.health_check_session import ActiveHealthCheckSession
from ...upstream.health_checker import HEALTH_CHECKERS, HealthChecker, HealthCheckerContext
from ...upstream.host import Host
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

    def new_client(self) -> TcpHealthCheckClient:
        return TcpHealthCheckClient(self._checker, self)

    def on_found(self) -> None:
        self.handle_success(False)
        if not self._checker.settings.reuse_connection:
            self.close()

    def on_connected(self) -> None:
        """There is nothing to receive: that is enough."""
        self.close()
        self.handle_success(False)

    def on_closed(self) -> None:
        """Between two checks, too, the end of the connection is a failure."""
        self.on_failed()


class TcpHealthCheckClient(HealthCheckClient[TcpHealthChecker, TcpActiveHealthCheckSession]):
    def __init__(self, checker: TcpHealthChecker, session: TcpActiveHealthCheckSession) -> None:
        self._matcher = PayloadMatcher(checker.receive)
        self._unmatched = 0
        super().__init__(checker, session)

    def send(self) -> None:
        self.client.write(self.checker.question(self.client))

    def on_connected(self) -> None:
        if self.checker.receive:
            super().on_connected()
        elif self.session is not None:
            self.session.on_connected()

    def on_data(self, data: bytes, end_stream: bool) -> FilterStatus:
        session = self.session
        if session is None or not self.checker.receive:
            return FilterStatus.STOP_ITERATION
        if self._matcher.feed(data):
            self._matcher.reset()
            self._unmatched = 0
            self.asking = False
            session.on_found()
            return FilterStatus.STOP_ITERATION
        self._unmatched += len(data)
        if self._unmatched > self.client.buffer_limit:
            # Envoy keeps what it is looking at, and no more than that.
            self.client.read_disable(True)
        return FilterStatus.STOP_ITERATION


@HEALTH_CHECKERS.register("envoy.health_checkers.tcp", "envoy.health_checkers.tcp")
def create_tcp_health_checker(
    config: Any, settings: HealthCheckSettings, context: HealthCheckerContext
) -> HealthChecker:
    return TcpHealthChecker(config, settings, context)
