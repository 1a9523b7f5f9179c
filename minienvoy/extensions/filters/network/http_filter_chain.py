"""The HTTP filters of a connection manager, and those of its upgrades.

Envoy: `Http::FilterChainHelper`, `HttpConnectionManagerConfig`; docs "HTTP filters", "HTTP upgrades". Filters may be
disabled, so that only routes enable them, and optional: then it is no error that nobody knows them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from .... import logger
from ....config import api
from ....config.extension import create_extension, find_extension
from ....config.fields import honours
from ....errors import ConfigError
from ....http.filter import (
    HTTP_FILTERS,
    TERMINAL_FILTERS,
    UPSTREAM_HTTP_FILTERS,
    UPSTREAM_TERMINAL_FILTERS,
    HttpFilterFactory,
    StreamDecoderFilter,
)
from ....http.filter_manager import FilterChain
from ....registry import Registry
from ....router.filter_config import nobody_takes
from ....server.factory_context import FactoryContext
from ....server.filter_chain_factory import check_terminal

honours(
    "envoy.extensions.filters.network.http_connection_manager.v3.HttpFilter",
    "name",
    "typed_config",
    "is_optional",
    "disabled",
    skips={"typed_config": lambda each: each.is_optional and nobody_takes(each.typed_config)},
)
honours(
    "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager.UpgradeConfig",
    "filters",
)

UPSTREAM_CODEC: Final = "envoy.extensions.filters.http.upstream_codec.v3.UpstreamCodec"

_log: Final = logger.get("http")


def create_filter_chain(configs: Any, context: FactoryContext, path: str, kind: str = "http") -> FilterChain:
    """The chain of the filters at `path`; if none is configured, one of a filter that does nothing.

    Raises:
        ConfigError: a filter that is not known or refuses its settings, or a chain that does not end, and end only,
            in a terminal filter.
    """
    return _create(configs, context, path, kind, HTTP_FILTERS, TERMINAL_FILTERS)


def create_upstream_filter_chain(configs: Any, context: FactoryContext, path: str, kind: str) -> FilterChain:
    """As `create_filter_chain`, of filters between the router and an upstream."""
    return _create(configs, context, path, kind, UPSTREAM_HTTP_FILTERS, UPSTREAM_TERMINAL_FILTERS)


def ends_in_codec(configs: Any) -> bool:
    """Whether the last of the filters is the one that every chain of an upstream must end in."""
    return bool(configs) and configs[-1].typed_config.type_url.rpartition("/")[2] == UPSTREAM_CODEC


def _create(
    configs: Any,
    context: FactoryContext,
    path: str,
    kind: str,
    registry: Registry[Callable[[Any, Any], HttpFilterFactory]],
    terminals: set[str],
) -> FilterChain:
    factories: list[HttpFilterFactory] = []
    names: list[str] = []
    disabled: set[int] = set()
    last = len(configs) - 1
    for at, config in enumerate(configs):
        where = f"{path}[{at}]"
        try:
            entry = find_extension(registry, config, where)
        except ConfigError:
            if not config.is_optional:
                raise
            found = api.type_of(config.typed_config, f"{where}.typed_config")
            _log.warning(f"Didn't find a registered factory for the optional http filter {config.name} ({found})")
            continue
        check_terminal(entry.name in terminals, at == last, config.name, entry.name, kind, where)
        if config.disabled:
            if at == last:
                problem = (
                    f"Error: the last (terminal) filter ({config.name}) in the chain cannot be disabled by default."
                )
                raise ConfigError(problem, f"{where}.disabled")
            disabled.add(len(factories))
        context.filter_name = config.name
        factories.append(create_extension(entry, config, where, context))
        names.append(config.name)
    if not factories or disabled == set(range(len(factories))) or entry.name not in terminals:
        # Nobody answers: requests wait for their timeouts, as they do in Envoy.
        factories.append(StreamDecoderFilter)
        names.append("")
    return FilterChain(factories, names, disabled)


def create_upgrade_filter_chains(configs: Any, context: FactoryContext, path: str) -> dict[bytes, FilterChain]:
    """Of the upgrades that have filters of their own, by name."""
    return {
        each.upgrade_type.lower().encode(): create_filter_chain(
            each.filters, context, f"{path}[{at}].filters", "http upgrade"
        )
        for at, each in enumerate(configs)
        if each.filters
    }
