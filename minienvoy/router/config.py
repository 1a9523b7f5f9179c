"""The route table: virtual hosts by domain, routes in order.

Envoy: `Router::ConfigImpl`, `RouteMatcher`, `VirtualHostImpl`; docs "HTTP routing".
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Final

from ..config.fields import honours
from ..errors import ConfigError
from ..explain.explanation import NO_EXPLANATION, Decision, NearMiss
from ..http.header_map import RequestHeaderMap
from ..lazy_pattern import lazy_pattern
from ..record import replace
from ..stats.store import Store
from ..upstream.load_assignment import plain_metadata
from .common_virtual_host import MAX_DIRECT_RESPONSE_BODY, CommonVirtualHost, header_parser
from .filter_config import FilterConfigs
from .retry_policy import AttemptSettings
from .route_entry import RouteEntry

if TYPE_CHECKING:
    from ..config.runtime import Loader
    from .cors_policy import CorsPolicy
    from .header_parser import HeaderParser
    from .rate_limit import RateLimitPolicy
    from .route_index import RouteIndex
    from .route_match_tree import RouteMatchTree
    from .shadow_writer import ShadowPolicy
    from .virtual_cluster import VirtualClusters

honours(
    "envoy.config.route.v3.RouteConfiguration",
    "name",
    "virtual_hosts",
    "internal_only_headers",
    "request_headers_to_add",
    "request_headers_to_remove",
    "response_headers_to_add",
    "response_headers_to_remove",
    "most_specific_header_mutations_wins",
    "validate_clusters",
    "ignore_port_in_host_matching",
    "vhost_header",
    "ignore_path_parameters_in_path_matching",
    "max_direct_response_body_size_bytes",
    "typed_per_filter_config",
    "request_mirror_policies",
    ignored={"metadata": "no log, header or filter can ask for it"},
)
honours(
    "envoy.config.route.v3.VirtualHost",
    "name",
    "domains",
    "routes",
    "matcher",
    "require_tls",
    "virtual_clusters",
    "request_mirror_policies",
    "rate_limits",
    "typed_per_filter_config",
    "request_headers_to_add",
    "request_headers_to_remove",
    "response_headers_to_add",
    "response_headers_to_remove",
    "retry_policy",
    "hedge_policy",
    "include_request_attempt_count",
    "include_attempt_count_in_response",
    "include_is_timeout_retry_header",
    "cors",
    "per_request_buffer_limit_bytes",
    "request_body_buffer_limit",
    whole=("metadata",),
    ignored={"retry_policy_typed_config": "Envoy does not read it either"},
)


SCANNED: Final = 16
"""Routes that are asked without an index: to ask so few takes no longer than to look them up."""
REQUIRE_ALL: Final = 2
MAX_NEAR_MISSES: Final = 100
"""Virtual hosts that are named when none matches."""
_QUERY: Final = ord("?")
_PATH_PARAMETERS: Final = lazy_pattern(rb";[^/]*")


class VirtualHost:
    """Domains that share a list of routes.

    Attributes:
        domains: as configured.
        first_routes: those that are asked one after the other; all, unless there are many.
        index: finds who is to be asked after them, or None.
        path: where it stands in the configuration.
        ssl_redirect: the answer to whoever does not come by TLS, if `require_tls` asks for it.
        tree: chooses the routes to try, in place of `routes`; or None.
        unusual: there is one of these two.
    """

    __slots__ = (
        "_require_tls",
        "domains",
        "first_routes",
        "index",
        "name",
        "path",
        "routes",
        "ssl_redirect",
        "tree",
        "unusual",
    )

    def __init__(
        self,
        name: str,
        routes: tuple[RouteEntry, ...],
        require_tls: int,
        redirect: RouteEntry | None,
        tree: RouteMatchTree | None = None,
    ) -> None:
        self.name = name
        self.path = ""
        self.domains: tuple[str, ...] = ()
        self.tree = tree
        self.unusual = bool(require_tls) or tree is not None
        self.routes = routes
        self.first_routes = routes[:SCANNED]
        self.index: RouteIndex | None = None
        if len(routes) > SCANNED:
            from .route_index import RouteIndex

            self.index = RouteIndex(routes[SCANNED:])
        self._require_tls = require_tls
        self.ssl_redirect = redirect

    def wants_tls(self, headers: RequestHeaderMap) -> bool:
        """Whether this request is to come again by TLS."""
        if headers.get(b"x-forwarded-proto") == b"https":
            return False
        return self._require_tls == REQUIRE_ALL or headers.get(b"x-envoy-internal") != b"true"


class RouteConfig:
    """Compiled; swapped as a whole when it changes.

    Attributes:
        internal_only_headers: lower-case names that requests from outside lose.
        switched_filters: names of the filters that some route disables or enables.
        virtual_hosts: in the order of the configuration.
    """

    def __init__(
        self,
        proto: Any,
        path: str,
        *,
        runtime: Loader | None = None,
        sources: Any = None,
        random: Callable[[], int] = lambda: 0,
        cluster_exists: Callable[[str], bool] | None = None,
        takes_scheme_of_upstream: bool = False,
    ) -> None:
        """Raises ConfigError below `path`. With `cluster_exists`, an unknown cluster is such an error."""
        self.name: str = proto.name
        self.internal_only_headers = tuple(name.lower().encode() for name in proto.internal_only_headers)
        self._ignore_port = proto.ignore_port_in_host_matching
        self._random = random
        self.virtual_hosts: list[VirtualHost] = []
        self._exact: dict[bytes, VirtualHost] = {}
        self._suffixes: dict[int, dict[bytes, VirtualHost]] = {}
        self._prefixes: dict[int, dict[bytes, VirtualHost]] = {}
        self._default: VirtualHost | None = None
        self._ignore_parameters = proto.ignore_path_parameters_in_path_matching
        self._vhost_header = proto.vhost_header.lower().encode()
        request, response = _parsers(proto, path, sources)
        filter_configs = _filter_configs(proto, path, None, sources)
        max_body = MAX_DIRECT_RESPONSE_BODY
        if proto.HasField("max_direct_response_body_size_bytes"):
            max_body = proto.max_direct_response_body_size_bytes.value
        store: Store = Store() if sources is None else sources.stats
        shared = CommonVirtualHost("", random=random, runtime=runtime, sources=sources)
        shared = replace(shared, shadow_policies=_shadow_policies(proto, path, shared))
        switched: set[str] = set()
        for at, each in enumerate(proto.virtual_hosts):
            here = f"{path}.virtual_hosts[{at}]"
            vhost_request, vhost_response = _parsers(each, here, sources)
            common = CommonVirtualHost(
                name=each.name,
                metadata=plain_metadata(each.metadata),
                request_parsers=(vhost_request, request),
                response_parsers=(vhost_response, response),
                most_specific_wins=proto.most_specific_header_mutations_wins,
                filter_configs=_filter_configs(each, here, filter_configs, sources),
                shadow_policies=_shadow_policies(each, here, shared),
                cors_policy=_cors_policy(each, here, sources),
                attempts=AttemptSettings.of_virtual_host(each, here),
                rate_limits=_rate_limits(each, here, sources),
                random=random,
                takes_scheme_of_upstream=takes_scheme_of_upstream,
                max_body=max_body,
                runtime=runtime,
                sources=sources,
                store=store,
                virtual_clusters=_virtual_clusters(each, here, store),
            )
            routes = tuple(
                RouteEntry(route, f"{here}.routes[{index}]", common) for index, route in enumerate(each.routes)
            )
            if cluster_exists is not None:
                for index, entry in enumerate(routes):
                    _check_clusters(entry, f"{here}.routes[{index}].route", cluster_exists)
            tree = None
            if each.HasField("matcher"):
                if each.routes:
                    raise ConfigError("cannot set both matcher and routes on virtual host", here)
                from .route_match_tree import RouteMatchTree

                tree = RouteMatchTree(each.matcher, f"{here}.matcher", common)
            for entry in (*routes, *(tree.routes if tree is not None else ())):
                switched.update(entry.disabled_filters)
            redirect = _ssl_redirect() if each.require_tls else None
            virtual_host = VirtualHost(each.name, routes, each.require_tls, redirect, tree)
            virtual_host.path, virtual_host.domains = here.removeprefix("."), tuple(each.domains)
            self.virtual_hosts.append(virtual_host)
            for index, domain in enumerate(each.domains):
                self._add_domain(domain.lower().encode(), virtual_host, f"{here}.domains[{index}]")
        self.switched_filters = frozenset(switched)
        self._only_default = not (self._exact or self._suffixes or self._prefixes)
        # Longest wildcard first.
        self._suffixes = dict(sorted(self._suffixes.items(), reverse=True))
        self._prefixes = dict(sorted(self._prefixes.items(), reverse=True))

    def _add_domain(self, domain: bytes, virtual_host: VirtualHost, path: str) -> None:
        if domain == b"*":
            if self._default is not None:
                raise ConfigError(f"Only a single wildcard domain is permitted in route {self.name}", path)
            self._default = virtual_host
            return
        if domain[:1] == b"*":
            table, key = self._suffixes.setdefault(len(domain) - 1, {}), domain[1:]
        elif domain[-1:] == b"*":
            table, key = self._prefixes.setdefault(len(domain) - 1, {}), domain[:-1]
        else:
            table, key = self._exact, domain
        if key in table:
            raise ConfigError(
                "Only unique values for domains are permitted. Duplicate entry of domain "
                f"{domain.decode()} in route {self.name}",
                path,
            )
        table[key] = virtual_host

    def virtual_host(self, authority: bytes) -> VirtualHost | None:
        """By host: exactly, by the longest `*.suffix`, by the longest `prefix.*`, or the default."""
        if self._only_default:
            return self._default
        host = authority.lower()
        if self._ignore_port:
            at = host.rfind(b":")
            if at > host.rfind(b"]") and not host[at + 1 :].strip(b"0123456789"):
                host = host[:at]
        found = self._exact.get(host)
        if found is not None:
            return found
        for length, table in self._suffixes.items():
            if len(host) > length:
                found = table.get(host[-length:])
                if found is not None:
                    return found
        for length, table in self._prefixes.items():
            if len(host) > length:
                found = table.get(host[:length])
                if found is not None:
                    return found
        return self._default

    def route(self, headers: RequestHeaderMap, stream: Any) -> RouteEntry | None:
        """The first route of the virtual host that matches; why the others did not is explained."""
        virtual_host = self._default if self._only_default else self._find_virtual_host(headers)
        explain = stream.explain
        if virtual_host is None:
            if explain is not NO_EXPLANATION:
                explain.decided("route", None, f"no virtual host for {headers.authority.decode('latin-1')}")
            return None
        routes: Iterable[RouteEntry] = virtual_host.first_routes
        index = virtual_host.index
        if virtual_host.unusual:
            if virtual_host.ssl_redirect is not None and virtual_host.wants_tls(headers):
                if explain is not NO_EXPLANATION:
                    explain.decided("route", "redirect to https", f"require_tls of virtual host {virtual_host.name}")
                return virtual_host.ssl_redirect
            if virtual_host.tree is not None:
                routes, index = virtual_host.tree.find(headers, stream), None
        path = headers.path
        if _QUERY in path:
            path = path[: path.index(_QUERY)]
        if self._ignore_parameters and b";" in path:
            # Those of every segment, as in `/a;v=1/b`.
            path = _PATH_PARAMETERS.sub(b"", path)
        if explain is not NO_EXPLANATION:
            if index is not None:
                routes = virtual_host.routes
            return self._explained_route(virtual_host, routes, headers, path, stream)
        while True:
            for route in routes:
                match = route.match
                prefix = match.quick_prefix
                if prefix is not None:
                    if not path.startswith(prefix):
                        continue
                elif not match.path(path):
                    continue
                if not (match.conditional and match.conditions(headers, stream, self._random)):
                    if not path and not match.connect:
                        # A CONNECT without a path is for a connect_matcher only.
                        continue
                    return self._for_request(route, headers, stream) if route.depends else route
            if index is None:
                return None
            routes, index = index.candidates(path), None

    def _find_virtual_host(self, headers: RequestHeaderMap) -> VirtualHost | None:
        if not self._vhost_header:
            return self.virtual_host(headers.authority)
        host = headers.get(self._vhost_header)
        return None if host is None else self.virtual_host(host)

    def _for_request(self, route: RouteEntry, headers: RequestHeaderMap, stream: Any) -> RouteEntry:
        def draw() -> int:
            if stream.route_random is None:
                stream.route_random = self._random()
            number: int = stream.route_random
            return number

        return route.for_request(headers, stream, draw)

    def _explained_route(
        self,
        virtual_host: VirtualHost,
        routes: Iterable[RouteEntry],
        headers: RequestHeaderMap,
        path: bytes,
        stream: Any,
    ) -> RouteEntry | None:
        near_misses: list[NearMiss] = []
        how = " (by its matcher)" if virtual_host.tree is not None else ""
        for route in routes:
            match = route.match
            if not match.path(path) or not (path or match.connect):
                reason = f"{match.description} does not match {path.decode('latin-1')}"
                near_misses.append(NearMiss(route, reason, route.path, "path"))
                continue
            failed = match.conditions(headers, stream, self._random) if match.conditional else ""
            if failed:
                near_misses.append(NearMiss(route, f"needs {failed}", route.path))
                continue
            because = f"{match.description} matches {path.decode('latin-1')} in virtual host {virtual_host.name}{how}"
            stream.explain.decided("route", route, because, tuple(near_misses), route.path)
            return self._for_request(route, headers, stream) if route.depends else route
        stream.explain.decided("route", None, f"route_not_found{how}", tuple(near_misses))
        return None

    def explain_virtual_host(self, headers: RequestHeaderMap) -> Decision:
        """Which virtual host a request belongs to, and which others have domains that match less well.

        No request asks this: `minienvoy explain` does.
        """
        chosen = self._find_virtual_host(headers)
        authority = (headers.get(self._vhost_header) if self._vhost_header else headers.authority) or b""
        host = authority.decode("latin-1")
        if chosen is None:
            others = tuple(
                NearMiss(each.name, f"{', '.join(each.domains)} does not match {host}", each.path)
                for each in self.virtual_hosts[:MAX_NEAR_MISSES]
            )
            return Decision("virtual_host", None, f"no domain matches {host}", others)
        matching = self._matching_domains(authority.lower())
        domain = next((domain for domain, each in matching if each is chosen), "*")
        others = tuple(
            NearMiss(each.name, f"{other} is less specific than {domain}", each.path)
            for other, each in matching
            if each is not chosen
        )
        return Decision("virtual_host", chosen.name, f"domain {domain} matches {host}", others, chosen.path)

    def _matching_domains(self, host: bytes) -> list[tuple[str, VirtualHost]]:
        """Every domain that matches and whose it is, the most specific first."""
        if self._ignore_port and host.rfind(b":") > host.rfind(b"]"):
            host = host[: host.rfind(b":")]
        found: list[tuple[bytes, VirtualHost | None]] = [(host, self._exact.get(host))]
        for length, table in self._suffixes.items():
            if len(host) > length:
                found.append((b"*" + host[-length:], table.get(host[-length:])))
        for length, table in self._prefixes.items():
            if len(host) > length:
                found.append((host[:length] + b"*", table.get(host[:length])))
        found.append((b"*", self._default))
        return [(domain.decode("latin-1"), each) for domain, each in found if each is not None]


def _parsers(proto: Any, path: str, sources: Any) -> tuple[HeaderParser | None, HeaderParser | None]:
    """Of requests and of responses."""
    request = proto.request_headers_to_add, proto.request_headers_to_remove, f"{path}.request_headers"
    response = proto.response_headers_to_add, proto.response_headers_to_remove, f"{path}.response_headers"
    return header_parser(*request, sources), header_parser(*response, sources)


def _filter_configs(proto: Any, path: str, parent: FilterConfigs | None, server: Any) -> FilterConfigs | None:
    if not proto.typed_per_filter_config:
        return parent
    return FilterConfigs(proto.typed_per_filter_config, f"{path}.typed_per_filter_config", parent, server)


def _shadow_policies(proto: Any, path: str, common: CommonVirtualHost) -> tuple[ShadowPolicy, ...]:
    """Of a virtual host or a route configuration; those of the level above if it has none."""
    if not proto.request_mirror_policies:
        return common.shadow_policies
    from .shadow_writer import shadow_policies

    return shadow_policies(proto.request_mirror_policies, f"{path}.request_mirror_policies", common)


def _cors_policy(proto: Any, path: str, server: Any) -> CorsPolicy | None:
    if not proto.HasField("cors"):
        return None
    from .cors_policy import CorsPolicy

    return CorsPolicy.from_proto(proto.cors, f"{path}.cors", server)


def _rate_limits(proto: Any, path: str, sources: Any) -> RateLimitPolicy | None:
    if not proto.rate_limits:
        return None
    from .rate_limit import RateLimitPolicy

    return RateLimitPolicy.from_protos(proto.rate_limits, f"{path}.rate_limits", sources)


def _virtual_clusters(proto: Any, path: str, store: Store) -> VirtualClusters | None:
    if not proto.virtual_clusters:
        return None
    from .virtual_cluster import VirtualClusters

    return VirtualClusters(proto.virtual_clusters, f"{path}.virtual_clusters", proto.name, store)


def _ssl_redirect() -> RouteEntry:
    """The route of who is sent to TLS: it has neither a name nor headers to add."""
    from ..config.api import message_class
    from .redirect import SslRedirect

    proto = message_class("envoy.config.route.v3.Route")()
    proto.match.prefix = "/"
    proto.redirect.https_redirect = True
    made = RouteEntry(proto, "", CommonVirtualHost(""))
    made.direct_response = SslRedirect()
    return made


def _check_clusters(entry: RouteEntry, path: str, exists: Callable[[str], bool]) -> None:
    if entry.cluster_name and not exists(entry.cluster_name):
        raise ConfigError(f"route: unknown cluster '{entry.cluster_name}'", f"{path}.cluster")
    for name in entry.specifier.cluster_names if entry.specifier is not None else ():
        if not exists(name):
            raise ConfigError(f"route: unknown weighted cluster '{name}'", f"{path}.weighted_clusters")
    for policy in entry.shadow_policies:
        if policy.cluster_name and not exists(policy.cluster_name):
            raise ConfigError(f"route: unknown shadow cluster '{policy.cluster_name}'", path)
