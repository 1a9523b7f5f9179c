"""How HTTP is spoken to a cluster.

Envoy: `envoy.extensions.upstreams.http.v3.HttpProtocolOptions`, `Upstream::HttpProtocolOptionsConfigImpl`; docs "HTTP
protocol options". The older fields of the cluster itself mean the same.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import TYPE_CHECKING, Any

from ..config.fields import honours
from ..http.http1.header_formatter import header_formatters
from ..http.http1.settings import Http1Settings
from ..http.http2.settings import Http2Settings
from ..matchers.match_predicate import ResponsePredicate
from ..network.address import Address
from ..network.transport_socket import TransportSocketOptions
from ..record import field, record, replace
from ..registry import Registry
from .duration import duration_of

if TYPE_CHECKING:
    from ..http.filter_manager import FilterChain
    from ..http.header_map import RequestHeaderMap
    from ..router.cluster_policies import ClusterPolicies
    from ..stats.store import Scope
    from .cluster import ClusterContext

honours(
    "envoy.config.core.v3.UpstreamHttpProtocolOptions",
    "auto_sni",
    "auto_san_validation",
    "override_auto_sni_header",
)
honours(
    "envoy.config.core.v3.HttpProtocolOptions",
    "idle_timeout",
    "max_connection_duration",
    "max_connection_duration_jitter",
    "max_headers_count",
    "max_requests_per_connection",
    "max_response_headers_kb",
    "max_stream_duration",
    ignored={"headers_with_underscores_action": "it is about what clients send; Envoy ignores it here, too"},
)
honours(
    "envoy.config.core.v3.Http1ProtocolOptions",
    "allow_chunked_length",
    "enable_trailers",
    "header_key_format",
    "send_fully_qualified_url",
)


class UpstreamProtocol(Enum):
    """What is spoken to a cluster (`ClusterInfo::upstreamHttpProtocol`)."""

    HTTP1 = 1
    HTTP2 = 2
    DOWNSTREAM = 3
    """What the client speaks."""
    ALPN = 4
    """What TLS agrees on."""


@record
class UpstreamHttpProtocolOptions:
    """Compiled options; None means no limit.

    Attributes:
        protocol: what is spoken.
        may_speak_http2: that is HTTP/2, or can be (`ClusterInfo::Features::HTTP2`).
        http1: for the codec of an HTTP/1 connection.
        http2: for the codec of an HTTP/2 connection.
        idle_timeout: seconds after which a connection without streams is closed.
        max_connection_duration: seconds after which a connection takes no new stream.
        max_connection_duration_jitter: percent of it that are added at most, at random.
        sni_header: the header of a request that says the server name for TLS; empty if none does.
        auto_san_validation: that name must be in the certificate.
        route_policies: makes what the cluster says over its routes, or None; see `router/cluster_policies.py`.
        http_filters: makes the filters of the requests to the cluster, or None; takes the scope of its statistics, too.
        error_matcher: which responses outlier detection takes for errors, instead of those with a status of 500 and up.
    """

    protocol: UpstreamProtocol = UpstreamProtocol.HTTP1
    may_speak_http2: bool = False
    http1: Http1Settings = field(default_factory=Http1Settings)
    http2: Http2Settings = field(default_factory=Http2Settings)
    idle_timeout: float | None = 3600.0
    max_connection_duration: float | None = None
    max_connection_duration_jitter: float = 0.0
    max_requests_per_connection: int | None = None
    max_stream_duration: float | None = None
    error_matcher: ResponsePredicate | None = None
    sni_header: bytes = b""
    auto_san_validation: bool = False
    route_policies: Callable[[ClusterContext], ClusterPolicies] | None = None
    http_filters: Callable[[ClusterContext, Scope], FilterChain] | None = None

    @property
    def negotiates(self) -> bool:
        """TLS says what is spoken."""
        return self.protocol is UpstreamProtocol.ALPN

    @property
    def names_server(self) -> bool:
        """Requests say the server name for TLS."""
        return bool(self.sni_header) or self.auto_san_validation

    def naming_server(self, config: Any) -> UpstreamHttpProtocolOptions:
        """These, with what an `envoy.config.core.v3.UpstreamHttpProtocolOptions` says."""
        if not config.auto_sni and not config.auto_san_validation:
            return self
        header = config.override_auto_sni_header.lower().encode() or b":authority"
        return replace(
            self, sni_header=header if config.auto_sni else b"", auto_san_validation=config.auto_san_validation
        )

    def transport_socket_options(self, headers: RequestHeaderMap) -> TransportSocketOptions:
        """What a request wants of its connection (`Router::Filter::createConnPool`, `auto_sni`)."""
        value = headers.get(self.sni_header or b":authority") or headers.get(b":authority") or b""
        name = _host_of(value.decode("latin-1"))
        if not name or _is_address(name):
            return TransportSocketOptions()
        return TransportSocketOptions(name if self.sni_header else "", (name,) if self.auto_san_validation else ())

    @classmethod
    def from_proto(
        cls,
        common: Any,
        http1: Any,
        http2: Any,
        protocol: UpstreamProtocol = UpstreamProtocol.HTTP1,
        max_requests_per_connection: int = 0,
        *,
        may_speak_http2: bool = False,
    ) -> UpstreamHttpProtocolOptions:
        """From `envoy.config.core.v3.HttpProtocolOptions`, `Http1ProtocolOptions` and `Http2ProtocolOptions`.

        `max_requests_per_connection` counts where `common` has none; 0 is no limit.
        """
        if common.HasField("max_requests_per_connection"):
            max_requests_per_connection = common.max_requests_per_connection.value
        kilobytes = common.max_response_headers_kb.value if common.HasField("max_response_headers_kb") else 80
        key_formatter, make_key_formatter = header_formatters(http1.header_key_format, "header_key_format")
        return cls(
            protocol=protocol,
            may_speak_http2=may_speak_http2,
            http2=Http2Settings.from_proto(http2, common, max_headers_size=kilobytes * 1024),
            http1=Http1Settings(
                enable_trailers=http1.enable_trailers,
                allow_chunked_length=http1.allow_chunked_length,
                max_headers_size=kilobytes * 1024,
                max_headers_count=common.max_headers_count.value if common.HasField("max_headers_count") else 100,
                key_formatter=key_formatter,
                make_key_formatter=make_key_formatter,
                send_fully_qualified_url=http1.send_fully_qualified_url,
            ),
            idle_timeout=duration_of(common, "idle_timeout", 3600.0) or None,
            max_connection_duration=duration_of(common, "max_connection_duration", 0.0) or None,
            max_connection_duration_jitter=common.max_connection_duration_jitter.value,
            max_requests_per_connection=max_requests_per_connection or None,
            max_stream_duration=duration_of(common, "max_stream_duration", 0.0) or None,
        )


def _host_of(authority: str) -> str:
    """Without a port."""
    if authority.startswith("["):
        return authority[1:].partition("]")[0]
    host, colon, port = authority.rpartition(":")
    return host if colon and port.isdigit() else authority


def _is_address(name: str) -> bool:
    try:
        Address.ip(name, 0)
    except ValueError:
        return False
    return True


ProtocolOptionsFactory = Callable[[Any, int], UpstreamHttpProtocolOptions]
PROTOCOL_OPTIONS: Registry[ProtocolOptionsFactory] = Registry("envoy.upstream_options")
"""(message in `typed_extension_protocol_options`, the cluster's own `max_requests_per_connection`) -> options"""
