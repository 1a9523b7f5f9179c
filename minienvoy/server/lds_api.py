"""LDS: listeners that come and go while the server runs.

Envoy: `Server::LdsApiImpl`; docs "Listener discovery service (LDS)".

A response says which listeners there are: those it does not name are removed, and their connections drain. A listener
that can not be used does not keep the others from being used, but the response counts as rejected.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from .. import logger
from ..discovery.subscription import DecodedResource, SubscriptionStats, require_node, require_supported_resource
from ..discovery.subscription_factory import RDS_TYPE, SDS_TYPE
from ..errors import ConfigError

if TYPE_CHECKING:
    from ..discovery.subscription_factory import SubscriptionFactory
    from ..stats.store import Scope
    from .listener_manager import ListenerManager

log = logger.get("upstream")
LISTENER: Final = "envoy.config.listener.v3.Listener"


class ListenerFailure(NamedTuple):
    """The configuration that could not be used, and why not; seconds since the epoch. `tried`: it was not left out for
    another of its name."""

    config: Any
    tried: bool
    attempted: float
    details: str


class LdsApi:
    """Attributes:
    version: of the last response that changed something.
    names: of the listeners that LDS has brought.
    failures: of the last response, in its order.
    """

    def __init__(
        self,
        source: Any,
        path: str,
        manager: ListenerManager,
        subscriptions: SubscriptionFactory,
        scope: Scope,
        node: Any,
    ) -> None:
        """`scope` is that of the server, `path` where the source stands.

        Raises:
            ConfigError: there is no such source.
        """
        require_node(node, "lds", path)
        self.version = ""
        self.names: set[str] = set()
        self.failures: list[ListenerFailure] = []
        self._manager = manager
        self._subscriptions = subscriptions
        self._now = subscriptions.files.now
        self._on_ready: Callable[[], None] | None = None
        lds = scope.scope("listener_manager.lds")
        self._subscription = subscriptions.subscribe(
            source, path, LISTENER, self, lds, lds.struct(SubscriptionStats), checks_support=False
        )

    def start(self, on_ready: Callable[[], None] = lambda: None) -> None:
        """Ask for listeners; `on_ready` is called when there is an answer, be it that there is none."""
        self._on_ready = on_ready
        self._subscription.start()

    def stop(self) -> None:
        """Listeners stay as they are."""
        self._on_ready = None
        self._subscription.stop()

    def on_config_update_failed(self) -> None:
        self._ready()

    def _ready(self) -> None:
        callback, self._on_ready = self._on_ready, None
        if callback is not None:
            callback()

    def on_config_update(self, resources: Sequence[Any], version: str) -> None:
        removed = self.names - {each.name for each in resources}
        self._update([(each, version) for each in resources], sorted(removed), version)

    def on_delta_config_update(self, added: Sequence[DecodedResource], removed: Sequence[str], version: str) -> None:
        self._update([(each.message, each.version) for each in added], removed, version)

    def _update(self, resources: Sequence[tuple[Any, str]], removed: Sequence[str], version: str) -> None:
        # Routes of new listeners are asked for together.
        with self._subscriptions.paused((RDS_TYPE, SDS_TYPE)):
            try:
                self._apply(resources, removed, version)
            finally:
                self._ready()

    def _apply(self, resources: Sequence[tuple[Any, str]], removed: Sequence[str], version: str) -> None:
        manager, now = self._manager, self._now()
        changed = False
        # Those that go go first: another may want their address.
        for name in removed:
            if name in self.names:
                if manager.remove_listener(name):
                    log.info(f"lds: remove listener '{name}'")
                    changed = True
                self.names.discard(name)
        self.failures = []
        seen: set[str] = set()
        for index, (config, its_version) in enumerate(resources):
            name = config.name
            duplicate = name in seen
            try:
                if duplicate:
                    raise ConfigError(f"duplicate listener {name} found")
                seen.add(name)
                path = f"resources[{index}]"
                require_supported_resource(config, path, warn=self._subscriptions.files.warn)
                if manager.add_or_update_listener(config, path, version_info=its_version):
                    log.info(f"lds: add/update listener '{name}'")
                    self.names.add(name)
                    changed = True
            except ConfigError as error:
                log.warning(f"lds: listener '{name}' config rejected: {error.problem}")
                self.failures.append(ListenerFailure(config, not duplicate, now, error.problem))
        if changed:
            self.version = version
        if self.failures:
            told = "".join(f"{failure.config.name}: {failure.details}\n" for failure in self.failures)
            raise ConfigError(f"Error adding/updating listener(s) {told}")
