"""What the configuration of `envoy.filters.http.ext_authz` says, and what routes say to it.

Envoy: `Extensions::HttpFilters::ExtAuthz::FilterConfig`, `FilterConfigPerRoute`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from .....config.fields import honours
from .....config.runtime import RuntimeFeatureFlag, RuntimeFractionalPercent
from .....errors import ConfigError
from .....matchers.value import MetadataMatcher
from .....record import record
from .....router.filter_config import ROUTE_FILTER_CONFIGS
from .....stats.store import CounterValue, StatsStruct
from ...common.ext_authz.check_request import (
    CheckRequests,
    HeaderRules,
    PeerSettings,
    compile_key_matchers,
    fill_metadata,
)
from ...common.ext_authz.grpc_client import GrpcAuthorizationClient, refuse_old_api
from ...common.ext_authz.http_client import HttpAuthorizationClient
from ...common.ext_authz.response import FORBIDDEN, Call, RequestCallbacks
from ...common.mutation_rules import MutationRules

if TYPE_CHECKING:
    from .....http.header_map import RequestHeaderMap
    from .....server.factory_context import FactoryContext, ServerContext
    from .....stream_info import ConnectionInfo, StreamInfo

NAME: Final = "envoy.filters.http.ext_authz"
_TYPE: Final = "envoy.extensions.filters.http.ext_authz.v3"
CONFIG_TYPE: Final = f"{_TYPE}.ExtAuthz"
ROUTE_TYPE: Final = f"{_TYPE}.ExtAuthzPerRoute"
FIRST_STATUS, LAST_STATUS = 100, 511

honours(
    CONFIG_TYPE,
    "grpc_service",
    "http_service",
    "failure_mode_allow",
    "failure_mode_allow_header_add",
    "with_request_body",
    "clear_route_cache",
    "clear_route_cache_headers",
    "status_on_error",
    "validate_mutations",
    "metadata_context_namespaces",
    "route_metadata_context_namespaces",
    "filter_enabled",
    "filter_enabled_metadata",
    "deny_at_disable",
    "include_peer_certificate",
    "stat_prefix",
    "bootstrap_metadata_labels_key",
    "allowed_headers",
    "disallowed_headers",
    "include_tls_session",
    "charge_cluster_response_stats",
    "encode_raw_headers",
    "decoder_header_mutation_rules",
    "enable_dynamic_metadata_ingestion",
    "filter_metadata",
    "emit_filter_state_stats",
    "max_denied_response_body_bytes",
    "enforce_response_header_limits",
    "shadow_mode",
    "transport_api_version",
    "emit_client_span",
)
honours(f"{_TYPE}.BufferSettings", "max_request_bytes", "allow_partial_message", "pack_as_bytes")
honours(ROUTE_TYPE, "disabled", "check_settings")
honours("envoy.type.v3.HttpStatus", "code")
honours(
    f"{_TYPE}.CheckSettings",
    "context_extensions",
    "disable_request_body_buffering",
    "with_request_body",
    "grpc_service",
    "http_service",
    "emit_client_span",
)


class ExtAuthzStats(StatsStruct):
    """`http.<stat_prefix>.ext_authz.<prefix>.`"""

    ok: CounterValue
    denied: CounterValue
    error: CounterValue
    disabled: CounterValue
    failure_mode_allowed: CounterValue
    invalid: CounterValue
    ignored_dynamic_metadata: CounterValue
    filter_state_name_collision: CounterValue
    omitted_response_headers: CounterValue
    request_header_limits_reached: CounterValue
    response_header_limits_reached: CounterValue
    shadow_denied: CounterValue
    shadow_error: CounterValue


@record
class BufferSettings:
    """How much of the body the server is told; 0 bytes: nothing of it."""

    max_request_bytes: int = 0
    allow_partial_message: bool = False

    @classmethod
    def from_proto(cls, proto: Any) -> BufferSettings:
        return cls(proto.max_request_bytes, proto.allow_partial_message)


class Question:
    """All that a server could be told of one request. A `body` of None is one that it is not to see.

    `emits_span` is what the route says of it, None if it says nothing.
    """

    __slots__ = ("body", "connection", "emits_span", "extensions", "headers", "partial", "route", "stream")

    def __init__(
        self,
        headers: RequestHeaderMap,
        stream: StreamInfo,
        connection: ConnectionInfo,
        route: Any,
        extensions: Mapping[str, str],
    ) -> None:
        self.headers = headers
        self.stream = stream
        self.connection = connection
        self.route = route
        self.extensions = extensions
        self.body: bytes | None = None
        self.partial = False
        self.emits_span: bool | None = None


class HttpService:
    """`http_service`, of the filter or of a route."""

    def __init__(self, proto: Any, path: str, server: ServerContext) -> None:
        self._client = HttpAuthorizationClient(proto, path, server)

    def check(self, callbacks: RequestCallbacks, question: Question, config: ExtAuthzConfig) -> Call | None:
        asked = question
        emits_span = config.emits_span if asked.emits_span is None else asked.emits_span
        return self._client.check(
            callbacks, config.rules, asked.headers, asked.stream, asked.body, asked.partial, emits_span
        )


class GrpcService:
    """`grpc_service`, of the filter or of a route."""

    def __init__(self, proto: Any, path: str, server: ServerContext) -> None:
        self._client = GrpcAuthorizationClient(proto, path, server)

    def check(self, callbacks: RequestCallbacks, question: Question, config: ExtAuthzConfig) -> Call | None:
        headers, stream = question.headers, question.stream
        request = config.requests.of_request(headers, stream, question.connection, question.body, question.partial)
        attributes = request.attributes
        for key, value in question.extensions.items():
            attributes.context_extensions[key] = value
        attributes.metadata_context.SetInParent()
        attributes.route_metadata_context.SetInParent()
        if config.metadata_namespaces:
            sources = (stream.dynamic_metadata, question.connection.dynamic_metadata)
            fill_metadata(attributes.metadata_context, sources, config.metadata_namespaces)
        if config.route_metadata_namespaces:
            of_route = None if question.route is None else question.route.metadata
            fill_metadata(attributes.route_metadata_context, (of_route,), config.route_metadata_namespaces)
        return self._client.check(callbacks, request, stream, headers)


Service = HttpService | GrpcService


def _service(proto: Any, path: str, server: ServerContext) -> Service | None:
    if proto.HasField("http_service"):
        return HttpService(proto.http_service, f"{path}http_service", server)
    if proto.HasField("grpc_service"):
        return GrpcService(proto.grpc_service, f"{path}grpc_service", server)
    return None


@record
class ExtAuthzConfig:
    """Of the filter.

    Attributes:
        service: None answers every question with an error.
        rules: which headers the server is told of.
        requests: makes those of a gRPC server.
        status_on_error: also where the filter is disabled, and denies.
        cluster_prefix: below `cluster.<name>.`.
        clear_route_cache_headers: empty for all.
        emits_span: questions to a server that speaks HTTP are told of as their requests are; those to others always.
        leaves_state: there is an object of this filter in the filter state, with figures if `tells_figures`; what the
            configuration puts into it (`filter_metadata`) no log can show.
        mutation_rules: None lets the server change every header.
    """

    server: ServerContext
    stats: ExtAuthzStats
    cluster_prefix: str
    service: Service
    rules: HeaderRules
    requests: CheckRequests
    buffer: BufferSettings
    failure_mode_allow: bool
    failure_mode_allow_header_add: bool
    clear_route_cache: bool
    clear_route_cache_headers: frozenset[bytes]
    status_on_error: int
    validate_mutations: bool
    mutation_rules: MutationRules | None
    metadata_namespaces: tuple[str, ...]
    route_metadata_namespaces: tuple[str, ...]
    enabled: RuntimeFractionalPercent | None
    enabled_metadata: MetadataMatcher | None
    deny_at_disable: RuntimeFeatureFlag | None
    charges_cluster: bool
    takes_metadata: bool
    max_denied_body: int
    enforces_response_limits: bool
    shadow_mode: bool
    emits_span: bool
    leaves_state: bool
    tells_figures: bool
    draw: Any

    @classmethod
    def from_proto(cls, proto: Any, context: FactoryContext) -> ExtAuthzConfig:
        """Raises ConfigError: no service, or something in it that is wrong."""
        server = context.server
        refuse_old_api(proto)
        if proto.HasField("allowed_headers") and proto.http_service.authorization_request.HasField("allowed_headers"):
            raise ConfigError("Invalid duplicate configuration for allowed_headers.", "allowed_headers")
        service = _service(proto, "", server)
        if service is None:
            raise ConfigError("there is neither a grpc_service nor an http_service", "")
        if proto.emit_filter_state_stats:
            server.byte_meters = True
        random = server.random.stream(f"{NAME}.{context.filter_name}")
        rules = _header_rules(proto)
        status = proto.status_on_error.code
        prefix = proto.stat_prefix
        return cls(
            server=server,
            stats=context.http_scope.scope("ext_authz").scope(prefix.removesuffix(".")).struct(ExtAuthzStats)
            if prefix
            else context.http_scope.scope("ext_authz").struct(ExtAuthzStats),
            cluster_prefix=f"ext_authz.{prefix}." if prefix else "ext_authz.",
            service=service,
            rules=rules,
            requests=CheckRequests(
                PeerSettings.from_proto(proto, server.node),
                rules,
                raw_headers=proto.encode_raw_headers,
                raw_body=proto.with_request_body.pack_as_bytes,
                next_id=lambda: random.getrandbits(64),
            ),
            buffer=BufferSettings.from_proto(proto.with_request_body),
            failure_mode_allow=proto.failure_mode_allow,
            failure_mode_allow_header_add=proto.failure_mode_allow_header_add,
            clear_route_cache=proto.clear_route_cache,
            clear_route_cache_headers=frozenset(name.lower().encode() for name in proto.clear_route_cache_headers),
            status_on_error=status if FIRST_STATUS <= status <= LAST_STATUS else FORBIDDEN,
            validate_mutations=proto.validate_mutations,
            mutation_rules=(
                MutationRules.from_proto(proto.decoder_header_mutation_rules, "decoder_header_mutation_rules")
                if proto.HasField("decoder_header_mutation_rules")
                else None
            ),
            metadata_namespaces=tuple(proto.metadata_context_namespaces),
            route_metadata_namespaces=tuple(proto.route_metadata_context_namespaces),
            enabled=(
                RuntimeFractionalPercent.from_proto(proto.filter_enabled) if proto.HasField("filter_enabled") else None
            ),
            enabled_metadata=(
                MetadataMatcher.from_proto(proto.filter_enabled_metadata, "filter_enabled_metadata")
                if proto.HasField("filter_enabled_metadata")
                else None
            ),
            deny_at_disable=(
                RuntimeFeatureFlag.from_proto(proto.deny_at_disable) if proto.HasField("deny_at_disable") else None
            ),
            charges_cluster=_wrapped(proto, "charge_cluster_response_stats", True),
            takes_metadata=_wrapped(proto, "enable_dynamic_metadata_ingestion", True),
            max_denied_body=proto.max_denied_response_body_bytes,
            enforces_response_limits=proto.enforce_response_header_limits,
            shadow_mode=proto.shadow_mode,
            emits_span=_wrapped(proto, "emit_client_span", True),
            leaves_state=proto.emit_filter_state_stats or proto.HasField("filter_metadata"),
            tells_figures=proto.emit_filter_state_stats,
            draw=random.getrandbits,
        )

    def filter_enabled(self, stream: StreamInfo) -> bool:
        """Draw."""
        if self.enabled is not None and not self.server.runtime.snapshot.fraction_enabled(self.enabled, self.draw(64)):
            return False
        return self.enabled_metadata is None or self.enabled_metadata.matches(stream.dynamic_metadata)


def _wrapped(proto: Any, field: str, default: bool) -> bool:
    return bool(getattr(proto, field).value) if proto.HasField(field) else default


def _header_rules(proto: Any) -> HeaderRules:
    """A gRPC server is told of everything that is not kept from it, an HTTP server only of what it may have."""
    allowed = disallowed = None
    if proto.HasField("http_service"):
        listed, path = proto.allowed_headers, "allowed_headers"
        if proto.http_service.authorization_request.HasField("allowed_headers"):
            listed = proto.http_service.authorization_request.allowed_headers
            path = "http_service.authorization_request.allowed_headers"
        allowed = compile_key_matchers(listed, path, http=True)
    elif proto.HasField("allowed_headers"):
        allowed = compile_key_matchers(proto.allowed_headers, "allowed_headers")
    if proto.HasField("disallowed_headers"):
        disallowed = compile_key_matchers(proto.disallowed_headers, "disallowed_headers")
    return HeaderRules(allowed, disallowed)


@record
class RouteSettings:
    """Of one level of a route; `buffer`, `service` and `emits_span` replace those of the filter, None leaves them."""

    disabled: bool
    extensions: Mapping[str, str]
    buffers: bool
    buffer: BufferSettings | None
    service: Service | None
    emits_span: bool | None


@ROUTE_FILTER_CONFIGS.register(NAME, ROUTE_TYPE)
def create_route_settings(proto: Any, path: str, server: ServerContext) -> RouteSettings:
    """Raises ConfigError below `path`."""
    settings = proto.check_settings
    if settings.disable_request_body_buffering and settings.HasField("with_request_body"):
        raise ConfigError(
            "Invalid configuration for check_settings. Only one of disable_request_body_buffering or "
            "with_request_body can be set.",
            f"{path}.check_settings",
        )
    return RouteSettings(
        proto.disabled,
        dict(settings.context_extensions),
        not settings.disable_request_body_buffering,
        BufferSettings.from_proto(settings.with_request_body) if settings.HasField("with_request_body") else None,
        _service(settings, f"{path}.check_settings.", server),
        settings.emit_client_span.value if settings.HasField("emit_client_span") else None,
    )
