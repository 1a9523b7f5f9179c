from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from minienvoy.errors import ConfigError
from minienvoy.registry import Entry
from minienvoy.stats.store import Store
from minienvoy.upstream.cluster import CLUSTERS, Cluster, ClusterContext
from minienvoy.upstream.cluster_manager import ClusterManager


class SlowCluster(Cluster):
    """Is ready when the test says so."""

    __slots__ = ("ready",)

    def start(self, on_initialized: Callable[[], None]) -> None:
        self.ready = on_initialized


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> None:
    """LOGICAL_DNS clusters are slow ones."""
    entry = CLUSTERS.find("envoy.cluster.logical_dns")
    monkeypatch.setitem(
        CLUSTERS._by_type,
        "envoy.cluster.logical_dns",
        Entry(entry.name, entry.config_type, lambda config, typed_config, context: SlowCluster(config, context)),
    )


def slow_cluster(clusters: dict[str, Cluster], name: str) -> SlowCluster:
    cluster = clusters[name]
    assert isinstance(cluster, SlowCluster)
    return cluster


def test_listeners_wait_until_every_cluster_is_ready(
    context: ClusterContext, cluster_config: Callable[..., Any], slow: None
) -> None:
    manager = ClusterManager(context)
    manager.load([cluster_config("a", ["1.1.1.1:1"]), cluster_config("b", type="LOGICAL_DNS")])
    events: list[str] = []
    manager.start(lambda: events.append("initialized"))
    assert events == []
    slow_cluster(manager.clusters(), "b").ready()
    assert events == ["initialized"]


def test_no_cluster_is_ready_at_once(context: ClusterContext) -> None:
    manager = ClusterManager(context)
    manager.load([])
    events: list[str] = []
    manager.start(lambda: events.append("initialized"))
    assert events == ["initialized"]


def test_bootstrap_clusters_are_counted(
    context: ClusterContext, cluster_config: Callable[..., Any], store: Store
) -> None:
    manager = ClusterManager(context)
    manager.load([cluster_config("a"), cluster_config("b")])
    assert manager.get("a") is manager.clusters()["a"]
    assert manager.get("c") is None
    assert store.value("cluster_manager.active_clusters") == 2
    assert store.value("cluster_manager.cluster_added") == 2


def test_two_clusters_of_one_name_are_refused(context: ClusterContext, cluster_config: Callable[..., Any]) -> None:
    with pytest.raises(ConfigError, match="cluster manager: duplicate cluster 'a'") as error:
        ClusterManager(context).load([cluster_config("a"), cluster_config("a")])
    assert error.value.path == "static_resources.clusters[1].name"


def test_local_cluster_must_exist(context: ClusterContext, cluster_config: Callable[..., Any]) -> None:
    with pytest.raises(ConfigError, match="local cluster 'zz' must be defined"):
        ClusterManager(context, local_cluster_name="zz").load([cluster_config("a")])


def test_added_cluster_warms_before_it_is_used(
    context: ClusterContext, cluster_config: Callable[..., Any], slow: None, store: Store
) -> None:
    manager = ClusterManager(context)
    seen: list[tuple[str, Cluster | None]] = []
    manager.add_update_callback(lambda name, cluster: seen.append((name, cluster)))
    assert manager.add_or_update_cluster(cluster_config("a", type="LOGICAL_DNS"))
    assert (manager.get("a"), store.value("cluster_manager.warming_clusters")) == (None, 1)
    assert store.value("cluster.a.warming_state") == 1
    first = slow_cluster(manager.warming_clusters(), "a")
    first.ready()
    assert (manager.get("a"), manager.warming_clusters()) == (first, {})
    assert first.added_via_api

    assert not manager.add_or_update_cluster(cluster_config("a", type="LOGICAL_DNS"))
    assert manager.add_or_update_cluster(cluster_config("a", type="LOGICAL_DNS", connect_timeout="1s"))
    assert manager.get("a") is first
    second = slow_cluster(manager.warming_clusters(), "a")
    second.ready()
    assert (manager.get("a"), first.stopped) == (second, True)
    assert seen == [("a", first), ("a", second)]
    assert store.value("cluster.a.membership_change") == 0
    counts = {name: store.value(f"cluster_manager.cluster_{name}") for name in ("added", "modified", "updated")}
    # Envoy counts as an update what changes the hosts of a cluster, not the cluster.
    assert counts == {"added": 1, "modified": 1, "updated": 0}


def test_newer_warming_cluster_replaces_the_older(
    context: ClusterContext, cluster_config: Callable[..., Any], slow: None
) -> None:
    manager = ClusterManager(context)
    manager.add_or_update_cluster(cluster_config("a", type="LOGICAL_DNS"))
    first = slow_cluster(manager.warming_clusters(), "a")
    manager.add_or_update_cluster(cluster_config("a", type="LOGICAL_DNS", connect_timeout="1s"))
    first.ready()
    assert (manager.get("a"), first.stopped) == (None, True)


def test_removed_cluster_is_gone(context: ClusterContext, cluster_config: Callable[..., Any], store: Store) -> None:
    manager = ClusterManager(context)
    seen: list[tuple[str, Cluster | None]] = []
    manager.add_or_update_cluster(cluster_config("a", ["1.1.1.1:1"]))
    manager.add_update_callback(lambda name, cluster: seen.append((name, cluster)))
    assert manager.remove_cluster("a")
    assert not manager.remove_cluster("a")
    assert (manager.get("a"), seen) == (None, [("a", None)])
    assert store.value("cluster_manager.cluster_removed") == 1


def test_clusters_of_the_bootstrap_stay_as_they_are(
    context: ClusterContext, cluster_config: Callable[..., Any]
) -> None:
    manager = ClusterManager(context)
    manager.load([cluster_config("a")])
    cluster = manager.get("a")
    assert not manager.add_or_update_cluster(cluster_config("a", connect_timeout="1s"))
    assert not manager.remove_cluster("a")
    assert manager.get("a") is cluster


def test_bad_update_leaves_the_cluster_in_use(context: ClusterContext, cluster_config: Callable[..., Any]) -> None:
    manager = ClusterManager(context)
    manager.add_or_update_cluster(cluster_config("a", ["1.1.1.1:1"]))
    cluster = manager.get("a")
    with pytest.raises(ConfigError, match="malformed IP address: foo"):
        manager.add_or_update_cluster(cluster_config("a", ["foo:1"]))
    assert manager.get("a") is cluster


def test_stop_stops_every_cluster(context: ClusterContext, cluster_config: Callable[..., Any]) -> None:
    manager = ClusterManager(context)
    manager.load([cluster_config("a")])
    cluster = manager.clusters()["a"]
    manager.stop()
    assert cluster.stopped
    assert manager.clusters() == {}
