"""One secret that a control plane sends.

Envoy: `Secret::SdsApi` (`source/common/secret/sds_api.cc`); docs "Secret discovery service (SDS)".
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from ..errors import ConfigError
from .file_secret import SECRET, DynamicSecretProvider
from .subscription import DecodedResource

if TYPE_CHECKING:
    from ..stats.store import Scope
    from .subscription_factory import SubscriptionFactory


class SdsApi(DynamicSecretProvider):
    """It is asked for when somebody waits for it, and given up when nobody wants it any more."""

    def __init__(
        self,
        name: str,
        kind: str,
        source: Any,
        path: str,
        subscriptions: SubscriptionFactory,
        scope: Scope,
        on_unused: Callable[[], None],
    ) -> None:
        """From a `ConfigSource` at `path`; raises ConfigError if there can be no such subscription."""
        files = subscriptions.files
        super().__init__(name, kind, "its control plane", files.watcher, scope, files.now)
        self._on_unused = on_unused
        self._users = 0
        self._begun = self._answered = False
        self._waiting: list[Callable[[], None]] = []
        self._subscription = subscriptions.subscribe(
            source, path, SECRET, self, scope, self._stats, checks_support=False
        )

    def initialize(self, on_ready: Callable[[], None]) -> None:
        if self._answered:
            on_ready()
            return
        self._waiting.append(on_ready)
        if not self._begun:
            self._begun = True
            self._subscription.start((self.name,))

    def acquire(self) -> None:
        self._users += 1

    def release(self) -> None:
        self._users -= 1
        if not self._users:
            self._on_unused()
            self._waiting.clear()
            self._subscription.stop()
            self.stop()

    def on_config_update(self, resources: Sequence[Any], version: str) -> None:
        try:
            changed = self._take(resources, version)
        except ConfigError as error:
            self._stays(error)
            raise
        if changed:
            self.updated()
        self._ready()

    def on_delta_config_update(self, added: Sequence[DecodedResource], removed: Sequence[str], version: str) -> None:
        if len(added) + len(removed) == 1 and removed:
            # Whoever names the secret wants it as long as it names it: who takes it away is not listened to.
            self._ready()
            return
        self.on_config_update([each.message for each in added], added[0].version if added else version)

    def on_config_update_failed(self) -> None:
        self._ready()

    def _ready(self) -> None:
        self._answered = True
        waiting, self._waiting = self._waiting, []
        for each in waiting:
            each()
