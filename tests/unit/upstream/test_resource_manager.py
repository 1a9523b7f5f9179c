from __future__ import annotations

from collections.abc import Callable

from minienvoy.stats.store import Store
from minienvoy.upstream.cluster import Cluster
from minienvoy.upstream.resource_manager import HIGH


def test_limits_are_envoys_unless_they_are_set(make_cluster: Callable[..., Cluster]) -> None:
    manager = make_cluster("a").resource_manager
    resources = (manager.connections, manager.pending_requests, manager.requests, manager.retries)
    assert [resource.max for resource in resources] == [1024, 1024, 1024, 3]
    assert manager.connection_pools.max == 2**64 - 1


def test_each_priority_has_limits_of_its_own(make_cluster: Callable[..., Cluster]) -> None:
    cluster = make_cluster(
        "a", circuit_breakers={"thresholds": [{"priority": "HIGH", "max_connections": 7}, {"max_retries": 0}]}
    )
    assert cluster.resource_managers[HIGH].connections.max == 7
    assert cluster.resource_manager.connections.max == 1024
    assert not cluster.resource_manager.retries.can_create


def test_breaker_opens_at_the_limit(make_cluster: Callable[..., Cluster], store: Store) -> None:
    cluster = make_cluster("a", circuit_breakers={"thresholds": [{"max_connections": 2}]})
    connections = cluster.resource_manager.connections
    connections.current += 1
    assert connections.can_create
    assert store.value("cluster.a.circuit_breakers.default.cx_open") == 0
    connections.current += 1
    assert not connections.can_create
    assert store.value("cluster.a.circuit_breakers.default.cx_open") == 1
    assert store.value("cluster.a.circuit_breakers.high.cx_open") == 0


def test_what_remains_is_told_only_if_it_is_tracked(make_cluster: Callable[..., Cluster], store: Store) -> None:
    make_cluster("a")
    make_cluster("b", circuit_breakers={"thresholds": [{"max_requests": 5, "track_remaining": True}]})
    names = {sample.name: sample.value for sample in store.gauges() if "remaining" in sample.name}
    assert names == {
        "cluster.b.circuit_breakers.default.remaining_cx": 1024,
        "cluster.b.circuit_breakers.default.remaining_cx_pools": 2**64 - 1,
        "cluster.b.circuit_breakers.default.remaining_pending": 1024,
        "cluster.b.circuit_breakers.default.remaining_retries": 3,
        "cluster.b.circuit_breakers.default.remaining_rq": 5,
    }
