"""Services that a configuration names, and the client that asks them.

Envoy: `Grpc::AsyncClientManagerImpl`, `Grpc::AsyncClientImpl`, `Http::Utility::convertCoreToRouteRetryPolicy`,
`Http::Utility::extractHostPathFromUri`; messages `GrpcService`, `HttpUri`, `HttpService`.

    service = GrpcServiceConfig.from_proto(proto.grpc_service, "grpc_service", server)     # once
    client = service.client(server)                                                        # a GrpcClient, once
    client.send("package.Service/Method", message, callbacks, service.timeout, service.call_metadata(stream_info))

    service = HttpUriConfig.from_proto(proto.server_uri, "server_uri")
    headers = RequestHeaderMap(b"POST", service.path, service.host)
    async_client(server).send(service.cluster, headers, body, callbacks, service.timeout)

`google_grpc`, which names no cluster, is in `google_grpc.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from ..config.api import message_class
from ..config.fields import declared_in, honours
from ..errors import ConfigError
from ..http.conn_manager_stats import RouterStats
from ..http.header_map import HeaderMap, RequestHeaderMap, ResponseHeaderMap
from ..record import record
from ..router.header_parser import OVERWRITE_IF_EXISTS_OR_ADD, HeaderParser
from ..router.retry_policy import RetryPolicy
from ..router.retry_state import RetryState, RetryStatus
from ..router.router_config import RouterConfig
from ..upstream.async_client import AsyncClient, Retries, StreamOptions
from ..upstream.duration import duration_of
from ..upstream.grpc_client import GrpcClient
from .http_service_headers import HttpServiceHeaders
from .upstream_codecs import UpstreamCodecs

if TYPE_CHECKING:
    from ..http.codec import StreamResetReason
    from ..stream_info import StreamInfo
    from ..tracing.call_span import GrpcCallSpan
    from ..upstream.cluster import Cluster
    from .factory_context import ServerContext
    from .google_grpc import GoogleGrpcChannel

honours("envoy.config.core.v3.GrpcService", "envoy_grpc", "google_grpc", "timeout", "initial_metadata", "retry_policy")
declared_in("minienvoy.server.google_grpc", "envoy.config.core.v3.GrpcService.GoogleGrpc")
honours(
    "envoy.config.core.v3.GrpcService.EnvoyGrpc",
    "cluster_name",
    "authority",
    "retry_policy",
    "max_receive_message_length",
    "skip_envoy_headers",
)
honours("envoy.config.core.v3.HttpUri", "uri", "cluster", "timeout")
honours("envoy.config.core.v3.HttpService", "http_uri", "request_headers_to_add")
honours("envoy.config.core.v3.RetryPolicy", "retry_back_off", "num_retries")
honours("envoy.config.core.v3.BackoffStrategy", "base_interval", "max_interval")

HTTP_RETRY_ON = "5xx,gateway-error,connect-failure,reset"
"""What most callers of HTTP services retry on; the message does not say it."""


class _Services:
    """What all calls of a server share."""

    def __init__(self, server: ServerContext) -> None:
        codecs = UpstreamCodecs(server)
        stats = server.stats.scope("http.async-client").struct(RouterStats)
        random = server.random.stream("async_client.retry")
        self.client = AsyncClient(server.cluster_manager, codecs, server.local_address.encode(), stats)
        self.config = RouterConfig(server.cluster_manager, stats, codecs, random, server.runtime)


def _services(server: ServerContext) -> _Services:
    return server.singleton(_Services, lambda: _Services(server))


def async_client(server: ServerContext) -> AsyncClient:
    """The one client of this server."""
    return _services(server).client


def core_retry_policy(proto: Any, path: str, retry_on: str) -> RetryPolicy:
    """From `envoy.config.core.v3.RetryPolicy`; raises ConfigError below `path`.

    An attempt may take as long as the longest back-off.
    """
    base, maximum = 1.0, 10.0
    if proto.HasField("retry_back_off"):
        base = duration_of(proto.retry_back_off, "base_interval", base)
        maximum = duration_of(proto.retry_back_off, "max_interval", base * 10)
        if maximum < base:
            raise ConfigError("max_interval must be greater than or equal to the base_interval", path)
    route = message_class("envoy.config.route.v3.RetryPolicy")(retry_on=retry_on)
    route.num_retries.value = proto.num_retries.value if proto.HasField("num_retries") else 1
    for interval, seconds in (
        (route.retry_back_off.base_interval, base),
        (route.retry_back_off.max_interval, maximum),
        (route.per_try_timeout, maximum),
    ):
        interval.FromMilliseconds(round(seconds * 1000))
    return RetryPolicy.from_proto(route, path)


def retries_by(policy: RetryPolicy, server: ServerContext) -> Callable[[Cluster, RequestHeaderMap], Retries]:
    """For `StreamOptions.retries`."""
    return lambda cluster, headers: _PolicyRetries(_services(server).config, policy, cluster, headers)


class _PolicyRetries:
    """The router's decisions; what an internal request says of retries counts, too."""

    def __init__(self, config: RouterConfig, policy: RetryPolicy, cluster: Cluster, headers: RequestHeaderMap) -> None:
        self.per_try_timeout = policy.per_try_timeout
        self._state = RetryState(config, policy, cluster, 0)
        self._state.take_headers(headers)

    def should_retry_headers(self, headers: ResponseHeaderMap, callback: Callable[[], None]) -> bool:
        return self._state.should_retry_headers(headers, callback) is RetryStatus.YES

    def should_retry_reset(self, reason: StreamResetReason, started: bool, callback: Callable[[], None]) -> bool:
        return self._state.should_retry_reset(reason, started, callback) is RetryStatus.YES

    def reset(self) -> None:
        self._state.reset()


@record
class GrpcServiceConfig:
    """`GrpcService`, compiled.

    Attributes:
        timeout: seconds, 0 for none.
        parser: `initial_metadata`; its values are formats. None if there is none.
        channel: of a `google_grpc`, whose `cluster` is its `stat_prefix`; else None.
    """

    cluster: str
    authority: str = ""
    timeout: float = 0.0
    max_message: int = 0
    skip_envoy_headers: bool = False
    retry_policy: RetryPolicy | None = None
    parser: HeaderParser | None = None
    channel: GoogleGrpcChannel | None = None

    @classmethod
    def from_proto(cls, proto: Any, path: str, server: ServerContext, prefix: str = "") -> GrpcServiceConfig:
        """Raises ConfigError below `path`. What `google_grpc` counts has `prefix` before its own."""
        grpc = proto.envoy_grpc
        if proto.HasField("google_grpc"):
            from .google_grpc import google_grpc_channel

            channel = google_grpc_channel(proto.google_grpc, f"{path}.google_grpc", server, prefix)
            return cls(
                proto.google_grpc.stat_prefix,
                proto.google_grpc.target_uri,
                duration_of(proto, "timeout", 0.0),
                parser=HeaderParser.from_proto(
                    _overwriting(proto.initial_metadata), (), f"{path}.initial_metadata", server
                ),
                channel=channel,
            )
        if not proto.HasField("envoy_grpc"):
            raise ConfigError("neither envoy_grpc nor google_grpc says where the service is", path)
        policy = None
        for holder, where in ((grpc, f"{path}.envoy_grpc.retry_policy"), (proto, f"{path}.retry_policy")):
            if holder.HasField("retry_policy"):
                # Which calls are retried is for their metadata to say, `x-envoy-retry-grpc-on`.
                policy = core_retry_policy(holder.retry_policy, where, "")
        return cls(
            grpc.cluster_name,
            grpc.authority,
            duration_of(proto, "timeout", 0.0),
            grpc.max_receive_message_length.value,
            grpc.skip_envoy_headers,
            policy,
            HeaderParser.from_proto(_overwriting(proto.initial_metadata), (), f"{path}.initial_metadata", server),
        )

    def with_retry_policy(self, policy: RetryPolicy) -> GrpcServiceConfig:
        """The same service, whose calls are retried so."""
        return GrpcServiceConfig(
            self.cluster,
            self.authority,
            self.timeout,
            self.max_message,
            self.skip_envoy_headers,
            policy,
            self.parser,
            self.channel,
        )

    def client(self, server: ServerContext) -> GrpcClient:
        if self.channel is not None:
            from .google_grpc import GoogleGrpcClient

            return GoogleGrpcClient(self.channel)
        told = not self.skip_envoy_headers
        retries = None if self.retry_policy is None else retries_by(self.retry_policy, server)
        options = StreamOptions(send_xff=told, send_internal=told, retries=retries)
        return GrpcClient(
            async_client(server), self.cluster, self.authority, max_message=self.max_message, options=options
        )

    def call_span(self, stream: StreamInfo, method: str) -> GrpcCallSpan | None:
        """Of a call on behalf of `stream`, if that is traced."""
        if stream.active_span is None:
            return None
        from ..tracing.call_span import GrpcCallSpan

        return GrpcCallSpan(stream, method, self.cluster, self.authority)

    def call_metadata(
        self, stream: StreamInfo, headers: RequestHeaderMap | None = None
    ) -> tuple[tuple[bytes, bytes], ...]:
        """What a call on behalf of `stream` says; `headers` are those of its request."""
        if self.parser is None:
            return ()
        made = HeaderMap()
        self.parser.evaluate(made, stream, headers, None)
        return tuple((name, value) for name, value, *_ in made.entries)


def _overwriting(values: Iterable[Any]) -> list[Any]:
    option = message_class("envoy.config.core.v3.HeaderValueOption")
    return [option(header=each, append_action=OVERWRITE_IF_EXISTS_OR_ADD) for each in values]


@record
class HttpUriConfig:
    """`HttpUri`, compiled: where an HTTP service is.

    Attributes:
        host, path: of the URI; the cluster says where it really is.
        timeout: seconds.
        headers: that are added to a request (`HttpService`), or None.
    """

    cluster: str
    host: bytes
    path: bytes
    timeout: float
    headers: HttpServiceHeaders | None = None

    @classmethod
    def from_proto(cls, proto: Any, path: str) -> HttpUriConfig:
        """From `envoy.config.core.v3.HttpUri`; raises ConfigError below `path`."""
        host, where = host_and_path(proto.uri)
        return cls(proto.cluster, host.encode(), where.encode(), duration_of(proto, "timeout", 0.0))

    @classmethod
    def from_service(cls, proto: Any, path: str, server: ServerContext) -> HttpUriConfig:
        """From `envoy.config.core.v3.HttpService`."""
        made = cls.from_proto(proto.http_uri, f"{path}.http_uri")
        headers = HttpServiceHeaders(proto.request_headers_to_add, f"{path}.request_headers_to_add", server)
        return cls(made.cluster, made.host, made.path, made.timeout, headers)


def host_and_path(uri: str) -> tuple[str, str]:
    """`http://a.test:80/b?c` is `a.test:80` and `/b?c`; a URI without a path has `/`."""
    rest = uri.partition("://")[2] or uri
    host, slash, path = rest.partition("/")
    return host, slash + path or "/"
