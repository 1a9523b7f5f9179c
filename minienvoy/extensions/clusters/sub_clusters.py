"""The clusters of a dynamic forward proxy that has one for each name that requests ask for.

Envoy: `Extensions::Clusters::DynamicForwardProxy::Cluster` with `sub_clusters_config` (`createSubClusterConfig`,
`touch`, `checkIdleSubCluster`). Each is STRICT_DNS with one endpoint, and in everything else as the cluster that it
belongs to. It is made when the HTTP filter first meets the name, and removed when nobody has asked for a while.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from ...config.fields import honours
from ...upstream.duration import duration_of
from ..common.dns_cache import parse_authority

if TYPE_CHECKING:
    from ...event.dispatcher import Dispatcher
    from ...upstream.cluster import Cluster
    from ...upstream.cluster_manager import ClusterManager

honours(
    "envoy.extensions.clusters.dynamic_forward_proxy.v3.SubClustersConfig",
    "lb_policy",
    "max_sub_clusters",
    "sub_cluster_ttl",
    ignored={"preresolve_clusters": "Envoy makes no cluster before somebody asks for it either"},
)
STRICT_DNS: Final = 1


class SubClusters:
    """`config` is the whole cluster, `settings` its `SubClustersConfig`.

    Attributes:
        default_port: of a name without one.
    """

    def __init__(
        self, config: Any, settings: Any, manager: ClusterManager, dispatcher: Dispatcher, default_port: int
    ) -> None:
        self._config = config
        self._settings = settings
        self._manager = manager
        self._dispatcher = dispatcher
        self.default_port = default_port
        self._most: int = settings.max_sub_clusters.value if settings.HasField("max_sub_clusters") else 1024
        self._ttl = duration_of(settings, "sub_cluster_ttl", 300.0)
        self._last_used: dict[str, float] = {}
        self._timer = dispatcher.create_timer(self._remove_idle)

    def start(self) -> None:
        self._timer.enable(self._ttl)

    def stop(self) -> None:
        """Remove them all."""
        self._timer.disable()
        names, self._last_used = self._last_used, {}
        for name in names:
            self._manager.remove_cluster(name)

    def name_of(self, authority: str) -> str:
        """Of the cluster that `authority`, a host header, is asked through."""
        host, port = parse_authority(authority)
        return _name(host, self.default_port if port is None else port)

    def find(self, authority: str) -> Cluster | None:
        """The cluster, if it is ready."""
        return self._manager.get(self.name_of(authority))

    def touch(self, authority: str) -> Cluster | None:
        """The same; it is not idle now."""
        name = self.name_of(authority)
        if name not in self._last_used:
            return None
        self._last_used[name] = self._dispatcher.monotonic_time()
        return self._manager.get(name)

    def make(self, authority: str) -> bool:
        """Begin to make the cluster, or go on; False if there are too many."""
        host, given = parse_authority(authority)
        port = self.default_port if given is None else given
        name = _name(host, port)
        if name not in self._last_used and len(self._last_used) >= self._most:
            return False
        self._last_used[name] = self._dispatcher.monotonic_time()
        config = type(self._config)()
        config.CopyFrom(self._config)
        config.name = name
        config.ClearField("cluster_type")
        config.ClearField("load_assignment")
        config.type = STRICT_DNS
        config.lb_policy = self._settings.lb_policy
        config.load_assignment.cluster_name = name
        address = config.load_assignment.endpoints.add().lb_endpoints.add().endpoint.address.socket_address
        address.address, address.port_value = host, port
        self._manager.add_or_update_cluster(config, f"sub cluster {name}")
        return True

    def _remove_idle(self) -> None:
        now = self._dispatcher.monotonic_time()
        for name in [name for name, used in self._last_used.items() if now - used > self._ttl]:
            del self._last_used[name]
            self._manager.remove_cluster(name)
        self._timer.enable(self._ttl)


def _name(host: str, port: int) -> str:
    return f"DFPCluster:{host}:{port}"
