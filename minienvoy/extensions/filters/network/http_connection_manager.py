"""`envoy.filters.network.http_connection_manager`: its configuration, compiled.

Envoy: `source/extensions/filters/network/http_connection_manager/config.cc`. The filter itself is
`minienvoy.http.conn_manager`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from ....config.api import type_of, unpack
from ....config.extension import create_extensions
from ....config.fields import declared_in, forbids, honours
from ....errors import ConfigError
from ....http.active_stream import ActiveStream
from ....http.conn_manager import ConnectionManager
from ....http.conn_manager_config import (
    ConnectionManagerConfig,
    PathWithEscapedSlashesAction,
    ServerHeaderTransformation,
)
from ....http.conn_manager_stats import (
    ConnectionManagerListenerStats,
    ConnectionManagerStats,
    ConnectionManagerTracingStats,
)
from ....http.date_provider import DateProvider
from ....http.early_header_mutation import EARLY_HEADER_MUTATION
from ....http.original_ip_detection import ORIGINAL_IP_DETECTION
from ....http.request_id import REQUEST_ID, RequestIdSettings, request_id_maker
from ....network.filter import NETWORK_FILTERS, NetworkFilterFactory
from ....router.config import RouteConfig
from ....server.factory_context import FactoryContext, ServerContext
from .http_connection_manager_codec import codec_maker, http1_settings, timeout
from .http_filter_chain import create_filter_chain, create_upgrade_filter_chains

if TYPE_CHECKING:
    from ....http.forwarded_client_cert import ForwardedClientCert
    from ....http.local_reply import LocalReply
    from ....http.proxy_status import ProxyStatus
    from ....router.rds import RouteConfigProvider
    from ....router.scoped_config import ScopedConfig
    from ....stats.store import Scope
    from ....tracing.connection_manager_tracing import ConnectionManagerTracing

CONFIG_TYPE: Final = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"

HTTP3: Final = 3
"""Of `HttpConnectionManager.CodecType`."""

honours(
    CONFIG_TYPE,
    "stat_prefix",
    "route_config",
    "rds",
    "scoped_routes",
    "http_filters",
    "add_user_agent",
    "common_http_protocol_options",
    "http_protocol_options",
    "http2_protocol_options",
    "stream_error_on_invalid_http_message",
    "server_name",
    "server_header_transformation",
    "max_request_headers_kb",
    "stream_flush_timeout",
    "stream_idle_timeout",
    "request_timeout",
    "request_headers_timeout",
    "drain_timeout",
    "drain_timeout_jitter",
    "forward_proto_config",
    "http1_safe_max_connection_duration",
    "delayed_close_timeout",
    "access_log",
    "use_remote_address",
    "xff_num_trusted_hops",
    "internal_address_config",
    "skip_xff_append",
    "via",
    "append_local_overload",
    "generate_request_id",
    "preserve_external_request_id",
    "always_set_request_id_in_response",
    "proxy_100_continue",
    "normalize_path",
    "merge_slashes",
    "path_with_escaped_slashes_action",
    "strip_matching_host_port",
    "strip_any_host_port",
    "strip_trailing_host_dot",
    "append_x_forwarded_port",
    "access_log_options",
    "access_log_flush_interval",
    "flush_access_log_on_new_request",
    "local_reply_config",
    "proxy_status_config",
    "record_route_resolution_stats",
    "scheme_header_transformation",
    "original_ip_detection_extensions",
    "early_header_mutation_extensions",
    "upgrade_configs",
    "forward_client_cert_details",
    "set_current_client_cert_details",
    "tracing",
    "request_id_extension",
    values={
        "codec_type": ("AUTO", "HTTP1", "HTTP2"),
    },
    ignored={
        "add_proxy_protocol_connection_state": "no upstream connection begins with a PROXY header that it would be in",
        "path_normalization_options": "Envoy does not implement them either",
        "represent_ipv4_remote_address_as_ipv4_mapped_ipv6": "Envoy was seen to forward and log the same addresses",
    },
)
honours("envoy.extensions.filters.network.http_connection_manager.v3.RequestIDExtension", "typed_config")
declared_in("minienvoy.tracing.connection_manager_tracing", f"{CONFIG_TYPE}.Tracing")
declared_in(
    "minienvoy.extensions.filters.network.internal_address_config",
    f"{CONFIG_TYPE}.InternalAddressConfig",
)
declared_in("minienvoy.router.scoped_config", f"{CONFIG_TYPE.rpartition('.')[0]}.ScopedRoutes")
honours(
    "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager.HcmAccessLogOptions",
    "access_log_flush_interval",
    "flush_access_log_on_new_request",
    "flush_log_on_tunnel_successfully_established",
)
honours(f"{CONFIG_TYPE}.SetCurrentClientCertDetails", "subject", "cert", "chain", "dns", "uri", "issuer", "format")
honours(f"{CONFIG_TYPE}.UpgradeConfig", "upgrade_type", "enabled")
honours(f"{CONFIG_TYPE.rpartition('.')[0]}.ForwardProtoConfig", "https_destination_ports", "http_destination_ports")
honours(f"{CONFIG_TYPE.rpartition('.')[0]}.LocalReplyConfig", "mappers", "body_format")
honours(
    f"{CONFIG_TYPE.rpartition('.')[0]}.ResponseMapper",
    "filter",
    "status_code",
    "body",
    "body_format_override",
    "headers_to_add",
)
honours(
    f"{CONFIG_TYPE}.ProxyStatusConfig",
    "remove_details",
    "remove_connection_termination_details",
    "remove_response_flags",
    "set_recommended_response_code",
    "use_node_id",
    "literal_proxy_name",
)
honours("envoy.config.core.v3.SchemeHeaderTransformation", "scheme_to_overwrite", "match_upstream")
honours(
    "envoy.config.core.v3.HttpProtocolOptions",
    "idle_timeout",
    "max_connection_duration",
    "max_connection_duration_jitter",
    "max_headers_count",
    "max_stream_duration",
    "headers_with_underscores_action",
    "max_requests_per_connection",
)


@forbids(CONFIG_TYPE)
def check_connection_manager(config: Any, path: str) -> None:
    """What contradicts itself, or what it runs on."""

    def refuse(problem: str, field: str) -> ConfigError:
        return ConfigError(problem, f"{path}.{field}" if path else field)

    if config.codec_type == HTTP3:
        raise refuse("HTTP/3 codec configured on non-QUIC listener.", "codec_type")
    if config.strip_matching_host_port and config.strip_any_host_port:
        raise refuse(
            "Error: Only one of `strip_matching_host_port` or `strip_any_host_port` can be set.",
            "strip_matching_host_port",
        )
    if config.original_ip_detection_extensions:
        for field, is_set in (
            ("use_remote_address", config.use_remote_address.value),
            ("xff_num_trusted_hops", config.xff_num_trusted_hops),
        ):
            if is_set:
                raise refuse(f"Original IP detection extensions and {field} may not be mixed", field)


@NETWORK_FILTERS.register("envoy.filters.network.http_connection_manager", CONFIG_TYPE)
def create_http_connection_manager(config: Any, context: FactoryContext) -> NetworkFilterFactory:
    compiled = compile_connection_manager(config, context)
    if compiled.overload is None:
        return lambda: ConnectionManager(compiled)
    from ....http.shedding_connection import SheddingConnectionManager

    return lambda: SheddingConnectionManager(compiled)


def compile_connection_manager(config: Any, context: FactoryContext, path: str = "") -> ConnectionManagerConfig:
    """Raises ConfigError below `path`, with the field's place in the message if `path` is empty."""
    server = context.server
    http_scope = context.scope.scope(f"http.{config.stat_prefix}")
    tracing_stats = ConnectionManagerTracingStats()
    if config.stat_prefix != "admin":
        tracing_stats = http_scope.scope("tracing").struct(ConnectionManagerTracingStats)
    stats = http_scope.struct(ConnectionManagerStats)
    listener_stats = context.listener_scope.scope(f"http.{config.stat_prefix}").struct(ConnectionManagerListenerStats)
    join = f"{path}." if path else ""
    make_routes = _route_maker(config, server)
    provider = _route_provider(config, server, http_scope, join)
    route_config = _route_config(config, make_routes, provider, join)
    common, http1 = config.common_http_protocol_options, config.http_protocol_options
    # The admin interface is for whoever wants to know what is wrong.
    overload = context.overload if config.stat_prefix != "admin" else None
    filters_context = context.for_http_filters(http_scope)
    filters_context.traced = config.HasField("tracing")
    filter_chain = create_filter_chain(config.http_filters, filters_context, f"{join}http_filters")
    upgrade_chains = create_upgrade_filter_chains(config.upgrade_configs, filters_context, f"{join}upgrade_configs")
    request_id = _request_id_settings(config, f"{join}request_id_extension")

    def stream_class(routes: RouteConfig | ScopedConfig) -> type[ActiveStream]:
        only_terminal = filter_chain.plain and not upgrade_chains
        only_terminal = only_terminal and filter_chain.terminal_name not in routes.switched_filters
        return _stream_class(only_terminal, config.HasField("tracing"), overload is not None)

    compiled = ConnectionManagerConfig(
        dispatcher=server.dispatcher,
        stat_prefix=config.stat_prefix,
        stats=stats,
        listener_stats=listener_stats,
        tracing_stats=tracing_stats,
        filter_chain=filter_chain,
        stream_class=stream_class(route_config),
        tracing=_tracing(config, context, request_id, f"{join}tracing"),
        packs_trace_reason=request_id.packs_trace_reason,
        route_config=route_config,
        make_codec=codec_maker(config, context),
        http1=http1_settings(config, common, http1, f"{join}http_protocol_options"),
        access_logs=_access_logs(config.access_log, context, f"{join}access_log"),
        new_request_id=request_id_maker(server.random.stream(f"http.{config.stat_prefix}.request_id").getrandbits),
        date=DateProvider(server.dispatcher),
        drain_close=context.drain_close,
        drain_delay=context.drain_delay,
        drain_state=server.drain_state,
        runtime=server.runtime,
        explanations=context.explanations,
        overload=overload,
        append_local_overload=config.append_local_overload,
        proxy_status=_proxy_status(config, context),
        upgrades=_upgrades(config.upgrade_configs, f"{join}upgrade_configs"),
        upgrade_filter_chains=upgrade_chains,
        scheme_to_overwrite=config.scheme_header_transformation.scheme_to_overwrite.encode(),
        original_ip_detections=tuple(
            create_extensions(
                ORIGINAL_IP_DETECTION,
                config.original_ip_detection_extensions,
                f"{join}original_ip_detection_extensions",
            )
        ),
        early_header_mutations=tuple(
            create_extensions(
                EARLY_HEADER_MUTATION,
                config.early_header_mutation_extensions,
                f"{join}early_header_mutation_extensions",
                server,
            )
        ),
        local_reply=_local_reply(config, context, f"{join}local_reply_config"),
        local_address=server.local_address,
        server_name=config.server_name.encode() or b"envoy",
        server_transformation=ServerHeaderTransformation(config.server_header_transformation),
        via=config.via.encode(),
        user_agent=server.service_cluster.encode() if config.add_user_agent.value else None,
        service_node=server.node.id.encode(),
        use_remote_address=config.use_remote_address.value,
        skip_xff_append=config.skip_xff_append,
        xff_num_trusted_hops=config.xff_num_trusted_hops,
        internal_address=_internal_address(config, f"{join}internal_address_config"),
        append_x_forwarded_port=config.append_x_forwarded_port,
        generate_request_id=not config.HasField("generate_request_id") or config.generate_request_id.value,
        preserve_external_request_id=config.preserve_external_request_id,
        always_set_request_id_in_response=config.always_set_request_id_in_response,
        normalize_path=config.normalize_path.value,
        merge_slashes=config.merge_slashes,
        path_with_escaped_slashes=PathWithEscapedSlashesAction(config.path_with_escaped_slashes_action or 1),
        strip_any_host_port=config.strip_any_host_port,
        strip_matching_host_port=_matching_port(config, context),
        strip_trailing_host_dot=config.strip_trailing_host_dot,
        proxy_100_continue=config.proxy_100_continue,
        idle_timeout=timeout(common, "idle_timeout", 3600.0),
        stream_idle_timeout=timeout(config, "stream_idle_timeout", 300.0),
        request_timeout=timeout(config, "request_timeout", 0.0),
        request_headers_timeout=timeout(config, "request_headers_timeout", 0.0),
        max_stream_duration=timeout(common, "max_stream_duration", 0.0),
        max_connection_duration=timeout(common, "max_connection_duration", 0.0),
        max_connection_duration_jitter=common.max_connection_duration_jitter.value / 100,
        http1_safe_max_connection_duration=config.http1_safe_max_connection_duration,
        drain_timeout=timeout(config, "drain_timeout", 5.0),
        drain_timeout_jitter=config.drain_timeout_jitter.value / 100,
        draw=server.random.stream(f"http.{config.stat_prefix}.jitter").random,
        secure_ports={
            **dict.fromkeys(config.forward_proto_config.http_destination_ports, False),
            **dict.fromkeys(config.forward_proto_config.https_destination_ports, True),
        },
        delayed_close_timeout=timeout(config, "delayed_close_timeout", 1.0),
        max_requests_per_connection=common.max_requests_per_connection.value,
        access_log_flush_interval=timeout(
            config.access_log_options, "access_log_flush_interval", timeout(config, "access_log_flush_interval", 0.0)
        ),
        flush_log_on_tunnel_successfully_established=(
            config.access_log_options.flush_log_on_tunnel_successfully_established
        ),
        flush_access_log_on_new_request=(
            config.access_log_options.flush_access_log_on_new_request or config.flush_access_log_on_new_request
        ),
        traffic_direction=context.traffic_direction,
        listener_name=context.listener_name,
        tls=context.secure,
        client_cert=_client_cert(config),
    )
    report_bytes(compiled, http_scope)
    if config.record_route_resolution_stats:
        from ....http.route_resolution import RouteResolutionRecorder, RouteResolutionStats

        recorder = RouteResolutionRecorder(http_scope.struct(RouteResolutionStats))
        compiled.access_logs = (*compiled.access_logs, recorder)

    def use(routes: RouteConfig | ScopedConfig) -> None:
        used: Any = routes
        if config.record_route_resolution_stats or server.times_routes:
            from ....http.route_resolution import TimedRouteConfig

            used = TimedRouteConfig(used, server.dispatcher)
        compiled.use_routes(used, stream_class(routes))

    use(route_config)
    if provider is not None:
        from ....router.rds import RouteConfigUser

        user = RouteConfigUser(make_routes, use)
        provider.users[user] = None
        context.wait_for(provider.initialize)
        providers = server.route_providers
        assert providers is not None
        context.on_destroy.append(lambda: providers.release(provider, user))
    return compiled


def _request_id_settings(config: Any, path: str) -> RequestIdSettings:
    extension = config.request_id_extension
    if not extension.typed_config.type_url:
        return RequestIdSettings()
    found = REQUEST_ID.find(type_of(extension.typed_config), f"{path}.typed_config")
    return found.factory(unpack(extension.typed_config, f"{path}.typed_config", validate=True))


def _tracing(
    config: Any, context: FactoryContext, request_id: RequestIdSettings, path: str
) -> ConnectionManagerTracing | None:
    if not config.HasField("tracing"):
        return None
    from ....tracing.connection_manager_tracing import ConnectionManagerTracing
    from ....tracing.tracer_manager import TracerManager

    server, tracer, provider = context.server, None, config.tracing.provider
    if not config.tracing.HasField("provider"):
        provider = server.default_tracing
    if provider is not None:
        if server.tracers is None:
            server.tracers = TracerManager()
        tracer = server.tracers.get_or_create(provider, f"{path}.provider", server)
    return ConnectionManagerTracing(
        config.tracing,
        path,
        tracer=tracer,
        egress=context.traffic_direction == "OUTBOUND",
        runtime=server.runtime,
        draw=_random_integer(server.random.stream(f"http.{config.stat_prefix}.tracing").getrandbits),
        node=server.node,
        decided_by_request_id=request_id.decides_on_tracing,
        packs_reason=request_id.packs_trace_reason,
        sources=server,
        spans=server.spans,
    )


def _route_maker(config: Any, server: ServerContext) -> Callable[[Any, str], RouteConfig]:
    """Compiles a `RouteConfiguration` that stands at a path."""
    manager, scheme = server.cluster_manager, config.scheme_header_transformation
    random = _random_integer(server.random.stream(f"http.{config.stat_prefix}.route").getrandbits)
    # Clusters may come after the routes that name them, where routes are no part of the configuration itself.
    validates = config.WhichOneof("route_specifier") != "rds"

    def make(proto: Any, path: str) -> RouteConfig:
        validate = proto.validate_clusters.value if proto.HasField("validate_clusters") else validates
        exists = (lambda name: manager.get(name) is not None) if validate else None
        return RouteConfig(
            proto,
            path,
            runtime=server.runtime,
            sources=server,
            random=random,
            cluster_exists=exists,
            takes_scheme_of_upstream=scheme.match_upstream and not scheme.scheme_to_overwrite,
        )

    return make


def _route_provider(config: Any, server: ServerContext, scope: Scope, join: str) -> RouteConfigProvider | None:
    if config.WhichOneof("route_specifier") != "rds":
        return None
    if server.route_providers is None:
        from ....router.rds import RouteConfigProviders

        server.route_providers = RouteConfigProviders(server.subscriptions, server.node)
    # Several listeners may share it: it has a scope of its own.
    return server.route_providers.get(config.rds, f"{join}rds", server.stats.scope(scope.prefix))


def _route_config(
    config: Any, make: Callable[[Any, str], RouteConfig], provider: RouteConfigProvider | None, join: str
) -> RouteConfig | ScopedConfig:
    kind = config.WhichOneof("route_specifier")
    if provider is not None:
        return make(provider.proto, "resources[0]")
    if kind == "route_config":
        return make(config.route_config, f"{join}route_config")
    if kind == "scoped_routes" and config.scoped_routes.WhichOneof("config_specifier") != "scoped_rds":
        from ....router.scoped_config import ScopedConfig

        return ScopedConfig(config.scoped_routes, f"{join}scoped_routes", make)
    raise ConfigError("only route_config, rds and scoped_routes in place are supported", f"{join}{kind}")


def report_bytes(config: ConnectionManagerConfig, scope: Scope) -> None:
    """Bytes of open connections are added up when statistics are read: no read or write pays for it."""

    def read() -> list[tuple[str, int]]:
        received = sent = 0
        for each in config.connections:
            received += each.connection.bytes_received - each.bytes_received_before
            sent += each.connection.bytes_sent - each.bytes_sent_before
        return [("downstream_cx_rx_bytes_total", received), ("downstream_cx_tx_bytes_total", sent)]

    def reset() -> None:
        for each in config.connections:
            each.bytes_received_before = each.connection.bytes_received
            each.bytes_sent_before = each.connection.bytes_sent

    scope.provider(read, reset=reset)


def _client_cert(config: Any) -> ForwardedClientCert | None:
    if not config.forward_client_cert_details:
        return None
    from ....http.forwarded_client_cert import ForwardedClientCert

    return ForwardedClientCert.from_proto(config.forward_client_cert_details, config.set_current_client_cert_details)


def _random_integer(draw: Callable[[int], int]) -> Callable[[], int]:
    return lambda: draw(64)


def _matching_port(config: Any, context: FactoryContext) -> int:
    return context.listener_port if config.strip_matching_host_port else 0


def _internal_address(config: Any, path: str) -> Callable[[str], bool] | None:
    if not config.HasField("internal_address_config"):
        return None
    from .internal_address_config import internal_address

    return internal_address(config.internal_address_config, path)


def _access_logs(configs: Any, context: FactoryContext, path: str) -> tuple[Any, ...]:
    if not configs:
        return ()
    from ....access_log.access_log import create_access_logs

    return create_access_logs(configs, context, path)


def _upgrades(configs: Any, path: str) -> frozenset[bytes]:
    enabled: dict[bytes, bool] = {}
    for at, each in enumerate(configs):
        name = each.upgrade_type.lower().encode()
        if name in enabled:
            raise ConfigError(
                f"Error: multiple upgrade configs with the same name: '{each.upgrade_type}'",
                f"{path}[{at}].upgrade_type",
            )
        enabled[name] = not each.HasField("enabled") or each.enabled.value
    return frozenset(name for name, on in enabled.items() if on)


def _stream_class(only_terminal: bool, traced: bool, sheds: bool) -> type[ActiveStream]:
    """By whether there is only the filter that answers, whether there are spans, and an overload manager."""
    if traced:
        from ....http.traced_stream import SheddingTracedStream, TracedStream

        return SheddingTracedStream if sheds else TracedStream
    if sheds:
        from ....http.shedding_stream import SheddingFilteredStream, SheddingStream

        return SheddingStream if only_terminal else SheddingFilteredStream
    if only_terminal:
        return ActiveStream
    from ....http.filtered_stream import FilteredStream

    return FilteredStream


def _proxy_status(config: Any, context: FactoryContext) -> ProxyStatus | None:
    if not config.HasField("proxy_status_config"):
        return None
    from ....http.proxy_status import ProxyStatus

    settings = config.proxy_status_config
    kind = settings.WhichOneof("proxy_name")
    name = config.server_name or "envoy"
    if kind == "literal_proxy_name":
        name = settings.literal_proxy_name
    elif kind == "use_node_id":
        name = context.server.node.id
    return ProxyStatus(
        name,
        settings.remove_details,
        settings.remove_connection_termination_details,
        settings.remove_response_flags,
        settings.set_recommended_response_code,
    )


def _local_reply(config: Any, context: FactoryContext, path: str) -> LocalReply | None:
    if not config.HasField("local_reply_config"):
        return None
    from .local_reply_config import compile_local_reply

    return compile_local_reply(config.local_reply_config, context, path)
