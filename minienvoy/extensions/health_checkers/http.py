"""`envoy.health_checkers.http`: a request, and an answer that must be right.

Envoy: `Upstream::HttpHealthCheckerImpl` (`source/extensions/health_checkers/http/`); docs "Health checking > HTTP".

A connection is kept from check to check if both sides agree. What comes of it between checks is of no interest: the
next check opens another. Of the body only what `receive` looks for is looked at, as it comes; nothing is kept.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from ...errors import ConfigError
from ...http.header_map import HeaderMap, RequestHeaderMap, ResponseHeaderMap
from ...http.http2.fields import Http2RequestHeaderMap
from ...matchers.string import compile_string_matcher
from ...router.header_parser import HeaderParser
from ...stream_info import StreamInfo
from ...upstream.health_check_codec_client import CodecChecker, CodecSession, HealthCheckCodecClient, scheme_of
from ...upstream.health_check_config import HealthCheckSettings
from ...upstream.health_check_session import ActiveHealthCheckSession
from ...upstream.health_checker import HEALTH_CHECKERS, HealthChecker, HealthCheckerContext
from ...upstream.health_transition import FailureType
from ...upstream.host import HealthFlag, Host
from ...upstream.payload_matcher import PayloadMatcher, load_payload, load_payloads

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ...matchers.regex import BytesPredicate

DEFAULT_BUFFER_SIZE: Final = 1024
_HTTP2: Final = 1
"""`envoy.type.v3.CodecClientType`"""
_WITHOUT_BODY: Final = ("GET", "HEAD", "DELETE", "TRACE")

StatusRanges = tuple[tuple[int, int], ...]
"""(first, one after the last)"""


class HttpHealthChecker(CodecChecker):
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
        self._http2 = http.codec_client_type == _HTTP2
        self._use_alpn: bool = http.use_alpn_protocol
        super().__init__(settings, context)
        if self._use_alpn and (self.cluster.transport_socket is None or not self.cluster.transport_socket.secure):
            raise ConfigError(
                f"use_alpn_protocol configured for the health check of cluster {self.cluster.name} which has a "
                "non-ALPN transport socket",
                f"{path}.use_alpn_protocol",
            )

    def speaks_http2(self, alpn: str) -> bool:
        return alpn == "h2" if self._use_alpn and alpn in ("h2", "http/1.1") else self._http2

    def new_session(self, host: Host) -> ActiveHealthCheckSession:
        return HttpActiveHealthCheckSession(self, host)

    def request_headers(self, host: Host) -> RequestHeaderMap:
        hostname = host.health_check_hostname.encode() or self._host
        headers = Http2RequestHeaderMap(self._method, self._path, hostname, scheme=scheme_of(self.cluster, host))
        headers.pseudo_order = (b":method", b":authority", b":path", b":scheme")
        headers.add(b"user-agent", b"Envoy/HC")
        if self._header_parser is not None:
            stream = StreamInfo()
            stream.upstream_host = host
            stream.protocol = "HTTP/2" if self._http2 else "HTTP/1.1"
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


class HttpActiveHealthCheckSession(CodecSession):
    """One host."""

    _checker: HttpHealthChecker

    def new_client(self) -> HttpHealthCheckClient:
        return HttpHealthCheckClient(self._checker, self)

    def on_response(self, headers: ResponseHeaderMap, body_matches: bool) -> None:
        """A whole answer has come."""
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

    def _is_somebody_else(self, headers: ResponseHeaderMap) -> bool:
        checker = self._checker
        if not checker.verifies_cluster():
            return False
        checker.stats.verify_cluster += 1
        assert checker.service_name is not None
        return not checker.service_name(headers.get(b"x-envoy-upstream-healthchecked-cluster") or b"")


class HttpHealthCheckClient(HealthCheckCodecClient):
    """A connection, and the decoder of its answers."""

    checker: HttpHealthChecker
    session: HttpActiveHealthCheckSession | None

    def __init__(self, checker: HttpHealthChecker, session: HttpActiveHealthCheckSession) -> None:
        self._headers: ResponseHeaderMap | None = None
        self._looked_at = 0
        self._matcher = PayloadMatcher(checker.receive)
        super().__init__(checker, session)

    def send(self) -> None:
        checker = self.checker
        self._headers = None
        self._looked_at = 0
        self._matcher.reset()
        encoder = self.new_stream()
        encoder.encode_headers(checker.request_headers(self.host), not checker.payload)
        if checker.payload:
            encoder.encode_data(checker.payload, True)

    def decode_headers(self, headers: ResponseHeaderMap, end_stream: bool) -> None:
        self._headers = headers
        if end_stream:
            self._on_complete()

    def decode_data(self, data: bytes, end_stream: bool) -> None:
        limit = self.checker.buffer_size
        if limit:
            data = data[: limit - self._looked_at]
            self._looked_at += len(data)
        if data and not self._matcher.matched:
            self._matcher.feed(data)
        if end_stream:
            self._on_complete()

    def decode_trailers(self, trailers: HeaderMap) -> None:
        self._on_complete()

    def _on_complete(self) -> None:
        self.complete()
        session, headers = self.session, self._headers
        if session is not None and headers is not None:
            session.on_response(headers, self._matcher.matched)
            self.leave()


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
