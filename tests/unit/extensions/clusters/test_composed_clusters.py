"""Clusters that consist of others, whose hosts requests name, or that tell of every endpoint."""

from __future__ import annotations

from typing import Any

import pytest

from minienvoy.config.loader import load_dict
from minienvoy.event.random import RandomGenerator
from minienvoy.event.simulated import SimulatedDispatcher
from minienvoy.explain.explanation import NO_EXPLANATION, Explanation
from minienvoy.extensions import register_catalogue
from minienvoy.extensions.clusters.original_dst import parse_address_and_port
from minienvoy.http.header_map import RequestHeaderMap
from minienvoy.stats.store import Store
from minienvoy.stream_info import ConnectionInfo, StreamInfo
from minienvoy.upstream.cluster import Cluster, ClusterContext
from minienvoy.upstream.cluster_manager import ClusterManager
from minienvoy.upstream.host import HealthFlag, Host
from minienvoy.upstream.load_balancer import LoadBalancerContextBase

register_catalogue()


class Loop:
    def time(self) -> float:
        return 0.0

    def call_soon(self, callback: Any, *arguments: Any) -> None:
        callback(*arguments)


class Request(LoadBalancerContextBase):
    def __init__(self, explain: Explanation = NO_EXPLANATION, **headers: str) -> None:
        self.explain = explain
        self.headers = RequestHeaderMap(b"GET", b"/", b"a.test")
        for name, value in headers.items():
            self.headers.add(name.replace("_", "-").encode(), value.encode())
        self.info = StreamInfo()
        self.info.connection = ConnectionInfo(None, None)

    def downstream_headers(self) -> RequestHeaderMap | None:
        return self.headers

    def request_stream_info(self) -> StreamInfo | None:
        return self.info


class World:
    def __init__(self) -> None:
        self.dispatcher = SimulatedDispatcher(Loop())
        self.store = Store()
        self.manager = ClusterManager(ClusterContext(self.dispatcher, RandomGenerator(3), self.store))

    def load(self, *configs: dict[str, Any]) -> None:
        messages = [load_dict(each, "envoy.config.cluster.v3.Cluster").message for each in configs]
        self.manager.load(messages)
        self.manager.start(lambda: None)

    def cluster(self, name: str) -> Cluster:
        found = self.manager.get(name)
        assert found is not None
        return found

    def add(self, config: dict[str, Any]) -> None:
        self.manager.add_or_update_cluster(load_dict(config, "envoy.config.cluster.v3.Cluster").message)


@pytest.fixture
def world() -> World:
    return World()


def plain(name: str, *ports: int, **fields: Any) -> dict[str, Any]:
    endpoints = [
        {"endpoint": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": port}}}} for port in ports
    ]
    return {
        "name": name,
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": endpoints}]},
        **fields,
    }


def aggregate(*names: str) -> dict[str, Any]:
    config = {"@type": "type.googleapis.com/envoy.extensions.clusters.aggregate.v3.ClusterConfig", "clusters": names}
    return {
        "name": "all",
        "lb_policy": "CLUSTER_PROVIDED",
        "cluster_type": {"name": "envoy.clusters.aggregate", "typed_config": {**config, "clusters": list(names)}},
    }


def port_of(host: Host | None) -> int | None:
    return None if host is None else host.address.port


def test_an_aggregate_falls_back_when_the_first_cluster_gets_sick_and_returns(world: World) -> None:
    world.load(plain("one", 1), plain("two", 2), aggregate("one", "two"))
    balancer = world.cluster("all").load_balancer
    assert port_of(balancer.choose_host(None)) == 1
    (host,) = world.cluster("one").hosts()
    host.health_flags = HealthFlag.FAILED_ACTIVE_HC
    world.cluster("one").priority_set.refresh_health(0)
    assert port_of(balancer.choose_host(None)) == 2
    host.health_flags = 0
    world.cluster("one").priority_set.refresh_health(0)
    world.dispatcher.advance(2)  # the window in which updates of health are merged
    assert port_of(balancer.choose_host(None)) == 1


def test_a_cluster_that_comes_later_takes_its_place(world: World) -> None:
    world.load(plain("two", 2), aggregate("one", "two"))
    balancer = world.cluster("all").load_balancer
    assert port_of(balancer.choose_host(None)) == 2
    world.add(plain("one", 1))
    assert port_of(balancer.choose_host(None)) == 1
    world.manager.remove_cluster("one")
    assert port_of(balancer.choose_host(None)) == 2


def test_an_aggregate_explains_which_cluster_was_hit(world: World) -> None:
    world.load(plain("one", 1), aggregate("one"))
    explain = Explanation()
    world.cluster("all").load_balancer.choose_host(Request(explain))
    assert (explain["cluster"].chose, str(explain["host"].chose)) == ("one", "127.0.0.1:1")


def test_an_aggregate_that_is_gone_is_told_nothing(world: World) -> None:
    world.load(plain("one", 1))
    before = len(world.cluster("one").priority_set._callbacks), len(world.manager._callbacks)
    world.add(aggregate("one"))
    world.manager.remove_cluster("all")
    assert (len(world.cluster("one").priority_set._callbacks), len(world.manager._callbacks)) == before


def test_an_aggregate_of_itself_is_nobody(world: World) -> None:
    world.load(aggregate("all"))
    assert world.cluster("all").load_balancer.choose_host(None) is None


def original_dst(**settings: Any) -> dict[str, Any]:
    return {
        "name": "dst",
        "type": "ORIGINAL_DST",
        "lb_policy": "CLUSTER_PROVIDED",
        "original_dst_lb_config": {"use_http_header": True, **settings},
    }


def test_a_host_comes_into_being_with_the_first_request_to_it_and_is_forgotten(world: World) -> None:
    world.load(original_dst())
    cluster = world.cluster("dst")
    host = cluster.load_balancer.choose_host(Request(x_envoy_original_dst_host="127.0.0.1:1"))
    assert host is not None
    assert cluster.load_balancer.choose_host(Request(x_envoy_original_dst_host="127.0.0.1:1")) is host
    assert (cluster.hosts(), host.hostname) == ([host], "dst127.0.0.1:1")
    world.dispatcher.advance(5.1)
    assert cluster.hosts() == [host]
    host.stats.cx_active = 1
    world.dispatcher.advance(10)
    assert cluster.hosts() == [host]  # somebody is connected
    host.stats.cx_active = 0
    world.dispatcher.advance(5)
    assert cluster.hosts() == []


def test_metadata_goes_before_the_header_and_filter_state_before_both(world: World) -> None:
    world.load(original_dst(metadata_key={"key": "lb", "path": [{"key": "to"}]}))
    balancer = world.cluster("dst").load_balancer
    request = Request(x_envoy_original_dst_host="127.0.0.1:1")
    assert port_of(balancer.choose_host(request)) == 1
    request.info.dynamic_metadata["lb"] = {"to": ["127.0.0.1:2"]}
    assert port_of(balancer.choose_host(request)) == 2
    request.info.filter_state["envoy.network.transport_socket.original_dst_address"] = "127.0.0.1:3"
    assert port_of(balancer.choose_host(request)) == 3


@pytest.mark.parametrize(
    "text", ["", "a:1", "1.2.3.4", "1.2.3.4:", "1.2.3.4:65536", "::1:80", "[::1]", "[x]:1", "[1.2.3.4]:1"]
)
def test_an_address_that_is_none(text: str) -> None:
    assert parse_address_and_port(text) is None


@pytest.mark.parametrize("text", ["1.2.3.4:80", "1.2.3.4:+80", "1.2.3.4: 80"])
def test_a_port_is_read_as_envoy_reads_numbers(text: str) -> None:
    assert str(parse_address_and_port(text)) == "1.2.3.4:80"


def test_every_endpoint_has_statistics_if_that_is_wanted(world: World) -> None:
    world.load(plain("one", 1, track_cluster_stats={"per_endpoint_stats": True}))
    world.cluster("one").hosts()[0].stats.rq_total = 5
    metrics = {metric.sample.name: metric for metric in world.store.host_metrics()}
    requests = metrics["cluster.one.endpoint.127.0.0.1_1.rq_total"]
    assert (requests.sample.value, requests.gauge, requests.tag_extracted_name) == (
        5,
        False,
        "cluster.endpoint.rq_total",
    )
    assert requests.tags == (("envoy.cluster_name", "one"), ("envoy.endpoint_address", "127.0.0.1:1"))
    assert metrics["cluster.one.endpoint.127.0.0.1_1.healthy"].gauge
    assert world.store.value("cluster.one.endpoint.127.0.0.1_1.healthy") == 1
    world.cluster("one").stop()
    assert world.store.host_metrics() == []
