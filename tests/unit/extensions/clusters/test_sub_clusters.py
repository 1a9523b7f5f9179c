"""Clusters of a dynamic forward proxy: made for a name, kept while it is used."""

from __future__ import annotations

from typing import Any, cast

import pytest

from minienvoy.config.loader import load_dict
from minienvoy.event.simulated import SimulatedDispatcher
from minienvoy.extensions.clusters.sub_clusters import SubClusters
from minienvoy.upstream.cluster_manager import ClusterManager

SETTINGS = "envoy.extensions.clusters.dynamic_forward_proxy.v3.SubClustersConfig"


class Loop:
    def time(self) -> float:
        return 0.0


class Manager:
    """Keeps configurations by name."""

    def __init__(self) -> None:
        self.configs: dict[str, Any] = {}

    def add_or_update_cluster(self, config: Any, path: str) -> None:
        self.configs[config.name] = config

    def remove_cluster(self, name: str) -> None:
        del self.configs[name]

    def get(self, name: str) -> Any:
        return self.configs.get(name)


class World:
    def __init__(self, **settings: Any) -> None:
        self.manager = Manager()
        self.dispatcher = SimulatedDispatcher(cast(Any, Loop()))
        config = load_dict({"name": "many", "connect_timeout": "3s"}, "envoy.config.cluster.v3.Cluster").message
        self.clusters = SubClusters(
            config,
            load_dict(settings, SETTINGS).message,
            cast(ClusterManager, self.manager),
            self.dispatcher,
            80,
        )
        self.clusters.start()


def test_a_cluster_is_like_the_one_it_belongs_to_but_has_one_endpoint() -> None:
    world = World(lb_policy="RANDOM")
    assert world.clusters.make("a.test:8080")
    config = world.manager.configs["DFPCluster:a.test:8080"]
    address = config.load_assignment.endpoints[0].lb_endpoints[0].endpoint.address.socket_address
    assert (address.address, address.port_value, config.connect_timeout.seconds) == ("a.test", 8080, 3)
    assert (config.type, config.lb_policy) == (1, 3)


def test_a_name_without_a_port_has_the_default() -> None:
    world = World()
    world.clusters.make("a.test")
    assert list(world.manager.configs) == ["DFPCluster:a.test:80"]
    assert world.clusters.find("a.test:80") is world.clusters.find("a.test")


def test_there_is_an_end_to_them() -> None:
    world = World(max_sub_clusters=1)
    assert world.clusters.make("a.test")
    assert world.clusters.make("a.test")
    assert not world.clusters.make("b.test")


@pytest.mark.parametrize("used", [True, False])
def test_who_is_not_used_for_long_is_removed(used: bool) -> None:
    world = World(sub_cluster_ttl="10s")
    world.clusters.make("a.test")
    world.dispatcher.advance(12)
    if used:
        assert world.clusters.touch("a.test") is not None
    world.dispatcher.advance(8.5)
    assert bool(world.manager.configs) is used
    assert (world.clusters.touch("a.test") is None) is not used


def test_they_go_with_the_cluster() -> None:
    world = World()
    world.clusters.make("a.test")
    world.clusters.stop()
    assert world.manager.configs == {}
