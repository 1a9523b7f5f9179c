"""Resources in a file that holds a `DiscoveryResponse`.

Envoy: `Config::FilesystemSubscriptionImpl`; docs "xDS configuration API overview > Filesystem subscriptions".

The file is read again when something is moved to its name, or into its `watched_directory`. What can not be read, and
what can not be used, leaves in force what was before.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Any, Final

from .. import logger
from ..config.loader import load_file
from ..errors import ConfigError
from ..upstream.xx_hash import xx_hash64_of_all
from .subscription import (
    FileContext,
    OnConfigUpdate,
    SubscriptionStats,
    decode_resource,
    require_supported_resource,
)

if TYPE_CHECKING:
    from ..stats.store import Scope

log = logger.get("config")
DISCOVERY_RESPONSE: Final = "envoy.service.discovery.v3.DiscoveryResponse"


class FilesystemSubscription:
    """Resources of one type that may change (`Config::Subscription`).

    Attributes:
        version: what the file calls the resources that were accepted last; empty while there are none.
    """

    def __init__(
        self,
        file: tuple[str, str],
        resource_type: str,
        context: FileContext,
        scope: Scope,
        on_config_update: OnConfigUpdate,
        stats: Any = None,
        update_stats: Any = None,
        on_failed: Callable[[], None] = lambda: None,
        *,
        checks_support: bool = True,
    ) -> None:
        """`file` is its name and the directory that is watched for it; `stats`, if given, is the struct to count in,
        `update_stats` that for attempts, failures, successes and versions, where these are counted elsewhere.
        `on_failed` is called when there is nothing that can be used. Without `checks_support`, whoever takes the
        resources looks himself whether they are honoured."""
        self.version = ""
        self._path, self._directory = file
        self._resource_type = resource_type
        self._context = context
        self._on_config_update = on_config_update
        self._on_failed = on_failed
        self._checks_support = checks_support
        self._stats = scope.struct(SubscriptionStats) if stats is None else stats
        self._update_stats = self._stats if update_stats is None else update_stats
        self._version_text = scope.text_readout("version_text")

    def start(self, resources: Collection[str] = ()) -> None:
        self._context.watcher.add_watch(self._directory or self._path, self._refresh)
        self._refresh()

    def update_resource_interest(self, resources: Collection[str]) -> None:
        """All of the file is of interest in any case."""

    def stop(self) -> None:
        self._context.watcher.remove_watch(self._refresh)

    def _refresh(self) -> None:
        stats, update, context = self._stats, self._update_stats, self._context
        update.update_attempt += 1
        try:
            loaded = load_file(self._path, DISCOVERY_RESPONSE, allow_unknown_fields=True)
        except ConfigError as error:
            update.update_failure += 1
            log.warning(f"Filesystem config update failure: {error}")
            self._on_failed()
            return
        for warning in loaded.warnings:
            log.warning(warning)
        context.on_unknown_fields(len(loaded.warnings))
        version = loaded.message.version_info
        try:
            resources = [
                self._resource(each, f"resources[{index}]", loaded.source)
                for index, each in enumerate(loaded.message.resources)
            ]
            self._on_config_update(resources, version)
        except ConfigError as error:
            stats.update_rejected += 1
            log.warning(f"Filesystem config update rejected: {str(_told(error, loaded.source)).rstrip()}")
            self._on_failed()
            return
        update.update_success += 1
        stats.update_time = int(context.now() * 1000)
        update.version = xx_hash64_of_all((version.encode(),))
        self.version = version
        self._version_text.set(version)

    def _resource(self, packed: Any, path: str, source: Any) -> Any:
        resource = decode_resource(packed, self._resource_type, "", path).message
        if resource is None:
            raise ConfigError("there is no resource in it", path)
        if self._checks_support:
            require_supported_resource(resource, path, warn=self._context.warn, source=source)
        return resource


def _told(error: ConfigError, source: Any) -> ConfigError:
    """With its place in the file, if it has a path there."""
    if error.location or not error.path.startswith("resources["):
        return error
    return ConfigError(error.problem, error.path, source.locate(error.path), error.remedy)
