"""`envoy.health_checkers.http`: a request, and an answer that must be right.

Envoy: `Upstream::HttpHealthCheckerImpl` (`source/extensions/health_checkers/http/`); docs "Health checking > HTTP".

A connection is kept from check to check if both sides agree. What comes of it between checks is of no interest: the
next check opens another. Of the body only what `receive` looks for is looked at, as it comes; nothing is kept.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from ...errors import CodecProtocolError, ConfigError
from ...http.codec import StreamResetReason
from ...http.header_map import HeaderMap, RequestHeaderMap, ResponseHeaderMap
from ...http.http1.selection import client_codec
from ...matchers.string import compile_string_matcher
from ...network.connection import ConnectionCallbacks, ConnectionCloseType, ConnectionEvent
from ...network.filter import FilterStatus, ReadFilter
from ...router.header_parser import HeaderParser
from ...stream_info import StreamInfo
from ...upstream.health_check_config import HealthCheckSettings
from ...upstream.health_check_session import ActiveHealthCheckSession
from ...upstream.health_checker import HEALTH_CHECKERS, HealthChecker, HealthCheckerContext
from ...upstream.health_transition import FailureType
from ...upstream.host import HealthFlag, Host
from ...upstream.host_connection import create_connection
from ...upstream.payload_matcher import PayloadMatcher, load_payload, load_payloads

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ...event.dispatcher import Timer
    from ...matchers.regex import BytesPredicate
    from ...network.client_connection import ClientConnection

DEFAULT_BUFFER_SIZE: Final = 1024
_WITHOUT_BODY: Final = ("GET", "HEAD", "DELETE", "TRACE")

StatusRanges = tuple[tuple[int, int], ...]
"""(first, one after the last)"""


class HttpHealthChecker(HealthChecker):
    """Attributes:
    payload: what is sent as body; empty for none.
    receive: what the body must hold.
    buffer_size: bytes of the body that are looked at; 0 for all.
    service_name: what `x-envoy-upstream-healthchecked-cluster` must match; None for anything.
    """

    checker_type = "HTTP"

    def __init__(self, config: Any, settings: HealthCheckSettings, context: HealthCheckerContext) -> None:
        http, path = config.http_health_check, f"{context.path}.http_health_check"
        names = http.DESCRIPTOR.fields_by_name["method"].enum_type.values_by_number
        method = names[http.method].name if http.method else "GET"
        self.payload = b""
        if http.HasField("send"):
            if method in _WITHOUT_BODY:
                raise ConfigError(
                    f"HTTP health check cannot specify a request payload with method '{method}'. Only methods that "
                    "support a request body (POST, PUT, PATCH, OPTIONS) can be used with payload.",
                    f"{path}.send",
                )
            self.payload = load_payload(http.send, f"{path}.send")
        self.receive = load_payloads(http.receive, f"{path}.receive")
        self.buffer_size: int = (
            http.response_buffer_size.value if http.HasField("response_buffer_size") else DEFAULT_BUFFER_SIZE
        )
        expected = sum(map(len, self.receive))
        if self.buffer_size and expected > self.buffer_size:
            raise ConfigError(
                f"The expected response length '{expected}' is over than http health response buffer size "
                f"'{self.buffer_size}'",
                f"{path}.receive",
            )
        self.expected = _ranges(http.expected_statuses, "expected", path) or ((200, 201),)
        self.retriable = _ranges(http.retriable_statuses, "retriable", path)
        self.service_name: BytesPredicate | None = None
        if http.HasField("service_name_matcher"):
            self.service_name = compile_string_matcher(http.service_name_matcher, f"{path}.service_name_matcher")
        self._header_parser = HeaderParser.from_proto(
            http.request_headers_to_add, http.request_headers_to_remove, f"{path}.request_headers", None
        )
        self._method = method.encode()
        self._host = (http.host or context.cluster.name).encode()
        self._path = http.path.encode()
        self.make_codec = client_codec("native")
        super().__init__(settings, context)

    def new_session(self, host: Host) -> ActiveHealthCheckSession:
        return HttpActiveHealthCheckSession(self, host)

    def request_headers(self, host: Host) -> RequestHeaderMap:
        hostname = host.health_check_hostname.encode() or self._host
        headers = RequestHeaderMap(self._method, self._path, hostname)
        headers.add(b"user-agent", b"Envoy/HC")
        if self._header_parser is not None:
            stream = StreamInfo()
            stream.upstream_host = host
            self._header_parser.evaluate(headers, stream, headers, None)
        if self.payload:
            headers.set(b"content-length", b"%d" % len(self.payload))
        return headers

    def verifies_cluster(self) -> bool:
        if self.service_name is None:
            return False
        if self.runtime is None:
            return True
        # The key is a percentage of checks; Envoy draws for each.
        return self.runtime.snapshot.feature_enabled("health_check.verify_cluster", 100, self._random.getrandbits(64))


class HttpActiveHealthCheckSession(ActiveHealthCheckSession):
    """One host; `_client` is the connection to it, if there is one."""

    _checker: HttpHealthChecker

    def __init__(self, checker: HttpHealthChecker, host: Host) -> None:
        super().__init__(checker, host)
        self._client: HealthCheckClient | None = None

    def check(self) -> None:
        if self._client is None:
            self._client = HealthCheckClient(self._checker, self)
        self._client.ask()

    def on_timeout(self) -> None:
        self.close()

    def close(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            client.close()

    # -- from the client

    def on_closed(self) -> None:
        """The connection has ended: the next check opens another."""
        self._client = None

    def on_reset(self) -> None:
        """The connection has ended before the answer had."""
        self._client = None
        self.handle_failure(FailureType.NETWORK)

    def on_response(self, headers: ResponseHeaderMap, body_matches: bool) -> bool:
        """A whole answer has come; False if the connection is not wanted any more."""
        checker, host = self._checker, self.host
        status = headers.status
        expected = any(first <= status < end for first, end in checker.expected)
        if not body_matches or not expected:
            if headers.has(b"x-envoy-immediate-health-check-fail"):
                host.health_flags |= HealthFlag.EXCLUDED_VIA_IMMEDIATE_HC_FAIL
            retriable = body_matches and any(first <= status < end for first, end in checker.retriable)
            self.handle_failure(FailureType.ACTIVE, retriable, status)
        elif self._is_somebody_else(headers):
            self.handle_failure(FailureType.ACTIVE, False, status)
        else:
            self.handle_success(headers.has(b"x-envoy-degraded"))
        return checker.settings.reuse_connection and not self.stopped

    def _is_somebody_else(self, headers: ResponseHeaderMap) -> bool:
        checker = self._checker
        if not checker.verifies_cluster():
            return False
        checker.stats.verify_cluster += 1
        assert checker.service_name is not None
        return not checker.service_name(headers.get(b"x-envoy-upstream-healthchecked-cluster") or b"")


class HealthCheckClient(ReadFilter, ConnectionCallbacks):
    """A connection with its codec (`Http::CodecClient`); it is the `ResponseDecoder` of its answers."""

    def __init__(self, checker: HttpHealthChecker, session: HttpActiveHealthCheckSession) -> None:
        cluster = checker.cluster
        self._checker = checker
        self._session: HttpActiveHealthCheckSession | None = session
        self._host = session.host
        self._connected = False
        self._asking = False
        self._headers: ResponseHeaderMap | None = None
        self._looked_at = 0
        self._matcher = PayloadMatcher(checker.receive)
        self._idle_timeout = cluster.http_options.idle_timeout or 0.0
        self._idle_timer: Timer | None = None
        connection: ClientConnection = create_connection(
            checker.cluster,
            session.host,
            session.host.health_check_address,
            criteria=checker.settings.transport_socket_criteria,
            alpn=checker.settings.alpn,
        )
        self._codec = checker.make_codec(connection, cluster.http_options.http1, cluster.stats.http1())
        connection.add_callbacks(self)
        connection.add_read_filter(self)
        connection.connect()

    def ask(self) -> None:
        self._asking = True
        self._headers = None
        self._looked_at = 0
        self._matcher.reset()
        if self._idle_timer is not None:
            self._idle_timer.disable()
        if self._connected:
            self._send()

    def close(self) -> None:
        """End the connection; the session hears nothing any more."""
        self._session = None
        self._codec.abandon()
        self._stop_idle_timer()
        self.connection.close(ConnectionCloseType.NO_FLUSH)

    # -- from the connection

    def on_event(self, event: ConnectionEvent) -> None:
        if event is ConnectionEvent.CONNECTED:
            self._connected = True
            if self._asking:
                self._send()
            return
        self._stop_idle_timer()
        if self._connected:
            # An answer that ends with its connection is complete now; another one is reset.
            self._codec.on_connection_closed(event is ConnectionEvent.REMOTE_CLOSE)
        session, self._session = self._session, None
        if session is not None:
            if self._asking:
                self._asking = False
                session.on_reset()
            else:
                session.on_closed()

    def on_data(self, data: bytes, end_stream: bool) -> FilterStatus:
        try:
            self._codec.dispatch(data)
            broken: bool = self._codec.extra_bytes
        except CodecProtocolError:
            broken = True
            self._codec.abandon()
        if broken and self._session is not None:
            self._checker.cluster.stats.traffic.upstream_cx_protocol_error += 1
            self.connection.close(ConnectionCloseType.NO_FLUSH)
        return FilterStatus.STOP_ITERATION

    # -- from the codec

    def decode_1xx_headers(self, headers: ResponseHeaderMap) -> None:
        """Not the answer yet."""

    def decode_headers(self, headers: ResponseHeaderMap, end_stream: bool) -> None:
        self._headers = headers
        if end_stream:
            self._on_complete()

    def decode_data(self, data: bytes, end_stream: bool) -> None:
        limit = self._checker.buffer_size
        if limit:
            data = data[: limit - self._looked_at]
            self._looked_at += len(data)
        if data and not self._matcher.matched:
            self._matcher.feed(data)
        if end_stream:
            self._on_complete()

    def decode_trailers(self, trailers: HeaderMap) -> None:
        self._on_complete()

    def on_reset_stream(self, reason: StreamResetReason, details: str) -> None:
        """The end of the connection tells the session."""

    # -- inside

    def _send(self) -> None:
        checker = self._checker
        encoder = self._codec.new_stream(self)
        encoder.encode_headers(checker.request_headers(self._host), not checker.payload)
        if checker.payload:
            encoder.encode_data(checker.payload, True)

    def _on_complete(self) -> None:
        session, headers = self._session, self._headers
        self._asking = False
        if session is None or headers is None:
            return
        keep = session.on_response(headers, self._matcher.matched)
        if self._session is not None and (not keep or self._codec.should_close):
            if self._codec.extra_bytes:
                return  # the end of the connection is about to be counted as what it is
            session.close()
        elif self._session is not None and self._idle_timeout:
            if self._idle_timer is None:
                self._idle_timer = self._checker.dispatcher.create_timer(self._on_idle)
            self._idle_timer.enable(self._idle_timeout)

    def _on_idle(self) -> None:
        self._checker.cluster.stats.traffic.upstream_cx_idle_timeout += 1
        self.connection.close(ConnectionCloseType.NO_FLUSH)

    def _stop_idle_timer(self) -> None:
        if self._idle_timer is not None:
            self._idle_timer.disable()


def _ranges(configs: Iterable[Any], kind: str, path: str) -> StatusRanges:
    ranges = []
    for index, each in enumerate(configs):
        start, end = each.start, each.end
        where = f"{path}.{kind}_statuses[{index}]"
        problem = f"Invalid http {kind} status range: expecting "
        if start >= end:
            raise ConfigError(f"{problem}start < end, but found start={start} and end={end}", where)
        if start < 100:
            raise ConfigError(f"{problem}start >= 100, but found start={start}", where)
        if end > 600:
            raise ConfigError(f"{problem}end <= 600, but found end={end}", where)
        ranges.append((start, end))
    return tuple(ranges)


@HEALTH_CHECKERS.register("envoy.health_checkers.http", "envoy.health_checkers.http")
def create_http_health_checker(
    config: Any, settings: HealthCheckSettings, context: HealthCheckerContext
) -> HealthChecker:
    return HttpHealthChecker(config, settings, context)
