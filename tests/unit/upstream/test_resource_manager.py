from __future__ import annotations

from collections.abc import Callable
from typing import Any

from minienvoy.config.api import message_class
from minienvoy.config.runtime import Layer, Snapshot, static_values
from minienvoy.stats.store import Store
from minienvoy.upstream.cluster import Cluster
from minienvoy.upstream.resource_manager import HIGH


def struct_of(values: dict[str, Any]) -> Any:
    struct = message_class("google.protobuf.Struct")()
    struct.update(values)
    return struct


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


def test_the_runtime_has_the_last_word_on_limits(make_cluster: Callable[..., Cluster]) -> None:
    manager = make_cluster("a", circuit_breakers={"thresholds": [{"max_requests": 5}]}).resource_manager
    runtime = {"b.max_requests": 7, "b.retry_budget.budget_percent": 50}
    snapshot = Snapshot((Layer("x", static_values(struct_of(runtime))),))
    manager.take_runtime(snapshot, "b")
    assert manager.requests.max == 7
    manager.requests.current = 10
    assert manager.retries.limit == 5
    manager.take_runtime(Snapshot(), "b")
    assert (manager.requests.max, manager.retries.limit) == (5, 3)


def test_a_breaker_without_room_is_open_once_it_was_needed(make_cluster: Callable[..., Cluster], store: Store) -> None:
    connections = make_cluster(
        "a", circuit_breakers={"thresholds": [{"max_connections": 0}]}
    ).resource_manager.connections
    assert store.value("cluster.a.circuit_breakers.default.cx_open") == 0
    connections.touched = True
    assert store.value("cluster.a.circuit_breakers.default.cx_open") == 1
