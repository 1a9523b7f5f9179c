"""Scopes: a key made of request headers chooses the route configuration.

Envoy: `Router::ScopedConfigImpl`, `ScopeKeyBuilderImpl`, `InlineScopedRoutesConfigProvider`; docs "Route scope". The
configurations are in the listener's own: who has no scope has no route.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ..config.fields import honours
from ..errors import ConfigError
from ..explain.explanation import NO_EXPLANATION, Decision
from ..http.header_map import RequestHeaderMap
from .config import RouteConfig

if TYPE_CHECKING:
    from .route_entry import RouteEntry

_SCOPED = "envoy.extensions.filters.network.http_connection_manager.v3.ScopedRoutes"

honours(
    _SCOPED,
    "name",
    "scope_key_builder",
    "scoped_route_configurations_list",
    ignored={"rds_config_source": "there is no name to ask for: the route configurations are in place"},
)
honours(f"{_SCOPED}.ScopeKeyBuilder", "fragments")
honours(f"{_SCOPED}.ScopeKeyBuilder.FragmentBuilder", "header_value_extractor")
honours(
    f"{_SCOPED}.ScopeKeyBuilder.FragmentBuilder.HeaderValueExtractor", "name", "element_separator", "index", "element"
)
honours(f"{_SCOPED}.ScopeKeyBuilder.FragmentBuilder.HeaderValueExtractor.KvElement", "separator", "key")
honours(f"{_SCOPED.rpartition('.')[0]}.ScopedRouteConfigurationsList", "scoped_route_configurations")
honours(
    "envoy.config.route.v3.ScopedRouteConfiguration",
    "name",
    "route_configuration_name",
    "route_configuration",
    "key",
    ignored={"on_demand": "the route configuration is in place"},
)
honours("envoy.config.route.v3.ScopedRouteConfiguration.Key", "fragments")
honours("envoy.config.route.v3.ScopedRouteConfiguration.Key.Fragment", "string_key")

ScopeKey = tuple[bytes, ...]
Extract = Callable[[bytes], "bytes | None"]


class ScopedConfig:
    """Chooses a route configuration, then a route (`Router::ScopedConfigImpl`).

    Attributes:
        internal_only_headers, switched_filters: of all of them.
    """

    def __init__(self, proto: Any, path: str, make_config: Callable[[Any, str], RouteConfig]) -> None:
        """Raises ConfigError below `path`."""
        here = f"{path}.scope_key_builder"
        self._fragments = tuple(
            _fragment(each.header_value_extractor, f"{here}.fragments[{at}].header_value_extractor")
            for at, each in enumerate(proto.scope_key_builder.fragments)
        )
        scopes: dict[str, tuple[ScopeKey, RouteConfig]] = {}
        here = f"{path}.scoped_route_configurations_list.scoped_route_configurations"
        for at, scope in enumerate(proto.scoped_route_configurations_list.scoped_route_configurations):
            where = f"{here}[{at}]"
            if scope.route_configuration_name:
                problem = (
                    "Fetching routes via RDS (route_configuration_name) is not supported with inline scoped routes."
                )
                raise ConfigError(problem, f"{where}.route_configuration_name")
            if not scope.HasField("route_configuration"):
                raise ConfigError("You must specify a route_configuration with inline scoped routes.", where)
            key = tuple(fragment.string_key.encode() for fragment in scope.key.fragments)
            # Of two with one name the later one is meant, of two with one key as well.
            scopes[scope.name] = (key, make_config(scope.route_configuration, f"{where}.route_configuration"))
        self._configs = dict(scopes.values())
        configs = self._configs.values()
        self.internal_only_headers = tuple(
            dict.fromkeys(name for config in configs for name in config.internal_only_headers)
        )
        self.switched_filters = frozenset(name for config in configs for name in config.switched_filters)

    def route(self, headers: RequestHeaderMap, stream: Any) -> RouteEntry | None:
        key = self.scope_key(headers)
        config = None if key is None else self._configs.get(key)
        if config is None:
            if stream.explain is not NO_EXPLANATION:
                stream.explain.decided("route", None, _no_scope(key))
            return None
        return config.route(headers, stream)

    def explain_virtual_host(self, headers: RequestHeaderMap) -> Decision:
        """As `RouteConfig.explain_virtual_host`, within the scope of the request."""
        key = self.scope_key(headers)
        config = None if key is None else self._configs.get(key)
        if config is None:
            return Decision("virtual_host", None, _no_scope(key))
        return config.explain_virtual_host(headers)

    def scope_key(self, headers: RequestHeaderMap) -> ScopeKey | None:
        """None if a fragment is not there."""
        key: list[bytes] = []
        for name, extract in self._fragments:
            # Who sends the header twice is not to be believed more: the first one counts.
            value = headers.get(name)
            fragment = None if value is None else extract(value)
            if fragment is None:
                return None
            key.append(fragment)
        return tuple(key)


def _no_scope(key: ScopeKey | None) -> str:
    return "no scope key" if key is None else f"no scope for {b', '.join(key).decode('latin-1')}"


def _fragment(proto: Any, path: str) -> tuple[bytes, Extract]:
    kind = proto.WhichOneof("extract_type")
    if kind is None:
        raise ConfigError("HeaderValueExtractor extract_type not set.", path)
    separator = proto.element_separator.encode()
    if kind == "index":
        if proto.index and not separator:
            raise ConfigError("Index > 0 for empty string element separator.", f"{path}.index")
        extract = _by_index(separator, proto.index)
    else:
        extract = _by_key(separator, proto.element.separator.encode(), proto.element.key.encode())
    return proto.name.lower().encode(), extract


def _elements(value: bytes, separator: bytes) -> list[bytes]:
    return value.split(separator) if separator else [value]


def _by_index(separator: bytes, index: int) -> Extract:
    def extract(value: bytes) -> bytes | None:
        elements = _elements(value, separator)
        return elements[index] if index < len(elements) else None

    return extract


def _by_key(separator: bytes, key_separator: bytes, key: bytes) -> Extract:
    def extract(value: bytes) -> bytes | None:
        for element in _elements(value, separator):
            name, _, text = element.partition(key_separator)
            if name == key:
                return text
        return None

    return extract
