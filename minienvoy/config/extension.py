"""From `typed_config` to what an extension's factory makes of it.

Envoy: `Config::Utility::getAndCheckFactory`, `translateAnyToFactoryConfig`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from ..errors import ConfigError
from ..registry import Entry, Registry
from .api import type_of, unpack

Made = TypeVar("Made")


def find_extension(registry: Registry[Callable[..., Made]], config: Any, path: str) -> Entry[Callable[..., Made]]:
    """Who takes the `typed_config` of `config`, a `TypedExtensionConfig` or a message like it, at `path`.

    Raises:
        ConfigError: nobody in this category.
    """
    where = f"{path}.typed_config"
    return registry.find(type_of(config.typed_config, where), where, config.name)


def create_extension(entry: Entry[Callable[..., Made]], config: Any, path: str, *context: Any) -> Made:
    """What `entry` makes of the `typed_config` of `config`.

    Raises:
        ConfigError: settings that are not valid or that the extension refuses; its path is that of the field.
    """
    where = f"{path}.typed_config"
    message = unpack(config.typed_config, where, validate=True)
    try:
        return entry.factory(message, *context)
    except ConfigError as error:
        raise error.below(where) from None


def create_extensions(registry: Registry[Callable[..., Made]], configs: Any, path: str, *context: Any) -> list[Made]:
    """What the extensions of the list at `path` make of their settings, in order.

    Raises:
        ConfigError: as for one.
    """
    made = []
    for at, config in enumerate(configs):
        where = f"{path}[{at}]"
        made.append(create_extension(find_extension(registry, config, where), config, where, *context))
    return made
