"""CDS: clusters that come and go while the server runs.

Envoy: `Upstream::CdsApiImpl`, `CdsApiHelper`; docs "Cluster discovery service (CDS)".

A response says which clusters there are: those it does not name are removed. A cluster that can not be used does not
keep the others from being used, but the response counts as rejected.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING, Any, Final

from .. import logger
from ..errors import ConfigError
from ..stats.store import CounterValue, GaugeValue
from .subscription import DecodedResource, SubscriptionStats, require_node, require_supported_resource
from .subscription_factory import EDS_TYPE, LEDS_TYPE, SDS_TYPE

if TYPE_CHECKING:
    from ..stats.store import Scope
    from ..upstream.cluster_manager import ClusterManager
    from .subscription_factory import SubscriptionFactory

log = logger.get("upstream")
CLUSTER: Final = "envoy.config.cluster.v3.Cluster"


class CdsStats(SubscriptionStats):
    config_reload: CounterValue
    config_reload_time_ms: GaugeValue


class CdsApi:
    """Attributes:
    version: of the last response that changed something.
    updated: when each cluster that CDS has brought was put in use, seconds since the epoch; by name.
    versions: of the response that brought it; by name.
    """

    def __init__(
        self,
        source: Any,
        path: str,
        manager: ClusterManager,
        subscriptions: SubscriptionFactory,
        scope: Scope,
        node: Any,
    ) -> None:
        """`scope` is that of the server, `path` where the source stands.

        Raises:
            ConfigError: there is no such source.
        """
        require_node(node, "cds", path)
        self.version = ""
        self.updated: dict[str, float] = {}
        self.versions: dict[str, str] = {}
        self._manager = manager
        self._subscriptions = subscriptions
        self._now = subscriptions.files.now
        self._on_initialized: Callable[[], None] | None = None
        cds = scope.scope("cluster_manager.cds")
        self._stats = cds.struct(CdsStats)
        self._subscription = subscriptions.subscribe(
            source, path, CLUSTER, self, cds, self._stats, checks_support=False
        )

    def start(self, on_initialized: Callable[[], None]) -> None:
        """Ask for clusters; `on_initialized` is called when there is an answer, be it that there is none."""
        self._on_initialized = on_initialized
        self._subscription.start()

    def stop(self) -> None:
        """Clusters stay as they are."""
        self._on_initialized = None
        self._subscription.stop()

    def on_config_update_failed(self) -> None:
        self._initialized()

    def _initialized(self) -> None:
        callback, self._on_initialized = self._on_initialized, None
        if callback is not None:
            callback()

    def on_config_update(self, resources: Sequence[Any], version: str) -> None:
        # Those of the bootstrap are counted, too, and stay.
        removed = {each.name for each in self._manager.all_clusters()} - {each.name for each in resources}
        self._update([(each, version) for each in resources], removed, version)

    def on_delta_config_update(self, added: Sequence[DecodedResource], removed: Sequence[str], version: str) -> None:
        self._update([(each.message, each.version) for each in added], removed, version)

    def _update(self, resources: Sequence[tuple[Any, str]], removed: Collection[str], version: str) -> None:
        # Hosts of new clusters are asked for together, and those of clusters that go are not asked for any more.
        with self._subscriptions.paused((EDS_TYPE, LEDS_TYPE, SDS_TYPE)):
            try:
                self._apply(resources, removed, version)
            finally:
                self._initialized()

    def _apply(self, resources: Sequence[tuple[Any, str]], removed: Collection[str], version: str) -> None:
        manager, failures = self._manager, []
        log.info(
            f"cds: response indicates {len(resources)} added/updated cluster(s), {len(removed)} removed cluster(s); "
            "applying changes"
        )
        seen: set[str] = set()
        changed = 0
        for index, (config, its_version) in enumerate(resources):
            name = config.name
            try:
                if name in seen:
                    raise ConfigError(f"duplicate cluster {name} found")
                seen.add(name)
                path = f"resources[{index}]"
                require_supported_resource(config, path, warn=self._subscriptions.files.warn)
                if manager.add_or_update_cluster(config, path):
                    changed += 1
                    self.versions[name], self.updated[name] = its_version, self._now()
            except ConfigError as error:
                log.warning(f"cds: cluster '{name}' config rejected: {error.problem}")
                failures.append(f"{name}: {error.problem}")
        gone = sum([manager.remove_cluster(name) for name in sorted(removed)])
        for name in removed:
            self.versions.pop(name, None)
            self.updated.pop(name, None)
        log.info(
            f"cds: added/updated {changed} cluster(s) (skipped {len(seen) - changed - len(failures)} unmodified "
            f"cluster(s)); removed {gone} cluster(s)"
        )
        if changed or gone:
            self.version = version
        if failures:
            raise ConfigError(f"Error adding/updating cluster(s) {', '.join(failures)}")
        if changed:
            self._stats.config_reload += 1
            self._stats.config_reload_time_ms = int(self._now() * 1000)
