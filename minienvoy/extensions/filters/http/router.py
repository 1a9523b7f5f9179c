"""`envoy.filters.http.router`: the configuration of the router filter.

Envoy: `source/extensions/filters/http/router/config.cc`. The filter itself is `minienvoy.router.router`.
"""

from __future__ import annotations

from types import MethodType
from typing import TYPE_CHECKING, Any

from ....config.extension import find_extension
from ....config.fields import declared_in, honours
from ....errors import ConfigError
from ....http.conn_manager_stats import RouterStats
from ....http.filter import HTTP_FILTERS, UPSTREAM_HTTP_FILTERS, HttpFilterFactory
from ....http.filter_manager import FilterChain
from ....http.http1.selection import client_codec
from ....router.router import Router
from ....router.router_config import RouterConfig
from ....server.factory_context import FactoryContext
from ....server.upstream_codecs import UpstreamCodecs

if TYPE_CHECKING:
    from ....router.upstream_log import UpstreamLogs

CONFIG_TYPE = "envoy.extensions.filters.http.router.v3.Router"

honours(
    CONFIG_TYPE,
    "dynamic_stats",
    "respect_expected_rq_timeout",
    "strict_check_headers",
    "suppress_envoy_headers",
    "suppress_grpc_request_failure_code_stats",
    "upstream_http_filters",
    "upstream_log",
    "upstream_log_options",
    "start_child_span",
)
declared_in(
    "minienvoy.extensions.filters.network.http_filter_chain",
    "envoy.extensions.filters.network.http_connection_manager.v3.HttpFilter",
)
declared_in("minienvoy.router.upstream_log", f"{CONFIG_TYPE}.UpstreamAccessLogOptions")


@HTTP_FILTERS.register("envoy.filters.http.router", CONFIG_TYPE)
def create_router(config: Any, context: FactoryContext) -> HttpFilterFactory:
    """The terminal filter of nearly every chain."""
    server = context.server
    # Imported now: who has no file descriptor left can not read a module.
    client_codec(server.http1_codec, server.byte_meters)
    settings = RouterConfig(
        context.server.cluster_manager,
        context.http_scope.struct(RouterStats),
        UpstreamCodecs(server),
        server.random.stream("router.retry"),
        server.runtime,
        suppress_envoy_headers=config.suppress_envoy_headers,
        respect_expected_rq_timeout=config.respect_expected_rq_timeout,
        strict_check_headers=config.strict_check_headers,
        upstream_logs=_upstream_logs(config, context),
        dynamic_stats=not config.HasField("dynamic_stats") or config.dynamic_stats.value,
        zone=server.node.locality.zone,
        overload=context.overload,
        start_child_span=config.start_child_span,
        upstream_filters=_upstream_filters(config, context) if config.upstream_http_filters else None,
    )
    if context.traced:
        settings.trace_attempts()
    make: type[Router] = Router
    if config.suppress_grpc_request_failure_code_stats:
        from ....router.suppressed_codes import SuppressingRouter

        make = SuppressingRouter
    if settings.upstream_filters is not None:
        settings = settings.filtering()
    # As a `partial`, but the interpreter calls a bound method more quickly, and this is done for each request.
    return MethodType(make, settings)


def _upstream_logs(config: Any, context: FactoryContext) -> UpstreamLogs | None:
    if not config.upstream_log:
        return None
    from ....access_log.access_log import create_access_logs
    from ....router.upstream_log import UpstreamLogs

    return UpstreamLogs.from_proto(config, create_access_logs(config.upstream_log, context, "upstream_log"))


def _upstream_filters(config: Any, context: FactoryContext) -> FilterChain:
    from ..network.http_filter_chain import create_upstream_filter_chain, ends_in_codec

    filters, kind = config.upstream_http_filters, "router upstream http"
    if not ends_in_codec(filters):
        last = filters[-1]
        # An unknown one is told of first.
        name = find_extension(UPSTREAM_HTTP_FILTERS, last, f"upstream_http_filters[{len(filters) - 1}]").name
        raise ConfigError(
            f"Error: non-terminal filter named {last.name} of type {name} is the last filter in a {kind} filter chain."
            " When upstream_http_filters are specified, they must explicitly end with an UpstreamCodec filter.",
            f"upstream_http_filters[{len(filters) - 1}]",
        )
    return create_upstream_filter_chain(filters, context, "upstream_http_filters", kind)
