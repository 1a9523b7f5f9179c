"""What an HTTP connection manager was told, compiled.

Envoy: `Http::ConnectionManagerConfig`; the factory that reads the proto is
`extensions/filters/network/http_connection_manager.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import Enum
from typing import TYPE_CHECKING, Any, Protocol

from ..record import field, record
from ..stream_info import StreamInfo
from .conn_manager_stats import ConnectionManagerListenerStats, ConnectionManagerStats, ConnectionManagerTracingStats
from .filter import RouteConfig
from .filter_manager import FilterChain
from .header_map import HeaderMap, RequestHeaderMap, ResponseHeaderMap, entry
from .http1.settings import Http1Settings

if TYPE_CHECKING:
    from ..config.runtime import Loader
    from ..event.dispatcher import Dispatcher
    from ..explain.log import ExplanationLog
    from ..network.drain_decision import DrainState
    from ..network.overload_state import OverloadState
    from .active_stream import ActiveStream
    from .codec import ServerConnection
    from .conn_manager import ConnectionManager
    from .date_provider import DateProvider
    from .early_header_mutation import Mutate
    from .forwarded_client_cert import ForwardedClientCert
    from .local_reply import LocalReply
    from .original_ip_detection import Detect
    from .proxy_status import ProxyStatus


class ServerHeaderTransformation(Enum):
    OVERWRITE = 0
    APPEND_IF_ABSENT = 1
    PASS_THROUGH = 2


class PathWithEscapedSlashesAction(Enum):
    KEEP_UNCHANGED = 1
    REJECT_REQUEST = 2
    UNESCAPE_AND_REDIRECT = 3
    UNESCAPE_AND_FORWARD = 4


class AccessLog(Protocol):
    """As much of `access_log.AccessLog` as a stream needs."""

    def log(
        self,
        request_headers: HeaderMap | None,
        response_headers: HeaderMap | None,
        response_trailers: HeaderMap | None,
        stream_info: StreamInfo,
        access_log_type: str,
    ) -> None: ...


class StreamTracing(Protocol):
    """As much of `tracing.ConnectionManagerTracing` as a stream needs."""

    def start(self, stream: ActiveStream, headers: RequestHeaderMap) -> Any: ...
    def refresh(self, stream: ActiveStream) -> None: ...
    def on_response(self, stream: ActiveStream, headers: ResponseHeaderMap) -> None: ...
    def finish(self, stream: ActiveStream, span: Any, now: float) -> None: ...


@record(frozen=False)
class ConnectionManagerConfig:
    """Shared by every connection of a filter chain; only routes change once connections use it. Seconds; 0 is off.

    Attributes:
        idle_timeout: of a connection without streams.
        drain_timeout: between announcing that a connection will be closed and closing it.
        internal_address: tells whether an IP address counts as internal.
        make_codec: the codec of a connection, by its first bytes.
        new_request_id: makes an `x-request-id`, ready for the wire.
        stream_class: `ActiveStream`, or `FilteredStream` where there are more filters than the terminal one.
        drain_close: asked before each response while `drain_state.active`; True makes it the connection's last one.
        drain_delay: asked when `drain_state` begins; seconds until a connection is asked to end whatever it does.
        scheme_to_overwrite: the scheme of every request, whatever it says; empty leaves it.
        original_ip_detections: asked one after the other who the client is; they rule out `use_remote_address`.
        overload: what the overload manager has decided; None: nobody decides anything.
        packs_trace_reason: request ids say why their requests are traced.
        tracing: begins and ends the spans of streams; None: no request is traced.
        local_reply: what is done to the proxy's own answers; None leaves them as they are.
        connections: those that are open, whose bytes are counted when somebody asks.
        skip_xff_append, use_remote_address, xff_num_trusted_hops: docs "x-forwarded-for".
        upgrades: lower-case names of the upgrades that are let through.
        upgrade_filter_chains: those that have filters of their own, also where only a route lets the upgrade through.
    """

    dispatcher: Dispatcher
    stat_prefix: str
    stats: ConnectionManagerStats
    listener_stats: ConnectionManagerListenerStats
    tracing_stats: ConnectionManagerTracingStats
    filter_chain: FilterChain
    route_config: RouteConfig
    make_codec: Callable[[ConnectionManager, bytes], ServerConnection]
    http1: Http1Settings
    access_logs: tuple[AccessLog, ...]
    new_request_id: Callable[[], tuple[bytes, bytes, bytes, int]]
    stream_class: type[ActiveStream]
    date: DateProvider
    drain_close: Callable[[], bool]
    drain_delay: Callable[[float], float | None]
    drain_state: DrainState
    runtime: Loader
    explanations: ExplanationLog | None = None
    local_reply: LocalReply | None = None
    proxy_status: ProxyStatus | None = None
    tracing: StreamTracing | None = None
    packs_trace_reason: bool = True
    scheme_to_overwrite: bytes = b""
    original_ip_detections: tuple[Detect, ...] = ()
    early_header_mutations: tuple[Mutate, ...] = ()
    local_address: str = "127.0.0.1"
    server_name: bytes = b"envoy"
    server_transformation: ServerHeaderTransformation = ServerHeaderTransformation.OVERWRITE
    via: bytes = b""
    user_agent: bytes | None = None
    """What `add_user_agent` tells, the name of this proxy's cluster, even if it has none; None without it."""
    service_node: bytes = b""
    use_remote_address: bool = False
    skip_xff_append: bool = False
    xff_num_trusted_hops: int = 0
    internal_address: Callable[[str], bool] | None = None
    append_x_forwarded_port: bool = False
    generate_request_id: bool = True
    preserve_external_request_id: bool = False
    always_set_request_id_in_response: bool = False
    normalize_path: bool = False
    merge_slashes: bool = False
    path_with_escaped_slashes: PathWithEscapedSlashesAction = PathWithEscapedSlashesAction.KEEP_UNCHANGED
    strip_any_host_port: bool = False
    strip_matching_host_port: int = 0
    strip_trailing_host_dot: bool = False
    proxy_100_continue: bool = False
    stream_error_on_invalid_http_message: bool = False
    append_local_overload: bool = False
    overload: OverloadState | None = None
    idle_timeout: float = 3600.0
    stream_idle_timeout: float = 300.0
    request_timeout: float = 0.0
    request_headers_timeout: float = 0.0
    max_stream_duration: float = 0.0
    max_connection_duration: float = 0.0
    max_connection_duration_jitter: float = 0.0
    """Of the duration, at most so much is added, as a fraction; `drain_timeout_jitter` likewise."""
    http1_safe_max_connection_duration: bool = False
    drain_timeout: float = 5.0
    drain_timeout_jitter: float = 0.0
    draw: Callable[[], float] = lambda: 0.0
    """A random number from 0 to 1."""
    secure_ports: Mapping[int, bool] = field(default_factory=dict)
    """By the port of a PROXY header: whether the client of the peer has come by TLS (`forward_proto_config`)."""
    delayed_close_timeout: float = 1.0
    max_requests_per_connection: int = 0
    buffer_limit: int = 1024 * 1024
    upgrades: frozenset[bytes] = frozenset()
    upgrade_filter_chains: Mapping[bytes, FilterChain] = field(default_factory=dict)
    access_log_flush_interval: float = 0.0
    flush_access_log_on_new_request: bool = False
    flush_log_on_tunnel_successfully_established: bool = False
    traffic_direction: str = "UNSPECIFIED"
    listener_name: str = ""
    tls: bool = False
    """Whether connections may be encrypted: then every request is asked for its scheme."""
    client_cert: ForwardedClientCert | None = None
    """What is done with `x-forwarded-client-cert`; None if it is removed."""
    connections: set[ConnectionManager] = field(default_factory=set)
    """What its subscription to routes knows it by; None if its routes do not change."""
    server_entry: tuple[bytes, bytes, bytes, int] = field(init=False)
    filtered: bool = field(init=False)
    """There are more filters than the terminal one."""
    has_stream_timers: bool = field(init=False)
    rewrites_request: bool = field(init=False)
    """Whether more than `x-forwarded-proto` is added to every request."""
    rewrites_target: bool = field(init=False)
    """Whether path, host or headers are changed before a route is chosen."""
    completes_response: bool = field(init=False)
    """Whether every response is asked if it needs an `x-request-id`, a `via` or a `proxy-status`."""

    def __post_init__(self) -> None:
        self.server_entry = entry(b"server", self.server_name)
        self.has_stream_timers = any(
            (
                self.request_timeout,
                self.request_headers_timeout,
                self.max_stream_duration,
                self.access_log_flush_interval,
            )
        )
        self.completes_response = (
            self.always_set_request_id_in_response
            or bool(self.via)
            or self.proxy_status is not None
            or self.tracing is not None
        )
        self.rewrites_target = (
            self.normalize_path
            or self.merge_slashes
            or self.path_with_escaped_slashes is not PathWithEscapedSlashesAction.KEEP_UNCHANGED
            or self.strip_any_host_port
            or bool(self.strip_matching_host_port)
            or self.strip_trailing_host_dot
            or bool(self.early_header_mutations)
        )
        self.use_routes(self.route_config, self.stream_class)

    def use_routes(self, route_config: RouteConfig, stream_class: type[ActiveStream]) -> None:
        """Of streams that begin from now on; a stream under way that has its route already keeps it."""
        self.route_config = route_config
        self.stream_class = stream_class
        self.filtered = stream_class.filtered
        self.rewrites_request = bool(
            self.use_remote_address
            or self.internal_address is not None
            or self.route_config.internal_only_headers
            or self.user_agent is not None
            or self.append_x_forwarded_port
            or self.via
            or self.tls
            or self.scheme_to_overwrite
            or self.secure_ports
            or self.original_ip_detections
        )
