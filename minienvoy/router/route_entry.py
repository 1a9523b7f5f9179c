"""One route: what is done with a request that matches.

Envoy: `Router::RouteEntryImplBase`, `DirectResponseEntry`; docs "Route action", "Direct responses", "Redirects".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from ..config.fields import declared_in, forbids, honours
from ..errors import ConfigError
from ..http.grpc import is_grpc
from ..http.header_map import Entry, RequestHeaderMap, ResponseHeaderMap, entry
from ..stats.store import Store
from ..upstream.load_assignment import plain_metadata
from .common_virtual_host import CommonVirtualHost, header_parser
from .filter_config import NOTHING_DISABLED, FilterConfigs
from .grpc_timeout import GrpcTimeouts, grpc_timeouts, set_grpc_timeout
from .route_matcher import RouteMatch

if TYPE_CHECKING:
    from ..stream_info import StreamInfo
    from ..tracing.connection_manager_tracing import RouteTracing
    from .hash_policy import HashPolicy
    from .header_parser import HeaderParser
    from .host_rewriter import HostRewriter
    from .internal_redirect import InternalRedirectPolicy
    from .path_rewriter import PathRewriter
    from .rate_limit import RateLimitPolicy
    from .redirect import DirectResponseEntry
    from .shadow_writer import ShadowPolicy
    from .tcp_upstream import ConnectConfig
    from .virtual_cluster import RequestCounters
    from .weighted_cluster import ClusterSpecifier, WeightedClusterSpecifier

# What few routes ask for is imported by the first that does: every start would pay for it.

honours(
    "envoy.config.route.v3.Route",
    "name",
    "match",
    "route",
    "redirect",
    "direct_response",
    "non_forwarding_action",
    "typed_per_filter_config",
    "request_headers_to_add",
    "request_headers_to_remove",
    "response_headers_to_add",
    "response_headers_to_remove",
    "stat_prefix",
    "per_request_buffer_limit_bytes",
    "request_body_buffer_limit",
    "decorator",
    "tracing",
    whole=("metadata",),
)
declared_in(
    "minienvoy.tracing.connection_manager_tracing", "envoy.config.route.v3.Decorator", "envoy.config.route.v3.Tracing"
)
honours(
    "envoy.config.route.v3.RouteAction",
    "cluster",
    "cluster_header",
    "weighted_clusters",
    "cluster_not_found_response_code",
    "timeout",
    "idle_timeout",
    "flush_timeout",
    "max_stream_duration",
    "prefix_rewrite",
    "regex_rewrite",
    "path_rewrite_policy",
    "path_rewrite",
    "host_rewrite_literal",
    "host_rewrite_header",
    "host_rewrite_path_regex",
    "host_rewrite",
    "auto_host_rewrite",
    "append_x_forwarded_host",
    "max_grpc_timeout",
    "grpc_timeout_offset",
    "priority",
    "request_mirror_policies",
    "hash_policy",
    "upgrade_configs",
    "retry_policy",
    "hedge_policy",
    "rate_limits",
    "include_vh_rate_limits",
    "cors",
    "internal_redirect_policy",
    "internal_redirect_action",
    "max_internal_redirects",
    whole=("metadata_match",),
    ignored={
        "early_data_policy": "there is no early data of TLS or QUIC",
        "retry_policy_typed_config": "Envoy does not read it either",
    },
)
honours("envoy.config.route.v3.RouteAction.UpgradeConfig", "upgrade_type", "enabled", "connect_config")
declared_in("minienvoy.router.cors_policy", "envoy.config.route.v3.CorsPolicy")
declared_in("minienvoy.router.hash_policy", "envoy.config.route.v3.RouteAction.HashPolicy")
declared_in("minienvoy.router.internal_redirect", "envoy.config.route.v3.InternalRedirectPolicy")
declared_in("minienvoy.router.rate_limit", "envoy.config.route.v3.RateLimit")
declared_in(
    "minienvoy.router.redirect",
    "envoy.config.route.v3.DirectResponseAction",
    "envoy.config.route.v3.RedirectAction",
)
declared_in("minienvoy.router.shadow_writer", "envoy.config.route.v3.RouteAction.RequestMirrorPolicy")
declared_in("minienvoy.router.tcp_upstream", "envoy.config.route.v3.RouteAction.UpgradeConfig.ConnectConfig")
declared_in("minienvoy.router.virtual_cluster", "envoy.config.route.v3.VirtualCluster")
declared_in("minienvoy.router.weighted_cluster", "envoy.config.route.v3.WeightedCluster")
honours("envoy.config.route.v3.NonForwardingAction")


@forbids("envoy.config.route.v3.RouteAction")
def check_route_action(action: Any, path: str) -> None:
    """Rewrites that exclude each other, weights that choose nobody."""
    if rewrites_path(action) > 1:
        raise ConfigError("Specify only one of prefix_rewrite, regex_rewrite or path_rewrite_policy", path)
    weights = [each.weight.value for each in action.weighted_clusters.clusters]
    if weights and not any(weights):
        problem = "Sum of weights in the weighted_cluster must be greater than 0."
        raise ConfigError(problem, f"{path}.weighted_clusters")


def rewrites_path(action: Any) -> int:
    """In how many ways, of which one is allowed."""
    rewrites = [bool(action.prefix_rewrite), bool(action.path_rewrite)]
    rewrites += [action.HasField(name) for name in ("regex_rewrite", "path_rewrite_policy")]
    return rewrites.count(True)


ORIGINAL_PATH: Final = b"x-envoy-original-path"
DEFAULT_TIMEOUT: Final = 15.0
_NOT_FOUND_STATUS: Final = {0: 503, 1: 404, 2: 500}


def seconds(message: Any, field: str) -> float | None:
    """A `Duration` field, or None if it is not set."""
    if not message.HasField(field):
        return None
    duration = getattr(message, field)
    return float(duration.seconds + duration.nanos / 1e9)


class RouteEntry:
    """Compiled once; a request only reads it.

    Attributes:
        cluster_name: where requests go; empty for a direct response or a redirect.
        chosen_of: of which weighted clusters this is one, and which.
        specifier: chooses the cluster of a request, if the configuration does not.
        connect_config: ends tunnels here, or None.
        counters: of the route, if it has a `stat_prefix`.
        counts: somebody besides the cluster counts its requests: these, or the virtual clusters.
        depends: on the request, so that `for_request` must be asked.
        changes_response: there may be something to do to the headers of the response.
        hash_policy: what balancers that hash go by, or None.
        path: where it stands in the configuration.
        plain_timeout: every request has the same timeout, and it is not 0.
        grpc_timeouts: what the deadlines of gRPC clients have to say, or None.
        priority: 0 for the default, 1 for high: which circuit breakers and connections are used.
        shadow_policies: to which clusters copies of requests go.
        attempts: what is said of retries and hedging.
        cors_policies: of the older fields, its own before that of the virtual host.
        takes_scheme_of_upstream: the listener wants it so; only if this is set somebody has to ask.
        tracing: what it says of tracing (`tracing.RouteTracing`), or None.
        tries_once: there is nothing of that, as long as no request asks for it.
        internal_redirect: which redirects of the upstream are followed, or None.
        copies_request: one of these two wants requests.
        rate_limits: what makes descriptors of its requests, or None; `virtual_host_rate_limits` likewise.
        timeout: seconds for the whole response, 0 for none.
        timeout_header: `x-envoy-expected-rq-timeout-ms` for that timeout.
        direct_response: answers in place of an upstream, or None.
        share: in words, what part of the requests goes to this cluster, where several share them.
        metadata_match: keys and values that hosts are to have in their metadata's `envoy.lb`.
        upgrades: which upgrades (names in lower case) this route lets through or does not, whatever else is configured.
    """

    __slots__ = (
        "append_x_forwarded_host",
        "attempts",
        "auto_host_rewrite",
        "changes_response",
        "chosen_of",
        "cluster_name",
        "cluster_not_found_status",
        "connect_config",
        "copies_request",
        "cors_policies",
        "counters",
        "counts",
        "depends",
        "direct_response",
        "filter_configs",
        "flush_timeout",
        "grpc_timeouts",
        "has_timeouts",
        "hash_policy",
        "host_rewriter",
        "idle_timeout",
        "include_virtual_host_rate_limits",
        "internal_redirect",
        "match",
        "max_stream_duration",
        "metadata",
        "metadata_match",
        "name",
        "path",
        "path_rewriter",
        "plain_timeout",
        "priority",
        "rate_limits",
        "request_parsers",
        "response_parsers",
        "rewrites",
        "shadow_policies",
        "share",
        "specifier",
        "takes_scheme_of_upstream",
        "timeout",
        "timeout_header",
        "tracing",
        "tries_once",
        "upgrades",
        "virtual_clusters",
        "virtual_host_metadata",
        "virtual_host_name",
        "virtual_host_rate_limits",
    )

    def __init__(self, proto: Any, path: str, common: CommonVirtualHost) -> None:
        """Raises ConfigError below `path`."""
        self.name: str = proto.name
        self.path = path.removeprefix(".")
        self.virtual_host_name = common.name
        self.match = RouteMatch(proto.match, f"{path}.match", common.runtime)
        self.metadata = plain_metadata(proto.metadata)
        self.virtual_host_metadata = common.metadata
        self.cluster_name = ""
        self.chosen_of: tuple[WeightedClusterSpecifier, int] | None = None
        self.share = ""
        self.cluster_not_found_status = 503
        self.specifier: ClusterSpecifier | None = None
        self.timeout = DEFAULT_TIMEOUT
        self.idle_timeout: float | None = None
        self.flush_timeout: float | None = None
        self.has_timeouts = False
        self.max_stream_duration: float | None = None
        self.path_rewriter: PathRewriter | None = None
        self.host_rewriter: HostRewriter | None = None
        self.metadata_match: Mapping[str, Any] = {}
        self.grpc_timeouts: GrpcTimeouts | None = None
        self.hash_policy: HashPolicy | None = None
        self.priority = 0
        self.internal_redirect: InternalRedirectPolicy | None = None
        self.shadow_policies: tuple[ShadowPolicy, ...] = ()
        self.cors_policies = () if common.cors_policy is None else (common.cors_policy,)
        self.rate_limits: RateLimitPolicy | None = None
        self.virtual_host_rate_limits = common.rate_limits
        self.include_virtual_host_rate_limits = False
        self.connect_config: ConnectConfig | None = None
        self.upgrades: Mapping[bytes, bool] = {}
        self.auto_host_rewrite = False
        self.append_x_forwarded_host = False
        self.virtual_clusters = common.virtual_clusters
        self.counters: RequestCounters | None = None
        if proto.stat_prefix:
            from .virtual_cluster import route_counters

            self.counters = route_counters(proto.stat_prefix, common.name, common.store or Store())
        self.counts = self.counters is not None or self.virtual_clusters is not None
        self.direct_response: DirectResponseEntry | None = None
        self.filter_configs = common.filter_configs
        if proto.typed_per_filter_config:
            here = f"{path}.typed_per_filter_config"
            self.filter_configs = FilterConfigs(
                proto.typed_per_filter_config, here, common.filter_configs, common.sources
            )
        sources = common.sources
        mine = header_parser(
            proto.request_headers_to_add, proto.request_headers_to_remove, f"{path}.request_headers", sources
        )
        self.request_parsers = _in_order((mine, *common.request_parsers), common.most_specific_wins)
        mine = header_parser(
            proto.response_headers_to_add, proto.response_headers_to_remove, f"{path}.response_headers", sources
        )
        self.response_parsers = _in_order((mine, *common.response_parsers), common.most_specific_wins)
        action = proto.WhichOneof("action")
        if action == "route":
            self._take_action(proto.route, f"{path}.route", common)
        elif action == "direct_response":
            from .redirect import DirectResponse

            self.direct_response = DirectResponse(
                proto.direct_response, f"{path}.direct_response", common.max_body, sources
            )
        elif action == "redirect":
            from .redirect import Redirect

            self.direct_response = Redirect(proto.redirect, self.match, f"{path}.redirect", sources)
        elif action != "non_forwarding_action":
            raise ConfigError(f"{action} is not supported", path)
        self.changes_response = bool(self.response_parsers)
        self.timeout_header: Entry = entry(b"x-envoy-expected-rq-timeout-ms", b"%d" % int(self.timeout * 1000))
        self.attempts = common.attempts.of_route(proto, path)
        self.tries_once = self.attempts.plain
        self.plain_timeout = (
            bool(self.timeout)
            and not self.attempts.retry_policy.per_try_timeout
            and (self.grpc_timeouts is None or self.grpc_timeouts.max_timeout is None)
        )
        self.tracing: RouteTracing | None = None
        if proto.HasField("tracing") or proto.HasField("decorator"):
            from ..tracing.connection_manager_tracing import RouteTracing

            self.tracing = RouteTracing.from_proto(proto, path, sources)
        self.copies_request = bool(self.shadow_policies) or self.internal_redirect is not None
        self.takes_scheme_of_upstream = common.takes_scheme_of_upstream
        self.rewrites = (
            self.path_rewriter is not None or self.host_rewriter is not None or self.takes_scheme_of_upstream
        )
        self.depends = (
            self.specifier is not None or self.max_stream_duration is not None or self.grpc_timeouts is not None
        )
        if action == "route" and proto.route.WhichOneof("cluster_specifier") == "weighted_clusters":
            from .weighted_cluster import WeightedClusterSpecifier

            # Its entries are copies of what is complete by now.
            here = f"{path}.route.weighted_clusters"
            self.specifier = WeightedClusterSpecifier(proto.route.weighted_clusters, self, common, here)
            self.depends = True

    def _take_action(self, action: Any, path: str, common: CommonVirtualHost) -> None:
        if rewrites_path(action):
            from .path_rewriter import compile_path_rewriter

            self.path_rewriter = compile_path_rewriter(action, self.match, path, common.sources)
        specifier = action.WhichOneof("cluster_specifier")
        if specifier == "cluster":
            self.cluster_name = action.cluster
        elif specifier == "cluster_header":
            from .weighted_cluster import HeaderClusterSpecifier

            self.specifier = HeaderClusterSpecifier(action.cluster_header)
        elif specifier != "weighted_clusters":
            raise ConfigError(f"{specifier} is not supported", path)
        self.cluster_not_found_status = _NOT_FOUND_STATUS[action.cluster_not_found_response_code]
        timeout = seconds(action, "timeout")
        if timeout is not None:
            self.timeout = timeout
        self.idle_timeout = seconds(action, "idle_timeout")
        self.flush_timeout = seconds(action, "flush_timeout")
        if any(each.HasField("connect_config") for each in action.upgrade_configs):
            from .tcp_upstream import connect_config

            self.connect_config = connect_config(action.upgrade_configs, f"{path}.upgrade_configs")
        self.upgrades = _upgrades(action.upgrade_configs, f"{path}.upgrade_configs")
        if action.HasField("max_stream_duration"):
            self.max_stream_duration = seconds(action.max_stream_duration, "max_stream_duration")
            # It takes the place of the older fields, whether they are set or not.
            self.timeout = 0.0
        limits = (self.idle_timeout, self.flush_timeout, self.max_stream_duration)
        self.has_timeouts = any(each is not None for each in limits)
        self.grpc_timeouts = grpc_timeouts(action, seconds)
        if action.HasField("internal_redirect_policy") or action.internal_redirect_action:
            from .internal_redirect import internal_redirect_policy

            self.internal_redirect = internal_redirect_policy(action, self.name, path)
        self.priority = action.priority
        if action.rate_limits:
            from .rate_limit import RateLimitPolicy

            self.rate_limits = RateLimitPolicy.from_protos(action.rate_limits, f"{path}.rate_limits", common.sources)
        self.include_virtual_host_rate_limits = action.include_vh_rate_limits.value
        if action.hash_policy:
            from .hash_policy import HashPolicy

            self.hash_policy = HashPolicy(action.hash_policy, f"{path}.hash_policy")
        if action.request_mirror_policies:
            from .shadow_writer import shadow_policies

            here = f"{path}.request_mirror_policies"
            self.shadow_policies = shadow_policies(action.request_mirror_policies, here, common)
        else:
            self.shadow_policies = common.shadow_policies
        if action.HasField("cors"):
            from .cors_policy import CorsPolicy

            own = CorsPolicy.from_proto(action.cors, f"{path}.cors", common.sources)
            self.cors_policies = (own, *self.cors_policies)
        if action.WhichOneof("host_rewrite_specifier") not in (None, "auto_host_rewrite"):
            from .host_rewriter import compile_host_rewriter

            self.host_rewriter = compile_host_rewriter(action, path, common.sources)
        self.auto_host_rewrite = action.auto_host_rewrite.value
        self.append_x_forwarded_host = action.append_x_forwarded_host
        if action.HasField("metadata_match"):
            self.metadata_match = plain_metadata(action.metadata_match).get("envoy.lb", {})

    def for_request(self, headers: RequestHeaderMap, stream: StreamInfo, random: Callable[[], int]) -> RouteEntry:
        """This route as far as it depends on the request: its cluster, and how long a gRPC call may take."""
        chosen = self if self.specifier is None else self.specifier.route(self, headers, stream, random)
        if self.max_stream_duration is None and self.grpc_timeouts is None:
            return chosen
        duration = None if self.grpc_timeouts is None else self.grpc_timeouts.stream_duration(headers)
        if duration is not None:
            chosen = chosen.copied()
            chosen.max_stream_duration = duration
            chosen.has_timeouts = True
        if chosen.max_stream_duration and is_grpc(headers.get(b"content-type")):
            set_grpc_timeout(headers, chosen.max_stream_duration)
        return chosen

    def copied(self) -> RouteEntry:
        """A route of its own, that is the same as yet."""
        made = object.__new__(RouteEntry)
        for name in RouteEntry.__slots__:
            setattr(made, name, getattr(self, name))
        return made

    def tally(self, headers: RequestHeaderMap, stream: StreamInfo) -> tuple[RequestCounters, ...]:
        """Who, besides the cluster, counts this request."""
        found = () if self.counters is None else (self.counters,)
        if self.virtual_clusters is None:
            return found
        name, counters = self.virtual_clusters.find(headers)
        stream.virtual_cluster_name = name
        return (counters, *found)

    @property
    def disabled_filters(self) -> Mapping[str, bool]:
        """Filters that this route disables (True), or enables although they are disabled (False)."""
        return NOTHING_DISABLED if self.filter_configs is None else self.filter_configs.disabled

    def per_filter_config(self, filter_name: str) -> Any:
        """What the most specific level tells that filter, or None."""
        return None if self.filter_configs is None else self.filter_configs.get(filter_name)

    def per_filter_configs(self, filter_name: str) -> tuple[Any, ...]:
        """What each level tells it, the most specific last."""
        return () if self.filter_configs is None else self.filter_configs.get_all(filter_name)

    def finalize_request_headers(
        self, headers: RequestHeaderMap, stream: StreamInfo, keep_original: bool = True
    ) -> None:
        """Rewrite and add what the upstream is to see; `keep_original` tells it the host and path that came."""
        for parser in self.request_parsers:
            parser.evaluate(headers, stream, headers, None)
        if self.rewrites:
            if self.host_rewriter is not None:
                host = self.host_rewriter(headers, stream)
                if host:
                    self.rewrite_host(headers, host, keep_original)
            if self.path_rewriter is not None:
                finalize_path_header(headers, stream, self.path_rewriter, keep_original)

    def rewrite_host(self, headers: RequestHeaderMap, host: bytes, keep_original: bool = True) -> None:
        if keep_original and headers.authority:
            headers.set(b"x-envoy-original-host", headers.authority)
        if self.append_x_forwarded_host and headers.authority:
            before = headers.get(b"x-forwarded-host")
            if not before:
                headers.set(b"x-forwarded-host", headers.authority)
            elif before.rpartition(b",")[2].strip() != headers.authority:
                headers.set(b"x-forwarded-host", b"%b,%b" % (before, headers.authority))
        headers.authority = host

    def finalize_response_headers(
        self, headers: ResponseHeaderMap, stream: StreamInfo, request: RequestHeaderMap | None
    ) -> None:
        for parser in self.response_parsers:
            parser.evaluate(headers, stream, request, headers)

    def __str__(self) -> str:
        return self.name or self.match.description


def finalize_path_header(
    headers: RequestHeaderMap, stream: StreamInfo, rewriter: PathRewriter, keep_original: bool
) -> None:
    """Rewrite the path, and keep the one that came in `x-envoy-original-path`."""
    new = rewriter(headers, stream)
    if new is None:
        return
    if keep_original:
        headers.set(ORIGINAL_PATH, headers.path)
    headers.path = new


def _in_order(parsers: tuple[HeaderParser | None, ...], most_specific_wins: bool) -> tuple[HeaderParser, ...]:
    """The level that comes last has the last word."""
    present = tuple(parser for parser in parsers if parser is not None)
    return present[::-1] if most_specific_wins else present


def _upgrades(configs: Any, path: str) -> dict[bytes, bool]:
    upgrades: dict[bytes, bool] = {}
    for at, each in enumerate(configs):
        name = each.upgrade_type.lower().encode()
        if name in upgrades:
            raise ConfigError(f"Duplicate upgrade {each.upgrade_type}", f"{path}[{at}].upgrade_type")
        upgrades[name] = not each.HasField("enabled") or each.enabled.value
    return upgrades
