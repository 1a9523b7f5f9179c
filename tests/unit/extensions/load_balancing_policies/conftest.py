"""Balancers over hosts that need no sockets."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from minienvoy.config.loader import load_dict
from minienvoy.config.runtime import Loader
from minienvoy.event.random import RandomGenerator
from minienvoy.event.simulated import SimulatedDispatcher
from minienvoy.explain.explanation import NO_EXPLANATION, Explanation
from minienvoy.extensions import register_catalogue
from minienvoy.network.address import Address
from minienvoy.stats.store import Store
from minienvoy.upstream.cluster import ClusterContext
from minienvoy.upstream.cluster_stats import ClusterLbStats, ClusterTrafficStats
from minienvoy.upstream.host import Host, HostSet, Locality, PrioritySet
from minienvoy.upstream.load_balancer import (
    LOAD_BALANCERS,
    LoadBalancer,
    LoadBalancerContextBase,
    LoadBalancerParams,
)

register_catalogue()


class NoLoop:
    def time(self) -> float:
        return 0.0


class Request(LoadBalancerContextBase):
    def __init__(
        self,
        hash_key: int | None = None,
        criteria: Mapping[str, Any] | None = None,
        explain: Explanation = NO_EXPLANATION,
        refuses: tuple[Host, ...] = (),
        retries: int = 0,
    ) -> None:
        self.hash_key = hash_key
        self.criteria = criteria
        self.explain = explain
        self.refuses = refuses
        self.host_selection_retries = retries

    def compute_hash_key(self) -> int | None:
        return self.hash_key

    def metadata_match_criteria(self) -> Any:
        return self.criteria

    def should_select_another_host(self, host: Host) -> bool:
        return host in self.refuses


class World:
    """A priority set, and what a balancer over it needs."""

    def __init__(self, seed: int = 3, threshold: int = 50) -> None:
        self.dispatcher = SimulatedDispatcher(NoLoop())
        self.priority_set = PrioritySet()
        self.local_priority_set: PrioritySet | None = None
        self.local_locality: Locality | None = None
        self.runtime: Loader | None = None
        self.stats = ClusterLbStats()
        self.traffic = ClusterTrafficStats()
        self.store = Store()
        self.seed = seed
        self.threshold = threshold
        self.priority_set.update_hosts(HostSet(0, ()))

    def params(self) -> LoadBalancerParams:
        return LoadBalancerParams(
            self.priority_set,
            self.stats,
            random.Random(self.seed),
            self.threshold,
            self.dispatcher,
            self.runtime,
            self.local_priority_set,
            self.local_locality,
            self.store.scope("cluster.a"),
            self.traffic,
        )

    def balancer(self, kind: str, **fields: Any) -> LoadBalancer:
        """`kind` as in `ring_hash.v3.RingHash`; fields of its message."""
        name = f"envoy.extensions.load_balancing_policies.{kind}"
        context = ClusterContext(self.dispatcher, RandomGenerator(1), self.store, path="here")
        return LOAD_BALANCERS.find(name).factory(load_dict(fields, name).message, context)(self.params())

    def update(self, *hosts: Host, priority: int = 0, **settings: Any) -> None:
        self.priority_set.update_hosts(HostSet(priority, hosts, **settings))


def host(name: Any, weight: int = 1, flags: int = 0, **more: Any) -> Host:
    """`host(3)` is 127.0.0.1:3, `host("a")` has that name."""
    port = name if isinstance(name, int) else ord(name[0])
    return Host(
        Address("127.0.0.1", port), "" if isinstance(name, int) else name, weight=weight, health_flags=flags, **more
    )


def labelled(port: int, flags: int = 0, **labels: Any) -> Host:
    return host(port, flags=flags, metadata={"envoy.lb": labels})


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def make_world() -> Callable[..., World]:
    return World
