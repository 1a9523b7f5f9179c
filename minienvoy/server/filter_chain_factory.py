"""From the filters that a configuration lists to the factories of a chain.

Envoy: `Http::FilterChainHelper`, `ListenerManagerImpl::createNetworkFilterFactoryList`, `validateTerminalFilters`.
"""

from __future__ import annotations

from collections.abc import Callable, Container
from typing import Any, TypeVar

from ..config.extension import create_extension, find_extension
from ..config.fields import honours
from ..errors import ConfigError
from ..registry import Registry
from .factory_context import FactoryContext

FilterFactory = TypeVar("FilterFactory")

honours("envoy.config.listener.v3.Filter", "name", "typed_config")


def create_filter_factories(
    registry: Registry[Callable[..., FilterFactory]],
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
    for at, config in enumerate(configs):
        where = f"{path}[{at}]"
        entry = find_extension(registry, config, where)
        check_terminal(entry.name in terminal_filters, at == last, config.name, entry.name, kind, where)
        context.filter_name = config.name
        factories.append(create_extension(entry, config, where, context))
    return factories


def check_terminal(is_terminal: bool, is_last: bool, name: str, type_name: str, kind: str, path: str) -> None:
    """A chain ends in a terminal filter, and only there (`Config::Utility::validateTerminalFilters`).

    Raises:
        ConfigError: it does not.
    """
    if is_terminal is not is_last:
        what, rule = ("non-terminal", "is") if is_last else ("terminal", "must be")
        raise ConfigError(
            f"Error: {what} filter named {name} of type {type_name} {rule} the last filter in a {kind} filter chain.",
            f"{path}.typed_config",
        )
