"""The route table: virtual hosts by domain, routes in order.

Envoy: `Router::ConfigImpl`, `RouteMatcher`, `VirtualHostImpl`; docs "HTTP routing".
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ..config.fields import honours
from ..errors import ConfigError
from ..explain.explanation import NO_EXPLANATION
from ..http.header_map import RequestHeaderMap
from ..upstream.load_assignment import plain_metadata
from .header_parser import HeaderParser
from .route_entry import RouteEntry

if TYPE_CHECKING:
    from ..config.runtime import Loader

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
)
honours(
    "envoy.config.route.v3.VirtualHost",
    "name",
    "domains",
    "routes",
    "request_headers_to_add",
    "request_headers_to_remove",
    "response_headers_to_add",
    "response_headers_to_remove",
    whole=("metadata",),
)


class VirtualHost:
    """Domains that share a list of routes."""

    __slots__ = ("name", "routes")

    def __init__(self, name: str, routes: tuple[RouteEntry, ...]) -> None:
        self.name = name
        self.routes = routes


class RouteConfig:
    """Compiled; swapped as a whole when it changes.

    Attributes:
        internal_only_headers: lower-case names that requests from outside lose.
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
    ) -> None:
        """Raises ConfigError below `path`. With `cluster_exists`, an unknown cluster is such an error."""
        self.name: str = proto.name
        self.internal_only_headers = tuple(name.lower().encode() for name in proto.internal_only_headers)
        self._ignore_port = proto.ignore_port_in_host_matching
        self._random = random
        self._exact: dict[bytes, VirtualHost] = {}
        self._suffixes: dict[int, dict[bytes, VirtualHost]] = {}
        self._prefixes: dict[int, dict[bytes, VirtualHost]] = {}
        self._default: VirtualHost | None = None
        request = HeaderParser.from_proto(
            proto.request_headers_to_add, proto.request_headers_to_remove, f"{path}.request_headers", sources
        )
        response = HeaderParser.from_proto(
            proto.response_headers_to_add, proto.response_headers_to_remove, f"{path}.response_headers", sources
        )
        for at, each in enumerate(proto.virtual_hosts):
            here = f"{path}.virtual_hosts[{at}]"
            vhost_request = HeaderParser.from_proto(
                each.request_headers_to_add, each.request_headers_to_remove, f"{here}.request_headers", sources
            )
            vhost_response = HeaderParser.from_proto(
                each.response_headers_to_add, each.response_headers_to_remove, f"{here}.response_headers", sources
            )
            metadata = plain_metadata(each.metadata)
            routes = tuple(
                RouteEntry(
                    route,
                    f"{here}.routes[{index}]",
                    each.name,
                    metadata,
                    (vhost_request, request),
                    (vhost_response, response),
                    proto.most_specific_header_mutations_wins,
                    runtime,
                    sources,
                )
                for index, route in enumerate(each.routes)
            )
            if cluster_exists is not None:
                for index, entry in enumerate(routes):
                    if entry.cluster_name and not cluster_exists(entry.cluster_name):
                        raise ConfigError(
                            f"route: unknown cluster '{entry.cluster_name}'", f"{here}.routes[{index}].route.cluster"
                        )
            virtual_host = VirtualHost(each.name, routes)
            for index, domain in enumerate(each.domains):
                self._add_domain(domain.lower().encode(), virtual_host, f"{here}.domains[{index}]")
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
        virtual_host = self._default if self._only_default else self.virtual_host(headers.authority)
        explain = stream.explain
        if virtual_host is None:
            if explain is not NO_EXPLANATION:
                explain.decided("route", None, f"no virtual host for {headers.authority.decode('latin-1')}")
            return None
        path = headers.path
        if b"?" in path:
            path = path[: path.index(b"?")]
        if explain is not NO_EXPLANATION:
            return self._explained_route(virtual_host, headers, path, stream)
        for route in virtual_host.routes:
            match = route.match
            prefix = match.quick_prefix
            if prefix is not None:
                if not path.startswith(prefix):
                    continue
            elif not match.path(path):
                continue
            if not (match.conditional and match.conditions(headers, self._random)):
                return route
        return None

    def _explained_route(
        self, virtual_host: VirtualHost, headers: RequestHeaderMap, path: bytes, stream: Any
    ) -> RouteEntry | None:
        near_misses: list[str] = []
        for route in virtual_host.routes:
            match = route.match
            if not match.path(path):
                near_misses.append(f"{route} (path)")
                continue
            failed = match.conditions(headers, self._random) if match.conditional else ""
            if failed:
                near_misses.append(f"{route} (needs {failed})")
                continue
            because = f"{match.description} matches {path.decode('latin-1')} in virtual host {virtual_host.name}"
            stream.explain.decided("route", route, because, tuple(near_misses))
            return route
        stream.explain.decided("route", None, "route_not_found", tuple(near_misses))
        return None
