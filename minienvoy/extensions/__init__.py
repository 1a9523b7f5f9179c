"""The catalogue: which module holds which extension, one line each, imported on first use.

Envoy: `source/extensions/extensions_build_config.bzl`. Keys are configuration types, or for the core's enums
(`Cluster.type`) the canonical extension name.
"""

from __future__ import annotations

from ..registry import add_to_catalogue

CATALOGUE = {
    # the server as a whole
    "envoy.extensions.bootstrap.internal_listener.v3.InternalListener": "bootstrap.internal_listener",
    # protocols of clusters
    "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": "upstreams.http.http_protocol_options",
    # listener filters
    "envoy.extensions.filters.listener.local_ratelimit.v3.LocalRateLimit": "filters.listener.local_ratelimit",
    "envoy.extensions.filters.listener.http_inspector.v3.HttpInspector": "filters.listener.http_inspector",
    "envoy.extensions.filters.listener.original_dst.v3.OriginalDst": "filters.listener.original_dst",
    "envoy.extensions.filters.listener.proxy_protocol.v3.ProxyProtocol": "filters.listener.proxy_protocol",
    "envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector": "filters.listener.tls_inspector",
    # network filters
    "envoy.extensions.filters.network.connection_limit.v3.ConnectionLimit": "filters.network.connection_limit",
    "envoy.extensions.filters.network.direct_response.v3.Config": "filters.network.direct_response",
    "envoy.extensions.filters.network.echo.v3.Echo": "filters.network.echo",
    "envoy.extensions.filters.network.ext_authz.v3.ExtAuthz": "filters.network.ext_authz",
    "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager": (
        "filters.network.http_connection_manager"
    ),
    "envoy.extensions.filters.network.local_ratelimit.v3.LocalRateLimit": "filters.network.local_ratelimit",
    "envoy.extensions.filters.network.ratelimit.v3.RateLimit": "filters.network.ratelimit",
    "envoy.extensions.filters.network.rbac.v3.RBAC": "filters.network.rbac",
    "envoy.extensions.filters.network.set_filter_state.v3.Config": "filters.network.set_filter_state",
    "envoy.extensions.filters.network.sni_cluster.v3.SniCluster": "filters.network.sni_cluster",
    "envoy.extensions.filters.network.sni_dynamic_forward_proxy.v3.FilterConfig": (
        "filters.network.sni_dynamic_forward_proxy"
    ),
    "envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy": "filters.network.tcp_proxy",
    # UDP listener filters
    "envoy.extensions.filters.udp.udp_proxy.v3.UdpProxyConfig": "filters.udp.udp_proxy.filter",
    "envoy.extensions.udp_packet_writer.v3.UdpDefaultWriterFactory": "udp_packet_writer",
    "envoy.extensions.udp_packet_writer.v3.UdpGsoBatchWriterFactory": "udp_packet_writer",
    # HTTP filters
    "envoy.extensions.filters.http.adaptive_concurrency.v3.AdaptiveConcurrency": "filters.http.adaptive_concurrency",
    "envoy.extensions.filters.http.admission_control.v3.AdmissionControl": "filters.http.admission_control",
    "envoy.extensions.filters.http.dynamic_forward_proxy.v3.FilterConfig": "filters.http.dynamic_forward_proxy",
    "envoy.extensions.filters.http.dynamic_forward_proxy.v3.PerRouteConfig": "filters.http.dynamic_forward_proxy",
    "envoy.extensions.filters.http.api_key_auth.v3.ApiKeyAuth": "filters.http.api_key_auth",
    "envoy.extensions.filters.http.api_key_auth.v3.ApiKeyAuthPerRoute": "filters.http.api_key_auth",
    "envoy.extensions.filters.http.aws_request_signing.v3.AwsRequestSigning": "filters.http.aws_request_signing",
    "envoy.extensions.filters.http.aws_request_signing.v3.AwsRequestSigningPerRoute": (
        "filters.http.aws_request_signing"
    ),
    "envoy.extensions.filters.http.basic_auth.v3.BasicAuth": "filters.http.basic_auth",
    "envoy.extensions.filters.http.basic_auth.v3.BasicAuthPerRoute": "filters.http.basic_auth",
    "envoy.extensions.filters.http.bandwidth_limit.v3.BandwidthLimit": "filters.http.bandwidth_limit",
    "envoy.extensions.filters.http.buffer.v3.Buffer": "filters.http.buffer",
    "envoy.extensions.filters.http.buffer.v3.BufferPerRoute": "filters.http.buffer",
    "envoy.extensions.filters.http.compressor.v3.Compressor": "filters.http.compressor.filter",
    "envoy.extensions.filters.http.compressor.v3.CompressorPerRoute": "filters.http.compressor.filter",
    "envoy.extensions.filters.http.cors.v3.Cors": "filters.http.cors",
    "envoy.extensions.filters.http.cors.v3.CorsPolicy": "filters.http.cors",
    "envoy.extensions.filters.http.credential_injector.v3.CredentialInjector": "filters.http.credential_injector",
    "envoy.extensions.filters.http.csrf.v3.CsrfPolicy": "filters.http.csrf",
    "envoy.extensions.filters.http.decompressor.v3.Decompressor": "filters.http.decompressor",
    "envoy.extensions.common.matching.v3.ExtensionWithMatcher": "filters.http.match_delegate",
    "envoy.extensions.filters.common.matcher.action.v3.SkipFilter": "filters.http.match_delegate",
    "envoy.extensions.filters.http.ext_proc.v3.ExternalProcessor": "filters.http.ext_proc.filter",
    "envoy.extensions.filters.http.ext_proc.v3.ExtProcPerRoute": "filters.http.ext_proc.filter_config",
    "envoy.extensions.filters.http.header_mutation.v3.HeaderMutation": "filters.http.header_mutation",
    "envoy.extensions.filters.http.header_mutation.v3.HeaderMutationPerRoute": "filters.http.header_mutation",
    "envoy.extensions.filters.http.header_to_metadata.v3.Config": "filters.http.header_to_metadata",
    "envoy.extensions.filters.http.ip_tagging.v3.IPTagging": "filters.http.ip_tagging",
    "envoy.extensions.filters.http.set_filter_state.v3.Config": "filters.http.set_filter_state",
    "envoy.extensions.filters.http.set_metadata.v3.Config": "filters.http.set_metadata",
    "envoy.extensions.filters.http.json_to_metadata.v3.JsonToMetadata": "filters.http.json_to_metadata",
    "envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication": "filters.http.jwt_authn.filter",
    "envoy.extensions.filters.http.jwt_authn.v3.PerRouteConfig": "filters.http.jwt_authn.filter",
    "envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit": "filters.http.local_ratelimit",
    "envoy.extensions.filters.http.lua.v3.Lua": "filters.http.lua.filter",
    "envoy.extensions.filters.http.lua.v3.LuaPerRoute": "filters.http.lua.filter",
    "envoy.extensions.filters.http.health_check.v3.HealthCheck": "filters.http.health_check",
    "envoy.extensions.filters.http.ext_authz.v3.ExtAuthz": "filters.http.ext_authz.filter",
    "envoy.extensions.filters.http.ext_authz.v3.ExtAuthzPerRoute": "filters.http.ext_authz.filter",
    "envoy.extensions.filters.http.fault.v3.HTTPFault": "filters.http.fault",
    "envoy.extensions.filters.http.upstream_codec.v3.UpstreamCodec": "filters.http.upstream_codec",
    "envoy.extensions.filters.http.stateful_session.v3.StatefulSession": "filters.http.stateful_session",
    "envoy.extensions.filters.http.stateful_session.v3.StatefulSessionPerRoute": "filters.http.stateful_session",
    "envoy.extensions.filters.http.grpc_http1_bridge.v3.Config": "filters.http.grpc_http1_bridge",
    "envoy.extensions.filters.http.grpc_http1_reverse_bridge.v3.FilterConfig": (
        "filters.http.grpc_http1_reverse_bridge"
    ),
    "envoy.extensions.filters.http.grpc_http1_reverse_bridge.v3.FilterConfigPerRoute": (
        "filters.http.grpc_http1_reverse_bridge"
    ),
    "envoy.extensions.filters.http.grpc_json_transcoder.v3.GrpcJsonTranscoder": (
        "filters.http.grpc_json_transcoder.filter"
    ),
    "envoy.extensions.filters.http.grpc_stats.v3.FilterConfig": "filters.http.grpc_stats",
    "envoy.extensions.filters.http.grpc_web.v3.GrpcWeb": "filters.http.grpc_web",
    "envoy.extensions.filters.http.ratelimit.v3.RateLimit": "filters.http.ratelimit",
    "envoy.extensions.filters.http.ratelimit.v3.RateLimitPerRoute": "filters.http.ratelimit",
    "envoy.extensions.filters.http.rbac.v3.RBAC": "filters.http.rbac",
    "envoy.extensions.filters.http.rbac.v3.RBACPerRoute": "filters.http.rbac",
    "envoy.extensions.filters.http.router.v3.Router": "filters.http.router",
    # what policies of RBAC name
    "envoy.config.rbac.v3.Action": "filters.common.rbac.engine",
    "envoy.extensions.rbac.matchers.upstream_ip_port.v3.UpstreamIpPortMatcher": "rbac.upstream_ip_port",
    "envoy.extensions.rbac.principals.mtls_authenticated.v3.Config": "rbac.mtls_authenticated",
    # content codings
    "envoy.extensions.compression.brotli.compressor.v3.Brotli": "compression.brotli.compressor",
    "envoy.extensions.compression.brotli.decompressor.v3.Brotli": "compression.brotli.decompressor",
    "envoy.extensions.compression.gzip.compressor.v3.Gzip": "compression.gzip.compressor",
    "envoy.extensions.compression.gzip.decompressor.v3.Gzip": "compression.gzip.decompressor",
    "envoy.extensions.compression.zstd.compressor.v3.Zstd": "compression.zstd.compressor",
    "envoy.extensions.compression.zstd.decompressor.v3.Zstd": "compression.zstd.decompressor",
    # path matchers and rewriters of routes
    "envoy.extensions.path.match.uri_template.v3.UriTemplateMatchConfig": "path.uri_template",
    "envoy.extensions.path.rewrite.uri_template.v3.UriTemplateRewriteConfig": "path.uri_template",
    # inputs and matchers of match trees
    "envoy.type.matcher.v3.HttpRequestHeaderMatchInput": "matching.http_inputs",
    "envoy.type.matcher.v3.HttpRequestTrailerMatchInput": "matching.http_inputs",
    "envoy.type.matcher.v3.HttpResponseHeaderMatchInput": "matching.http_inputs",
    "envoy.type.matcher.v3.HttpResponseTrailerMatchInput": "matching.http_inputs",
    "envoy.type.matcher.v3.HttpRequestQueryParamMatchInput": "matching.http_inputs",
    "envoy.type.matcher.v3.HttpResponseStatusCodeMatchInput": "matching.http_inputs",
    "envoy.type.matcher.v3.HttpResponseStatusCodeClassMatchInput": "matching.http_inputs",
    "envoy.extensions.matching.common_inputs.network.v3.ApplicationProtocolInput": "matching.network_inputs",
    "envoy.extensions.matching.common_inputs.network.v3.DestinationIPInput": "matching.network_inputs",
    "envoy.extensions.matching.common_inputs.network.v3.DestinationPortInput": "matching.network_inputs",
    "envoy.extensions.matching.common_inputs.network.v3.DirectSourceIPInput": "matching.network_inputs",
    "envoy.extensions.matching.common_inputs.network.v3.DynamicMetadataInput": "matching.network_inputs",
    "envoy.extensions.matching.common_inputs.network.v3.FilterStateInput": "matching.network_inputs",
    "envoy.extensions.matching.common_inputs.network.v3.NetworkNamespaceInput": "matching.network_inputs",
    "envoy.extensions.matching.common_inputs.network.v3.ServerNameInput": "matching.network_inputs",
    "envoy.extensions.matching.common_inputs.network.v3.SourceIPInput": "matching.network_inputs",
    "envoy.extensions.matching.common_inputs.network.v3.SourcePortInput": "matching.network_inputs",
    "envoy.extensions.matching.common_inputs.network.v3.SourceTypeInput": "matching.network_inputs",
    "envoy.extensions.matching.common_inputs.network.v3.TransportProtocolInput": "matching.network_inputs",
    "envoy.extensions.matching.common_inputs.ssl.v3.DnsSanInput": "matching.ssl_inputs",
    "envoy.extensions.matching.common_inputs.ssl.v3.SubjectInput": "matching.ssl_inputs",
    "envoy.extensions.matching.common_inputs.ssl.v3.UriSanInput": "matching.ssl_inputs",
    "envoy.extensions.matching.common_inputs.environment_variable.v3.Config": "matching.environment_variable",
    "envoy.extensions.matching.input_matchers.consistent_hashing.v3.ConsistentHashing": "matching.input_matchers",
    "envoy.extensions.matching.input_matchers.ip.v3.Ip": "matching.input_matchers",
    "envoy.extensions.matching.input_matchers.metadata.v3.Metadata": "matching.input_matchers",
    "envoy.extensions.matching.input_matchers.runtime_fraction.v3.RuntimeFraction": "matching.input_matchers",
    "xds.type.matcher.v3.IPMatcher": "matching.custom_matchers",
    "xds.type.matcher.v3.ServerNameMatcher": "matching.custom_matchers",
    # health checkers
    "envoy.health_checkers.grpc": "health_checkers.grpc",
    "envoy.health_checkers.http": "health_checkers.http",
    "envoy.health_checkers.tcp": "health_checkers.tcp",
    # clusters
    "envoy.cluster.static": "clusters.static",
    "envoy.cluster.strict_dns": "clusters.strict_dns",
    "envoy.cluster.logical_dns": "clusters.logical_dns",
    "envoy.cluster.original_dst": "clusters.original_dst",
    "envoy.cluster.eds": "clusters.eds",
    "envoy.extensions.clusters.aggregate.v3.ClusterConfig": "clusters.aggregate",
    "envoy.extensions.clusters.dynamic_forward_proxy.v3.ClusterConfig": "clusters.dynamic_forward_proxy",
    "envoy.extensions.clusters.dns.v3.DnsCluster": "clusters.dns",
    "minienvoy.clusters.Kubernetes": "clusters.kubernetes",
    # load balancing policies
    "envoy.extensions.load_balancing_policies.client_side_weighted_round_robin.v3.ClientSideWeightedRoundRobin": (
        "load_balancing_policies.client_side_weighted_round_robin"
    ),
    "envoy.extensions.load_balancing_policies.cluster_provided.v3.ClusterProvided": (
        "load_balancing_policies.cluster_provided"
    ),
    "envoy.extensions.load_balancing_policies.least_request.v3.LeastRequest": "load_balancing_policies.least_request",
    "envoy.extensions.load_balancing_policies.maglev.v3.Maglev": "load_balancing_policies.maglev",
    "envoy.extensions.load_balancing_policies.override_host.v3.OverrideHost": "load_balancing_policies.override_host",
    "envoy.extensions.load_balancing_policies.random.v3.Random": "load_balancing_policies.random",
    "envoy.extensions.load_balancing_policies.ring_hash.v3.RingHash": "load_balancing_policies.ring_hash",
    "envoy.extensions.load_balancing_policies.round_robin.v3.RoundRobin": "load_balancing_policies.round_robin",
    "envoy.extensions.load_balancing_policies.subset.v3.Subset": "load_balancing_policies.subset",
    "envoy.extensions.load_balancing_policies.wrr_locality.v3.WrrLocality": "load_balancing_policies.wrr_locality",
    # health check event sinks
    "envoy.extensions.health_check.event_sinks.file.v3.HealthCheckEventFileSink": "health_check.event_sinks.file",
    # where upstream connections come from
    "envoy.config.upstream.local_address_selector.v3.DefaultLocalAddressSelector": (
        "local_address_selectors.default_local_address_selector"
    ),
    # which hosts and priorities a retry goes to
    "envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate": "retry.host.previous_hosts",
    "envoy.extensions.retry.priority.previous_priorities.v3.PreviousPrioritiesConfig": (
        "retry.priority.previous_priorities"
    ),
    "envoy.extensions.retry.host.omit_canary_hosts.v3.OmitCanaryHostsPredicate": "retry.host.omit_canary_hosts",
    "envoy.extensions.retry.host.omit_host_metadata.v3.OmitHostMetadataConfig": "retry.host.omit_host_metadata",
    # access loggers
    "envoy.extensions.access_loggers.open_telemetry.v3.OpenTelemetryAccessLogConfig": "access_loggers.open_telemetry",
    "envoy.extensions.access_loggers.file.v3.FileAccessLog": "access_loggers.file",
    "envoy.extensions.access_loggers.grpc.v3.HttpGrpcAccessLogConfig": "access_loggers.grpc.http_grpc",
    "envoy.extensions.access_loggers.grpc.v3.TcpGrpcAccessLogConfig": "access_loggers.grpc.tcp_grpc",
    "envoy.extensions.access_loggers.stream.v3.StdoutAccessLog": "access_loggers.stream",
    "envoy.extensions.access_loggers.stream.v3.StderrAccessLog": "access_loggers.stream",
    # formatters
    "envoy.extensions.formatter.file_content.v3.FileContent": "formatters.file_content",
    "envoy.extensions.formatter.metadata.v3.Metadata": "formatters.metadata",
    "envoy.extensions.formatter.req_without_query.v3.ReqWithoutQuery": "formatters.req_without_query",
    # transport sockets
    "envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer": "transport_sockets.raw_buffer",
    "envoy.extensions.transport_sockets.internal_upstream.v3.InternalUpstreamTransport": (
        "transport_sockets.internal_upstream"
    ),
    "envoy.extensions.transport_sockets.proxy_protocol.v3.ProxyProtocolUpstreamTransport": (
        "transport_sockets.proxy_protocol"
    ),
    "envoy.extensions.transport_sockets.starttls.v3.StartTlsConfig": "transport_sockets.starttls",
    "envoy.extensions.transport_sockets.starttls.v3.UpstreamStartTlsConfig": "transport_sockets.starttls",
    "envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext": "transport_sockets.tls.downstream",
    "envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext": "transport_sockets.tls.upstream",
    # validators of certificates
    "envoy.extensions.transport_sockets.tls.v3.SPIFFECertValidatorConfig": "transport_sockets.tls.spiffe_validator",
    # resource monitors
    "envoy.extensions.resource_monitors.cgroup_memory.v3.CgroupMemoryConfig": "resource_monitors.cgroup_memory",
    "envoy.extensions.resource_monitors.cpu_utilization.v3.CpuUtilizationConfig": "resource_monitors.cpu_utilization",
    "envoy.extensions.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig": (
        "resource_monitors.downstream_connections"
    ),
    "envoy.extensions.resource_monitors.fixed_heap.v3.FixedHeapConfig": "resource_monitors.fixed_heap",
    "envoy.extensions.resource_monitors.injected_resource.v3.InjectedResourceConfig": (
        "resource_monitors.injected_resource"
    ),
    # original IP detection
    "envoy.extensions.http.original_ip_detection.custom_header.v3.CustomHeaderConfig": (
        "http.original_ip_detection.custom_header"
    ),
    "envoy.extensions.http.original_ip_detection.xff.v3.XffConfig": "http.original_ip_detection.xff",
    # request ids
    "envoy.extensions.request_id.uuid.v3.UuidRequestIdConfig": "http.request_id.uuid",
    # credentials
    "envoy.extensions.http.injected_credentials.generic.v3.Generic": "http.injected_credentials.generic",
    "envoy.extensions.http.injected_credentials.oauth2.v3.OAuth2": "http.injected_credentials.oauth2",
    # sessions
    "envoy.extensions.http.stateful_session.cookie.v3.CookieBasedSessionState": "http.stateful_session.cookie",
    "envoy.extensions.http.stateful_session.envelope.v3.EnvelopeSessionState": "http.stateful_session.envelope",
    "envoy.extensions.http.stateful_session.header.v3.HeaderBasedSessionState": "http.stateful_session.header",
    # early header mutation
    "envoy.extensions.http.early_header_mutation.header_mutation.v3.HeaderMutation": (
        "http.early_header_mutation.header_mutation"
    ),
    # predicates of internal redirects
    "envoy.extensions.internal_redirect.allow_listed_routes.v3.AllowListedRoutesConfig": (
        "internal_redirect.allow_listed_routes"
    ),
    "envoy.extensions.internal_redirect.filter_state.v3.FilterStateConfig": "internal_redirect.filter_state",
    "envoy.extensions.internal_redirect.previous_routes.v3.PreviousRoutesConfig": "internal_redirect.previous_routes",
    "envoy.extensions.internal_redirect.safe_cross_scheme.v3.SafeCrossSchemeConfig": (
        "internal_redirect.safe_cross_scheme"
    ),
    # header formatters
    "envoy.extensions.http.header_formatters.preserve_case.v3.PreserveCaseFormatterConfig": (
        "http.header_formatters.preserve_case"
    ),
    # stat sinks
    "envoy.config.metrics.v3.DogStatsdSink": "stat_sinks.udp_statsd",
    "envoy.config.metrics.v3.MetricsServiceConfig": "stat_sinks.metrics_service",
    "envoy.config.metrics.v3.StatsdSink": "stat_sinks.statsd",
    "envoy.extensions.stat_sinks.graphite_statsd.v3.GraphiteStatsdSink": "stat_sinks.udp_statsd",
    # tracers
    "envoy.config.trace.v3.OpenTelemetryConfig": "tracers.opentelemetry.tracer",
    "envoy.config.trace.v3.DatadogConfig": "tracers.datadog.tracer",
    "envoy.config.trace.v3.SkyWalkingConfig": "tracers.skywalking.tracer",
    "envoy.config.trace.v3.ZipkinConfig": "tracers.zipkin.tracer",
    "envoy.extensions.tracers.opentelemetry.resource_detectors.v3.EnvironmentResourceDetectorConfig": (
        "tracers.opentelemetry.resource"
    ),
    "envoy.extensions.tracers.opentelemetry.resource_detectors.v3.StaticConfigResourceDetectorConfig": (
        "tracers.opentelemetry.resource"
    ),
    "envoy.extensions.tracers.opentelemetry.samplers.v3.AlwaysOnSamplerConfig": "tracers.opentelemetry.samplers",
    "envoy.extensions.tracers.opentelemetry.samplers.v3.ParentBasedSamplerConfig": "tracers.opentelemetry.samplers",
    "envoy.extensions.tracers.opentelemetry.samplers.v3.TraceIdRatioBasedSamplerConfig": (
        "tracers.opentelemetry.samplers"
    ),
    # DNS resolvers
    "envoy.extensions.network.dns_resolver.cares.v3.CaresDnsResolverConfig": "network.dns_resolver.cares",
}

IN_CORE = {
    "envoy.config.route.v3.FilterConfig": "router.filter_config",
    "envoy.config.route.v3.Route": "router.route_match_tree",
    "envoy.config.route.v3.RouteList": "router.route_match_tree",
    "google.protobuf.StringValue": "server.filter_chain_matcher",
}
"""Configurations of extensions that the core itself takes, in modules that not every configuration needs."""


def register_catalogue() -> None:
    """Let the registries find the extensions of `CATALOGUE`; whoever makes a server does this first."""
    add_to_catalogue({name: f"{__name__}.{module}" for name, module in CATALOGUE.items()})
    package = __name__.rpartition(".")[0]
    add_to_catalogue({name: f"{package}.{module}" for name, module in IN_CORE.items()})
