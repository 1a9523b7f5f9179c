"""What an ext_proc filter is told, by its own configuration and by routes.

Envoy: `Extensions::HttpFilters::ExternalProcessing::FilterConfig`, `FilterConfigPerRoute`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from .....config.fields import honours
from .....errors import ConfigError
from .....matchers.string import compile_string_matcher
from .....record import record, replace
from .....router.filter_config import ROUTE_FILTER_CONFIGS
from .....server.async_services import GrpcServiceConfig
from .....stats.store import CounterValue, StatsStruct
from .....upstream.duration import duration_of
from ...common.mutation_rules import MutationRules

if TYPE_CHECKING:
    from .....server.factory_context import ServerContext
    from .....stats.store import Scope
    from .....upstream.grpc_client import GrpcClient

NAME: Final = "envoy.filters.http.ext_proc"
_TYPE: Final = "envoy.extensions.filters.http.ext_proc.v3"
CONFIG_TYPE: Final = f"{_TYPE}.ExternalProcessor"
ROUTE_TYPE: Final = f"{_TYPE}.ExtProcPerRoute"

honours(
    CONFIG_TYPE,
    "grpc_service",
    "failure_mode_allow",
    "processing_mode",
    "message_timeout",
    "stat_prefix",
    "mutation_rules",
    "max_message_timeout",
    "forward_rules",
    "allow_mode_override",
    "allowed_override_modes",
    "disable_immediate_response",
    "disable_clear_route_cache",
    "route_cache_action",
    "metadata_options",
    "status_on_error",
    "allow_content_length_header",
)
honours(
    f"{_TYPE}.ProcessingMode",
    "request_header_mode",
    "response_header_mode",
    "request_trailer_mode",
    "response_trailer_mode",
    values={
        "request_body_mode": ("NONE", "STREAMED", "BUFFERED", "BUFFERED_PARTIAL"),
        "response_body_mode": ("NONE", "STREAMED", "BUFFERED", "BUFFERED_PARTIAL"),
    },
)
honours(f"{_TYPE}.HeaderForwardingRules", "allowed_headers", "disallowed_headers")
honours(f"{_TYPE}.MetadataOptions", "forwarding_namespaces", "receiving_namespaces")
honours(f"{_TYPE}.MetadataOptions.MetadataNamespaces", "untyped")
honours(ROUTE_TYPE, "disabled", "overrides")
honours(
    f"{_TYPE}.ExtProcOverrides",
    "processing_mode",
    "grpc_service",
    "grpc_initial_metadata",
    "metadata_options",
    "failure_mode_allow",
)
honours("envoy.type.v3.HttpStatus", "code")

NONE, STREAMED, BUFFERED, BUFFERED_PARTIAL = range(4)
"""Body modes."""
_SEND, _SKIP = 1, 2
DEFAULT_ROUTE_CACHE, CLEAR, RETAIN = range(3)
DEFAULT_TIMEOUT: Final = 0.2
"""Seconds."""


class ExtProcStats(StatsStruct):
    """`http.<stat_prefix>.ext_proc.`, or that of a cluster."""

    clear_route_cache_disabled: CounterValue
    clear_route_cache_ignored: CounterValue
    clear_route_cache_upstream_ignored: CounterValue
    failure_mode_allowed: CounterValue
    http_not_ok_resp_received: CounterValue
    immediate_responses_sent: CounterValue
    message_timeouts: CounterValue
    override_message_timeout_ignored: CounterValue
    override_message_timeout_received: CounterValue
    rejected_header_mutations: CounterValue
    send_immediate_resp_upstream_ignored: CounterValue
    server_half_closed: CounterValue
    spurious_msgs_received: CounterValue
    stream_msgs_received: CounterValue
    stream_msgs_sent: CounterValue
    streams_closed: CounterValue
    streams_failed: CounterValue
    streams_started: CounterValue


@record
class DirectionMode:
    """What the processor is sent of a request, or of a response."""

    headers: bool
    body: int
    trailers: bool

    @property
    def nothing(self) -> bool:
        return not self.headers and not self.body and not self.trailers


@record
class ProcessingMode:
    """Attributes:
    key: what it says of everything but the headers of the request, which are over by the time it could change.
    """

    request: DirectionMode
    response: DirectionMode
    key: tuple[Any, ...] = ()

    @classmethod
    def from_proto(cls, proto: Any) -> ProcessingMode:
        """Headers are sent unless they are skipped, trailers only if that is said."""
        request = DirectionMode(
            proto.request_header_mode != _SKIP, proto.request_body_mode, proto.request_trailer_mode == _SEND
        )
        response = DirectionMode(
            proto.response_header_mode != _SKIP, proto.response_body_mode, proto.response_trailer_mode == _SEND
        )
        key = (
            proto.response_header_mode,
            proto.request_body_mode,
            proto.response_body_mode,
            proto.request_trailer_mode,
            proto.response_trailer_mode,
        )
        return cls(request, response, key)


_NOTHING: Final = DirectionMode(False, NONE, False)
DISABLED: Final = ProcessingMode(_NOTHING, _NOTHING)


@record
class ExtProcConfig:
    """Attributes:
    message_timeout: seconds for each answer; a processor may ask for up to `max_message_timeout`, 0 for none.
    forwards: metadata namespaces that the processor is sent; `receives`: that it may change.
    status_on_error: of the reply when it fails.
    """

    service: GrpcServiceConfig
    client: GrpcClient
    stats: ExtProcStats
    mode: ProcessingMode
    failure_mode_allow: bool
    message_timeout: float
    max_message_timeout: float
    rules: MutationRules
    allowed: tuple[Callable[[bytes], bool], ...]
    disallowed: tuple[Callable[[bytes], bool], ...]
    allow_mode_override: bool
    override_modes: frozenset[tuple[Any, ...]]
    disable_immediate_response: bool
    route_cache_action: int
    forwards: tuple[str, ...]
    receives: tuple[str, ...]
    status_on_error: int
    allow_content_length: bool
    metadata: tuple[tuple[bytes, bytes], ...] = ()
    "What is said with the call, by a route."

    @classmethod
    def from_proto(cls, proto: Any, server: ServerContext, scope: Scope) -> ExtProcConfig:
        """Raises ConfigError."""
        if not proto.HasField("grpc_service"):
            raise ConfigError("One and only one of grpc_service or http_service must be configured", "")
        action = proto.route_cache_action
        if proto.disable_clear_route_cache:
            if action != DEFAULT_ROUTE_CACHE:
                raise ConfigError(
                    "disable_clear_route_cache and route_cache_action can not be set to none-default at the same time.",
                    "disable_clear_route_cache",
                )
            action = RETAIN
        service = GrpcServiceConfig.from_proto(proto.grpc_service, "grpc_service", server)
        prefix = f"ext_proc.{proto.stat_prefix}" if proto.stat_prefix else "ext_proc"
        rules = proto.forward_rules
        return cls(
            service,
            service.client(server),
            scope.scope(prefix).struct(ExtProcStats),
            ProcessingMode.from_proto(proto.processing_mode),
            proto.failure_mode_allow,
            duration_of(proto, "message_timeout", DEFAULT_TIMEOUT),
            duration_of(proto, "max_message_timeout", 0.0),
            MutationRules.from_proto(proto.mutation_rules, "mutation_rules"),
            _matchers(rules.allowed_headers, "forward_rules.allowed_headers"),
            _matchers(rules.disallowed_headers, "forward_rules.disallowed_headers"),
            proto.allow_mode_override,
            frozenset(ProcessingMode.from_proto(each).key for each in proto.allowed_override_modes),
            proto.disable_immediate_response,
            action,
            tuple(proto.metadata_options.forwarding_namespaces.untyped),
            tuple(proto.metadata_options.receiving_namespaces.untyped),
            proto.status_on_error.code if proto.HasField("status_on_error") else 500,
            proto.allow_content_length_header,
        )

    def with_route(self, routes: tuple[RouteSettings, ...]) -> ExtProcConfig:
        """With what every level of the route says, the most specific last."""
        merged = self
        for each in routes:
            merged = each.over(merged)
        return merged

    def forwards_header(self, name: bytes) -> bool:
        if any(matches(name) for matches in self.disallowed):
            return False
        return not self.allowed or any(matches(name) for matches in self.allowed)


def _matchers(proto: Any, path: str) -> tuple[Callable[[bytes], bool], ...]:
    return tuple(compile_string_matcher(each, f"{path}.patterns[{at}]") for at, each in enumerate(proto.patterns))


@record
class RouteSettings:
    """What one level of a route says; None: nothing."""

    disabled: bool
    mode: ProcessingMode | None
    service: GrpcServiceConfig | None
    client: GrpcClient | None
    metadata: tuple[tuple[bytes, bytes], ...]
    forwards: tuple[str, ...] | None
    receives: tuple[str, ...] | None
    failure_mode_allow: bool | None

    def over(self, config: ExtProcConfig) -> ExtProcConfig:
        if self.disabled:
            return replace(config, mode=DISABLED)
        changes: dict[str, Any] = {}
        for name in ("mode", "service", "client", "forwards", "receives", "failure_mode_allow"):
            value = getattr(self, name)
            if value is not None:
                changes[name] = value
        if self.metadata:
            names = {name for name, _ in self.metadata}
            kept = tuple(each for each in config.metadata if each[0] not in names)
            changes["metadata"] = kept + self.metadata
        return replace(config, **changes) if changes else config


@ROUTE_FILTER_CONFIGS.register(NAME, ROUTE_TYPE)
def create_route_settings(proto: Any, path: str, server: Any) -> RouteSettings:
    overrides = proto.overrides
    service = None
    if overrides.HasField("grpc_service"):
        service = GrpcServiceConfig.from_proto(overrides.grpc_service, f"{path}.overrides.grpc_service", server)
    options = overrides.metadata_options
    return RouteSettings(
        proto.disabled,
        ProcessingMode.from_proto(overrides.processing_mode) if overrides.HasField("processing_mode") else None,
        service,
        None if service is None else service.client(server),
        tuple((each.key.lower().encode(), each.value.encode()) for each in overrides.grpc_initial_metadata),
        tuple(options.forwarding_namespaces.untyped) if options.HasField("forwarding_namespaces") else None,
        tuple(options.receiving_namespaces.untyped) if options.HasField("receiving_namespaces") else None,
        overrides.failure_mode_allow.value if overrides.HasField("failure_mode_allow") else None,
    )
