"""`envoy.extensions.upstreams.http.v3.HttpProtocolOptions`: how HTTP is spoken to a cluster, in the words of the API.

Envoy: `Extensions::Upstreams::Http::ProtocolOptionsConfigFactory` (source/extensions/upstreams/http/config.cc).
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Final

from ....config.fields import declared_in, honours
from ....errors import ConfigError
from ....matchers.match_predicate import compile_match_predicate
from ....record import replace
from ....upstream.http_protocol_options import PROTOCOL_OPTIONS, UpstreamHttpProtocolOptions, UpstreamProtocol

if TYPE_CHECKING:
    from ....http.filter_manager import FilterChain
    from ....router.cluster_policies import ClusterPolicies
    from ....stats.store import Scope
    from ....upstream.cluster import ClusterContext

_OPTIONS: Final = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"

honours(
    _OPTIONS,
    "auto_config",
    "common_http_protocol_options",
    "explicit_http_config",
    "hash_policy",
    "http_filters",
    "outlier_detection",
    "request_mirror_policies",
    "retry_policy",
    "upstream_http_protocol_options",
    "use_downstream_protocol_config",
)
declared_in(
    "minienvoy.extensions.filters.network.http_filter_chain",
    "envoy.extensions.filters.network.http_connection_manager.v3.HttpFilter",
)
declared_in("minienvoy.router.retry_policy", "envoy.config.route.v3.RetryPolicy")
declared_in("minienvoy.router.hash_policy", "envoy.config.route.v3.RouteAction.HashPolicy")
declared_in("minienvoy.router.shadow_writer", "envoy.config.route.v3.RouteAction.RequestMirrorPolicy")
honours(f"{_OPTIONS}.OutlierDetection", "error_matcher")
honours(
    f"{_OPTIONS}.ExplicitHttpConfig",
    "http_protocol_options",
    "http2_protocol_options",
)
honours(
    f"{_OPTIONS}.AutoHttpConfig",
    "http_protocol_options",
    "http2_protocol_options",
    when={
        "http3_protocol_options": lambda config: "HTTP/3 is not spoken",
        "alternate_protocols_cache_options": lambda config: "it is for HTTP/3, which is not spoken",
    },
)
honours(
    f"{_OPTIONS}.UseDownstreamHttpConfig",
    "http_protocol_options",
    "http2_protocol_options",
)


@PROTOCOL_OPTIONS.register(_OPTIONS, _OPTIONS)
def create_http_protocol_options(config: Any, max_requests_per_connection: int) -> UpstreamHttpProtocolOptions:
    kind = config.WhichOneof("upstream_protocol_options")
    chosen = getattr(config, kind)
    protocol = UpstreamProtocol.HTTP1
    if kind == "use_downstream_protocol_config":
        protocol = UpstreamProtocol.DOWNSTREAM
    elif kind == "auto_config":
        protocol = UpstreamProtocol.ALPN
    elif kind == "explicit_http_config" and chosen.WhichOneof("protocol_config") == "http2_protocol_options":
        protocol = UpstreamProtocol.HTTP2
    options = UpstreamHttpProtocolOptions.from_proto(
        config.common_http_protocol_options,
        chosen.http_protocol_options,
        chosen.http2_protocol_options,
        protocol,
        max_requests_per_connection,
        may_speak_http2=kind == "auto_config" or chosen.HasField("http2_protocol_options"),
    )
    options = options.naming_server(config.upstream_http_protocol_options)
    if config.outlier_detection.HasField("error_matcher"):
        matcher = compile_match_predicate(config.outlier_detection.error_matcher, "outlier_detection.error_matcher")
        options = replace(options, error_matcher=matcher)
    if config.HasField("retry_policy") or config.hash_policy or config.request_mirror_policies:
        options = replace(options, route_policies=partial(_route_policies, config))
    if config.http_filters:
        options = replace(options, http_filters=partial(_http_filters, config))
    return options


def _http_filters(config: Any, context: ClusterContext, scope: Scope) -> FilterChain:
    from ....server.factory_context import FactoryContext
    from ...filters.network.http_filter_chain import UPSTREAM_CODEC, create_upstream_filter_chain, ends_in_codec

    path = f'{context.path}.typed_extension_protocol_options["{_OPTIONS}"].http_filters'
    if not ends_in_codec(config.http_filters):
        problem = f"The codec filter is the only valid terminal upstream HTTP filter, use '{UPSTREAM_CODEC}'"
        raise ConfigError(problem, path)
    server = context.sources
    filters = FactoryContext(server, server.stats.scope(""), scope, lambda: False).for_http_filters(scope)
    return create_upstream_filter_chain(config.http_filters, filters, path, "upstream http")


def _route_policies(config: Any, context: ClusterContext) -> ClusterPolicies:
    from ....router.cluster_policies import ClusterPolicies

    where = f'{context.path}.typed_extension_protocol_options["{_OPTIONS}"]'
    return ClusterPolicies.from_proto(config, where, context)
