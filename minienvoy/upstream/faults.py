"""Bad networks between this proxy and the hosts of its clusters, switched on and off while it runs.

No Envoy counterpart: what toxiproxy does as a process in between. `Proxy.faults` and the admin's `/minienvoy/faults`
are here. A toxic stands before one host of a cluster, or before all of them, and works on the connections that exist
already, too.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from ..errors import ConfigError
from ..network.connection import ConnectionCallbacks, ConnectionEvent
from ..network.toxic import DOWNSTREAM, Toxic
from ..network.toxic_link import ToxicLink, link_of
from ..record import record

if TYPE_CHECKING:
    from ..event.random import RandomGenerator
    from ..network.connection import Connection
    from .cluster import Cluster
    from .cluster_manager import ClusterManager
    from .host import Host


@record
class Fault:
    """A toxic and where it is; an empty `endpoint` is every host of the cluster."""

    cluster: str
    endpoint: str
    toxic: Toxic


class Faults:
    """Those of one proxy."""

    def __init__(self, cluster_manager: ClusterManager, random: RandomGenerator) -> None:
        self._cluster_manager = cluster_manager
        self._random = random.stream("faults")
        self._faults: list[Fault] = []
        self._links: WeakKeyDictionary[ToxicLink, tuple[str, str]] = WeakKeyDictionary()

    def add(
        self,
        cluster: str,
        type: str,
        *,
        endpoint: str = "",
        name: str = "",
        stream: str = DOWNSTREAM,
        toxicity: float = 1.0,
        **attributes: int,
    ) -> str:
        """Make the network to a cluster bad; the name by which `remove` makes it good again.

        Arguments:
            type: latency, bandwidth, slow_close, timeout, reset_peer, slicer or limit_data.
            endpoint: `host:port` of one host; otherwise all of them.
            name: otherwise `<type>_<stream>`. A toxic of the same name in the same place is replaced.
            stream: `downstream` is what the host sends, `upstream` what is sent to it.
            toxicity: the share of connections that are bad.
            attributes: toxiproxy's, in its units: latency and jitter, rate, delay, timeout, average_size and
                size_variation, bytes.

        Raises:
            ConfigError: there is no such cluster, host, toxic or attribute.
        """
        known = self._cluster_manager.clusters()
        if cluster not in known:
            raise ConfigError(f"there is no cluster '{cluster}'", remedy=f"there are: {', '.join(known)}")
        hosts = [host.address.text for host in known[cluster].priority_set.hosts()]
        if endpoint and endpoint not in hosts:
            raise ConfigError(
                f"cluster '{cluster}' has no endpoint '{endpoint}'", remedy=f"it has: {', '.join(hosts) or 'none'}"
            )
        fault = Fault(cluster, endpoint, Toxic(type, name, stream, toxicity, attributes))
        same = (cluster, endpoint, fault.toxic.name)
        self._faults = [each for each in self._faults if (each.cluster, each.endpoint, each.toxic.name) != same]
        self._faults.append(fault)
        self._cluster_manager.context.dispatcher.toxics = self
        self._changed()
        return fault.toxic.name

    def remove(self, cluster: str, name: str, *, endpoint: str | None = None) -> None:
        """Take a toxic away, wherever in the cluster it is or from one endpoint.

        Raises:
            ConfigError: there is none of that name.
        """
        left = [
            each
            for each in self._faults
            if each.cluster != cluster or each.toxic.name != name or endpoint not in (None, each.endpoint)
        ]
        if len(left) == len(self._faults):
            raise ConfigError(f"cluster '{cluster}' has no toxic '{name}'")
        self._faults = left
        self._changed()

    def clear(self) -> None:
        """Everything is well again."""
        self._faults = []
        self._changed()

    def __iter__(self) -> Iterator[Fault]:
        return iter(tuple(self._faults))

    def __len__(self) -> int:
        return len(self._faults)

    def attach(self, cluster: Cluster, host: Host, connection: Connection) -> None:
        """A connection that is to be opened: it will have the toxics that there are when it is up."""
        connection.add_callbacks(_WhenConnected(self, cluster.name, host.address.text, connection))

    def link(self, cluster: str, endpoint: str, connection: Connection) -> None:
        """Give a connection the toxics of its place."""
        toxics = self._toxics(cluster, endpoint)
        if not toxics or connection.closed or connection.transport is None or link_of(connection) is not None:
            return
        if connection.splices:
            # Bytes go past this process: once they do not any more, the network can be bad.
            for splice in connection.splices:
                splice.give_back(lambda: self.link(cluster, endpoint, connection))
            return
        link = ToxicLink(connection, self._random)
        self._links[link] = (cluster, endpoint)
        link.set_toxics(toxics)

    # -- inside

    def _toxics(self, cluster: str, endpoint: str) -> list[Toxic]:
        # One before a host goes before one of the same name before all of them.
        found: dict[str, Toxic] = {}
        for each in sorted(self._faults, key=lambda fault: bool(fault.endpoint)):
            if each.cluster == cluster and each.endpoint in ("", endpoint):
                found[each.toxic.name] = each.toxic
        return list(found.values())

    def _changed(self) -> None:
        for link, place in list(self._links.items()):
            link.set_toxics(self._toxics(*place))
        for cluster in self._cluster_manager.clusters().values():
            for host in cluster.priority_set.hosts():
                pools: list[Any] = [*host.http_pools.values(), *host.tcp_pools.values()]
                for pool in pools:
                    for connection in pool.connections():
                        if connection.connecting:
                            self.attach(cluster, host, connection)
                        else:
                            self.link(cluster.name, host.address.text, connection)


class _WhenConnected(ConnectionCallbacks):
    __slots__ = ("_connection", "_faults", "_place")

    def __init__(self, faults: Faults, cluster: str, endpoint: str, connection: Connection) -> None:
        self._faults = faults
        self._place = (cluster, endpoint)
        self._connection = connection

    def on_event(self, event: ConnectionEvent) -> None:
        if event is ConnectionEvent.CONNECTED:
            self._faults.link(*self._place, self._connection)
