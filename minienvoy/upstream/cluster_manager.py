"""All clusters: by name, and how they come and go.

Envoy: `Upstream::ClusterManagerImpl`, `ClusterManagerInitHelper`; docs "Cluster manager", "Cluster warming".

The clusters of the bootstrap are compiled at once and *warm* together: listeners start when each of them knows its
first hosts. *Primary* clusters come first: a control plane that tells the hosts of the others may be one of them. A
cluster that is added or changed later warms beside the one in use and takes its place when it is ready.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any, Final

from .. import logger
from ..errors import ConfigError
from ..record import replace
from .cluster import Cluster, ClusterContext, create_cluster
from .cluster_info import EDS, is_kubernetes_source
from .cluster_stats import ClusterManagerStats, ThreadLocalClusterManagerStats

log = logger.get("upstream")
_CDS: Final = ""
"""Is waited for as if it were a cluster; none has an empty name."""

StartCds = Callable[[Callable[[], None]], None]
"""Calls its argument when the first clusters of CDS are known."""
ClusterUpdate = Callable[[str, Cluster | None], None]
"""(name, the cluster that is in use from now on or None if it was removed)"""


class ClusterManager:
    """`context` is what each cluster is made with; its `path` and `added_via_api` are filled in for each.

    Attributes:
        local_cluster_name: the cluster this server is a member of; empty if none is told.
        context: what each cluster is made with.
        pauses_clusters: keeps control planes from being told of clusters until what it returns is called.
        pauses_hosts: what keeps control planes from being asked for hosts, one cluster after the other.
    """

    def __init__(self, context: ClusterContext, local_cluster_name: str = "") -> None:
        self.local_cluster_name = local_cluster_name
        self.stats = context.stats.scope("cluster_manager").struct(ClusterManagerStats)
        self.context = replace(context, cluster_manager=self, cluster_manager_stats=self.stats)
        self.singletons: dict[str, Any] = {}
        """What several clusters and filters share, by name (`Singleton::Manager`)."""
        self._active: dict[str, Cluster] = {}
        self.get: Callable[[str], Cluster | None] = self._active.get
        """The cluster of that name, if it is in use (`getThreadLocalCluster`)."""
        self._warming: dict[str, Cluster] = {}
        self._callbacks: list[ClusterUpdate] = []
        self._waiting: set[str] = set()
        self._on_initialized: Callable[[], None] | None = None
        self._start_cds: StartCds | None = None
        self._secondary: dict[str, Cluster] = {}
        """Those that wait for the primary ones."""
        self._on_cluster_ready: Callable[[str], None] = lambda name: None
        self.pauses_clusters: Callable[[], Callable[[], None]] = lambda: lambda: None
        self._resume_clusters: Callable[[], None] | None = None
        self.pauses_hosts: Callable[[], AbstractContextManager[None]] = nullcontext
        self._inflated = [
            context.stats.scope(f"thread_local_cluster_manager.{thread}").struct(ThreadLocalClusterManagerStats)
            for thread in ("main_thread", "worker_0")
        ]

    # -- who asks

    def clusters(self) -> dict[str, Cluster]:
        """Those in use, by name, in the order of the configuration."""
        return dict(self._active)

    def warming_clusters(self) -> dict[str, Cluster]:
        return dict(self._warming)

    def all_clusters(self) -> list[Cluster]:
        """Those in use, and those that will be."""
        return [*self._active.values(), *self._warming.values()]

    def add_update_callback(self, callback: ClusterUpdate) -> None:
        """Called after a cluster was put in use, replaced or removed (`ClusterUpdateCallbacks`)."""
        self._callbacks.append(callback)

    def remove_update_callback(self, callback: ClusterUpdate) -> None:
        self._callbacks.remove(callback)

    # -- the bootstrap

    def load(self, configs: Iterable[Any], path: str = "static_resources.clusters") -> None:
        """Compile the clusters of the bootstrap; `start` begins to look for their hosts.

        Raises:
            ConfigError: one of them can not be used, or two have one name.
        """
        listed = list(configs)
        made: dict[int, Cluster] = {}

        def rank(index: int) -> tuple[bool, bool]:
            # The cluster this server is a member of is made first: the others route by where its hosts are. Whoever
            # gets hosts from a control plane comes after those that lead there.
            return listed[index].name != self.local_cluster_name, not is_primary(listed[index])

        for index in sorted(range(len(listed)), key=rank):
            config, where = listed[index], f"{path}[{index}]"
            if any(config.name == cluster.name for cluster in made.values()):
                raise ConfigError(f"cluster manager: duplicate cluster '{config.name}'", f"{where}.name")
            cluster = made[index] = create_cluster(config, replace(self.context, path=where))
            self._active[cluster.name] = cluster
            if config.name == self.local_cluster_name:
                self.context = replace(self.context, local_priority_set=cluster.priority_set)
            self.stats.cluster_added += 1
        self._active.clear()
        self._active.update((made[index].name, made[index]) for index in sorted(made))
        if self.local_cluster_name and self.local_cluster_name not in self._active:
            raise ConfigError(
                f"local cluster '{self.local_cluster_name}' must be defined", "cluster_manager.local_cluster_name"
            )
        self._count()

    def start(
        self,
        on_initialized: Callable[[], None],
        start_cds: StartCds | None = None,
        on_cluster_ready: Callable[[str], None] = lambda name: None,
    ) -> None:
        """Look for hosts; `on_initialized` is called once, when every cluster of the bootstrap is ready.

        With `start_cds`, that is called then, and those that CDS brings are waited for, too. `on_cluster_ready` hears
        the name of each.
        """
        self._on_initialized = on_initialized
        self._start_cds = start_cds
        self._on_cluster_ready = on_cluster_ready
        clusters = list(self._active.values())
        primary = [cluster for cluster in clusters if is_primary(cluster.config)]
        self._secondary = {cluster.name: cluster for cluster in clusters if cluster not in primary}
        self._waiting = {cluster.name for cluster in primary}
        for cluster in primary:
            cluster.initialize(partial(self._on_cluster_initialized, cluster.name))
        self._finish_initialization()

    def _on_cluster_initialized(self, name: str) -> None:
        self._waiting.discard(name)
        if name != _CDS:
            self._on_cluster_ready(name)
        self._finish_initialization()

    def _initialize_secondary(self) -> None:
        log.info("cm init: initializing secondary clusters")
        secondary, self._secondary = list(self._secondary.values()), {}
        self._waiting.update(cluster.name for cluster in secondary)
        with self.pauses_hosts():
            for cluster in secondary:
                cluster.initialize(partial(self._on_cluster_initialized, cluster.name))

    def _finish_initialization(self) -> None:
        if self._waiting or self._on_initialized is None:
            return
        if self._secondary:
            self._initialize_secondary()
            return
        if self._start_cds is not None:
            log.info("cm init: initializing cds")
            start, self._start_cds = self._start_cds, None
            self._waiting.add(_CDS)
            start(lambda: self._on_cluster_initialized(_CDS))
            return
        log.info("cm init: all clusters initialized")
        callback, self._on_initialized = self._on_initialized, None
        callback()

    # -- later changes

    def add_or_update_cluster(self, config: Any, path: str = "", *, unlock: bool = False) -> bool:
        """Add a cluster or replace the one of its name; False if nothing changes.

        The new one takes over when it has its first hosts. With `unlock`, those of the bootstrap can be changed, too.

        Raises:
            ConfigError: the cluster can not be used; the one in use stays.
        """
        name = config.name
        warming, active = self._warming.get(name), self._active.get(name)
        newest = warming or active
        if newest is not None and newest.config == config:
            return False
        if active is not None and not active.added_via_api and not unlock:
            return False  # the bootstrap's clusters can not be changed
        # Envoy counts before it looks whether it can be used.
        if newest is None:
            self.stats.cluster_added += 1
        else:
            self.stats.cluster_modified += 1
        cluster = create_cluster(config, replace(self.context, path=path, added_via_api=not unlock))
        if self._on_initialized is not None and newest is None:
            # Nobody asks yet: it is waited for like those of the bootstrap.
            self._active[name] = cluster
            self._count()
            if _CDS in self._waiting and not is_primary(config):
                self._secondary[name] = cluster  # with the others that this response brings
                return True
            self._waiting.add(name)
            cluster.initialize(partial(self._on_cluster_initialized, name))
            return True
        if warming is not None:
            warming.stop()
        self._warming[name] = cluster
        cluster.stats.config_update.warming_state = 1
        self._count()
        cluster.initialize(lambda: self._use(cluster))
        return True

    def remove_cluster(self, name: str, *, unlock: bool = False) -> bool:
        """Forget a cluster that came from `add_or_update_cluster`, or any with `unlock`; False if there is none."""
        active = self._active.get(name)
        if active is not None and not active.added_via_api and not unlock:
            return False
        self._secondary.pop(name, None)
        warming = self._warming.pop(name, None)
        if warming is not None:
            warming.stop()
        if active is not None:
            del self._active[name]
            active.stop()
        if active is None and warming is None:
            return False
        self.stats.cluster_removed += 1
        self._count()
        if name in self._waiting:
            self._on_cluster_initialized(name)
        if active is not None:
            for callback in tuple(self._callbacks):
                callback(name, None)
        return True

    def stop(self) -> None:
        """Stop every cluster; none can be got any more."""
        clusters = [*self._active.values(), *self._warming.values()]
        self._active.clear()
        self._warming.clear()
        self._on_initialized = None
        for cluster in clusters:
            cluster.stop()
        for singleton in self.singletons.values():
            singleton.stop()
        self.singletons.clear()

    def _use(self, cluster: Cluster) -> None:
        if self._warming.get(cluster.name) is not cluster:
            return
        del self._warming[cluster.name]
        old = self._active.get(cluster.name)
        self._active[cluster.name] = cluster
        cluster.stats.config_update.warming_state = 0
        if old is not None:
            old.stop()
        self._count()
        for callback in tuple(self._callbacks):
            callback(cluster.name, cluster)

    def _count(self) -> None:
        # A control plane hears that clusters are accepted when they can be used, and may count on it with its routes.
        if self._warming and self._resume_clusters is None:
            self._resume_clusters = self.pauses_clusters()
        elif not self._warming and self._resume_clusters is not None:
            resume, self._resume_clusters = self._resume_clusters, None
            resume()
        self.stats.active_clusters = len(self._active)
        self.stats.warming_clusters = len(self._warming)
        for thread in self._inflated:
            thread.clusters_inflated = len(self._active)


def is_primary(config: Any) -> bool:
    """Whether a cluster finds its hosts without a control plane that may be reached by another cluster."""
    if config.HasField("cluster_type") or config.type != EDS:
        return True
    kind = config.eds_cluster_config.eds_config.WhichOneof("config_source_specifier")
    return kind in ("path", "path_config_source") or is_kubernetes_source(config.eds_cluster_config.eds_config)
