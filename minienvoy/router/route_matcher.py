"""Which requests a route is for.

Envoy: `Router::RouteEntryImplBase::matchRoute`, `PrefixRouteEntryImpl`, `PathRouteEntryImpl`, `RegexRouteEntryImpl`,
`PathSeparatedPrefixRouteEntryImpl`, `ConnectRouteEntryImpl`, `UriTemplateMatcherRouteEntryImpl`; docs "Route matching".
Paths are matched as they came, without the query.
"""

from __future__ import annotations

from collections.abc import Callable
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from ..config import api
from ..config.fields import honours
from ..config.runtime import RuntimeFractionalPercent
from ..errors import ConfigError
from ..http.grpc import is_grpc
from ..http.header_map import RequestHeaderMap
from ..matchers.cookie import CookieMatcher, parse_cookies
from ..matchers.header import compile_header_matchers
from ..matchers.query_parameter import compile_query_parameter_matchers, parse_query
from ..matchers.regex import BytesPredicate, compile_regex
from ..matchers.string import compile_string_matcher
from ..matchers.value import MetadataMatcher
from ..network.address import Address
from ..network.cidr import CidrSet
from ..registry import Registry

if TYPE_CHECKING:
    from ..config.runtime import Loader
    from ..stream_info import StreamInfo

honours(
    "envoy.config.route.v3.RouteMatch",
    "prefix",
    "path",
    "safe_regex",
    "path_separated_prefix",
    "connect_matcher",
    "path_match_policy",
    "case_sensitive",
    "headers",
    "query_parameters",
    "cookies",
    "tls_context",
    "dynamic_metadata",
    "filter_state",
    "grpc",
    "runtime_fraction",
)
honours("envoy.config.route.v3.RouteMatch.GrpcRouteMatchOptions")
honours("envoy.config.route.v3.RouteMatch.ConnectMatcher")
honours("envoy.config.route.v3.RouteMatch.TlsContextMatchOptions", "presented", "validated")
honours("envoy.type.matcher.v3.FilterStateMatcher", "key", "string_match", "address_match")
honours("envoy.type.matcher.v3.AddressMatcher", "ranges", "invert_match")
honours("envoy.config.core.v3.RuntimeFractionalPercent", "default_value", "runtime_key")
honours("envoy.type.v3.FractionalPercent", "numerator", "denominator")

PathPredicate = Callable[[bytes], bool]
StreamPredicate = Callable[["StreamInfo"], bool]


class PathMatcher:
    """What a `path_match_policy` makes (`Router::PathMatcher`)."""

    __slots__ = ("description",)

    description: str

    def matches(self, path: bytes) -> bool:
        """`path` is without its query."""
        raise NotImplementedError


PATH_MATCHERS: Registry[Callable[[Any, str], PathMatcher]] = Registry("envoy.path.match")
"""`factory(config, path)`."""


class RouteMatch:
    """Compiled; `description` names it in explanations.

    Attributes:
        path: tells whether a path (without query) fits.
        quick_prefix: with which a path must begin, if that is all `path` asks.
        conditional: there is more to look at than the path.
        connect: it is for CONNECT requests, which have no path, and for nothing else.
        matcher: the extension of a `path_match_policy`, or None.
        case_sensitive: prefixes and paths are compared as they are.
    """

    __slots__ = (
        "_cookies",
        "_grpc",
        "_headers",
        "_query",
        "_runtime_fraction",
        "_stream",
        "case_sensitive",
        "conditional",
        "connect",
        "description",
        "matcher",
        "path",
        "prefix",
        "quick_prefix",
        "rewrites_whole_path",
    )

    def __init__(self, match: Any, path: str, runtime: Loader | None) -> None:
        kind = match.WhichOneof("path_specifier")
        self.prefix: bytes | None = None
        self.quick_prefix: bytes | None = None
        self.matcher: PathMatcher | None = None
        self.case_sensitive = not match.HasField("case_sensitive") or match.case_sensitive.value
        self.rewrites_whole_path = self.connect = False
        self._take_path(match, kind, path)
        self._headers = compile_header_matchers(match.headers, f"{path}.headers")
        self._query = compile_query_parameter_matchers(match.query_parameters, f"{path}.query_parameters")
        self._cookies = tuple(
            CookieMatcher.from_proto(proto, f"{path}.cookies[{at}]") for at, proto in enumerate(match.cookies)
        )
        self._stream = tuple(_stream_predicates(match, path))
        self._grpc = match.HasField("grpc")
        self._runtime_fraction: Callable[[int], bool] | None = None
        if match.HasField("runtime_fraction") and runtime is not None:
            fraction = RuntimeFractionalPercent.from_proto(match.runtime_fraction)
            self._runtime_fraction = lambda draw: runtime.snapshot.fraction_enabled(fraction, draw)
        self.conditional = bool(
            self._headers
            or self._query
            or self._grpc
            or self._runtime_fraction
            or self._cookies
            or self._stream
            or self.connect
        )

    def _take_path(self, match: Any, kind: str | None, path: str) -> None:
        sensitive = self.case_sensitive
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
        elif kind == "connect_matcher":
            self.path = lambda path: True
            self.rewrites_whole_path = self.connect = True
        elif kind == "path_match_policy":
            self.matcher = compile_path_matcher(match.path_match_policy, f"{path}.path_match_policy")
            self.path = self.matcher.matches
            self.rewrites_whole_path = True
        else:
            raise ConfigError(f"{kind} is not supported", path)
        value = getattr(match, kind)
        if kind == "safe_regex":
            value = value.regex
        elif self.matcher is not None:
            value = self.matcher.description
        self.description = kind if self.connect else f"{kind} {value}"

    def conditions(self, headers: RequestHeaderMap, stream: StreamInfo, random: Callable[[], int]) -> str:
        """Which condition does not hold; empty if all do."""
        if self.connect and headers.method != b"CONNECT":
            return "CONNECT"
        if self._runtime_fraction is not None:
            # All fractions of a stream see one number: who misses 50 % misses the next 50 % as well.
            draw = stream.route_random
            if draw is None:
                draw = stream.route_random = random()
            if not self._runtime_fraction(draw):
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
        if self._cookies:
            cookies = parse_cookies(headers.get_all(b"cookie"))
            for cookie in self._cookies:
                if not cookie.matches(cookies):
                    return f"cookie {cookie.description}"
        for description, holds in self._stream:
            if not holds(stream):
                return description
        return ""


def _stream_predicates(match: Any, path: str) -> list[tuple[str, StreamPredicate]]:
    """What is asked of the connection, and of what filters have left with the stream."""
    found: list[tuple[str, StreamPredicate]] = []
    for name in ("presented", "validated"):
        if match.HasField("tls_context") and match.tls_context.HasField(name):
            found.append((f"tls_context {name}", _tls(name, getattr(match.tls_context, name).value)))
    for at, proto in enumerate(match.dynamic_metadata):
        metadata = MetadataMatcher.from_proto(proto, f"{path}.dynamic_metadata[{at}]")
        found.append((f"dynamic_metadata {proto.filter}", _metadata(metadata)))
    for at, proto in enumerate(match.filter_state):
        state = compile_filter_state_matcher(proto, f"{path}.filter_state[{at}]")
        found.append((f"filter_state {proto.key}", state))
    return found


def compile_filter_state_matcher(proto: Any, path: str) -> StreamPredicate:
    """Compile an `envoy.type.matcher.v3.FilterStateMatcher`.

    Raises:
        ConfigError: a wrong regular expression, or an address that is none.
    """
    if proto.WhichOneof("matcher") == "address_match":
        ranges = CidrSet.from_protos(proto.address_match.ranges, f"{path}.address_match.ranges")
        return _address_state(proto.key, ranges, not proto.address_match.invert_match)
    return _filter_state(proto.key, compile_string_matcher(proto.string_match, f"{path}.string_match"))


def _tls(name: str, wanted: bool) -> StreamPredicate:
    fact = attrgetter({"presented": "peer_certificate_presented", "validated": "validated"}[name])

    def holds(stream: StreamInfo) -> bool:
        ssl = stream.connection.ssl
        return (ssl is not None and bool(fact(ssl))) == wanted

    return holds


def _metadata(matcher: MetadataMatcher) -> StreamPredicate:
    return lambda stream: matcher.matches(stream._dynamic_metadata)


def _filter_state(key: str, test: BytesPredicate) -> StreamPredicate:
    def holds(stream: StreamInfo) -> bool:
        value = stream.state(key)
        return value is not None and test(value if isinstance(value, bytes) else str(value).encode())

    return holds


def _address_state(key: str, ranges: CidrSet, wanted: bool) -> StreamPredicate:
    def holds(stream: StreamInfo) -> bool:
        value = stream.state(key)
        return isinstance(value, Address) and (value in ranges) is wanted

    return holds


def compile_path_matcher(policy: Any, path: str) -> PathMatcher:
    """An extension that is named by a `TypedExtensionConfig`; raises ConfigError if there is none or it refuses."""
    here = f"{path}.typed_config"
    found = PATH_MATCHERS.find(policy.typed_config.type_url, here, policy.name)
    return found.factory(api.unpack(policy.typed_config, here, validate=True), here)


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
