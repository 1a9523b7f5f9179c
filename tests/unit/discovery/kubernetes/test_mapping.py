"""The twelve points of the mapping, over what a real API server told of 18 Services, and over what it did not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from minienvoy.discovery.kubernetes.mapped import Assignment, Health, MappedEndpoint
from minienvoy.discovery.kubernetes.mapping import Mapper, map_endpoints
from minienvoy.discovery.kubernetes.objects import (
    EndpointSlice,
    ObjectKey,
    Pod,
    Service,
    slim_pod,
    slim_service,
    slim_slice,
)
from minienvoy.discovery.kubernetes.settings import PodsRef, SlicesRef, from_values
from minienvoy.discovery.kubernetes.wanted import Found
from tests.kube_server import endpoint, service, slice_of

from .conftest import DATA, Recordings

GOLDEN = DATA / "assignments.txt"


class World:
    """What a list of slices, Services and pods told."""

    def __init__(self, recorded: Recordings) -> None:
        self.slices = [each for item in recorded.items("variety_list_endpointslices") if (each := slim_slice(item))]
        self.services = {
            each.key: each for item in recorded.items("variety_list_services") if (each := slim_service(item))
        }
        self.pods = {each.key: each for item in recorded.items("variety_list_pods") if (each := slim_pod([])(item))}

    def map(self, name: str, port: str | float = "http", **values: Any) -> Assignment:
        settings = from_values({"service": f"lab5/{name}", "port": port, **values}, "value")
        slices = [each for each in self.slices if each.service == name]
        pods = self.pods if settings.watches_pods else None
        return map_endpoints(
            settings, [Found(settings.refs[0], slices, self.services[ObjectKey("lab5", name)], True)], pods
        )


@pytest.fixture
def world(recorded: Recordings) -> World:
    return World(recorded)


def shown(assignment: Assignment) -> list[str]:
    lines = [f"  note: {note}" for note in assignment.notes]
    for each in assignment.hosts.values():
        words = [f"{each.address}:{each.port}", each.health.value, f"P{each.priority}", each.zone, each.node]
        words += [each.hostname, str(each.pod) if each.pod.name else "", each.app_protocol, *each.additional]
        lines.append(f"  + {' '.join(filter(None, words))}")
    return lines + [f"  - {each.address} {each.excluded}" for each in assignment.excluded]


def test_every_recorded_service_maps_as_it_did(world: World) -> None:
    # To change it on purpose: write `text` to GOLDEN, and read what changed.
    lines = []
    for key in world.services:
        for values in ({"port": "http"}, {"port": 80.0, "node": "node-a"}, {"port": "http", "zone": "eu-1b"}):
            lines.append(f"{key.name} {' '.join(f'{name}={value}' for name, value in values.items())}")
            lines += shown(world.map(key.name, **values))  # type: ignore[arg-type]
    text = "\n".join(lines) + "\n"
    assert text == GOLDEN.read_text()


def addresses(assignment: Assignment) -> list[str]:
    return [f"{each.address}:{each.port}" for each in assignment.hosts.values()]


def why(assignment: Assignment) -> dict[str, str]:
    return {each.address: each.excluded for each in assignment.excluded}


def slices(*items: Mapping[str, Any]) -> list[EndpointSlice]:
    return [each for item in items if (each := slim_slice({**item, "metadata": _full(item["metadata"])}))]


def _full(metadata: Mapping[str, Any]) -> dict[str, Any]:
    return {"namespace": "shop", "resourceVersion": "1", **metadata}


def a_service(name: str = "web", **spec: Any) -> Service:
    made = slim_service({"metadata": _full({"name": name}), "spec": service(name, **spec)["spec"]})
    assert made is not None
    return made


def mapped(*items: Mapping[str, Any], spec: Mapping[str, Any] | None = None, **values: Any) -> Assignment:
    settings = from_values({"service": "shop/web", "port": "http", **values}, "value")
    return map_endpoints(settings, [Found(settings.refs[0], slices(*items), a_service(**(spec or {})), True)])


# 1, 3: ports


def test_a_number_is_that_of_the_service_and_leads_to_a_name(world: World) -> None:
    assert addresses(world.map("mixedport", 80.0)) == ["10.1.0.3:8080", "10.1.0.4:9000"]
    assert addresses(world.map("mixedport", "http")) == ["10.1.0.3:8080", "10.1.0.4:9000"]


def test_slices_without_the_port_are_not_used(world: World) -> None:
    assert why(world.map("mixedport")) == {"10.1.0.5": 'port: "http" is not in the slice (ports: null)'}
    assert why(world.map("plain", "metrics"))["10.1.0.1"] == 'port: "metrics" is not in the slice (ports: http:8080)'


def test_an_unnamed_port_is_found_by_its_number_and_by_the_empty_name(world: World) -> None:
    for port in (80.0, ""):
        assert addresses(world.map("unnamed-port", port))[0] == "10.1.0.1:8080"


def test_the_targets_number_is_not_the_services(world: World) -> None:
    reason = why(world.map("plain", 8080.0))["10.1.0.1"]
    assert reason == "port: the Service has no TCP port 8080, it has 80/TCP"


def test_other_protocols_than_tcp_are_not_used(world: World) -> None:
    assert why(world.map("multiport", "dns")) == {"10.1.0.6": 'port: "dns" is UDP'}
    assert "it has 80/TCP, 81/TCP, 53/UDP" in why(world.map("multiport", 53.0))["10.1.0.6"]


def test_a_headless_service_without_ports_needs_a_number(world: World) -> None:
    assert addresses(world.map("headless-noports", 9000.0))[0] == "10.1.0.1:9000"
    assert "ports: null" in why(world.map("headless-noports", "http"))["10.1.0.1"]


def test_a_number_means_nothing_without_the_service() -> None:
    settings = from_values({"service": "shop/web", "port": 80.0}, "value")
    found = Found(settings.refs[0], slices(slice_of("web", "a", endpoint("10.0.0.1"))), None, True)
    assignment = map_endpoints(settings, [found])
    assert "is unknown" in why(assignment)["10.0.0.1"]
    assert assignment.notes == ("there is no Service shop/web",)


def test_the_application_protocol_is_told(world: World) -> None:
    assert world.map("multiport", "grpc").app_protocol == "kubernetes.io/h2c"
    assert world.map("multiport", 81.0).app_protocol == "kubernetes.io/h2c"
    assert world.map("multiport", "http").app_protocol == ""


# 2: merging


def test_slices_are_one_set_and_the_newer_wins() -> None:
    old = slice_of("web", "a", endpoint("10.0.0.1", ready=False), endpoint("10.0.0.2"))
    new = slice_of("web", "b", endpoint("10.0.0.1"), endpoint("10.0.0.3"))
    old["metadata"]["resourceVersion"], new["metadata"]["resourceVersion"] = "8", "9"
    for items in ((old, new), (new, old)):
        assignment = mapped(*items, include_not_ready="unhealthy")
        assert sorted(addresses(assignment)) == ["10.0.0.1:8080", "10.0.0.2:8080", "10.0.0.3:8080"]
        assert assignment.hosts["10.0.0.1", 8080].health is Health.HEALTHY
        assert why(assignment) == {"10.0.0.1": "duplicate: shop/b tells of it, too"}


def test_of_the_same_age_the_healthier_wins() -> None:
    sick = slice_of("web", "a", endpoint("10.0.0.1", ready=False))
    well = slice_of("web", "b", endpoint("10.0.0.1"))
    for items in ((sick, well), (well, sick)):
        assignment = mapped(*items, include_not_ready="unhealthy")
        assert assignment.hosts["10.0.0.1", 8080].health is Health.HEALTHY


def test_one_slice_may_say_a_thing_twice() -> None:
    assignment = mapped(slice_of("web", "a", endpoint("10.0.0.1"), endpoint("10.0.0.1")))
    assert (addresses(assignment), len(assignment.excluded)) == (["10.0.0.1:8080"], 1)


# 4: health

TERMINATING = {"terminating": True}


@pytest.mark.parametrize(
    ("conditions", "health"),
    [
        ({}, Health.HEALTHY),
        ({"ready": None, "serving": None, "terminating": None}, Health.HEALTHY),
        ({"ready": True, "serving": False}, Health.HEALTHY),
        ({"ready": False, "serving": True, "terminating": True}, Health.DRAINING),
        ({"ready": False}, Health.UNHEALTHY),
        ({"ready": False, "serving": False, "terminating": True}, Health.UNHEALTHY),
        ({"ready": False, "serving": True}, Health.UNHEALTHY),
    ],
)
def test_conditions_and_what_they_mean(conditions: dict[str, Any], health: Health) -> None:
    other = endpoint("10.0.0.9")
    item = slice_of("web", "a", {"addresses": ["10.0.0.1"], "conditions": conditions}, other)
    kept = mapped(item, include_not_ready="unhealthy")
    assert kept.hosts["10.0.0.1", 8080].health is health
    assert (("10.0.0.1", 8080) in mapped(item).hosts) == (health is not Health.UNHEALTHY)


def test_what_terminates_is_used_only_when_nothing_is_ready() -> None:
    leaving = endpoint("10.0.0.1", ready=False, serving=True, conditions=TERMINATING)
    gone = endpoint("10.0.0.2", ready=False, conditions=TERMINATING)
    assignment = mapped(slice_of("web", "a", leaving, gone))
    assert [each.health for each in assignment.hosts.values()] == [Health.HEALTHY]
    assert assignment.notes == ("nothing is ready: endpoints that terminate and still serve are used",)
    assignment = mapped(slice_of("web", "a", leaving, endpoint("10.0.0.3")))
    assert [each.health for each in assignment.hosts.values()] == [Health.DRAINING, Health.HEALTHY]


def test_published_although_not_ready_is_ready(world: World) -> None:
    assert addresses(world.map("notready-published")) == ["10.1.0.2:8080"]
    assert addresses(world.map("notready")) == []


# 5: places


def test_the_same_zone_comes_first(world: World) -> None:
    assignment = world.map("samezone", zone="eu-1b")
    assert {each.zone: each.priority for each in assignment.hosts.values()} == {"eu-1b": 0, "eu-1a": 1}
    assert len(assignment.hosts) == 6


def test_the_same_node_comes_first_then_the_zone() -> None:
    places = [("n1", "z1"), ("n2", "z1"), ("n3", "z2")]
    items = [endpoint(f"10.0.0.{at}", nodeName=node, zone=zone) for at, (node, zone) in enumerate(places)]
    assignment = mapped(slice_of("web", "a", *items), spec={"trafficDistribution": "PreferSameNode"}, node="n1")
    assert [each.priority for each in assignment.hosts.values()] == [0, 1, 2]


def test_the_configuration_may_ask_for_it_and_may_ignore_it(world: World) -> None:
    assert {each.priority for each in world.map("plain", zone="eu-1b", traffic_distribution="PreferClose").hosts.values()} == {0, 1}  # fmt: skip  # noqa: E501
    ignored = world.map("samezone", zone="eu-1b", traffic_distribution="ignore", hints="ignore")
    assert {each.priority for each in ignored.hosts.values()} == {0}


def test_who_does_not_know_where_it_is_is_told(world: World) -> None:
    assert world.map("samezone").notes == (
        "trafficDistribution PreferSameZone is not obeyed: it is not known where this proxy runs",
    )
    assert "internalTrafficPolicy Local is not obeyed" in world.map("local").notes[0]


def hinted(*zones: str, **fields: Any) -> dict[str, Any]:
    return {"hints": {"forZones": [{"name": zone} for zone in zones]}, **fields}


def test_hints_are_obeyed_if_every_endpoint_has_one() -> None:
    here, there = endpoint("10.0.0.1", **hinted("z1")), endpoint("10.0.0.2", **hinted("z2"))
    assert addresses(mapped(slice_of("web", "a", here, there), zone="z1")) == ["10.0.0.1:8080"]
    assert why(mapped(slice_of("web", "a", here, there), zone="z1")) == {
        "10.0.0.2": "zone: hints give it to z2, this is z1"
    }
    without = endpoint("10.0.0.3")
    assert len(mapped(slice_of("web", "a", here, there, without), zone="z1").hosts) == 3
    assert len(mapped(slice_of("web", "a", here, there), zone="z3").hosts) == 2
    assert len(mapped(slice_of("web", "a", here, there), zone="z1", hints="ignore").hosts) == 2
    assert len(mapped(slice_of("web", "a", here, there)).hosts) == 2


def test_hints_of_endpoints_that_are_not_ready_do_not_count() -> None:
    here, sick = endpoint("10.0.0.1", **hinted("z1")), endpoint("10.0.0.2", ready=False)
    assert addresses(mapped(slice_of("web", "a", here, sick), zone="z1")) == ["10.0.0.1:8080"]


def test_hints_for_nodes_go_before_those_for_zones() -> None:
    def meant(address: str, node: str, zone: str) -> dict[str, Any]:
        return endpoint(address, hints={"forNodes": [{"name": node}], "forZones": [{"name": zone}]})

    item = slice_of("web", "a", meant("10.0.0.1", "n1", "z1"), meant("10.0.0.2", "n2", "z1"))
    assert addresses(mapped(item, node="n1", zone="z1")) == ["10.0.0.1:8080"]
    assert why(mapped(item, node="n1", zone="z1")) == {"10.0.0.2": "node: hints give it to n2, this is n1"}
    assert len(mapped(item, node="n9", zone="z1").hosts) == 2


def test_local_means_this_node_or_nothing(world: World) -> None:
    assert addresses(world.map("local", node="node-a")) == ["10.1.0.1:8080"]
    assert addresses(world.map("local", node="node-c")) == []
    assert len(world.map("local", node="node-c", internal_traffic_policy="ignore").hosts) == 2


# 6: families


def test_the_first_family_of_the_service_is_taken(world: World) -> None:
    assert addresses(world.map("dual")) == ["10.1.0.7:8080", "10.1.0.8:8080"]
    assert why(world.map("dual")) == {"fd00::7": "family: IPv6, IPv4 is wanted"}
    assert addresses(world.map("dual", family="v6")) == ["fd00::7:8080"]


def test_all_families_of_a_pod_are_one_host(world: World) -> None:
    hosts = world.map("dual", family="all").hosts
    assert [(each.address, each.additional) for each in hosts.values()] == [
        ("10.1.0.7", ("fd00::7",)),
        ("10.1.0.8", ()),
    ]


def test_of_the_addresses_of_an_endpoint_the_first_is_taken() -> None:
    assert addresses(mapped(slice_of("web", "a", {"addresses": ["10.0.0.1", "10.0.0.2"]}))) == ["10.0.0.1:8080"]


def test_a_pods_address_is_of_the_family_that_is_wanted() -> None:
    both = a_pod(status={"podIPs": [{"ip": "10.0.0.1"}, {"ip": "fd00::1"}]})
    assert [one_pod(both, family=family).address for family in ("auto", "v4", "v6")] == ["10.0.0.1"] * 2 + ["fd00::1"]
    assert one_pod(both, family="all").additional == ("fd00::1",)
    assert one_pod(a_pod(), family="v6").excluded == "family: none of 10.0.0.1 is IPv6"


def test_names_are_endpoints_too() -> None:
    item = slice_of("web", "a", endpoint("db.example.com"), addressType="FQDN")
    assert [(each.address, each.family) for each in mapped(item).hosts.values()] == [("db.example.com", "FQDN")]


@pytest.mark.parametrize("address", ["example.com", "1.2.3", "::1", "10.0.0.1:80", "10.0.0.1\0", " ", "٣.0.0.1"])
def test_what_is_no_address_is_not_connected_to(address: str) -> None:
    assert list(why(mapped(slice_of("web", "a", endpoint(address)))).values()) == [
        f"address: {address} is none of the type IPv4"
    ]


# 7: headless, ExternalName


def test_pods_of_a_headless_service_have_their_names(world: World) -> None:
    assert [each.hostname for each in world.map("statefulish").hosts.values()] == ["sts-0.statefulish"]


def test_an_external_name_is_a_name_and_needs_a_number(world: World) -> None:
    (host,) = world.map("external", 5432.0).hosts.values()
    assert (host.address, host.port, host.family, host.hostname) == ("db.example.com", 5432, "FQDN", "db.example.com")
    assert list(why(world.map("external", "http")).values()) == ["port: an ExternalName needs the number of its port"]


def test_slices_made_by_hand_need_no_more_than_ready(world: World) -> None:
    assert addresses(world.map("selectorless")) == ["10.9.9.9:8080"]


# 8: affinity


def test_client_ip_affinity_is_obeyed_only_if_asked_for(world: World) -> None:
    assert not world.map("sticky").client_ip_affinity
    assert world.map("sticky", client_ip_affinity=True).client_ip_affinity
    assert not world.map("plain", client_ip_affinity=True).client_ip_affinity


# 9: pods


def of_pods(world: World, **values: Any) -> Assignment:
    settings = from_values({"pods": {"namespace": "lab5", "label_selector": "app", **values}}, "value")
    assert isinstance(settings.refs[0], PodsRef)
    return map_endpoints(settings, [Found(settings.refs[0], pods=world.pods.values())])


def test_pods_without_a_service(world: World) -> None:
    assignment = of_pods(world, port="http")
    assert len(assignment.hosts) == 15
    assert assignment.hosts["10.1.1.1", 8080].health is Health.DRAINING
    reasons = why(assignment)
    assert reasons["10.1.0.40"] == "condition: the pod has succeeded"
    assert reasons["10.1.0.41"] == "condition: not ready"
    assert reasons["10.1.0.5"] == 'port: "http" is none of the TCP ports of the containers (other:9000/TCP)'
    assert addresses(of_pods(world, port=9999.0))[0].endswith(":9999")


def a_pod(name: str = "a", **changes: Any) -> Pod:
    item: dict[str, Any] = {
        "metadata": _full({"name": name, "uid": name, **changes.pop("metadata", {})}),
        "spec": {"containers": [{"ports": [{"name": "http", "containerPort": 8080}]}], **changes.pop("spec", {})},
        "status": {
            "podIPs": [{"ip": "10.0.0.1"}],
            "conditions": [{"type": "Ready", "status": "True"}],
            **changes.pop("status", {}),
        },
    }
    made = slim_pod(["minienvoy.io/weight"])(item)
    assert made is not None
    return made


def one_pod(pod: Pod, **values: Any) -> MappedEndpoint:
    settings = from_values({"pods": {"namespace": "shop", "label_selector": "a", "port": "http"}, **values}, "value")
    assignment = map_endpoints(settings, [Found(settings.refs[0], pods=[pod])])
    (found,) = (*assignment.hosts.values(), *assignment.excluded)
    return found


@pytest.mark.parametrize("phase", ["Succeeded", "Failed"])
def test_a_pod_that_is_over_is_no_host(phase: str) -> None:
    assert one_pod(a_pod(status={"phase": phase})).excluded == f"condition: the pod has {phase.lower()}"


def test_a_pod_is_as_ready_as_its_condition_says_whatever_its_gates_are() -> None:
    gates = {"readinessGates": [{"conditionType": "example.com/gate"}]}
    conditions = [{"type": "example.com/gate", "status": "False"}, {"type": "Ready", "status": "True"}]
    assert one_pod(a_pod(spec=gates, status={"conditions": conditions})).health is Health.HEALTHY
    conditions[1]["status"] = "False"
    assert one_pod(a_pod(spec=gates, status={"conditions": conditions})).excluded == "condition: not ready"


def test_a_pod_without_an_address_has_none_yet() -> None:
    assert one_pod(a_pod(status={"podIPs": None})).excluded == "address: the pod has none yet"
    assert one_pod(a_pod(status={"podIPs": None, "podIP": "10.0.0.9"})).address == "10.0.0.9"


def test_ports_of_sidecars_count_and_those_of_other_init_containers_do_not() -> None:
    ports = [{"ports": [{"name": "http", "containerPort": 15001}]}]
    sidecar = [{**ports[0], "restartPolicy": "Always"}]
    assert one_pod(a_pod(spec={"containers": [{}], "initContainers": sidecar})).port == 15001
    assert one_pod(a_pod(spec={"containers": [{}], "initContainers": ports})).excluded.startswith("port:")


def test_two_pods_of_one_host_network_are_one_host() -> None:
    settings = from_values({"pods": {"namespace": "shop", "label_selector": "a", "port": "http"}}, "value")
    assignment = map_endpoints(settings, [Found(settings.refs[0], pods=[a_pod("a"), a_pod("b")])])
    assert (addresses(assignment), why(assignment)) == (
        ["10.0.0.1:8080"],
        {"10.0.0.1": "duplicate: shop/a tells of it, too"},
    )


# 10: metadata and weights


def test_hosts_say_who_they_are(world: World) -> None:
    host = next(iter(world.map("plain", pod_labels=["app", "nothing"]).hosts.values()))
    uid = host.uid
    assert host.metadata() == {
        "envoy.lb": {
            "app": "plain",
            "namespace": "lab5",
            "node": "node-a",
            "pod": "plain-0",
            "service": "plain",
            "uid": uid,
        }
    }


@pytest.mark.parametrize(("text", "weight"), [("3", 3), ("", 1), ("0", 1), ("-1", 1), ("two", 1), ("9999", 128)])
def test_the_weight_of_a_pod_is_its_annotation(text: str, weight: int) -> None:
    pod = a_pod(metadata={"annotations": {"minienvoy.io/weight": text, "other": "7"}})
    assert one_pod(pod, weight_annotation="minienvoy.io/weight").weight == weight
    assert one_pod(pod).weight == 1


def test_weights_reach_the_endpoints_of_slices() -> None:
    pod = a_pod(metadata={"annotations": {"minienvoy.io/weight": "5"}})
    item = slice_of("web", "s", endpoint("10.0.0.1", targetRef={"kind": "Pod", "namespace": "shop", "name": "a"}))
    settings = from_values({"service": "shop/web", "port": "http", "weight_annotation": "minienvoy.io/weight"}, "v")
    found = [Found(settings.refs[0], slices(item))]
    assert map_endpoints(settings, found, {pod.key: pod}).hosts["10.0.0.1", 8080].weight == 5
    assert map_endpoints(settings, found, {}).hosts["10.0.0.1", 8080].weight == 1


# several Services, slices by selector, addresses elsewhere


def test_several_services_are_one_cluster_with_the_same_weight_for_each_pod() -> None:
    settings = from_values({"services": ["shop/web", {"service": "shop/api", "port": "grpc"}], "port": "http"}, "v")
    web = slice_of("web", "w", endpoint("10.0.0.1"), endpoint("10.0.0.2"), endpoint("10.0.0.3"))
    api = slice_of("api", "a", endpoint("10.0.1.1"), ports=[{"name": "grpc", "port": 9090}])
    found = [Found(settings.refs[0], slices(web)), Found(settings.refs[1], slices(api))]
    assignment = map_endpoints(settings, found)
    assert [(each.port, each.weight) for each in assignment.hosts.values()] == [(8080, 1)] * 3 + [(9090, 1)]


def test_slices_by_selector_know_a_port_by_its_own_number() -> None:
    settings = from_values({"endpoint_slices": {"namespace": "shop", "label_selector": "a=b", "port": 8080.0}}, "v")
    assert isinstance(settings.refs[0], SlicesRef)
    items = slices(slice_of("web", "a", endpoint("10.0.0.1")), slice_of("api", "b", endpoint("10.0.0.2"), port=9090))
    assert addresses(map_endpoints(settings, [Found(settings.refs[0], items)])) == ["10.0.0.1:8080"]


def test_addresses_may_be_elsewhere() -> None:
    rewrite = {"10.0.0.0/8": "127.0.0.1", "10.0.0.2": "127.0.0.1:9000"}
    item = slice_of("web", "a", endpoint("10.0.0.1"), endpoint("10.0.0.2"), endpoint("192.168.0.1"))
    assert addresses(mapped(item, address_rewrite=rewrite)) == ["127.0.0.1:8080", "127.0.0.1:9000", "192.168.0.1:8080"]


# what is remembered


def test_a_changed_slice_tells_which_hosts_changed() -> None:
    settings = from_values({"service": "shop/web", "port": "http"}, "value")
    mapper = Mapper(settings)
    items = [slice_of("web", f"s{at}", endpoint(f"10.0.{at}.1"), endpoint(f"10.0.{at}.2")) for at in range(5)]
    known = slices(*items)
    first = mapper.map([Found(settings.refs[0], known)])
    assert (first.changed, first.serial) == (None, 1)
    assert mapper.map([Found(settings.refs[0], known)]).changed == frozenset()
    known[2] = slices(slice_of("web", "s2", endpoint("10.0.2.1", ready=False), endpoint("10.0.2.3")))[0]
    known[3] = slices(slice_of("web", "s3", endpoint("10.0.3.1"), endpoint("10.0.2.2"), endpoint("10.0.3.2")))[0]
    now = mapper.map([Found(settings.refs[0], known)])
    assert now.changed is not None
    # Those that are gone, then those that are new: in the same order in every process.
    assert [address for address, _ in now.changed] == ["10.0.2.1", "10.0.2.2", "10.0.2.3"]
    again = map_endpoints(settings, [Found(settings.refs[0], known)])
    assert now.hosts == again.hosts
    assert len(first.hosts) == 10


def test_a_host_that_two_slices_tell_of_stays_until_both_are_silent() -> None:
    settings = from_values({"service": "shop/web", "port": "http"}, "value")
    mapper = Mapper(settings)
    both = slices(*(slice_of("web", name, endpoint("10.0.0.1")) for name in "ab"))
    empty = slices(*(slice_of("web", name) for name in "ab"))
    for known, count in ((both, 1), ([empty[0], both[1]], 1), (empty, 0), ([both[0], empty[1]], 1), (both, 1)):
        assert len(mapper.map([Found(settings.refs[0], known)]).hosts) == count
