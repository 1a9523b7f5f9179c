"""What routes tell HTTP filters.

Envoy: `Router::PerFilterConfigs`, `envoy.config.route.v3.FilterConfig`; docs "Route specific config". Keys are the
names of the filters in the chain; of several levels the most specific one counts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from ..config import api, schema
from ..config.fields import honours
from ..errors import ConfigError
from ..http.filter import HTTP_FILTERS
from ..registry import Registry

if TYPE_CHECKING:
    from ..http.filter import StreamFilterCallbacks

honours(
    "envoy.config.route.v3.FilterConfig",
    "config",
    "is_optional",
    "disabled",
    skips={"config": lambda wrapper: wrapper.disabled or (wrapper.is_optional and nobody_takes(wrapper.config))},
)

ROUTE_FILTER_CONFIGS: Registry[Callable[[Any, str, Any], Any]] = Registry("envoy.filters.http.route_specific")
"""Per configuration type: `factory(message, path, server)` compiles what a filter finds by
`route.per_filter_config(name)`; `server` is the `ServerContext`."""

NOTHING_DISABLED: Final[Mapping[str, bool]] = {}
_FILTER_CONFIG: Final = "envoy.config.route.v3.FilterConfig"


class FilterConfigs:
    """Of one level; what it does not say the level above, `parent`, does.

    Attributes:
        disabled: filters by name that are disabled (True), or enabled whatever the chain says (False).
    """

    __slots__ = ("_configs", "_levels", "disabled")

    def __init__(
        self, protos: Mapping[str, Any], path: str, parent: FilterConfigs | None = None, server: Any = None
    ) -> None:
        """Raises ConfigError for a type that no filter knows, unless it is optional."""
        self._configs: dict[str, Any] = {} if parent is None else dict(parent._configs)
        self._levels: dict[str, tuple[Any, ...]] = {} if parent is None else dict(parent._levels)
        self.disabled: dict[str, bool] = {} if parent is None else dict(parent.disabled)
        for name in sorted(protos):
            here = f"{path}[{name}]"
            config, optional = protos[name], False
            self.disabled[name] = False
            if api.type_of(config, here) == _FILTER_CONFIG:
                wrapper = api.unpack(config, here, validate=True)
                if wrapper.disabled:
                    self.disabled[name] = True
                    continue
                if not wrapper.HasField("config"):
                    raise ConfigError(f"Empty route/virtual host per filter configuration for {name} filter", here)
                if not wrapper.config.type_url:
                    continue
                config, optional, here = wrapper.config, wrapper.is_optional, f"{here}.config"
            compiled = _compile(name, config, here, server, optional)
            if compiled is not None:
                self._configs[name] = compiled
                self._levels[name] = (*self._levels.get(name, ()), compiled)

    def get(self, name: str) -> Any:
        """What the filter of that name is told, or None."""
        return self._configs.get(name)

    def get_all(self, name: str) -> tuple[Any, ...]:
        """What each level tells it, the most specific last."""
        return self._levels.get(name, ())


def most_specific_config(callbacks: StreamFilterCallbacks, filter_name: str, kind: type = object) -> Any:
    """What the route of this stream tells a filter, or None (`Http::Utility::resolveMostSpecificPerFilterConfig`).

    What is not of the `kind` that the filter takes is another filter's, whatever its name: Envoy does without it, too.
    """
    route = callbacks.route()
    found = None if route is None else route.per_filter_config(filter_name)
    return found if isinstance(found, kind) else None


def all_configs(callbacks: StreamFilterCallbacks, filter_name: str) -> tuple[Any, ...]:
    """What every level of the route tells a filter, the most specific last (`getAllPerFilterConfig`)."""
    route = callbacks.route()
    return () if route is None else route.per_filter_configs(filter_name)


def nobody_takes(config: Any) -> bool:
    """Not even Envoy has an HTTP filter for this configuration: whoever made it optional means to do without."""
    kind = config.type_url.rpartition("/")[2]
    if kind in api.TYPED_STRUCTS:
        kind = api.type_of(config, "")
    return not kind.startswith("envoy.extensions.filters.http.")


def _compile(name: str, config: Any, path: str, server: Any, optional: bool) -> Any:
    kind = api.type_of(config, path)
    try:
        if kind == _FILTER_CONFIG:
            raise ConfigError(f"Didn't find a registered implementation for '{name}' with type URL: '{kind}'", path)
        found = ROUTE_FILTER_CONFIGS.find(kind, path, name)
    except ConfigError:
        if optional:
            return None
        of_filter = next((each for each in HTTP_FILTERS.entries() if each.config_type == kind), None)
        if of_filter is not None:
            of_route = next((each for each in ROUTE_FILTER_CONFIGS.entries() if each.name == of_filter.name), None)
            if of_route is not None and not config.value:
                # Envoy goes by the filter, and does not look at the type of what is empty.
                return of_route.factory(_empty(of_route.config_type, path), path, server)
            problem = f"The filter {name} doesn't support virtual host or route specific configurations"
            raise ConfigError(problem, path) from None
        raise
    return found.factory(api.unpack(config, path, validate=True), path, server)


def _empty(kind: str, path: str) -> Any:
    """Raises ConfigError if the message has to say something."""
    message = schema.message_class(kind)()
    api.validate_any_payload(message, path)
    return message


@ROUTE_FILTER_CONFIGS.register("envoy.filters.http.filter_config", _FILTER_CONFIG)
def _unwrapped(wrapper: Any, path: str, server: Any) -> Any:
    """`FilterConfigs` looks into the wrapper itself; it is registered to have a home."""
    raise ConfigError("a FilterConfig is no configuration of a filter", path)
