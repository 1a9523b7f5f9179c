"""The connection of health checks that speak HTTP.

Envoy: `Http::CodecClientProd`, as `ProdHttpHealthCheckerImpl` and `ProdGrpcHealthCheckerImpl` create it.

One request at a time. A stream may end without its connection (HTTP/2), and a connection that is to be left (GOAWAY)
may still bring the answer of the one under way.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from ..errors import CodecProtocolError
from ..http.codec import Metadata, RequestEncoder, StreamResetReason
from ..http.header_map import HeaderMap, ResponseHeaderMap
from ..http.http1.selection import client_codec
from ..http.http2.frames import NO_ERROR
from ..network.connection import ConnectionCloseType
from ..network.filter import FilterStatus
from .health_check_client import HealthCheckClient
from .health_check_session import ActiveHealthCheckSession
from .health_checker import HealthChecker
from .health_transition import FailureType
from .http2_codec_client import create_http2_codec

if TYPE_CHECKING:
    from ..event.dispatcher import Timer
    from ..http.http2.client_connection import ClientConnection as Http2Codec
    from .cluster import Cluster
    from .host import Host

_make_http1_codec: Final = client_codec("native")


def scheme_of(cluster: Cluster, host: Host) -> bytes:
    """What requests to `host` say (`Router::FilterUtility::setUpstreamScheme`)."""
    factory = cluster.transport_socket_of(host)
    return b"https" if factory is not None and factory.secure else b"http"


class CodecChecker(HealthChecker):
    """A checker whose sessions speak HTTP."""

    def speaks_http2(self, alpn: str) -> bool:
        """Whether HTTP/2 is spoken where `alpn` was agreed on."""
        raise NotImplementedError


class CodecSession(ActiveHealthCheckSession):
    """A session whose connection outlives its requests."""

    _client: HealthCheckCodecClient | None

    def on_reset(self) -> None:
        """The stream is gone before its answer was there; the connection may be well."""
        if self._client is not None and not self._client.keep:
            self.close()
        self.handle_failure(FailureType.NETWORK)


class HealthCheckCodecClient(HealthCheckClient[Any, Any]):
    """A connection with its codec; subclasses are the `ResponseDecoder` of its answers.

    Attributes:
        leaving: the host takes no new requests on it.
    """

    checker: CodecChecker
    session: CodecSession | None

    def __init__(self, checker: CodecChecker, session: CodecSession) -> None:
        self.leaving = False
        self._codec: Any = None
        self._http2: Http2Codec | None = None
        self._encoder: RequestEncoder | None = None
        self._idle_timeout = checker.cluster.http_options.idle_timeout or 0.0
        self._idle_timer: Timer | None = None
        if checker.speaks_http2(""):
            checker.cluster.stats.http2().nghttp2_upstream_connections += 1
        super().__init__(checker, session)

    # -- for subclasses

    @property
    def keep(self) -> bool:
        """The connection serves another check."""
        return self.checker.settings.reuse_connection and not self.leaving and not self.wants_close

    @property
    def wants_close(self) -> bool:
        """The answer said that its connection is the last's (HTTP/1)."""
        return self._http2 is None and self._codec is not None and self._codec.should_close

    def new_stream(self) -> RequestEncoder:
        """For one request; `self` hears what comes of it."""
        encoder: RequestEncoder = self._codec.new_stream(self)
        self._encoder = encoder
        return encoder

    def complete(self) -> None:
        """The answer is there."""
        self.asking = False
        self._encoder = None
        self._wait_idle()

    def leave(self) -> None:
        """The question was answered: close the connection if it serves nothing more."""
        session = self.session
        if session is not None and not self.keep:
            if self._codec.extra_bytes:
                return  # the end of the connection is about to be counted as what it is
            session.close()

    def reset(self) -> None:
        """Nobody wants to know the answer any more; the session is told nothing."""
        self.asking = False
        encoder, self._encoder = self._encoder, None
        if encoder is not None:
            encoder.reset_stream(StreamResetReason.LOCAL_RESET)
            self._wait_idle()

    # -- from the session

    def ask(self) -> None:
        if self._idle_timer is not None:
            self._idle_timer.disable()
        super().ask()

    def close(self) -> None:
        self.session = None
        self._let_go(False)
        self.client.close(ConnectionCloseType.NO_FLUSH)

    # -- from the connection

    def on_connected(self) -> None:
        cluster, ssl = self.checker.cluster, self.client.info.ssl
        if self.checker.speaks_http2(ssl.alpn if ssl is not None else ""):
            self._codec = self._http2 = create_http2_codec(cluster, self.client, self)
        else:
            self._codec = _make_http1_codec(self.client, cluster.http_options.http1, cluster.stats.http1())
        super().on_connected()
        # In Envoy the first request of a connection counts as idle, too.
        self._wait_idle()

    def on_disconnected(self, remote: bool) -> None:
        self._let_go(remote)
        super().on_disconnected(remote)

    def on_data(self, data: bytes, end_stream: bool) -> FilterStatus:
        codec = self._codec
        try:
            codec.dispatch(data)
            broken: bool = codec.extra_bytes
        except CodecProtocolError:
            broken = True
            if self._http2 is None:
                codec.abandon()
        if broken and self.session is not None:
            self.checker.cluster.stats.traffic.upstream_cx_protocol_error += 1
            self.client.close(ConnectionCloseType.NO_FLUSH)
        return FilterStatus.STOP_ITERATION

    # -- from the codec

    def on_request_refused(self, name: str) -> None:
        """What a header of the check came to can not be sent."""
        self.client.close(ConnectionCloseType.NO_FLUSH)

    def decode_metadata(self, metadata: Metadata) -> None:
        """Nobody here wants to know it."""

    def decode_1xx_headers(self, headers: ResponseHeaderMap) -> None:
        """Not the answer yet."""

    def decode_headers(self, headers: ResponseHeaderMap, end_stream: bool) -> None:
        raise NotImplementedError

    def decode_data(self, data: bytes, end_stream: bool) -> None:
        raise NotImplementedError

    def decode_trailers(self, trailers: HeaderMap) -> None:
        raise NotImplementedError

    def on_reset_stream(self, reason: StreamResetReason, details: str) -> None:
        self._encoder = None
        if self._http2 is None:
            return  # the end of the connection tells the session
        asked, self.asking = self.asking, False
        self._wait_idle()
        if asked and self.session is not None:
            self.session.on_reset()

    def on_go_away(self) -> None:
        session = self.session
        assert self._http2 is not None
        if self.asking and self._http2.goaway_code == NO_ERROR:
            # The answer may still come, and is as good as any.
            self.leaving = True
            return
        if self.asking and session is not None:
            self.asking = False
            session.handle_failure(FailureType.NETWORK)
        if self.session is not None:  # the host may have left the cluster because of this
            self.session.close()

    def on_max_streams_changed(self, maximum: int) -> None:
        """There is one at a time."""

    def on_stream_closed(self) -> None:
        """What it was about is known already."""

    def on_stream_broken(self) -> None:
        """`on_reset_stream` tells as much."""

    # -- inside

    def _let_go(self, remote: bool) -> None:
        """The connection is over, or about to be."""
        if self._idle_timer is not None:
            self._idle_timer.disable()
        if self._http2 is not None:
            self._http2.on_connection_closed()
        elif self._codec is not None and self.session is not None:
            # An answer that ends with its connection is complete now; another one is reset.
            self._codec.on_connection_closed(remote)
        elif self._codec is not None:
            self._codec.abandon()

    def _wait_idle(self) -> None:
        if self._idle_timeout and self.session is not None and not self.client.closed:
            if self._idle_timer is None:
                self._idle_timer = self.checker.dispatcher.create_timer(self._on_idle)
            self._idle_timer.enable(self._idle_timeout)

    def _on_idle(self) -> None:
        self.checker.cluster.stats.traffic.upstream_cx_idle_timeout += 1
        self.client.close(ConnectionCloseType.NO_FLUSH)
