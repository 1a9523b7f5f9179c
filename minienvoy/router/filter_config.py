"""What routes tell HTTP filters.

Envoy: `Router::PerFilterConfigs`, `envoy.config.route.v3.FilterConfig`; docs "Route specific config". Keys are the
names of the filters in the chain; of several levels the most specific one counts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ..config import api
from ..config.fields import honours
from ..errors import ConfigError
from ..registry import Registry

honours("envoy.config.route.v3.FilterConfig", "config", "is_optional", values={"disabled": (False,)})

ROUTE_FILTER_CONFIGS: Registry[Callable[[Any, str], Any]] = Registry("envoy.filters.http.route_specific")
"""Per configuration type: `factory(message, path)` compiles what a filter finds by `route.per_filter_config(name)`."""

_FILTER_CONFIG = "envoy.config.route.v3.FilterConfig"


class FilterConfigs:
    """Of one level; what it does not say the level above, `parent`, does."""

    __slots__ = ("_configs",)

    def __init__(self, protos: Mapping[str, Any], path: str, parent: FilterConfigs | None = None) -> None:
        """Raises ConfigError for a type that no filter knows, unless it is optional."""
        self._configs: dict[str, Any] = {} if parent is None else dict(parent._configs)
        for name in sorted(protos):
            here = f"{path}[{name}]"
            message, optional = protos[name], False
            if api.type_of(message, here) == _FILTER_CONFIG:
                wrapper = api.unpack(message, here, validate=True)
                message, optional = wrapper.config, wrapper.is_optional
                if not message.type_url:
                    raise ConfigError("a FilterConfig needs a config", here)
            kind = api.type_of(message, here)
            try:
                entry = ROUTE_FILTER_CONFIGS.find(kind, here, name)
            except ConfigError:
                if optional:
                    continue
                raise ConfigError(
                    f"The filter {name} doesn't support virtual host or route specific configurations", here
                ) from None
            self._configs[name] = entry.factory(api.unpack(message, here, validate=True), here)

    def get(self, name: str) -> Any:
        """What the filter of that name is told, or None."""
        return self._configs.get(name)
