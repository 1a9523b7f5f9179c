"""Extensions by name and by configuration type.

Envoy: `envoy/registry/registry.h` (`FactoryRegistry`), `Config::TypedFactory`. A category is one `Registry`, kept next
to the interface it makes: `HTTP_FILTERS` is in `http/filter.py`. Which module holds which type is
`minienvoy.extensions.CATALOGUE`; a registry imports the module the first time its type is asked for.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any, Generic, TypeVar

from .errors import ConfigError

Factory = TypeVar("Factory", bound=Callable[..., Any])


class Entry(Generic[Factory]):
    """One extension: its canonical name, the full name of its configuration message, and what makes it."""

    __slots__ = ("config_type", "factory", "name")

    def __init__(self, name: str, config_type: str, factory: Factory) -> None:
        self.name = name
        self.config_type = config_type
        self.factory = factory


_CATALOGUE: dict[str, str] = {}
_REGISTRIES: dict[str, Registry[Any]] = {}
_DISABLED: set[tuple[str, str]] = set()


def add_to_catalogue(modules: dict[str, str]) -> None:
    """Tell where types live: full message name -> module to import on first use."""
    _CATALOGUE.update(modules)


def import_home_of(config_type: str) -> bool:
    """Import the module that handles `config_type`; False if no module is known to."""
    module = _CATALOGUE.get(config_type)
    if module is None:
        return False
    import_module(module)
    return True


def disable(category: str, name: str) -> bool:
    """No configuration of this process may use that extension from now on (`FactoryRegistry::disableFactory`).

    False if there is none of that name; finding out takes the import of all of them.
    """
    for config_type in tuple(_CATALOGUE):
        import_home_of(config_type)
    registry = _REGISTRIES.get(category)
    if registry is None or all(entry.name != name for entry in registry.entries()):
        return False
    _DISABLED.add((category, name))
    return True


def catalogue() -> dict[str, str]:
    """A copy of full message name -> module."""
    return dict(_CATALOGUE)


def no_implementation(name: str, config_type: str) -> str:
    """What Envoy says of an extension that is not there."""
    if not name:
        return f"Didn't find a registered implementation for type: '{config_type}'"
    return f"Didn't find a registered implementation for '{name}' with type URL: '{config_type}'"


class Registry(Generic[Factory]):
    """One extension category, e.g. `envoy.filters.http`."""

    def __init__(self, category: str) -> None:
        self.category = category
        self._by_type: dict[str, Entry[Factory]] = {}
        _REGISTRIES[category] = self

    def register(self, name: str, config_type: str) -> Callable[[Factory], Factory]:
        """Make the decorated function the factory for `config_type`, a full message name without a host.

        A module that is imported anew takes the place of what it was before.
        """

        def add(factory: Factory) -> Factory:
            old = self._by_type.get(config_type)
            if old is not None and _place(old.factory) != _place(factory):
                raise ValueError(f"{self.category}: {config_type} is registered twice")
            self._by_type[config_type] = Entry(name, config_type, factory)
            return factory

        return add

    def find(self, type_url: str, path: str = "", name: str = "") -> Entry[Factory]:
        """Look a type URL up (any host prefix is accepted, as in Envoy).

        `name` is what the configuration calls the extension; only errors tell it.

        Raises:
            ConfigError: at `path`, if nothing in this category takes that type.
        """
        config_type = type_url.rpartition("/")[2]
        entry = self._by_type.get(config_type)
        if entry is None and import_home_of(config_type):
            entry = self._by_type.get(config_type)
        if entry is None or (self.category, entry.name) in _DISABLED:
            raise ConfigError(
                no_implementation(name, config_type),
                path,
                remedy=(
                    f"no {self.category} extension of minienvoy takes it; see docs/supported.md"
                    if config_type
                    else "typed_config is missing"
                ),
            )
        return entry

    def entries(self) -> list[Entry[Factory]]:
        """What has been registered so far, by configuration type."""
        return [self._by_type[key] for key in sorted(self._by_type)]


def _place(factory: Any) -> tuple[str, str]:
    return getattr(factory, "__module__", ""), getattr(factory, "__qualname__", repr(factory))


def registries() -> dict[str, Registry[Any]]:
    """Every category that has been made so far."""
    return dict(_REGISTRIES)
