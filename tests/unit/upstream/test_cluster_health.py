from __future__ import annotations

from collections.abc import Callable
from typing import Any

from minienvoy.event.simulated import SimulatedDispatcher
from minienvoy.stats.store import Store
from minienvoy.upstream.cluster import ClusterContext
from minienvoy.upstream.cluster_manager import ClusterManager
from minienvoy.upstream.host import HealthFlag
from tests.unit.http_bench import GET, OK, Bench

from .test_health_checker import ScriptedChecker, check

MakeBench = Callable[..., Bench]
EJECT = {"outlier_detection": {"consecutive_5xx": 1, "max_ejection_percent": 100}}
FAILED = b"HTTP/1.1 500 No\r\ncontent-length: 0\r\n\r\n"


def test_a_changed_cluster_takes_over_when_its_hosts_have_been_checked(
    context: ClusterContext, cluster_config: Callable[..., Any], store: Store
) -> None:
    manager = ClusterManager(context)
    manager.start(lambda: None)
    manager.add_or_update_cluster(cluster_config("a", ["1.1.1.1:1"]))
    before = manager.get("a")
    manager.add_or_update_cluster(cluster_config("a", ["2.2.2.2:1"], health_checks=[check()]))
    assert manager.get("a") is before
    warming = manager.warming_clusters()["a"]
    assert isinstance(warming.health.checker, ScriptedChecker)
    assert isinstance(context.dispatcher, SimulatedDispatcher)
    context.dispatcher.advance(1.01)  # nobody answers: that is an answer, too
    assert manager.get("a") is warming
    manager.remove_cluster("a")
    assert warming.health.checker.sessions == {}
    assert context.dispatcher.next_deadline() is None


def test_an_ejected_host_loses_its_idle_connections(bench: MakeBench) -> None:
    b = bench(cluster=EJECT)
    b.client().send(GET)
    b.upstream.send(OK)
    client = b.client().send(GET)
    b.upstream.send(FAILED)
    assert client.received()[9:12] == b"500"
    assert b.upstream.closed
    assert len(b.upstreams) == 1


def test_and_its_busy_ones_after_their_streams(bench: MakeBench) -> None:
    b = bench(cluster=EJECT)
    slow = b.client().send(GET)
    b.client().send(GET)
    b.upstreams[1].send(FAILED)
    assert not b.upstreams[0].closed
    b.upstreams[0].send(OK)
    assert slow.received().endswith(b"ok")
    assert b.upstreams[0].closed


def test_in_panic_an_ejected_host_gets_new_connections(bench: MakeBench) -> None:
    b = bench(cluster=EJECT)
    b.client().send(GET)
    b.upstream.send(FAILED)
    client = b.client().send(GET)
    assert len(b.upstreams) == 2
    b.upstream.send(OK)
    assert client.received().endswith(b"ok")
    assert b.stat("cluster.lb_healthy_panic") == 1


def test_without_a_detector_a_host_costs_nothing(bench: MakeBench) -> None:
    b = bench()
    assert b.cluster.hosts()[0].outlier is None
    assert b.cluster.health.checker is None
    b.cluster.health.on_immediate_failure(b.cluster.hosts()[0])
    assert not b.cluster.hosts()[0].health_flags


def test_a_successful_check_brings_an_ejected_host_back(
    context: ClusterContext, cluster_config: Callable[..., Any], loop: Any
) -> None:
    manager = ClusterManager(context)
    manager.load([cluster_config("a", ["1.1.1.1:1"], health_checks=[check()], **EJECT)])
    cluster = manager.clusters()["a"]
    assert isinstance(cluster.health.checker, ScriptedChecker)
    cluster.health.checker.script = ["ok", "ok"]
    manager.start(lambda: None)
    (host,) = cluster.hosts()
    host.outlier.put_http_response_code(500)
    loop.turn()
    assert host.health_flags == HealthFlag.FAILED_OUTLIER_CHECK
    assert isinstance(context.dispatcher, SimulatedDispatcher)
    context.dispatcher.advance(100)
    assert host.health_flags == 0
    assert cluster.stats.endpoint.membership_healthy == 1
