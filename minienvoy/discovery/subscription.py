"""What every subscription to resources counts, and where resources come from.

Envoy: `Config::SubscriptionStats`, `Config::SubscriptionFactoryImpl`; docs "xDS configuration API overview".
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from ..config.fields import honours
from ..errors import ConfigError
from ..stats.histogram import Histogram
from ..stats.store import CounterValue, GaugeValue, StatsStruct

if TYPE_CHECKING:
    from ..event.file_watcher import FileWatcher

honours(
    "envoy.config.core.v3.ConfigSource",
    "path",
    "path_config_source",
    ignored={
        "resource_api_version": "there is one version",
        "initial_fetch_timeout": "what is in a file is there at once",
    },
)
honours("envoy.config.core.v3.PathConfigSource", "path", "watched_directory")
honours("envoy.config.core.v3.WatchedDirectory", "path")


class SubscriptionStats(StatsStruct):
    """`listener_manager.lds.*`, `cluster_manager.cds.*`, `http.PREFIX.rds.NAME.*`, `cluster.NAME.*`"""

    init_fetch_timeout: CounterValue
    update_attempt: CounterValue
    update_failure: CounterValue
    update_rejected: CounterValue
    update_success: CounterValue
    update_time: GaugeValue
    version: GaugeValue
    update_duration: Histogram


OnConfigUpdate = Callable[[Sequence[Any], str], None]
"""(resources, version): makes them the ones in use (`SubscriptionCallbacks::onConfigUpdate`).

Raises ConfigError if they can not be used: they are rejected then, and what was in use before may stay.
"""


class FileContext:
    """What subscriptions to files ask of the server.

    Attributes:
        now: seconds since the epoch.
        warn: what is set in resources and not honoured is told in the log; otherwise the resources are rejected.
        on_unknown_fields: told how many fields of a file nobody knows.
    """

    __slots__ = ("now", "on_unknown_fields", "warn", "watcher")

    def __init__(
        self,
        watcher: FileWatcher,
        now: Callable[[], float],
        *,
        warn: bool = False,
        on_unknown_fields: Callable[[int], None] = lambda count: None,
    ) -> None:
        self.watcher = watcher
        self.now = now
        self.warn = warn
        self.on_unknown_fields = on_unknown_fields


def file_of(source: Any, path: str) -> tuple[str, str]:
    """(file, directory that is watched for it or empty) of a `ConfigSource` at `path` in the configuration.

    Raises:
        ConfigError: the resources are in no file, or there is no such file.
    """
    kind = source.WhichOneof("config_source_specifier")
    if kind not in ("path", "path_config_source"):
        raise ConfigError(
            f"resources come from files only, not from {kind}" if kind else "it does not say where resources are",
            f"{path}.{kind}" if kind else path,
            remedy="name a file in path_config_source",
        )
    name = source.path or source.path_config_source.path
    if not os.path.exists(name):  # noqa: PTH110
        raise ConfigError(f"paths must refer to an existing path in the system: '{name}' does not exist", path)
    return name, source.path_config_source.watched_directory.path


def require_node(node: Any, what: str, path: str) -> None:
    """Envoy wants to know who asks, even where a file answers (`Config::Utility::checkLocalInfo`).

    Raises:
        ConfigError: the node has no id or no cluster.
    """
    if not node.id or not node.cluster:
        raise ConfigError(
            f"{what}: node 'id' and 'cluster' are required. Set it either in 'node' config or via --service-node and "
            "--service-cluster options.",
            path,
        )
