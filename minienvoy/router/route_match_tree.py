"""Routes that a match tree chooses (`virtual_hosts[].matcher`), in place of a list that is tried in order.

Envoy: `Router::RouteMatchActionFactory`, `RouteListMatchActionFactory`, `RouteActionValidationVisitor`; docs "Matching
API". What the tree gives is a route or several; they must match as well.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from ..config.api import unpack
from ..config.extension import find_extension
from ..config.fields import honours
from ..errors import ConfigError
from ..http.header_map import RequestHeaderMap
from ..http.matching import HTTP_CUSTOM_MATCHERS, HTTP_INPUTS, HttpMatchingData
from ..matchers.match_tree import INSUFFICIENT, MatchContext, compile_match_tree
from ..registry import Registry
from .common_virtual_host import CommonVirtualHost
from .route_entry import RouteEntry

if TYPE_CHECKING:
    from ..stream_info import StreamInfo

honours("envoy.config.route.v3.RouteList", "routes")

MakeRoutes = Callable[[Any, str, CommonVirtualHost], "tuple[RouteEntry, ...]"]
ROUTE_ACTIONS: Registry[MakeRoutes] = Registry("envoy.matching.action.route")

_ALLOWED: Final = frozenset(
    {
        "envoy.type.matcher.v3.HttpRequestHeaderMatchInput",
        "envoy.extensions.matching.common_inputs.network.v3.FilterStateInput",
    }
)


@ROUTE_ACTIONS.register("route_match_action", "envoy.config.route.v3.Route")
def _route(config: Any, path: str, common: CommonVirtualHost) -> tuple[RouteEntry, ...]:
    return (RouteEntry(config, path, common),)


@ROUTE_ACTIONS.register("route_list_match_action", "envoy.config.route.v3.RouteList")
def _route_list(config: Any, path: str, common: CommonVirtualHost) -> tuple[RouteEntry, ...]:
    return tuple(RouteEntry(each, f"{path}.routes[{at}]", common) for at, each in enumerate(config.routes))


class RouteMatchTree:
    """Attributes:
    routes: all that the tree may lead to.
    """

    __slots__ = ("_match", "routes")

    def __init__(self, proto: Any, path: str, common: CommonVirtualHost) -> None:
        """Raises ConfigError below `path`."""
        self.routes: list[RouteEntry] = []

        def compile_action(config: Any, where: str) -> tuple[RouteEntry, ...]:
            entry = find_extension(ROUTE_ACTIONS, config, where)
            here = f"{where}.typed_config"
            made = entry.factory(unpack(config.typed_config, here, validate=True), here, common)
            self.routes.extend(made)
            return made

        def check_input(type_url: str, where: str) -> None:
            if type_url.rpartition("/")[2] not in _ALLOWED:
                raise _Requirement(f"Route table can only match on request headers, saw {type_url}", where)

        context = MatchContext(HTTP_INPUTS, HTTP_CUSTOM_MATCHERS, compile_action, common.sources, check_input)
        try:
            self._match = compile_match_tree(proto, path, context)
        except ConfigError as error:
            if isinstance(error, _Requirement) or error.problem.startswith("keep_matching "):
                problem = f"requirement violation while creating route match tree: INVALID_ARGUMENT: {error.problem}"
                raise ConfigError(problem, error.path) from None
            raise

    def find(self, headers: RequestHeaderMap, stream: StreamInfo) -> tuple[RouteEntry, ...]:
        """The routes to try, in order; none if the tree leads nowhere."""
        found = self._match(HttpMatchingData(stream, headers))
        return () if found is None or found is INSUFFICIENT else found


class _Requirement(ConfigError):
    """An input that a route table must not have."""
