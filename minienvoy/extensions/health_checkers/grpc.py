"""`envoy.health_checkers.grpc`: `grpc.health.v1.Health/Check`, and SERVING for an answer.

Envoy: `Upstream::GrpcHealthCheckerImpl` (`source/extensions/health_checkers/grpc/`); docs "Health checking > gRPC".

Whatever is not a call that ended well with the one message SERVING is an answer that fails the host. What is known to
be wrong is not waited for: the stream is reset. Degradation and immediate failure do not exist here.
"""

from __future__ import annotations

from typing import Any, Final

from google.protobuf.message import DecodeError
from google.protobuf.wrappers_pb2 import Int32Value, StringValue

from ...errors import ConfigError
from ...http.grpc import grpc_timeout, is_grpc
from ...http.header_map import HeaderMap, RequestHeaderMap, ResponseHeaderMap
from ...http.http2.fields import Http2RequestHeaderMap
from ...router.header_parser import HeaderParser
from ...stream_info import StreamInfo
from ...upstream.grpc_client import OK, GrpcDecoder, grpc_frame, status_of
from ...upstream.health_check_codec_client import CodecChecker, CodecSession, HealthCheckCodecClient, scheme_of
from ...upstream.health_check_config import HealthCheckSettings
from ...upstream.health_check_session import ActiveHealthCheckSession
from ...upstream.health_checker import HEALTH_CHECKERS, HealthChecker, HealthCheckerContext
from ...upstream.health_transition import FailureType
from ...upstream.host import Host

SERVING: Final = 1
"""`grpc.health.v1.HealthCheckResponse.ServingStatus`"""
MAX_MESSAGE: Final = 1024 * 1024
"""An answer is two bytes; a longer message than this is not collected."""


def request_message(service: str) -> bytes:
    """A `HealthCheckRequest`: its only field is the string with the number 1, as that of `StringValue` is."""
    return StringValue(value=service).SerializeToString()


def serving_status(message: bytes) -> int | None:
    """Of a `HealthCheckResponse`: its field 1, as that of `Int32Value`; None if it is no message."""
    try:
        return Int32Value.FromString(message).value
    except DecodeError:
        return None


class GrpcHealthChecker(CodecChecker):
    checker_type = "GRPC"

    def __init__(self, config: Any, settings: HealthCheckSettings, context: HealthCheckerContext) -> None:
        grpc, path = config.grpc_health_check, f"{context.path}.grpc_health_check"
        options = context.cluster.http_options
        if not options.may_speak_http2:
            raise ConfigError(f"{context.cluster.name} cluster must support HTTP/2 for gRPC healthchecking", path)
        self._authority = (grpc.authority or context.cluster.name).encode()
        self._header_parser = HeaderParser.from_proto(grpc.initial_metadata, (), f"{path}.initial_metadata", None)
        self.question = grpc_frame(request_message(grpc.service_name))
        super().__init__(settings, context)

    def new_session(self, host: Host) -> ActiveHealthCheckSession:
        return GrpcActiveHealthCheckSession(self, host)

    def speaks_http2(self, alpn: str) -> bool:
        return True

    def request_headers(self, host: Host) -> RequestHeaderMap:
        authority = host.health_check_hostname.encode() or self._authority
        scheme = scheme_of(self.cluster, host)
        headers = Http2RequestHeaderMap(b"POST", b"/grpc.health.v1.Health/Check", authority, scheme=scheme)
        headers.pseudo_order = (b":method", b":path", b":authority", b":scheme")
        headers.add(b"te", b"trailers")
        headers.add(b"content-type", b"application/grpc")
        headers.add(b"user-agent", b"Envoy/HC")
        if self._header_parser is not None:
            stream = StreamInfo()
            stream.upstream_host = host
            stream.protocol = "HTTP/2"
            self._header_parser.evaluate(headers, stream, headers, None)
        headers.set(b"grpc-timeout", grpc_timeout(self.settings.timeout))
        return headers


class GrpcActiveHealthCheckSession(CodecSession):
    """One host."""

    _checker: GrpcHealthChecker

    def new_client(self) -> GrpcHealthCheckClient:
        return GrpcHealthCheckClient(self._checker, self)

    def on_timeout(self) -> None:
        client = self._client
        if client is not None and client.keep:
            client.reset()
        else:
            self.close()


class GrpcHealthCheckClient(HealthCheckCodecClient):
    """A connection, and the decoder of its answers."""

    checker: GrpcHealthChecker
    session: GrpcActiveHealthCheckSession | None

    def __init__(self, checker: GrpcHealthChecker, session: GrpcActiveHealthCheckSession) -> None:
        self._decoder = GrpcDecoder(MAX_MESSAGE)
        self._answer: int | None = None
        """The status in the one message, if it has come."""
        super().__init__(checker, session)

    def send(self) -> None:
        self._decoder = GrpcDecoder(MAX_MESSAGE)
        self._answer = None
        encoder = self.new_stream()
        encoder.encode_headers(self.checker.request_headers(self.host), False)
        encoder.encode_data(self.checker.question, True)

    def decode_headers(self, headers: ResponseHeaderMap, end_stream: bool) -> None:
        if end_stream and headers.has(b"grpc-status"):
            # How a service that does not exist is told, for one.
            self._on_complete(headers)
        elif headers.status != 200:
            self._fail(end_stream)
        elif end_stream or not is_grpc(headers.get(b"content-type")):
            self._fail(False)

    def decode_data(self, data: bytes, end_stream: bool) -> None:
        if not self.asking:
            return
        if end_stream:
            self._fail(True)
            return
        try:
            messages = self._decoder.feed(data)
        except ValueError:
            self._fail(False)
            return
        for message in messages:
            if not message:
                continue
            status = serving_status(message)
            if status is None or self._answer is not None:
                self._fail(False)
                return
            self._answer = status

    def decode_trailers(self, trailers: HeaderMap) -> None:
        if self.asking:
            self._on_complete(trailers)

    def _on_complete(self, headers: HeaderMap) -> None:
        status, _ = status_of(headers)
        self._finish(status == OK and self._answer == SERVING, True)

    def _fail(self, end_stream: bool) -> None:
        self._finish(False, end_stream)

    def _finish(self, well: bool, end_stream: bool) -> None:
        """The host is known to be well or not; `end_stream` if nothing more comes."""
        session = self.session
        if session is not None:
            if well:
                session.handle_success(False)
            else:
                session.handle_failure(FailureType.ACTIVE)
        if end_stream:
            self.complete()
        else:
            self.reset()
        self.leave()


@HEALTH_CHECKERS.register("envoy.health_checkers.grpc", "envoy.health_checkers.grpc")
def create_grpc_health_checker(
    config: Any, settings: HealthCheckSettings, context: HealthCheckerContext
) -> HealthChecker:
    return GrpcHealthChecker(config, settings, context)
