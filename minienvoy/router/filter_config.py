"""What routes tell HTTP filters.

Envoy: `Router::PerFilterConfigs`, `envoy.config.route.v3.FilterConfig`; docs "Route specific config". Keys are the
names of the filters in the chain; of several levels the most specific one counts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from ..config import api
from ..config.fields import honours
from ..errors import ConfigError
from ..registry import Registry

if TYPE_CHECKING:
    from ..http.filter import StreamFilterCallbacks

honours("envoy.config.route.v3.FilterConfig", "config", "is_optional", values={"disabled": (False,)})

ROUTE_FILTER_CONFIGS: Registry[Callable[[Any, str, Any], Any]] = Registry("envoy.filters.http.route_specific")
"""Per configuration type: `factory(message, path, server)` compiles what a filter finds by
`route.per_filter_config(name)`; `server` is the `ServerContext`."""

_FILTER_CONFIG: Final = "envoy.config.route.v3.FilterConfig"


class FilterConfigs:
    """Of one level; what it does not say the level above, `parent`, does."""

    __slots__ = ("_configs",)

    def __init__(
        self, protos: Mapping[str, Any], path: str, parent: FilterConfigs | None = None, server: Any = None
    ) -> None:
        """Raises ConfigError for a type that no filter knows, unless it is optional."""
        self._configs: dict[str, Any] = {} if parent is None else dict(parent._configs)
        for name in sorted(protos):
            here = f"{path}[{name}]"
            compiled = _compile(protos[name], here, server)
            if compiled is not None:
                self._configs[name] = compiled

    def get(self, name: str) -> Any:
        """What the filter of that name is told, or None."""
        return self._configs.get(name)


def most_specific_config(callbacks: StreamFilterCallbacks, filter_name: str) -> Any:
    """What the route of this stream tells a filter, or None (`Http::Utility::resolveMostSpecificPerFilterConfig`)."""
    route = callbacks.route()
    return None if route is None else route.per_filter_config(filter_name)


def _compile(config: Any, path: str, server: Any, optional: bool = False) -> Any:
    kind = api.type_of(config, path)
    try:
        found = ROUTE_FILTER_CONFIGS.find(kind, path)
    except ConfigError:
        if optional:
            return None
        raise
    return found.factory(api.unpack(config, path, validate=True), path, server)


@ROUTE_FILTER_CONFIGS.register("envoy.filters.http.filter_config", _FILTER_CONFIG)
def _create_wrapped(wrapper: Any, path: str, server: Any) -> Any:
    if not wrapper.config.type_url:
        raise ConfigError("a FilterConfig needs a config", path)
    return _compile(wrapper.config, f"{path}.config", server, wrapper.is_optional)
