"""Which requests a route is for.

Envoy: `Router::RouteEntryImplBase::matchRoute`, `PrefixRouteEntryImpl`, `PathRouteEntryImpl`, `RegexRouteEntryImpl`,
`PathSeparatedPrefixRouteEntryImpl`; docs "Route matching". Paths are matched as they came, without the query.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ..config.fields import honours
from ..config.runtime import RuntimeFractionalPercent
from ..errors import ConfigError
from ..http.grpc import is_grpc
from ..http.header_map import RequestHeaderMap
from ..matchers.header import compile_header_matchers
from ..matchers.query_parameter import compile_query_parameter_matchers, parse_query
from ..matchers.regex import compile_regex

if TYPE_CHECKING:
    from ..config.runtime import Loader

honours(
    "envoy.config.route.v3.RouteMatch",
    "prefix",
    "path",
    "safe_regex",
    "path_separated_prefix",
    "case_sensitive",
    "headers",
    "query_parameters",
    "grpc",
    "runtime_fraction",
)
honours("envoy.config.route.v3.RouteMatch.GrpcRouteMatchOptions")
honours("envoy.config.core.v3.RuntimeFractionalPercent", "default_value", "runtime_key")
honours("envoy.type.v3.FractionalPercent", "numerator", "denominator")

PathPredicate = Callable[[bytes], bool]


class RouteMatch:
    """Compiled; `description` names it in explanations.

    Attributes:
        path: tells whether a path (without query) fits.
        quick_prefix: with which a path must begin, if that is all `path` asks.
        conditional: there is more to look at than the path.
    """

    __slots__ = (
        "_grpc",
        "_headers",
        "_query",
        "_runtime_fraction",
        "conditional",
        "description",
        "path",
        "prefix",
        "quick_prefix",
        "rewrites_whole_path",
    )

    def __init__(self, match: Any, path: str, runtime: Loader | None) -> None:
        kind = match.WhichOneof("path_specifier")
        sensitive = not match.HasField("case_sensitive") or match.case_sensitive.value
        self.prefix: bytes | None = None
        self.quick_prefix: bytes | None = None
        self.rewrites_whole_path = False
        if kind == "prefix":
            self.prefix = prefix = match.prefix.encode()
            self.path = _prefix(prefix, sensitive)
            if sensitive:
                self.quick_prefix = prefix
        elif kind == "path":
            self.prefix = exact = match.path.encode()
            self.path = _exact(exact, sensitive)
        elif kind == "path_separated_prefix":
            self.prefix = separated = match.path_separated_prefix.encode()
            self.path = _path_separated_prefix(separated, sensitive)
        elif kind == "safe_regex":
            self.path = compile_regex(match.safe_regex, f"{path}.safe_regex").full_match
            self.rewrites_whole_path = True
        else:
            raise ConfigError(f"{kind} is not supported", path)
        value = getattr(match, kind)
        self.description = f"{kind} {value.regex if kind == 'safe_regex' else value}"
        self._headers = compile_header_matchers(match.headers, f"{path}.headers")
        self._query = compile_query_parameter_matchers(match.query_parameters, f"{path}.query_parameters")
        self._grpc = match.HasField("grpc")
        self._runtime_fraction: Callable[[int], bool] | None = None
        if match.HasField("runtime_fraction") and runtime is not None:
            fraction = RuntimeFractionalPercent.from_proto(match.runtime_fraction)
            self._runtime_fraction = lambda draw: runtime.snapshot.fraction_enabled(fraction, draw)
        self.conditional = bool(self._headers or self._query or self._grpc or self._runtime_fraction)

    def conditions(self, headers: RequestHeaderMap, random: Callable[[], int]) -> str:
        """Which condition does not hold; empty if all do."""
        if self._runtime_fraction is not None and not self._runtime_fraction(random()):
            return "runtime_fraction"
        if self._grpc and not is_grpc(headers.get(b"content-type")):
            return "grpc"
        for matcher in self._headers:
            if not matcher.matches(headers):
                return f"header {matcher.description}"
        if self._query:
            parameters = parse_query(headers.path)
            for parameter in self._query:
                if not parameter.matches(parameters):
                    return f"query parameter {parameter.description}"
        return ""


def _prefix(prefix: bytes, sensitive: bool) -> PathPredicate:
    if sensitive:
        return lambda path: path.startswith(prefix)
    lower = prefix.lower()
    return lambda path: path.lower().startswith(lower)


def _exact(exact: bytes, sensitive: bool) -> PathPredicate:
    if sensitive:
        return lambda path: path == exact
    lower = exact.lower()
    return lambda path: path.lower() == lower


def _path_separated_prefix(prefix: bytes, sensitive: bool) -> PathPredicate:
    folded = prefix if sensitive else prefix.lower()
    below = folded + b"/"

    def matches(path: bytes) -> bool:
        if not sensitive:
            path = path.lower()
        return path == folded or path.startswith(below)

    return matches
