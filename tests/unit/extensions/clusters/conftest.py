"""Clusters over a DNS that answers when the test says so."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from minienvoy.config.loader import load_dict
from minienvoy.event.random import RandomGenerator
from minienvoy.event.simulated import SimulatedDispatcher
from minienvoy.extensions import register_catalogue
from minienvoy.network.dns import DnsLookupFamily, DnsResponse, ResolutionStatus, ResolveCallback
from minienvoy.stats.store import Store
from minienvoy.upstream.cluster import Cluster, ClusterContext, create_cluster

register_catalogue()


class NoLoop:
    def time(self) -> float:
        return 0.0


class Query:
    """One lookup; `answer` or `fail` it."""

    def __init__(self, name: str, family: DnsLookupFamily, callback: ResolveCallback) -> None:
        self.name = name
        self.family = family
        self.cancelled = False
        self._callback = callback

    def cancel(self) -> None:
        self.cancelled = True

    def answer(self, *hosts: str, ttl: float = 60.0) -> None:
        self._callback(ResolutionStatus.COMPLETED, "cares_success", [DnsResponse(host, ttl) for host in hosts])

    def fail(self) -> None:
        self._callback(ResolutionStatus.FAILURE, "cares_failure:ARES_ESERVFAIL", [])


class Dns:
    """A `DnsResolver` and the `DnsResolvers` that has only this."""

    def __init__(self) -> None:
        self.queries: list[Query] = []
        self.closed = False

    def resolve(self, name: str, family: DnsLookupFamily, callback: ResolveCallback) -> Query:
        self.queries.append(Query(name, family, callback))
        return self.queries[-1]

    def close(self) -> None:
        self.closed = True

    def shared(self) -> Dns:
        return self

    def for_config(self, config: Any, path: str = "") -> None:
        return None

    def query(self) -> Query:
        """The only query since the last call."""
        (query,) = self.queries
        self.queries.clear()
        return query


class World:
    """One cluster in time that stands still."""

    def __init__(self) -> None:
        self.dns = Dns()
        self.store = Store()
        self.dispatcher = SimulatedDispatcher(NoLoop())
        self.initialized = 0
        self.cluster: Cluster

    def create(self, **fields: Any) -> Cluster:
        """Not started; raises ConfigError."""
        config = load_dict({"name": "c", **fields}, "envoy.config.cluster.v3.Cluster").message
        context = ClusterContext(
            self.dispatcher, RandomGenerator(7), self.store, dns_resolvers=self.dns, path="clusters[0]"
        )
        self.cluster = create_cluster(config, context)
        return self.cluster

    def start(self, *localities: dict[str, Any], **fields: Any) -> Cluster:
        cluster = self.create(load_assignment={"cluster_name": "c", "endpoints": list(localities)}, **fields)
        cluster.start(self._on_initialized)
        return cluster

    def hosts(self) -> list[str]:
        return [str(host) for host in self.cluster.hosts()]

    def count(self, name: str) -> int:
        return self.store.value(f"cluster.c.{name}")

    def _on_initialized(self) -> None:
        self.initialized += 1


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def locality() -> Callable[..., dict[str, Any]]:
    """`locality("name:port", ..., priority=1)`: a `LocalityLbEndpoints`."""

    def make(*targets: str, **fields: Any) -> dict[str, Any]:
        endpoints = []
        for target in targets:
            host, _, port = target.rpartition(":")
            address = {"socket_address": {"address": host, "port_value": int(port)}}
            endpoints.append({"endpoint": {"address": address}})
        return {"lb_endpoints": endpoints, **fields}

    return make
