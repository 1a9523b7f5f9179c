"""Connections to the hosts that the next requests will go to (`predictive_preconnect_ratio`).

Envoy: `ClusterManagerImpl::maybePreconnect`, `LoadBalancer::peekAnotherHost`, `ClusterConnectivityState`; docs
"Preconnecting". Before a request takes a connection it is looked whether all clusters together have connections for
`ratio` times the requests that there are, this one included; if not, the balancer is asked whom it will choose next,
and that host gets a connection. The balancer keeps its word: the next request goes there.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from ..explain.explanation import NO_EXPLANATION
from .host import Host, HostSet
from .http2_conn_pool import Http2ConnPool
from .http_conn_pool import MAX_PRECONNECTED, HttpConnPool, HttpPoolCallbacks, PendingStream, PreconnectingHttpConnPool
from .load_balancer import LoadBalancer, LoadBalancerContext, stop_balancer
from .mixed_conn_pool import MixedConnPool
from .tcp_conn_pool import PendingConnection, TcpConnPool, TcpPoolCallbacks

if TYPE_CHECKING:
    from .cluster import Cluster
    from .host import PrioritySet


class PeekingLoadBalancer:
    """A balancer that can say whom it will choose next; Envoy's round robin, least request and random can."""

    def __init__(self, balancer: LoadBalancer, priority_set: PrioritySet) -> None:
        self._balancer = balancer
        self._priority_set = priority_set
        self._peeked: deque[Host] = deque()
        priority_set.add_member_update_callback(self._on_member_update)

    def choose_host(self, context: LoadBalancerContext | None) -> Host | None:
        if not self._peeked:
            return self._balancer.choose_host(context)
        host = self._peeked.popleft()
        if context is not None:
            if context.retry_priority is not None or (
                context.host_selection_retries and context.should_select_another_host(host)
            ):
                return self._balancer.choose_host(context)
            if context.explain is not NO_EXPLANATION:
                context.explain.decided("host", host, "chosen ahead, when it was preconnected")
        return host

    def peek_another_host(self) -> Host | None:
        """None if as many as there are healthy hosts have been told already."""
        if len(self._peeked) >= sum(len(each.healthy_hosts) for each in self._priority_set.host_sets):
            return None
        host = self._balancer.choose_host(None)
        if host is not None:
            self._peeked.append(host)
        return host

    def stop(self) -> None:
        self._priority_set.remove_member_update_callback(self._on_member_update)
        stop_balancer(self._balancer)

    def _on_member_update(self, host_set: HostSet, added: tuple[Host, ...], removed: tuple[Host, ...]) -> None:
        self._peeked.clear()


def needs_more(cluster: Cluster) -> bool:
    """Whether one request more is one too many for the connections that all clusters have."""
    waiting = active = capacity = 0
    for each in cluster.siblings():
        busy = sum(manager.requests.current for manager in each.resource_managers)
        waiting += sum(manager.pending_requests.current for manager in each.resource_managers)
        active += busy
        room = sum(manager.connections.current for manager in each.resource_managers) - busy
        for pool in each.http_pools or ():
            if isinstance(pool, Http2ConnPool):
                room += pool.capacity_beyond_connections()
        capacity += room
    return (waiting + active + 1) * cluster.predictive_preconnect_ratio > capacity + active


def preconnect_ahead(pool: HttpConnPool | TcpConnPool) -> None:
    """`pool` is about to be asked for a connection."""
    cluster = pool.cluster
    balancer = cluster.load_balancer
    if not isinstance(balancer, PeekingLoadBalancer):
        return
    for _ in range(MAX_PRECONNECTED):
        if not needs_more(cluster):
            return
        host = balancer.peek_another_host()
        sibling = None if host is None else pool.sibling(host)
        if sibling is None or not sibling.preconnect_one(cluster.predictive_preconnect_ratio):
            return


class PredictingHttpConnPool(PreconnectingHttpConnPool):
    def new_stream(self, callbacks: HttpPoolCallbacks) -> PendingStream | None:
        preconnect_ahead(self)
        return super().new_stream(callbacks)


class PredictingHttp2ConnPool(Http2ConnPool):
    def new_stream(self, callbacks: HttpPoolCallbacks) -> PendingStream | None:
        preconnect_ahead(self)
        return super().new_stream(callbacks)


class PredictingMixedConnPool(MixedConnPool):
    def new_stream(self, callbacks: HttpPoolCallbacks) -> PendingStream | None:
        preconnect_ahead(self)
        return super().new_stream(callbacks)


class PredictingTcpConnPool(TcpConnPool):
    __slots__ = ()

    def new_connection(self, callbacks: TcpPoolCallbacks) -> PendingConnection | None:
        preconnect_ahead(self)
        return super().new_connection(callbacks)
