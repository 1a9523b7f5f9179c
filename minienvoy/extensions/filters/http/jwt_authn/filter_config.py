"""The settings of the filter, and the rules that say which request needs what.

Envoy: `Extensions::HttpFilters::JwtAuthn::FilterConfigImpl`, `Matcher`, `PerRouteFilterConfig`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from .....config.fields import honours
from .....errors import ConfigError
from .....http.header_map import RequestHeaderMap
from .....router.filter_config import ROUTE_FILTER_CONFIGS
from .....router.route_matcher import RouteMatch
from .provider import Providers
from .remote_keys import JwtStats
from .verifier import Context, Verifier, compile_requirement

if TYPE_CHECKING:
    from .....server.factory_context import FactoryContext
    from .....stream_info import StreamInfo

NAME: Final = "envoy.filters.http.jwt_authn"
_PACKAGE: Final = "envoy.extensions.filters.http.jwt_authn.v3"
TYPE: Final = f"{_PACKAGE}.JwtAuthentication"
ROUTE_TYPE: Final = f"{_PACKAGE}.PerRouteConfig"

honours(
    TYPE,
    "providers",
    "rules",
    "filter_state_rules",
    "bypass_cors_preflight",
    "requirement_map",
    "strip_failure_response",
    "stat_prefix",
)
honours(f"{_PACKAGE}.RequirementRule", "match", "requires", "requirement_name")
honours(f"{_PACKAGE}.FilterStateRule", "name", "requires")
honours(ROUTE_TYPE, "disabled", "requirement_name")

_IGNORED: Final = ("grpc", "runtime_fraction", "cookies", "tls_context", "dynamic_metadata", "filter_state")
"""Of a match: Envoy's filter looks at the path, the headers and the query alone."""


class Rule:
    __slots__ = ("_match", "verifier")

    def __init__(self, proto: Any, path: str, verifier: Verifier | None) -> None:
        """Raises ConfigError: what to match is wrong."""
        match = type(proto.match)()
        match.CopyFrom(proto.match)
        for field in _IGNORED:
            match.ClearField(field)
        self._match = RouteMatch(match, f"{path}.match", None)
        self.verifier = verifier

    def matches(self, headers: RequestHeaderMap, stream: StreamInfo) -> bool:
        return self._match.path(headers.path.partition(b"?")[0]) and not self._match.conditions(headers, stream, int)


class RouteSettings:
    """What a route says.

    Attributes:
        requirement: its name; empty for none.
    """

    __slots__ = ("requirement",)

    def __init__(self, proto: Any) -> None:
        self.requirement: str = "" if proto.disabled else proto.requirement_name


class JwtConfig:
    """Attributes:
    own_headers: those that no client may set.
    """

    def __init__(self, proto: Any, context: FactoryContext) -> None:
        """Raises ConfigError: providers or requirements that make no sense."""
        server = context.server
        self._dispatcher = server.dispatcher
        scope = context.http_scope.scope("jwt_authn")
        self.stats = (scope.scope(proto.stat_prefix) if proto.stat_prefix else scope).struct(JwtStats)
        self._providers = Providers(proto.providers, server, self.stats)
        self.own_headers = self._providers.own_headers
        self.bypass_cors_preflight: bool = proto.bypass_cors_preflight
        self.strip_failure_response: bool = proto.strip_failure_response
        self._named = {
            name: compile_requirement(proto.requirement_map[name], f"requirement_map[{name}]", self._providers)
            for name in sorted(proto.requirement_map)
        }
        self._rules = tuple(
            Rule(each, f"rules[{at}]", self._required(each, f"rules[{at}]")) for at, each in enumerate(proto.rules)
        )
        self._state_name: str = proto.filter_state_rules.name
        requires = proto.filter_state_rules.requires
        self._by_state = {
            name: compile_requirement(requires[name], f"filter_state_rules.requires[{name}]", self._providers)
            for name in sorted(requires)
        }

    def _required(self, proto: Any, path: str) -> Verifier | None:
        if proto.WhichOneof("requirement_type") == "requirement_name":
            if proto.requirement_name not in self._named:
                raise ConfigError(self._wrong_name(proto.requirement_name), f"{path}.requirement_name")
            return self._named[proto.requirement_name]
        return compile_requirement(proto.requires, f"{path}.requires", self._providers)

    def _wrong_name(self, name: str) -> str:
        return f"Wrong requirement_name: {name}. It should be one of [{','.join(self._named)}]"

    def verifier(self, headers: RequestHeaderMap, stream: StreamInfo) -> Verifier | None:
        """By the first rule that fits, or else by the filter state."""
        for rule in self._rules:
            if rule.matches(headers, stream):
                return rule.verifier
        if self._by_state:
            state = stream.state(self._state_name)
            if isinstance(state, (str, bytes)):
                return self._by_state.get(state.decode("utf-8", "replace") if isinstance(state, bytes) else state)
        return None

    def named(self, name: str) -> tuple[Verifier | None, str]:
        """What a route asks for, and what is wrong with it."""
        if name in self._named:
            return self._named[name], ""
        return None, self._wrong_name(name)

    def context(self, headers: RequestHeaderMap, clear_route_cache: Any) -> Context:
        now = int(self._dispatcher.wall_time())
        return Context(headers, self._providers, self.stats, now, clear_route_cache)


@ROUTE_FILTER_CONFIGS.register(NAME, ROUTE_TYPE)
def create_route_settings(proto: Any, path: str, server: Any) -> RouteSettings:
    return RouteSettings(proto)
