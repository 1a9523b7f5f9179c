"""A cluster and its API server in simulated time: what becomes of hosts, and what the server is asked."""

from __future__ import annotations

from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import pytest
import pytest_asyncio

from minienvoy.errors import ConfigError, KubernetesError
from minienvoy.network.address import Address
from minienvoy.upstream.host import HealthFlag
from minienvoy.upstream.http_protocol_options import UpstreamProtocol
from minienvoy.upstream.load_balancer import LoadBalancerContextBase, OverrideHost
from tests.kube_server import endpoint, service, slice_of
from tests.kube_world import FakeResponse, KubeWorld
from tests.unit.extensions.clusters.conftest import Dns

pytestmark = pytest.mark.asyncio


@pytest_asyncio.fixture
async def world() -> AsyncIterator[KubeWorld]:
    made = KubeWorld()
    made.api.put("services", service("web"))
    yield made
    await made.stop()


def pod(address: str, uid: str = "", **fields: Any) -> dict[str, Any]:
    target = {"kind": "Pod", "namespace": "shop", "name": f"pod-{uid or address}", "uid": uid or address}
    return endpoint(address, targetRef=target, **fields)


def web(*endpoints: dict[str, Any], name: str = "web-1", **fields: Any) -> dict[str, Any]:
    return slice_of("web", name, *endpoints, **fields)


async def test_the_cluster_is_ready_when_everything_is_known(world: KubeWorld) -> None:
    world.api.put("endpointslices", web(pod("10.0.0.1"), pod("10.0.0.2")))
    await world.start()
    assert world.hosts() == ["10.0.0.1:8080", "10.0.0.2:8080"]
    assert world.initialized == ["c"]
    assert world.store.value("cluster.c.membership_total") == 2
    assert world.store.value("cluster.c.update_success") == 1


async def test_a_service_without_slices_is_empty_and_ready(world: KubeWorld) -> None:
    await world.start()
    assert (world.hosts(), world.initialized) == ([], ["c"])


async def test_changes_of_a_moment_are_one_update(world: KubeWorld) -> None:
    await world.start()
    for number in range(1, 6):
        world.api.put("endpointslices", web(*(pod(f"10.0.0.{at}") for at in range(number))))
        await world.advance(0.01)
    assert world.hosts() == []
    await world.advance(0.05)
    assert len(world.hosts()) == 5
    assert world.store.value("cluster.c.update_success") == 2


async def test_a_host_is_the_same_in_another_slice(world: KubeWorld) -> None:
    world.api.put("endpointslices", web(pod("10.0.0.1"), pod("10.0.0.2")))
    cluster = await world.start()
    one, two = cluster.hosts()
    one.stats.rq_total = 7
    world.api.put("endpointslices", web(pod("10.0.0.2")))
    world.api.put("endpointslices", web(pod("10.0.0.1"), name="web-2"))
    await world.advance()
    assert set(cluster.hosts()) == {one, two}
    assert cluster.hosts()[0].stats.rq_total == 7
    assert world.store.value("cluster.c.membership_change") == 1


async def test_nothing_is_asked_for_that_is_not_needed(world: KubeWorld) -> None:
    """Services where something of them counts, pods where their labels or weights do; Endpoints and nodes never."""
    nothing = {"family": "v4", "traffic_distribution": "ignore", "internal_traffic_policy": "ignore"}
    slices = "/apis/discovery.k8s.io/v1/namespaces/shop/endpointslices"
    services, pods = "/api/v1/namespaces/shop/services", "/api/v1/namespaces/shop/pods"
    wanted: list[tuple[dict[str, Any], set[str]]] = [
        (nothing, {slices}),
        ({**nothing, "port": 80.0}, {slices, services}),
        ({**nothing, "client_ip_affinity": True}, {slices, services}),
        ({**nothing, "traffic_distribution": "service"}, {slices, services}),
        ({**nothing, "weight_annotation": "w"}, {slices, pods}),
        ({**nothing, "pod_labels": ["app"]}, {slices, pods}),
        ({}, {slices, services}),
    ]
    for at, (value, paths) in enumerate(wanted):
        other = KubeWorld()
        other.api.put("services", service("web"))
        await other.start(value, f"c{at}")
        await other.advance(1)
        assert {path for _, path, _ in other.api.requests} == paths, value
        await other.stop()


async def test_a_watch_that_waits_ends_when_nobody_wants_it(world: KubeWorld) -> None:
    cluster = await world.start()
    streams = [stream for _, _, stream in world.api.watches]
    assert [stream.closed for stream in streams] == [False, False]
    cluster.stop()
    await world.settle()
    assert [stream.closed for stream in streams] == [True, True]


async def test_a_pod_that_has_just_become_ready_starts_slowly(world: KubeWorld) -> None:
    slow_start = {"slow_start_window": "60s"}
    policy = {"lb_policy": "ROUND_ROBIN", "round_robin_lb_config": {"slow_start_config": slow_start}}
    world.api.put("endpointslices", web(pod("10.0.0.1"), pod("10.0.0.2", ready=False)))
    cluster = await world.start({}, **policy)
    await world.advance(100)
    world.api.put("endpointslices", web(pod("10.0.0.1"), pod("10.0.0.2")))
    await world.advance(6)

    def share() -> int:
        return [str(cluster.load_balancer.choose_host(None)) for _ in range(200)].count("10.0.0.2:8080")

    assert share() < 40
    await world.advance(60)
    assert 80 < share() < 120


async def test_a_sticky_session_may_stay_with_a_pod_that_ends(world: KubeWorld) -> None:
    world.api.put("endpointslices", web(pod("10.0.0.1"), pod("10.0.0.2")))
    fields = {"common_lb_config": {"override_host_status": {"statuses": ["HEALTHY", "DRAINING"]}}}
    cluster = await world.start({}, **fields)
    leaving = pod("10.0.0.1", ready=False, serving=True, conditions={"terminating": True})
    world.api.put("endpointslices", web(leaving, pod("10.0.0.2")))
    await world.advance()

    class Sticky(LoadBalancerContextBase):
        __slots__ = ()

        def override_host(self) -> OverrideHost:
            return OverrideHost("10.0.0.1:8080")

    chosen = {str(cluster.choose_host(Sticky())) for _ in range(10)}
    assert chosen == {"10.0.0.1:8080"}
    assert {str(cluster.choose_host(LoadBalancerContextBase())) for _ in range(10)} == {"10.0.0.2:8080"}


async def test_a_port_that_speaks_tls_wants_a_transport_socket(
    world: KubeWorld, capfd: pytest.CaptureFixture[str]
) -> None:
    item = web(pod("10.0.0.1"))
    item["ports"][0]["appProtocol"] = "https"
    world.api.put("endpointslices", item)
    await world.start()
    text = "kubernetes: cluster c: the port speaks https, but there is no transport_socket"
    assert capfd.readouterr().err.count(text) == 1
    world.api.put("endpointslices", {**item, "endpoints": [pod("10.0.0.2")]})
    await world.advance()
    assert "speaks" not in capfd.readouterr().err


async def test_what_failed_half_way_is_made_good_by_the_next_update(world: KubeWorld) -> None:
    first, second, third = pod("10.0.0.1", zone="a"), pod("10.0.0.2", zone="b"), pod("10.0.0.3", zone="b")
    world.api.put("endpointslices", web(first))
    for name in ("web-2", "web-3"):
        world.api.put("endpointslices", web(name=name))
    cluster = await world.start({"sub_zone": "none"}, common_lb_config={"locality_weighted_lb_config": {}})
    world.api.put("endpointslices", web(first, pod("10.0.0.4")))
    await world.advance()
    make, cluster.__class__._make = cluster.__class__._make, lambda self, endpoint: 1 / 0
    try:
        world.api.put("endpointslices", web(first, second))
        with pytest.raises(ZeroDivisionError):
            await world.advance()
    finally:
        cluster.__class__._make = make
    world.api.put("endpointslices", web(first, second, third))
    await world.advance()
    assert world.hosts() == ["10.0.0.1:8080", "10.0.0.2:8080", "10.0.0.3:8080"]
    weights = cluster.priority_set.host_sets[0].locality_weights
    assert {locality.zone: weight for locality, weight in weights.items()} == {"a": 1, "b": 2}


async def test_the_address_of_a_pod_that_is_gone_may_be_another_pods(world: KubeWorld) -> None:
    world.api.put("endpointslices", web(pod("10.0.0.1", "old")))
    cluster = await world.start()
    (old,) = cluster.hosts()
    world.api.put("endpointslices", web(pod("10.0.0.1", "new")))
    await world.advance()
    (new,) = cluster.hosts()
    assert new is not old
    assert new.metadata["envoy.lb"]["pod"] == "pod-new"


async def test_a_terminating_pod_drains_and_serves_what_it_has(world: KubeWorld) -> None:
    world.api.put("endpointslices", web(pod("10.0.0.1"), pod("10.0.0.2")))
    cluster = await world.start()
    drained: list[str] = []
    cluster.hosts()[0].http_pools["any"] = SimpleNamespace(
        drain_connections=lambda: drained.append("connections"), drain=lambda: drained.append("pool")
    )
    leaving = pod("10.0.0.1", ready=False, serving=True, conditions={"terminating": True})
    world.api.put("endpointslices", web(leaving, pod("10.0.0.2")))
    await world.advance()
    assert (world.hosts(), world.healthy()) == (["10.0.0.1:8080", "10.0.0.2:8080"], ["10.0.0.2:8080"])
    assert cluster.hosts()[0].health_flags == HealthFlag.EDS_STATUS_DRAINING
    assert drained == ["connections"]
    world.api.put("endpointslices", web(leaving))
    await world.advance()
    assert world.healthy() == ["10.0.0.1:8080"]
    world.api.put("endpointslices", web())
    await world.advance()
    assert (world.hosts(), drained) == ([], ["connections", "pool"])


async def test_what_checks_and_detectors_know_of_a_host_stays(world: KubeWorld) -> None:
    world.api.put("endpointslices", web(pod("10.0.0.1"), pod("10.0.0.2")))
    cluster = await world.start()
    cluster.hosts()[0].health_flags |= HealthFlag.FAILED_OUTLIER_CHECK
    leaving = pod("10.0.0.1", ready=False, serving=True, conditions={"terminating": True})
    world.api.put("endpointslices", web(leaving, pod("10.0.0.2")))
    await world.advance()
    world.api.put("endpointslices", web(pod("10.0.0.1"), pod("10.0.0.2")))
    await world.advance()
    assert cluster.hosts()[0].health_flags == HealthFlag.FAILED_OUTLIER_CHECK


async def test_localities_and_priorities_are_those_of_the_zones(world: KubeWorld) -> None:
    world.api.put("services", service("web", trafficDistribution="PreferSameZone"))
    places = [pod("10.0.0.1", zone="a", nodeName="n1"), pod("10.0.0.2", zone="b", nodeName="n2")]
    world.api.put("endpointslices", web(*places))
    cluster = await world.start({"zone": "b", "region": "eu"})
    assert [[str(host) for host in each.hosts] for each in cluster.priority_set.host_sets] == [
        ["10.0.0.2:8080"],
        ["10.0.0.1:8080"],
    ]
    assert tuple(cluster.hosts()[0].locality) == ("eu", "b", "n2")
    world.api.put("services", service("web"))
    await world.advance()
    assert [len(each.hosts) for each in cluster.priority_set.host_sets] == [2, 0]


async def test_a_locality_weighs_as_much_as_its_endpoints(world: KubeWorld) -> None:
    world.api.put(
        "endpointslices", web(pod("10.0.0.1", zone="a"), pod("10.0.0.2", zone="b"), pod("10.0.0.3", zone="b"))
    )
    cluster = await world.start({"sub_zone": "none"}, common_lb_config={"locality_weighted_lb_config": {}})
    weights = cluster.priority_set.host_sets[0].locality_weights
    assert {locality.zone: weight for locality, weight in weights.items()} == {"a": 1, "b": 2}
    chosen = [str(cluster.load_balancer.choose_host(None)) for _ in range(300)]
    assert 80 <= chosen.count("10.0.0.1:8080") <= 120


async def test_a_deleted_service_has_no_hosts(world: KubeWorld) -> None:
    world.api.put("endpointslices", web(pod("10.0.0.1")))
    await world.start()
    world.api.delete("services", "web")
    world.api.delete("endpointslices", "web-1")
    await world.advance()
    assert world.hosts() == []
    assert "there is no Service shop/web" in world.cluster.subscription.assignment.notes


async def test_without_an_answer_the_cluster_is_used_when_the_timeout_is_over(world: KubeWorld) -> None:
    world.api.answer = down
    await world.start({"initial_fetch_timeout": "3s"})
    await world.advance(2.9)
    assert world.initialized == []
    await world.advance(0.2)
    assert (world.initialized, world.hosts()) == (["c"], [])
    world.api.put("endpointslices", web(pod("10.0.0.1")))
    world.api.answer = None
    await world.advance(31)
    assert world.hosts() == ["10.0.0.1:8080"]


def down(path: str, query: dict[str, str]) -> FakeResponse:
    raise KubernetesError("no way there")


def of_500(path: str, query: dict[str, str]) -> FakeResponse:
    return FakeResponse(500, b'{"kind":"Status","code":500}')


def html(path: str, query: dict[str, str]) -> FakeResponse:
    return FakeResponse(200, b"<html>\n<body>It works!</body>\n</html>\n")


def half(path: str, query: dict[str, str]) -> FakeResponse:
    return FakeResponse(200, b'{"type":"MODIFIED","object":{"metadata":{"name":"web-1"', cut=True)


def silence(path: str, query: dict[str, str]) -> FakeResponse:
    return FakeResponse(200, hang=True)


def empty(path: str, query: dict[str, str]) -> FakeResponse:
    return FakeResponse(200)


def nothing_there(path: str, query: dict[str, str]) -> FakeResponse:
    return FakeResponse(200, b'{"kind":"Status","status":"Failure"}')


def beyond_us(path: str, query: dict[str, str]) -> FakeResponse:
    raise RecursionError("a hundred thousand brackets")


FAULTS = [down, beyond_us, of_500, html, half, silence, empty, nothing_there]


@pytest.mark.parametrize("fault", FAULTS, ids=[each.__name__ for each in FAULTS])
@pytest.mark.parametrize("version", [1000, 5], ids=["it goes on", "it lost its newest versions"])
async def test_endpoints_outlive_the_api_server_and_follow_it_again(world: KubeWorld, fault: Any, version: int) -> None:
    world.api.put("endpointslices", web(pod("10.0.0.1"), pod("10.0.0.2")))
    cluster = await world.start()
    kept = cluster.hosts()[1]
    asked = len(world.api.requests)
    world.api.answer = fault
    world.api.cut()
    await world.advance(600)
    assert world.hosts() == ["10.0.0.1:8080", "10.0.0.2:8080"]
    assert 0 < len(world.api.requests) - asked <= 600
    if fault is not silence:
        assert cluster.subscription.stale_seconds > 500
    world.api.answer = None
    world.api.version = version
    world.api.put("endpointslices", web(pod("10.0.0.2"), pod("10.0.0.3")))
    await world.advance(130)
    assert world.hosts() == ["10.0.0.2:8080", "10.0.0.3:8080"]
    assert cluster.hosts()[0] is kept
    assert cluster.subscription.stale_seconds == 0
    assert world.store.value("kubernetes.endpointslices.shop.web.relists") == 1
    world.api.put("endpointslices", web(pod("10.0.0.4")))
    await world.advance()
    assert world.hosts() == ["10.0.0.4:8080"]


async def test_a_watch_that_says_nothing_is_given_up_after_90_seconds(world: KubeWorld) -> None:
    world.api.put("endpointslices", web(pod("10.0.0.1")))
    await world.start()
    world.api.stall()
    world.api.put("endpointslices", web(pod("10.0.0.2")))
    await world.advance(85)
    assert world.hosts() == ["10.0.0.1:8080"]
    await world.advance(10)
    assert world.hosts() == ["10.0.0.2:8080"]


async def test_credentials_are_renewed_after_401(world: KubeWorld) -> None:
    world.api.answer = lambda path, query: FakeResponse(401, b'{"message": "Unauthorized"}')
    await world.start()
    assert world.api.forgotten == 2


async def test_an_error_of_ours_does_not_end_it(world: KubeWorld) -> None:
    world.api.put("endpointslices", web(pod("10.0.0.1")))
    cluster = await world.start()
    apply, cluster.subscription._on_update = cluster.subscription._on_update, lambda assignment: iter(1, 1 / 0)
    world.api.put("endpointslices", web(pod("10.0.0.2")))
    with pytest.raises(ZeroDivisionError):
        await world.advance()
    cluster.subscription._on_update = apply
    world.api.put("endpointslices", web(pod("10.0.0.3")))
    await world.advance()
    assert world.hosts() == ["10.0.0.3:8080"]


async def test_a_service_that_may_not_be_looked_at_is_done_without(world: KubeWorld) -> None:
    world.api.put("endpointslices", web(pod("10.0.0.1")))
    world.api.answer = lambda path, query: FakeResponse(403, b"{}") if path.endswith("services") else None
    await world.start()
    assert (world.hosts(), world.initialized) == (["10.0.0.1:8080"], ["c"])
    (problem,) = [each.reflector.problem for each in world.cluster.subscription.watches if each.reflector.problem]
    assert problem.startswith('not allowed to list services in the namespace "shop"')


async def test_slices_that_may_not_be_looked_at_are_waited_for(world: KubeWorld) -> None:
    world.api.put("endpointslices", web(pod("10.0.0.1")))
    world.api.answer = lambda path, query: FakeResponse(403, b"{}") if path.endswith("slices") else None
    await world.start()
    await world.advance(14)
    assert world.initialized == []
    world.api.answer = None
    await world.advance(40)
    assert world.hosts() == ["10.0.0.1:8080"]


async def test_clusters_of_the_same_service_share_their_watches(world: KubeWorld) -> None:
    world.api.put("endpointslices", web(pod("10.0.0.1")))
    await world.start()
    requests = len(world.api.requests)
    await world.start(name="d")
    assert len(world.api.requests) == requests
    assert world.hosts("d") == ["10.0.0.1:8080"]
    world.clusters["c"].stop()
    world.api.put("endpointslices", web(pod("10.0.0.2")))
    await world.advance()
    assert world.hosts("d") == ["10.0.0.2:8080"]
    world.clusters["d"].stop()
    await world.settle()
    assert world.discovery.watches() == []


async def test_several_api_servers_are_told_apart(world: KubeWorld) -> None:
    for name, value in (("c", {}), ("d", {"context": "far"}), ("e", {"kubeconfig": "/other"})):
        await world.start(value, name)
    for prefix in ("kubernetes", "kubernetes.far", "kubernetes.3"):
        assert world.store.value(f"{prefix}.services.shop.web.objects") == 1


async def test_many_services_of_a_namespace_are_one_watch(world: KubeWorld) -> None:
    names = [f"s{number}" for number in range(8)]
    for name in names:
        world.api.put("services", service(name))
        world.api.put("endpointslices", slice_of(name, f"{name}-1", pod(f"10.0.0.{name[1:]}")))
    clusters = [world.create({"service": f"shop/{name}"}, name) for name in names]
    for cluster in clusters:
        cluster.initialize(lambda: None)
    await world.settle()
    assert [world.hosts(name) for name in names] == [[f"10.0.0.{number}:8080"] for number in range(8)]
    assert sorted(str(each.reflector) for each in world.discovery.watches()) == [
        "endpointslices of shop (kubernetes.io/service-name)",
        "services of shop",
    ]
    world.api.put("endpointslices", slice_of("s3", "s3-1", pod("10.0.0.33")))
    await world.advance()
    assert world.hosts("s3") == ["10.0.0.33:8080"]
    assert world.store.value("cluster.s4.update_success") == 1
    assert world.store.value("cluster.s3.update_success") == 2


async def test_a_watch_list_is_one_request(world: KubeWorld) -> None:
    other = KubeWorld(watch_list=True)
    other.api.put("services", service("web"))
    other.api.put("endpointslices", web(pod("10.0.0.1")))
    await other.start()
    assert other.hosts() == ["10.0.0.1:8080"]
    assert [path.rpartition("/")[2] for _, path, _ in other.api.requests] == ["endpointslices", "services"]
    await other.stop()


async def test_pods_by_label_without_a_service(world: KubeWorld) -> None:
    item = {
        "metadata": {"name": "a", "uid": "a", "labels": {"app": "web"}},
        "spec": {"containers": [{"ports": [{"name": "http", "containerPort": 8080}]}], "nodeName": "n"},
        "status": {"podIPs": [{"ip": "10.0.0.1"}], "conditions": [{"type": "Ready", "status": "True"}]},
    }
    world.api.put("pods", item)
    cluster = world.create({"service": None, "port": None, "pods": {"label_selector": "app=web", "port": "http"}})
    cluster.initialize(lambda: world.initialized.append("c"))
    await world.settle()
    assert world.hosts() == ["10.0.0.1:8080"]
    assert [path for _, path, _ in world.api.requests] == ["/api/v1/namespaces/shop/pods"] * 2
    assert world.store.value("kubernetes.pods.shop.app_web.objects") == 1
    world.api.delete("pods", "a")
    await world.advance()
    assert world.hosts() == []


async def test_weights_follow_the_annotations_of_pods(world: KubeWorld) -> None:
    annotated = {"metadata": {"name": "pod-a", "uid": "a", "annotations": {"w": "3"}, "labels": {"version": "2"}}}
    world.api.put("pods", annotated)
    world.api.put("endpointslices", web(pod("10.0.0.1", "a"), pod("10.0.0.2", "b")))
    cluster = await world.start({"weight_annotation": "w", "pod_labels": ["version"]})
    assert [host.weight for host in cluster.hosts()] == [3, 1]
    assert cluster.hosts()[0].metadata["envoy.lb"]["version"] == "2"
    world.api.put("pods", {"metadata": {**annotated["metadata"], "annotations": {"w": "5"}}})
    await world.advance()
    assert [host.weight for host in cluster.hosts()] == [5, 1]


async def test_the_gauges_tell_how_it_is(world: KubeWorld) -> None:
    world.api.put("endpointslices", web(pod("10.0.0.1")))
    await world.start()
    prefix = "kubernetes.endpointslices.shop.web"
    assert world.store.value(f"{prefix}.last_sync") == 1_700_000_000
    assert world.store.value(f"{prefix}.connected") == 1
    world.api.answer = down
    world.api.cut()
    await world.advance(42)
    assert world.store.value(f"{prefix}.connected") == 0
    assert 40 <= world.store.value(f"{prefix}.stale_seconds") <= 43
    assert world.store.value(f"{prefix}.watch_restarts") == 1
    assert world.store.value(f"{prefix}.requests_failed") > 3


async def test_ten_thousand_endpoints_come_in_pieces_and_one_slice_changes_only_its_own(world: KubeWorld) -> None:
    """The figures are in `bench`; here is what they rest on."""
    for number in range(1000):
        pods = (pod(f"10.{number // 250}.{number % 250}.{at}", f"{number}-{at}") for at in range(10))
        world.api.objects["endpointslices", f"web-{number}"] = web(*pods, name=f"web-{number}")
        world.api.objects["endpointslices", f"web-{number}"]["metadata"]["namespace"] = "shop"
    turns = 0
    cluster = world.create()
    go_on = cluster.subscription._go_on

    def counted() -> None:
        nonlocal turns
        turns += 1
        go_on()

    cluster.subscription._go_on = counted  # type: ignore[method-assign]
    cluster.initialize(lambda: world.initialized.append("c"))
    while not world.initialized:
        await world.settle()
    assert len(cluster.hosts()) == 10_000
    assert turns >= 20
    before = cluster.hosts()
    world.api.put("endpointslices", web(*(pod(f"10.0.7.{at}", f"7-{at}") for at in range(9)), name="web-7"))
    await world.advance()
    assert cluster.subscription.assignment.changed == {(f"10.0.7.{at}", 8080) for at in range(10)}
    assert [host for host in before if host not in set(cluster.hosts())] == [before[79]]
    assert len(cluster.hosts()) == 9_999


async def test_names_are_resolved_and_followed(world: KubeWorld) -> None:
    world.dns_resolvers = dns = Dns()
    world.api.put("services", service("web", type="ExternalName", externalName="db.example.com"))
    await world.start({"port": 5432})
    assert (world.initialized, dns.queries[0].name) == ([], "db.example.com")
    dns.query().answer("192.0.2.1", "192.0.2.2")
    await world.advance()
    assert (world.hosts(), world.initialized) == (["192.0.2.1:5432", "192.0.2.2:5432"], ["c"])
    assert {host.hostname for host in world.cluster.hosts()} == {"db.example.com"}
    await world.advance(60)
    dns.query().fail()
    await world.advance()
    assert len(world.hosts()) == 2
    await world.advance(60)
    dns.query().answer("192.0.2.2")
    await world.advance()
    assert world.hosts() == ["192.0.2.2:5432"]
    world.api.put("services", service("web"))
    await world.advance()
    assert (world.hosts(), dns.queries) == ([], [])


async def test_an_application_protocol_is_spoken_unless_the_configuration_says_another(world: KubeWorld) -> None:
    grpc = [{"name": "http", "port": 8080, "appProtocol": "kubernetes.io/h2c"}]
    world.api.put("endpointslices", web(pod("10.0.0.1"), ports=grpc))
    for name, fields, protocol in (
        ("told", {}, UpstreamProtocol.HTTP2),
        ("ignored", {"value": {"app_protocol": "ignore"}}, UpstreamProtocol.HTTP1),
        ("configured", {"http_protocol_options": {}}, UpstreamProtocol.HTTP1),
    ):
        cluster = await world.start(name=name, **fields)
        assert cluster.http_options.protocol is protocol, name


@pytest.mark.parametrize("policy", ["ROUND_ROBIN", "RING_HASH", "MAGLEV"])
async def test_the_same_client_goes_to_the_same_pod_if_the_service_asks_for_it(world: KubeWorld, policy: str) -> None:
    world.api.put("endpointslices", web(*(pod(f"10.0.0.{at}") for at in range(1, 6))))
    cluster = await world.start({"client_ip_affinity": True}, lb_policy=policy)
    if policy == "ROUND_ROBIN":
        assert len({cluster.load_balancer.choose_host(Client("192.0.2.1")) for _ in range(10)}) == 5
    world.api.put("services", service("web", sessionAffinity="ClientIP"))
    await world.advance()
    for client in ("192.0.2.1", "192.0.2.2"):
        assert len({cluster.load_balancer.choose_host(Client(client)) for _ in range(10)}) == 1
    assert len({cluster.load_balancer.choose_host(Client(f"192.0.2.{at}")) for at in range(60)}) == 5


class Client(LoadBalancerContextBase):
    def __init__(self, address: str) -> None:
        self._stream: Any = SimpleNamespace(connection=SimpleNamespace(remote_address=Address(address, 1)))

    def request_stream_info(self) -> Any:
        return self._stream


async def test_what_is_set_beside_it_and_can_not_be_is_refused(world: KubeWorld) -> None:
    assignment = {"cluster_name": "c", "endpoints": [{"lb_endpoints": []}]}
    with pytest.raises(ConfigError, match="come from Kubernetes") as error:
        world.create(load_assignment=assignment)
    assert error.value.path == "clusters[0].load_assignment"
    world.clusters.clear()


async def test_without_the_client_library_it_says_what_to_install(
    world: KubeWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("minienvoy.discovery.kubernetes.api_client.EXTRA", ("no_such_module", "json"))
    with pytest.raises(ConfigError, match=r"needs no_such_module, .*pip install 'minienvoy\[k8s\]'"):
        world.create()
