"""LDS: listeners that come and go while the server runs.

Envoy: `Server::LdsApiImpl`; docs "Listener discovery service (LDS)".

A response says which listeners there are: those it does not name are removed, and their connections drain. A listener
that can not be used does not keep the others from being used, but the response counts as rejected.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from .. import logger
from ..discovery.filesystem import FilesystemSubscription
from ..discovery.subscription import FileContext, file_of, require_node
from ..errors import ConfigError

if TYPE_CHECKING:
    from ..stats.store import Scope
    from .listener_manager import ListenerManager

log = logger.get("upstream")
LISTENER: Final = "envoy.config.listener.v3.Listener"


class ListenerState(NamedTuple):
    """What `/config_dump` tells of a listener: its configuration, the version that brought it, seconds since the
    epoch."""

    config: Any
    version: str
    updated: float


class ListenerFailure(NamedTuple):
    """The configuration that could not be used, and why not; seconds since the epoch."""

    config: Any
    attempted: float
    details: str


class LdsApi:
    """Attributes:
    version: of the last response that changed something.
    states: of the listeners that LDS has brought, by name.
    failures: of the last response, by name.
    """

    def __init__(
        self, source: Any, path: str, manager: ListenerManager, context: FileContext, scope: Scope, node: Any
    ) -> None:
        """`scope` is that of the server, `path` where the source stands.

        Raises:
            ConfigError: there is no such file.
        """
        require_node(node, "lds", path)
        self.version = ""
        self.states: dict[str, ListenerState] = {}
        self.failures: dict[str, ListenerFailure] = {}
        self._manager = manager
        self._now = context.now
        lds = scope.scope("listener_manager.lds")
        self._subscription = FilesystemSubscription(
            file_of(source, path), LISTENER, context, lds, self._on_config_update
        )

    def start(self) -> None:
        self._subscription.start()

    def _on_config_update(self, resources: Sequence[Any], version: str) -> None:
        manager, now = self._manager, self._now()
        changed = False
        # Those that go go first: another may want their address.
        for name in self.states.keys() - {each.name for each in resources}:
            if manager.remove_listener(name):
                log.info(f"lds: remove listener '{name}'")
                changed = True
            del self.states[name]
        self.failures = {}
        seen: set[str] = set()
        for index, config in enumerate(resources):
            name = config.name
            try:
                if name in seen:
                    raise ConfigError(f"duplicate listener {name} found")
                seen.add(name)
                if manager.add_or_update_listener(config, f"resources[{index}]"):
                    log.info(f"lds: add/update listener '{name}'")
                    self.states[name] = ListenerState(config, version, now)
                    changed = True
            except ConfigError as error:
                log.warning(f"lds: listener '{name}' config rejected: {error.problem}")
                self.failures[name] = ListenerFailure(config, now, error.problem)
        if changed:
            self.version = version
        if self.failures:
            told = "\n".join(f"{name}: {failure.details}" for name, failure in self.failures.items())
            raise ConfigError(f"Error adding/updating listener(s) {told}")
