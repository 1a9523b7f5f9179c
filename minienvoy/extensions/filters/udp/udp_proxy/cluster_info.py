"""The sessions with the hosts of one cluster.

Envoy: `UdpProxyFilter::ClusterInfo`, `StickySessionClusterInfo`, `PerPacketLoadBalancingClusterInfo`.

A client's datagrams go to the host that its first one went to, until that is found unhealthy and there is a better
one. With `use_per_packet_load_balancing` each goes where the balancer says, and a client has a session with each host.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..... import logger
from .....explain.explanation import NO_EXPLANATION, Explanation
from .....network.address import Address
from .....network.udp_listener import UdpListener, UdpRecvData
from .....upstream.host import HealthFlag, Host, HostSet
from .....upstream.load_balancer import LoadBalancerContextBase
from .config import UdpProxyConfig
from .session import ActiveSession

if TYPE_CHECKING:
    from collections.abc import Callable

    from .....upstream.cluster import Cluster

log = logger.get("filter")


class ClusterInfo:
    """Attributes:
    stats: `cluster.NAME.udp.*`.
    traffic: `cluster.NAME.upstream_*`.
    """

    def __init__(
        self, cluster: Cluster, config: UdpProxyConfig, listener: UdpListener, next_id: Callable[[], int]
    ) -> None:
        self.name = cluster.name
        self.config = config
        self.traffic = cluster.stats.traffic
        self._cluster = cluster
        self._listener = listener
        self._next_id = next_id
        self.stats = cluster.stats.udp()
        self._sessions: dict[Any, ActiveSession] = {}
        self._sessions_of: dict[Host, dict[ActiveSession, None]] = {}
        cluster.priority_set.add_member_update_callback(self._on_member_update)

    def on_data(self, datagram: UdpRecvData) -> None:
        """A datagram that is for this cluster."""
        key = datagram[1:]
        session = self._sessions.get(key)
        if session is None:
            session = self._create_session(key, datagram, None)
        elif session.host.health_flags & HealthFlag.UNHEALTHY:
            host = self._choose_host(datagram, NO_EXPLANATION)
            if host is not None and host is not session.host and not host.health_flags & HealthFlag.UNHEALTHY:
                log.debug("upstream session unhealthy, recreating the session")
                self.remove_session(session)
                session = self._create_session(key, datagram, host)
        if session is not None:
            session.on_data(datagram.data)

    def remove_session(self, session: ActiveSession) -> None:
        del self._sessions[session.key]
        of_host = self._sessions_of[session.host]
        del of_host[session]
        if not of_host:
            del self._sessions_of[session.host]
        self._cluster.resource_manager.connections.current -= 1
        session.close()

    def close(self) -> None:
        """The cluster is gone, or nobody sends to it any more."""
        self._cluster.priority_set.remove_member_update_callback(self._on_member_update)
        for session in tuple(self._sessions.values()):
            self.remove_session(session)

    def _create_session(self, key: Any, datagram: UdpRecvData, host: Host | None) -> ActiveSession | None:
        """With a host that is chosen already, or with one that is chosen now; None if there can be none."""
        explanations = self.config.context.explanations
        explain = NO_EXPLANATION if explanations is None else self._explanation()
        if host is None:
            host = self._choose_host(datagram, explain)
        elif explain is not NO_EXPLANATION:
            explain.decided("host", host, "each datagram has its own, or the session's was found unhealthy")
        if explanations is not None:
            explanations.append(explain)
        if host is None:
            self.traffic.upstream_cx_none_healthy += 1
            return None
        session = ActiveSession(self, key, datagram, host, self._listener, self._next_id())
        connections = self._cluster.resource_manager.connections
        if not connections.can_create:
            self.traffic.upstream_cx_overflow += 1
            session.close()
            return None
        if not session.open():
            session.close()
            return None
        connections.current += 1
        self._sessions[key] = session
        self._sessions_of.setdefault(host, {})[session] = None
        return session

    def _choose_host(self, datagram: UdpRecvData, explain: Explanation) -> Host | None:
        hash_method = self.config.hash_method
        hash_key = None
        if hash_method is not None:
            hash_key = hash_method(Address.from_sockaddr(self._listener.raw.family, datagram.peer))
        return self._cluster.load_balancer.choose_host(UdpLoadBalancerContext(hash_key, explain))

    def _explanation(self) -> Explanation:
        explain = Explanation()
        explain.decided("listener", self.config.context.listener_name, f"a datagram to {self._listener.local_address}")
        explain.decided("cluster", self.name, "udp_proxy")
        return explain

    def _on_member_update(self, host_set: HostSet, added: tuple[Host, ...], removed: tuple[Host, ...]) -> None:
        for host in removed:
            for session in tuple(self._sessions_of.get(host, ())):
                self.remove_session(session)


class PerPacketClusterInfo(ClusterInfo):
    """Where each datagram is balanced for itself."""

    def on_data(self, datagram: UdpRecvData) -> None:
        host = self._choose_host(datagram, NO_EXPLANATION)
        if host is None:
            self.traffic.upstream_cx_none_healthy += 1
            return
        key = (datagram.peer, datagram.local_host, host)
        session = self._sessions.get(key) or self._create_session(key, datagram, host)
        if session is not None:
            session.on_data(datagram.data)


class UdpLoadBalancerContext(LoadBalancerContextBase):
    """What a datagram tells the balancer (`UdpLoadBalancerContext`)."""

    __slots__ = ("_hash_key", "explain")

    def __init__(self, hash_key: int | None, explain: Explanation) -> None:
        self._hash_key = hash_key
        self.explain = explain

    def compute_hash_key(self) -> int | None:
        return self._hash_key
