"""`google_grpc`: services of gRPC that are reached without a cluster of the configuration.

Envoy: `Grpc::GoogleAsyncClientImpl`, `GoogleAsyncStreamImpl`, `GoogleGrpcUtils::createChannel`, which are the C++
library of gRPC; statistics `grpc.<stat_prefix>.*`. Here a channel is a cluster of its own, which nobody else sees: what
goes over the wire is what that library would send, how often it tries to connect is as with any cluster. Channels that
say the same are one. Names are looked up with the first call, which waits for that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Final, cast

from ..config.api import message_class
from ..config.fields import honours
from ..errors import ConfigError
from ..http.codec import StreamResetReason
from ..http.grpc import grpc_timeout
from ..http.http2.fields import Http2RequestHeaderMap
from ..network.address import Address
from ..record import replace
from ..stats.store import Counter, CounterValue, StatsStruct, Store
from ..upstream.async_client import AsyncStream, StreamOptions
from ..upstream.cluster import Cluster, create_cluster
from ..upstream.grpc_client import (
    INTERNAL,
    UNAVAILABLE,
    GrpcCallbacks,
    GrpcClient,
    GrpcStream,
    GrpcStreamCallbacks,
    UnaryCall,
)
from .upstream_codecs import UpstreamCodecs

if TYPE_CHECKING:
    from ..event.dispatcher import Dispatcher
    from ..http.header_map import RequestHeaderMap
    from ..tracing.call_span import GrpcCallSpan
    from .factory_context import ServerContext

_TYPE: Final = "envoy.config.core.v3.GrpcService.GoogleGrpc"
DEFAULT_FACTORY: Final = "envoy.grpc_credentials.default"
DEADLINE_EXCEEDED: Final = 4
_UNKNOWN: Final = 2
_STATUSES: Final = 17
_UNAVAILABLE: Final = (StreamResetReason.REMOTE_REFUSED_STREAM_RESET, StreamResetReason.CONNECTION_TERMINATION)
_PSEUDO_ORDER: Final = (b":path", b":authority", b":method", b":scheme")
_USER_AGENT: Final = b"grpc-c++/1.83.0 grpc-c/56.0.0 (linux; chttp2)"
"""That of the library in the Envoy that is imitated."""
_CONNECT_TIMEOUT: Final = 20
"""Seconds: how long the library tries at least."""
_BUFFER_LIMIT: Final = 1024 * 1024
_AUTHORITY: Final = "grpc.default_authority"
_OPTIONS: Final = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
_UPSTREAM_TLS: Final = "envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext"


def _only_authority(message: Any) -> str | None:
    others = sorted(set(message.args) - {_AUTHORITY})
    return f"{others[0]} is not supported, only {_AUTHORITY}" if others else None


honours(
    _TYPE,
    "target_uri",
    "channel_credentials",
    "stat_prefix",
    "per_stream_buffer_limit_bytes",
    "channel_args",
    values={"credentials_factory_name": (DEFAULT_FACTORY,)},
)
honours(
    f"{_TYPE}.ChannelCredentials",
    "ssl_credentials",
    ignored={"local_credentials": "within this machine plain text is as good"},
)
honours(f"{_TYPE}.SslCredentials", "root_certs", "private_key", "cert_chain")
honours(f"{_TYPE}.GoogleLocalCredentials")
honours(f"{_TYPE}.ChannelArgs", when={"args": _only_authority})
honours(f"{_TYPE}.ChannelArgs.Value", "string_value")


class GoogleGrpcStats(StatsStruct):
    """`grpc.<stat_prefix>.*`, beside `streams_closed_<status>`."""

    google_grpc_client_creation: CounterValue
    streams_total: CounterValue


class Target:
    """Where a channel leads (`target_uri`).

    Attributes:
        addresses: hosts and ports, or paths of sockets.
        numeric: they are no names.
        authority: what requests say, unless a channel argument does.
    """

    def __init__(self, uri: str, path: str) -> None:
        """Raises ConfigError at `path`: a scheme that is not supported, or a port that is none."""
        scheme, colon, rest = uri.partition(":")
        self.addresses: list[tuple[str, int]] = []
        self.paths: list[str] = []
        self.numeric = False
        if colon and scheme in ("unix", "unix-abstract"):
            name = rest.removeprefix("//") if scheme == "unix" else f"@{rest}"
            self.paths = [name]
            self.numeric = True
            self.authority = "localhost"
            return
        if colon and scheme in ("ipv4", "ipv6"):
            listed = rest.removeprefix("//").lstrip("/").split(",")
            self.numeric = True
        elif colon and scheme == "dns":
            listed = [rest.removeprefix("//").partition("/")[2] if rest.startswith("//") else rest]
        elif "://" in uri:
            raise ConfigError(f"the scheme {scheme} of a gRPC target is not supported", path)
        else:
            listed = [uri]
        self.addresses = [_host_and_port(each, path) for each in listed]
        self.authority = listed[0]
        self.numeric = self.numeric or _is_numeric(self.addresses[0][0])

    @property
    def host(self) -> str:
        """The name that a certificate must be for."""
        return self.addresses[0][0] if self.addresses else "localhost"


def _host_and_port(text: str, path: str) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    if not colon or (":" in host and not host.endswith("]")):
        host, port = text, "443"
    if not port.isdigit() or int(port) > 65535 or not host:
        raise ConfigError(f"'{text}' is no host with a port", path)
    return host.strip("[]"), int(port)


def _is_numeric(host: str) -> bool:
    try:
        Address.ip(host, 0)
    except ValueError:
        return False
    return True


def _cluster_proto(config: Any, target: Target, authority: str) -> Any:
    cluster = message_class("envoy.config.cluster.v3.Cluster")(name=f"google_grpc {config.target_uri}")
    if not target.numeric:
        cluster.type = cluster.DiscoveryType.Value("STRICT_DNS")
        cluster.dns_lookup_family = cluster.DnsLookupFamily.Value("V4_PREFERRED")
    cluster.connect_timeout.seconds = _CONNECT_TIMEOUT
    limit = config.per_stream_buffer_limit_bytes
    has_limit = config.HasField("per_stream_buffer_limit_bytes")
    cluster.per_connection_buffer_limit_bytes.value = limit.value if has_limit else _BUFFER_LIMIT
    options = message_class(_OPTIONS)()
    options.explicit_http_config.http2_protocol_options.SetInParent()
    cluster.typed_extension_protocol_options[_OPTIONS].Pack(options)
    cluster.load_assignment.cluster_name = cluster.name
    endpoints = cluster.load_assignment.endpoints.add()
    for host, port in target.addresses:
        where = endpoints.lb_endpoints.add().endpoint.address.socket_address
        where.address, where.port_value = host, port
    for path in target.paths:
        endpoints.lb_endpoints.add().endpoint.address.pipe.path = path
    if config.channel_credentials.HasField("ssl_credentials"):
        _add_tls(cluster, config.channel_credentials.ssl_credentials, authority.rpartition(":")[0] or target.host)
    return cluster


def _add_tls(cluster: Any, credentials: Any, host: str) -> None:
    context = message_class(_UPSTREAM_TLS)(sni="" if _is_numeric(host) else host)
    common = context.common_tls_context
    common.alpn_protocols.append("h2")
    validation = common.validation_context
    if credentials.HasField("root_certs"):
        validation.trusted_ca.CopyFrom(credentials.root_certs)
    else:
        validation.system_root_certs.SetInParent()
    name = validation.match_typed_subject_alt_names.add()
    name.san_type = name.SanType.Value("IP_ADDRESS" if _is_numeric(host) else "DNS")
    name.matcher.exact = host
    if credentials.HasField("private_key") or credentials.HasField("cert_chain"):
        certificate = common.tls_certificates.add()
        certificate.private_key.CopyFrom(credentials.private_key)
        certificate.certificate_chain.CopyFrom(credentials.cert_chain)
    cluster.transport_socket.name = "envoy.transport_sockets.tls"
    cluster.transport_socket.typed_config.Pack(context)


class GoogleGrpcChannel:
    """Streams to one target."""

    def __init__(self, config: Any, server: ServerContext, prefix: str = "") -> None:
        """Of a `GoogleGrpc`; raises ConfigError below it. What it counts has `prefix` before its own."""
        target = Target(config.target_uri, "target_uri")
        args = config.channel_args.args
        self.authority: str = (args[_AUTHORITY].string_value if _AUTHORITY in args else "") or target.authority
        self.dispatcher: Dispatcher = server.dispatcher
        # What it counts is nobody's.
        context = replace(server.cluster_manager.context, stats=Store(), path="channel_credentials", journal=None)
        self._cluster: Cluster = create_cluster(_cluster_proto(config, target, self.authority), context)
        self._secure = config.channel_credentials.HasField("ssl_credentials")
        self._make_codec = UpstreamCodecs(server)
        self._store = server.stats
        self._prefix = f"{prefix}grpc.{config.stat_prefix}"
        self._stats: GoogleGrpcStats | None = None
        self._closed: list[Counter] = []
        self._asked = False
        self._waiting: list[Callable[[], None]] | None = []
        server.cluster_manager.singletons[f"google_grpc {id(self)}"] = self

    @property
    def scheme(self) -> bytes:
        return b"https" if self._secure else b"http"

    def start(self, stream: GoogleGrpcStream, headers: RequestHeaderMap) -> None:
        if self._stats is None:
            # The library is not asked for a channel before there is something to say.
            scope = self._store.scope(self._prefix)
            self._stats = scope.struct(GoogleGrpcStats)
            self._closed = [scope.counter(f"streams_closed_{status}") for status in range(_STATUSES)]
            self._stats.google_grpc_client_creation += 1
        self._stats.streams_total += 1
        # There is no limit to what may take how long: that is the call's to say, from its beginning.
        http = LateStream(lambda: self._begin(stream))
        stream.stream = cast(AsyncStream, http)
        http.send_headers(headers, False)
        if self._waiting is None:
            http.begin()
            return
        self._waiting.append(http.begin)
        if not self._asked:
            self._asked = True
            self._cluster.initialize(self._on_initialized)

    def _begin(self, stream: GoogleGrpcStream) -> AsyncStream:
        http = AsyncStream(self._cluster, self._make_codec, stream, 0.0, b"", options=_SILENT)
        http.on_attempt_failed = stream.on_attempt_failed
        return http

    def count(self, status: int) -> None:
        """A stream has ended so."""
        self._closed[status if 0 <= status < _STATUSES else _UNKNOWN].inc()

    def stop(self) -> None:
        """The server stops."""
        self._waiting = []
        if self._asked:
            self._cluster.stop()

    def _on_initialized(self) -> None:
        waiting, self._waiting = self._waiting or [], None
        for begin in waiting:
            begin()


_SILENT: Final = StreamOptions(send_xff=False, send_internal=False, send_timeout=False, counts=False)


class LateStream:
    """A stream that is begun later: what is sent on it until then is kept, as much as who sends it lets wait."""

    def __init__(self, make: Callable[[], AsyncStream]) -> None:
        self._make = make
        self._stream: AsyncStream | None = None
        self._kept: list[Callable[[AsyncStream], None]] = []
        self._reset = False
        self._above_watermark: Callable[[bool], None] | None = None

    def begin(self) -> None:
        if self._reset:
            return
        stream = self._stream = self._make()
        stream.above_watermark = self._above_watermark
        kept, self._kept = self._kept, []
        for send in kept:
            send(stream)

    @property
    def done(self) -> bool:
        return self._reset if self._stream is None else self._stream.done

    @property
    def above_watermark(self) -> Callable[[bool], None] | None:
        return self._above_watermark

    @above_watermark.setter
    def above_watermark(self, callback: Callable[[bool], None] | None) -> None:
        self._above_watermark = callback
        if self._stream is not None:
            self._stream.above_watermark = callback

    def send_headers(self, headers: RequestHeaderMap, end_stream: bool) -> None:
        self._do(lambda stream: stream.send_headers(headers, end_stream))

    def send_data(self, data: bytes, end_stream: bool) -> None:
        self._do(lambda stream: stream.send_data(data, end_stream))

    def read_disable(self, disable: bool) -> None:
        self._do(lambda stream: stream.read_disable(disable))

    def reset(self) -> None:
        self._reset = True
        self._kept.clear()
        if self._stream is not None:
            self._stream.reset()

    def _do(self, send: Callable[[AsyncStream], None]) -> None:
        if self._stream is not None:
            send(self._stream)
        elif not self._reset:
            self._kept.append(send)


class GoogleGrpcStream(GrpcStream):
    """One call, that is counted, and that ends when it has taken too long."""

    def __init__(
        self, channel: GoogleGrpcChannel, callbacks: GrpcStreamCallbacks, timeout: float, span: GrpcCallSpan | None
    ) -> None:
        super().__init__(callbacks, 0, span)
        self._channel = channel
        self._deadline = None
        if timeout:
            self._deadline = channel.dispatcher.create_timer(self._on_deadline)
            self._deadline.enable(timeout)

    def reset(self) -> None:
        if self._deadline is not None:
            self._deadline.disable()
        super().reset()

    def on_attempt_failed(self, reason: StreamResetReason, started: bool) -> bool:
        """There is no answer: why does not matter, unless a server that was there has refused or gone."""
        self._close(UNAVAILABLE if reason in _UNAVAILABLE else INTERNAL, "")
        return True

    def _on_deadline(self) -> None:
        if self.stream is not None:
            self.stream.reset()
        if self.headers is None:
            self._close(INTERNAL, "")
        else:
            self._close(DEADLINE_EXCEEDED, "Deadline Exceeded")

    def _close(self, status: int, message: str) -> None:
        if self._closed:
            return
        if self._deadline is not None:
            self._deadline.disable()
        self._channel.count(status)
        super()._close(status, message)


class GoogleGrpcClient(GrpcClient):
    """Calls over a channel."""

    def __init__(self, channel: GoogleGrpcChannel) -> None:
        self._channel = channel

    def start(
        self,
        method: str,
        callbacks: GrpcStreamCallbacks,
        timeout: float = 0.0,
        metadata: Iterable[tuple[bytes, bytes]] = (),
        span: GrpcCallSpan | None = None,
    ) -> GrpcStream:
        headers = self._headers(method, timeout, metadata)
        if span is not None:
            span.inject(headers)
        stream = GoogleGrpcStream(self._channel, callbacks, timeout, span)
        self._channel.start(stream, headers)
        return stream

    def send(
        self,
        method: str,
        message: bytes,
        callbacks: GrpcCallbacks,
        timeout: float = 0.0,
        metadata: Iterable[tuple[bytes, bytes]] = (),
        span: GrpcCallSpan | None = None,
    ) -> GrpcStream:
        stream = self.start(method, UnaryCall(callbacks, span), timeout, metadata, span)
        stream.send(message, True)
        return stream

    def _headers(self, method: str, timeout: float, metadata: Iterable[tuple[bytes, bytes]]) -> RequestHeaderMap:
        channel = self._channel
        headers = Http2RequestHeaderMap(b"POST", b"/" + method.encode(), channel.authority.encode())
        headers.pseudo_order = _PSEUDO_ORDER
        headers.scheme = channel.scheme
        headers.add(b"content-type", b"application/grpc")
        headers.add(b"te", b"trailers")
        headers.add(b"grpc-accept-encoding", b"identity, deflate, gzip")
        if timeout:
            headers.add(b"grpc-timeout", grpc_timeout(round(timeout * 1000)))
        headers.add(b"user-agent", _USER_AGENT)
        for name, value in metadata:
            headers.add(name, value)
        return headers


def google_grpc_channel(config: Any, path: str, server: ServerContext, prefix: str = "") -> GoogleGrpcChannel:
    """The one of all services that say the same and count under the same `prefix`, which is empty or ends with a dot;
    raises ConfigError below `path`."""
    if config.credentials_factory_name not in ("", DEFAULT_FACTORY):
        problem = f"Unknown google grpc credentials factory: {config.credentials_factory_name}"
        raise ConfigError(problem, f"{path}.credentials_factory_name")
    key = ("google_grpc", prefix, config.SerializeToString(deterministic=True))
    try:
        return server.singleton(key, lambda: GoogleGrpcChannel(config, server, prefix))
    except ConfigError as error:
        raise error.below(path) from None
