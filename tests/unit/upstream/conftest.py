"""Clusters from plain values, without a loop."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from minienvoy.config.loader import load_dict
from minienvoy.event.random import RandomGenerator
from minienvoy.event.simulated import SimulatedDispatcher
from minienvoy.explain.journal import Journal
from minienvoy.extensions import register_catalogue
from minienvoy.stats.store import Store
from minienvoy.upstream.cluster import Cluster, ClusterContext, create_cluster

register_catalogue()


class NoLoop:
    """What is posted waits for `turn`."""

    def __init__(self) -> None:
        self.posted: list[Callable[[], None]] = []

    def time(self) -> float:
        return 0.0

    def call_soon(self, callback: Callable[[], None]) -> None:
        self.posted.append(callback)

    def turn(self) -> None:
        """One turn of the loop."""
        posted, self.posted = self.posted, []
        for callback in posted:
            callback()


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.fixture
def loop() -> NoLoop:
    return NoLoop()


@pytest.fixture
def context(store: Store, loop: NoLoop) -> ClusterContext:
    return ClusterContext(SimulatedDispatcher(loop), RandomGenerator(7), store, path="clusters[0]", journal=Journal())


@pytest.fixture
def cluster_config() -> Callable[..., Any]:
    """`cluster_config("name", ["1.2.3.4:80", ...], field=value)`: a cluster message."""

    def make(name: str, endpoints: list[Any] | None = None, **fields: Any) -> Any:
        value: dict[str, Any] = {"name": name}
        if endpoints:
            value["load_assignment"] = {
                "cluster_name": name,
                "endpoints": [{"lb_endpoints": [endpoint(each) for each in endpoints]}],
            }
        return load_dict({**value, **fields}, "envoy.config.cluster.v3.Cluster").message

    return make


@pytest.fixture
def make_cluster(context: ClusterContext, cluster_config: Callable[..., Any]) -> Callable[..., Cluster]:
    """A started cluster."""

    def make(*arguments: Any, **fields: Any) -> Cluster:
        cluster = create_cluster(cluster_config(*arguments, **fields), context)
        cluster.start(lambda: None)
        return cluster

    return make


def endpoint(where: Any) -> Any:
    if not isinstance(where, str):
        return where
    host, _, port = where.rpartition(":")
    return {"endpoint": {"address": {"socket_address": {"address": host, "port_value": int(port)}}}}
