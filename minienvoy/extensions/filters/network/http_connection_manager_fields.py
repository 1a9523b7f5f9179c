"""What is honoured of the configuration of an HTTP connection manager, and what contradicts itself in it.

Envoy: what `HttpConnectionManagerConfig` (source/extensions/filters/network/http_connection_manager/config.cc) reads.
"""

from __future__ import annotations

from typing import Any, Final

from ....config.fields import declared_in, forbids, honours
from ....errors import ConfigError

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
