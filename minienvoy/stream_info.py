"""What is known of a stream or of a connection: what access logs, filters and retries ask.

Envoy: `StreamInfo::StreamInfo`, `StreamInfo::CoreResponseFlag`, `Network::ConnectionInfoProvider`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, Protocol

if TYPE_CHECKING:
    from .network.address import Address


class ResponseFlag:
    """Bits of `StreamInfo.response_flags`; plain ints, because enum arithmetic is slow.

    `NAMES` is in Envoy's order, which is the order in which several flags are printed.
    """

    FAILED_LOCAL_HEALTH_CHECK: Final = 1 << 0
    NO_HEALTHY_UPSTREAM: Final = 1 << 1
    UPSTREAM_REQUEST_TIMEOUT: Final = 1 << 2
    LOCAL_RESET: Final = 1 << 3
    UPSTREAM_REMOTE_RESET: Final = 1 << 4
    UPSTREAM_CONNECTION_FAILURE: Final = 1 << 5
    UPSTREAM_CONNECTION_TERMINATION: Final = 1 << 6
    UPSTREAM_OVERFLOW: Final = 1 << 7
    NO_ROUTE_FOUND: Final = 1 << 8
    DELAY_INJECTED: Final = 1 << 9
    FAULT_INJECTED: Final = 1 << 10
    RATE_LIMITED: Final = 1 << 11
    UNAUTHORIZED_EXTERNAL_SERVICE: Final = 1 << 12
    RATE_LIMIT_SERVICE_ERROR: Final = 1 << 13
    DOWNSTREAM_CONNECTION_TERMINATION: Final = 1 << 14
    UPSTREAM_RETRY_LIMIT_EXCEEDED: Final = 1 << 15
    STREAM_IDLE_TIMEOUT: Final = 1 << 16
    INVALID_ENVOY_REQUEST_HEADERS: Final = 1 << 17
    DOWNSTREAM_PROTOCOL_ERROR: Final = 1 << 18
    UPSTREAM_MAX_STREAM_DURATION_REACHED: Final = 1 << 19
    RESPONSE_FROM_CACHE_FILTER: Final = 1 << 20
    NO_FILTER_CONFIG_FOUND: Final = 1 << 21
    DURATION_TIMEOUT: Final = 1 << 22
    UPSTREAM_PROTOCOL_ERROR: Final = 1 << 23
    NO_CLUSTER_FOUND: Final = 1 << 24
    OVERLOAD_MANAGER_TERMINATED: Final = 1 << 25
    DNS_RESOLUTION_FAILED: Final = 1 << 26
    DROP_OVERLOAD: Final = 1 << 27
    DOWNSTREAM_REMOTE_RESET: Final = 1 << 28
    UNCONDITIONAL_DROP_OVERLOAD: Final = 1 << 29

    NAMES: Final = (
        ("LH", "FailedLocalHealthCheck"),
        ("UH", "NoHealthyUpstream"),
        ("UT", "UpstreamRequestTimeout"),
        ("LR", "LocalReset"),
        ("UR", "UpstreamRemoteReset"),
        ("UF", "UpstreamConnectionFailure"),
        ("UC", "UpstreamConnectionTermination"),
        ("UO", "UpstreamOverflow"),
        ("NR", "NoRouteFound"),
        ("DI", "DelayInjected"),
        ("FI", "FaultInjected"),
        ("RL", "RateLimited"),
        ("UAEX", "UnauthorizedExternalService"),
        ("RLSE", "RateLimitServiceError"),
        ("DC", "DownstreamConnectionTermination"),
        ("URX", "UpstreamRetryLimitExceeded"),
        ("SI", "StreamIdleTimeout"),
        ("IH", "InvalidEnvoyRequestHeaders"),
        ("DPE", "DownstreamProtocolError"),
        ("UMSDR", "UpstreamMaxStreamDurationReached"),
        ("RFCF", "ResponseFromCacheFilter"),
        ("NFCF", "NoFilterConfigFound"),
        ("DT", "DurationTimeout"),
        ("UPE", "UpstreamProtocolError"),
        ("NC", "NoClusterFound"),
        ("OM", "OverloadManagerTerminated"),
        ("DF", "DnsResolutionFailed"),
        ("DO", "DropOverload"),
        ("DR", "DownstreamRemoteReset"),
        ("UDO", "UnconditionalDropOverload"),
    )


class AccessLogType:
    """Why a line is written (`%ACCESS_LOG_TYPE%`); the values are the names in the API."""

    NOT_SET: Final = "NotSet"
    TCP_UPSTREAM_CONNECTED: Final = "TcpUpstreamConnected"
    TCP_PERIODIC: Final = "TcpPeriodic"
    TCP_CONNECTION_END: Final = "TcpConnectionEnd"
    TCP_CONNECTION_START: Final = "TcpConnectionStart"
    DOWNSTREAM_START: Final = "DownstreamStart"
    DOWNSTREAM_PERIODIC: Final = "DownstreamPeriodic"
    DOWNSTREAM_END: Final = "DownstreamEnd"
    DOWNSTREAM_TUNNEL_SUCCESSFULLY_ESTABLISHED: Final = "DownstreamTunnelSuccessfullyEstablished"
    UPSTREAM_POOL_READY: Final = "UpstreamPoolReady"
    UPSTREAM_PERIODIC: Final = "UpstreamPeriodic"
    UPSTREAM_END: Final = "UpstreamEnd"
    UDP_PERIODIC: Final = "UdpPeriodic"
    UDP_SESSION_END: Final = "UdpSessionEnd"


class ConnectionInfo:
    """Who is at the two ends of a connection (`Network::ConnectionInfoProvider`).

    `remote_address` may be replaced by what a PROXY header or `x-forwarded-for` says; `direct_*` stay as the kernel
    told them. `id` counts connections of the process from 1.
    """

    __slots__ = (
        "direct_local_address",
        "direct_remote_address",
        "dynamic_metadata",
        "filter_chain_metadata",
        "filter_state",
        "id",
        "ja3_hash",
        "ja4_hash",
        "listener_metadata",
        "local_address",
        "local_address_restored",
        "proxy_header",
        "remote_address",
        "requested_server_name",
        "ssl",
    )

    def __init__(self, local_address: Address | None, remote_address: Address | None, id: int = 0) -> None:
        self.local_address = self.direct_local_address = local_address
        self.remote_address = self.direct_remote_address = remote_address
        self.local_address_restored = False
        """`local_address` is where the client wanted to go: a PROXY header or the kernel has said so."""
        self.id = id
        self.requested_server_name = ""
        self.ja3_hash = self.ja4_hash = ""
        """Fingerprints of the ClientHello, if the TLS inspector was told to take them."""
        self.listener_metadata: Mapping[str, Any] | None = None
        """Of a downstream connection: `filter_metadata` as plain values, of its listener and of its filter chain."""
        self.filter_chain_metadata: Mapping[str, Any] | None = None
        self.dynamic_metadata: dict[str, Any] | None = None
        """What listener filters tell of the connection, for its own log."""
        self.filter_state: dict[str, Any] | None = None
        """The same, for whoever asks by its name, streams of the connection too."""
        self.proxy_header: Any = None
        """What came in a PROXY header (`network.proxy_protocol_header.ProxyHeader`); None if there was none."""
        self.ssl: Any = None
        """Facts of the TLS session (`Ssl::ConnectionInfo`); None on a plain connection."""


class HostDescription(Protocol):
    """As much of an upstream host as a log needs (`Upstream::HostDescription`)."""

    @property
    def address(self) -> Address: ...
    @property
    def hostname(self) -> str: ...
    @property
    def metadata(self) -> Mapping[str, Any]: ...


class TextState(str):
    """An object of the filter state that is shown as text, and is no message."""

    __slots__ = ()


class StructuredState(dict[str, Any]):
    """An object of the filter state that is shown as a message, and has neither text nor fields of its own."""


class OpaqueState:
    """An object of the filter state that shows nothing of itself: `value` is for those who know what it is."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value


class FieldsState(dict[str, Any]):
    """An object of the filter state of which only its fields are shown, to whoever asks for them by their names."""


class MessageState(dict[str, Any]):
    """An object of the filter state that is a message: a mapping of the fields that can be asked for by their names.

    Attributes:
        message: what it says, as JSON shows it, in the order of its fields.
        text: the same with the fields' own names.
    """

    def __init__(self, fields: Mapping[str, Any], message: Mapping[str, Any], text: str) -> None:
        super().__init__(fields)
        self.message = message
        self.text = text

    def __str__(self) -> str:
        return self.text


class StreamInfo:
    """One stream (or TCP connection) as its access log will tell it.

    Defaults are class attributes: a stream that never retries does not pay for `attempt_count`. The HTTP filter manager
    *is* the `StreamInfo` of its stream, the TCP proxy filter makes one. Times named `*_time` are monotonic seconds,
    except `start_time`, which is seconds since the epoch; None means that it has not happened.
    """

    start_time: float = 0.0
    start_monotonic: float = 0.0
    protocol: str | None = None
    """`HTTP/1.0`, `HTTP/1.1`, `HTTP/2`; None for TCP or before it is known."""
    response_code: int | None = None
    response_code_details: str | None = None
    connection_termination_details: str | None = None
    response_flags: int = 0
    later_response_flags: tuple[int, ...] = ()
    """Those that were set after the first one, in that order: Envoy prints them so."""
    bytes_received: int = 0
    """Body bytes from downstream (for TCP: all bytes)."""
    bytes_sent: int = 0
    downstream_wire_bytes_received: int = 0
    downstream_wire_bytes_sent: int = 0
    downstream_header_bytes_received: int = 0
    downstream_header_bytes_sent: int = 0
    upstream_wire_bytes_received: int = 0
    upstream_wire_bytes_sent: int = 0
    upstream_header_bytes_received: int = 0
    upstream_header_bytes_sent: int = 0
    downstream_decompressed_header_bytes_received: int = 0
    downstream_decompressed_header_bytes_sent: int = 0
    upstream_decompressed_header_bytes_received: int = 0
    upstream_decompressed_header_bytes_sent: int = 0
    upstream_meter: Any = None
    """The `ByteMeter` of the last attempt, where bytes are counted."""
    connection: ConnectionInfo
    """The downstream connection."""
    route_name: str = ""
    virtual_host_name: str = ""
    virtual_cluster_name: str | None = None
    upstream_cluster_name: str | None = None
    upstream_host: HostDescription | None = None
    upstream_connection: ConnectionInfo | None = None
    upstream_protocol: str | None = None
    upstream_transport_failure_reason: str = ""
    upstream_connection_pool_ready_time: float | None = None
    attempt_count: int | None = None
    request_id: str = ""
    filter_chain_name: str = ""
    listener_name: str = ""
    traffic_direction: str = "UNSPECIFIED"
    last_downstream_rx_byte_time: float | None = None
    first_upstream_tx_byte_time: float | None = None
    last_upstream_tx_byte_time: float | None = None
    first_upstream_rx_byte_time: float | None = None
    last_upstream_rx_byte_time: float | None = None
    first_downstream_tx_byte_time: float | None = None
    last_downstream_tx_byte_time: float | None = None
    upstream_client: Any = None
    """The upstream connection with its codec; what is seldom asked for is looked up in it."""
    client_speaks_grpc: bool | None = None
    """Set by who changes the content type of the request, because local replies are in the client's language; None: it
    is still as it came."""
    upstream_connect_start_time: float | None = None
    upstream_connect_complete_time: float | None = None
    request_complete_time: float | None = None
    """When the stream ended; None while it runs."""
    upstream_request_create_time: float | None = None
    """When the router (or the TCP proxy) asked the connection pool for a connection, the last time it did."""
    first_upstream_rx_body_byte_time: float | None = None
    route_resolutions: int = 0
    """How often its route was looked for, and how many seconds that took; both are known where a format asks."""
    route_resolution_time: float = 0.0
    attempted_hosts: tuple[HostDescription, ...] = ()
    """Hosts that a connection was had to, in the order of the attempts."""
    attempted_connection_ids: tuple[int, ...] = ()
    upstream_cluster_alt_stat_name: str = ""
    """What logs and statistics call the cluster; empty if that is its name (`observabilityName`)."""
    cluster_metadata: Mapping[str, Any] | None = None
    """These are `filter_metadata` as plain values: of the chosen cluster, route and virtual host."""
    route_metadata: Mapping[str, Any] | None = None
    virtual_host_metadata: Mapping[str, Any] | None = None
    downstream_transport_failure_reason: str = ""
    downstream_local_close_reason: str = ""
    upstream_local_close_reason: str = ""
    downstream_detected_close_type: str = "Normal"
    """`Normal`, `LocalReset` or `RemoteReset`."""
    upstream_detected_close_type: str = ""
    """Empty for the usual one, where there was an upstream."""
    custom_flags: str = ""
    active_span: Any = None
    """The span of a traced request (`tracing.Span`), or None."""
    trace_reason: str = "not_traceable"
    """Why it is traced (`tracing.trace_reason`)."""
    decorated_operation: bytes | None = b""
    """What its route calls it, for the client to know."""
    is_traced: bool = False
    """The request is sampled for tracing."""
    is_health_check: bool = False
    """The request is a health check that a filter of this proxy answered."""
    route_random: int | None = None
    """Drawn once: a stream that is routed again has the same luck (Envoy: its `stream_id`)."""
    upstream_override_host: Any = None
    """The host that a filter wants (`upstream.load_balancer.OverrideHost`); None if the balancer is free."""
    _dynamic_metadata: dict[str, Any] | None = None
    _filter_state: dict[str, Any] | None = None

    @property
    def dynamic_metadata(self) -> dict[str, Any]:
        """Filter name -> plain values (`envoy.config.core.v3.Metadata.filter_metadata`)."""
        if self._dynamic_metadata is None:
            self._dynamic_metadata = {}
        return self._dynamic_metadata

    @property
    def filter_state(self) -> dict[str, Any]:
        """Key -> object that filters share (`StreamInfo::FilterState`)."""
        if self._filter_state is None:
            self._filter_state = {}
        return self._filter_state

    def state(self, key: str) -> Any:
        """The object of that name in the filter state, or else in that of the connection; None if there is none."""
        own = self._filter_state
        if own is not None and key in own:
            return own[key]
        shared = self.connection.filter_state
        return None if shared is None else shared.get(key)

    def told_client_speaks_grpc(self, speaks: bool) -> None:
        """Somebody changes the content type of the request; who does so first knows what the client sent."""
        if self.client_speaks_grpc is None:
            self.client_speaks_grpc = speaks

    def set_response_flag(self, flag: int) -> None:
        before = self.response_flags
        if before and flag & ~before:
            self.later_response_flags += (flag & ~before,)
        self.response_flags = before | flag

    def response_flags_in_order(self) -> tuple[int, ...]:
        """In the order in which they were set."""
        first = self.response_flags
        for flag in self.later_response_flags:
            first &= ~flag
        return (first, *self.later_response_flags) if first else ()

    def has_response_flag(self, flag: int) -> bool:
        return bool(self.response_flags & flag)
