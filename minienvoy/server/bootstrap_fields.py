"""What is honoured of a bootstrap, and which modules know it of the messages that no `Any` names.

Envoy: what `Server::InstanceBase::initializeOrThrow` and `Server::Configuration::MainImpl` read.
"""

from __future__ import annotations

from typing import Any

from .. import logger
from ..config.fields import Unsupported, declared_in, described, honours, notes, require_supported
from ..config.source import Source

_log = logger.get("config")

honours(
    "envoy.config.bootstrap.v3.Bootstrap",
    "admin",
    "application_log_config",
    "cluster_manager",
    "dynamic_resources",
    "layered_runtime",
    "node",
    "static_resources",
    "stats_config",
    "stats_flush_interval",
    "stats_flush_on_admin",
    "stats_sinks",
    "typed_dns_resolver_config",
    "dns_resolution_config",
    "use_tcp_for_dns_lookups",
    "bootstrap_extensions",
    "overload_manager",
    "tracing",
    "stats_server_version_override",
    ignored={
        "node_context_params": "only resources that are called by xdstp names are asked for by them",
        "deferred_stat_options": "statistics are made at once",
        "stats_eviction_interval": "statistics that nobody uses are kept",
        "memory_allocator_manager": "Python gives memory back by itself",
        "enable_worker_cpu_affinity": "there is one worker in a process",
        "grpc_async_client_manager_config": "clients of gRPC are kept as long as the server runs",
        "perf_tracing_file_path": "there is no performance tracing of Envoy's to write",
        "enable_dispatcher_stats": "there is no dispatcher of Envoy's to measure",
        "watchdog": "an event loop that hangs is not watched",
        "watchdogs": "an event loop that hangs is not watched",
        "default_regex_engine": "regular expressions are RE2 in any case",
        "default_socket_interface": "sockets are the system's",
    },
    whole=("node",),
)
honours("envoy.config.trace.v3.Tracing", "http")
honours("envoy.config.bootstrap.v3.Bootstrap.StaticResources", "listeners", "clusters", "secrets")
honours("envoy.config.bootstrap.v3.Bootstrap.DynamicResources", "ads_config", "cds_config", "lds_config")
honours("envoy.config.bootstrap.v3.ClusterManager", "local_cluster_name", "outlier_detection", "upstream_bind_config")
honours(
    "envoy.config.bootstrap.v3.ClusterManager.OutlierDetection",
    "event_log_path",
    ignored={"event_service": "Envoy does not use it either"},
)
honours("envoy.config.bootstrap.v3.LayeredRuntime", "layers")
honours("envoy.config.bootstrap.v3.RuntimeLayer", "name", "disk_layer", "admin_layer", whole=("static_layer",))
honours("envoy.config.bootstrap.v3.RuntimeLayer.DiskLayer", "symlink_root", "subdirectory", "append_service_cluster")
honours("envoy.config.bootstrap.v3.RuntimeLayer.AdminLayer")

declared_in("minienvoy.tracing.connection_manager_tracing", "envoy.config.trace.v3.Tracing.Http")
declared_in("minienvoy.server.stat_sinks", "envoy.config.metrics.v3.StatsSink")
declared_in("minienvoy.discovery.subscription", "envoy.config.core.v3.ConfigSource")
declared_in("minienvoy.discovery.api_config_source", "envoy.config.core.v3.ApiConfigSource")
declared_in("minienvoy.router.rds", "envoy.extensions.filters.network.http_connection_manager.v3.Rds")
declared_in(
    "minienvoy.discovery.secret_manager",
    "envoy.extensions.transport_sockets.tls.v3.Secret",
    "envoy.extensions.transport_sockets.tls.v3.SdsSecretConfig",
)
declared_in(
    "minienvoy.extensions.transport_sockets.tls.context_config",
    "envoy.extensions.transport_sockets.tls.v3.TlsCertificate",
    "envoy.extensions.transport_sockets.tls.v3.CertificateValidationContext",
)
declared_in(
    "minienvoy.extensions.transport_sockets.tls.session_settings",
    "envoy.extensions.transport_sockets.tls.v3.TlsSessionTicketKeys",
)
declared_in(
    "minienvoy.extensions.filters.network.http_connection_manager_codec", "envoy.config.core.v3.Http1ProtocolOptions"
)
declared_in("minienvoy.server.admin.admin_listener", "envoy.config.bootstrap.v3.Admin")
declared_in("minienvoy.server.application_log", "envoy.config.bootstrap.v3.Bootstrap.ApplicationLogConfig")
declared_in("minienvoy.server.overload_manager", "envoy.config.overload.v3.OverloadManager")
declared_in("minienvoy.router.config", "envoy.config.route.v3.RouteConfiguration")
declared_in("minienvoy.server.listener_filter_predicate", "envoy.config.listener.v3.ListenerFilterChainMatchPredicate")
declared_in("minienvoy.matchers.metadata_key", "envoy.type.metadata.v3.MetadataKey")
declared_in("minienvoy.matchers.match_tree", "xds.type.matcher.v3.Matcher", "envoy.config.common.matcher.v3.Matcher")
declared_in("minienvoy.matchers.value", "envoy.type.matcher.v3.MetadataMatcher", "envoy.type.matcher.v3.ValueMatcher")
declared_in("minienvoy.upstream.local_address_selector", "envoy.config.core.v3.BindConfig")
declared_in("minienvoy.router.header_parser", "envoy.config.core.v3.HeaderValueOption")
declared_in(
    "minienvoy.access_log.access_log",
    "envoy.config.accesslog.v3.AccessLog",
    "envoy.config.accesslog.v3.AccessLogFilter",
)
declared_in(
    "minienvoy.access_log.substitution_format_string",
    "envoy.config.core.v3.SubstitutionFormatString",
    "envoy.config.core.v3.DataSource",
)


def check_supported(bootstrap: Any, source: Source, *, warn: bool) -> list[Unsupported]:
    """What is asked for and not honoured; with `warn` that is told and taken out of the message, else it is an error.

    Raises:
        ConfigError: something is not honoured, and `warn` is false; or the bootstrap contradicts itself.
    """
    found = require_supported(bootstrap, source, warn=warn)
    for item in found:
        _log.warning(f"not honoured: {described(item, source)}")
    if found:
        from ..config.leave_out import leave_out

        leave_out(bootstrap, found)
    for note in notes(bootstrap):
        _log.info(f"ignored: {described(note, source)}")
    return found
