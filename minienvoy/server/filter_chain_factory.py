"""From the filters that a configuration lists to the factories of a chain.

Envoy: `Http::FilterChainHelper`, `ListenerManagerImpl::createNetworkFilterFactoryList`, `validateTerminalFilters`.
"""

from __future__ import annotations

from collections.abc import Callable, Container
from typing import Any, TypeVar

from ..config.api import type_of, unpack
from ..config.fields import honours
from ..errors import ConfigError
from ..registry import Registry
from .factory_context import FactoryContext

FilterFactory = TypeVar("FilterFactory")

honours("envoy.config.listener.v3.Filter", "name", "typed_config")
honours(
    "envoy.extensions.filters.network.http_connection_manager.v3.HttpFilter",
    "name",
    "typed_config",
    values={"is_optional": (False,), "disabled": (False,)},
)


def create_filter_factories(
    registry: Registry[Callable[[Any, Any], FilterFactory]],
    terminal_filters: Container[str],
    configs: Any,
    context: FactoryContext,
    path: str,
    kind: str,
) -> list[FilterFactory]:
    """The factories of the filters at `path`, in order; `kind` ("network", "http") is for errors.

    Raises:
        ConfigError: a filter that is not known or refuses its settings, or a chain that does not end, and end only,
            in one of `terminal_filters`.
    """
    factories: list[FilterFactory] = []
    last = len(configs) - 1
    for at, each in enumerate(configs):
        where = f"{path}[{at}].typed_config"
        entry = registry.find(type_of(each.typed_config, where), where, each.name)
        if (entry.name in terminal_filters) is not (at == last):
            what, rule = (
                ("non-terminal", "is the last filter") if at == last else ("terminal", "must be the last filter")
            )
            raise ConfigError(
                f"Error: {what} filter named {each.name} of type {entry.name} {rule} in a {kind} filter chain.", where
            )
        message = unpack(each.typed_config, where, validate=True)
        try:
            factories.append(entry.factory(message, context))
        except ConfigError as error:
            raise error.below(where) from None
    return factories
