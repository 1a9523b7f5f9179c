"""Least request, random, slow start, zones, subsets, overrides and client-side weights, each over a few hosts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from minienvoy.config.loader import load_dict
from minienvoy.config.runtime import Loader
from minienvoy.explain.explanation import Explanation
from minienvoy.http.header_map import RequestHeaderMap
from minienvoy.stream_info import StreamInfo
from minienvoy.upstream.host import HealthFlag, Host, HostSet, Locality, PrioritySet
from minienvoy.upstream.orca import OrcaLoadReport
from tests.unit.extensions.load_balancing_policies.conftest import Request, World, host, labelled

ROUND_ROBIN, LEAST, RANDOM = "round_robin.v3.RoundRobin", "least_request.v3.LeastRequest", "random.v3.Random"
SUBSET = "subset.v3.Subset"
SICK = HealthFlag.FAILED_ACTIVE_HC
EAST, WEST = Locality("", "east"), Locality("", "west")
CHILD = {
    "policies": [
        {
            "typed_extension_config": {
                "name": "child",
                "typed_config": {
                    "@type": "type.googleapis.com/envoy.extensions.load_balancing_policies.round_robin.v3.RoundRobin"
                },
            }
        }
    ]
}


def ports(balancer: Any, count: int, request: Request | None = None) -> Counter[int]:
    return Counter(balancer.choose_host(request).address.port for _ in range(count))


def test_least_request_prefers_who_has_less_to_do(world: World) -> None:
    balancer = world.balancer(LEAST)
    busy, idle = host(1), host(2)
    world.update(busy, idle)
    busy.stats.rq_active = 9
    shares = ports(balancer, 400)
    assert 60 < shares[1] < 140  # both choices fell on it


def test_least_request_of_all_finds_the_one(world: World) -> None:
    balancer = world.balancer(LEAST, selection_method="FULL_SCAN")
    hosts = [host(port) for port in range(1, 9)]
    for each in hosts[:7]:
        each.stats.rq_active = 1
    world.update(*hosts)
    assert ports(balancer, 20) == {8: 20}


def test_least_request_by_weights_counts_requests_too(world: World) -> None:
    balancer = world.balancer(LEAST)
    heavy, light = host(1, weight=4), host(2, weight=1)
    heavy.stats.rq_active = 3
    world.update(heavy, light)
    assert ports(balancer, 100)[1] == pytest.approx(50, abs=2)


def test_a_bias_of_zero_leaves_requests_out(world: World) -> None:
    balancer = world.balancer(LEAST, active_request_bias={"default_value": 0.0, "runtime_key": "x"})
    heavy, light = host(1, weight=4), host(2, weight=1)
    heavy.stats.rq_active = 3
    world.update(heavy, light)
    assert ports(balancer, 100)[1] == pytest.approx(80, abs=2)


@pytest.mark.parametrize("config", [{}, {"selection_method": "FULL_SCAN"}])
@pytest.mark.parametrize(("flag", "least"), [(True, 0), (False, 100)])
def test_requests_that_wait_count_if_the_runtime_says_so(
    world: World, config: dict[str, Any], flag: bool, least: int
) -> None:
    layer = {"envoy.reloadable_features.least_request_lb_count_pending_requests": flag}
    layers = {"layers": [{"name": "static", "static_layer": layer}]}
    world.runtime = Loader(load_dict(layers, "envoy.config.bootstrap.v3.LayeredRuntime").message)
    balancer = world.balancer(LEAST, choice_count=8, **config)
    waiting = host(1)
    waiting.stats.rq_pending_active = 9
    world.update(waiting, host(2))
    assert least <= ports(balancer, 400)[1] <= least + 300 * bool(least) + 10


def test_random_reaches_everybody(world: World) -> None:
    balancer = world.balancer(RANDOM)
    world.update(host(1), host(2, weight=100), host(3))
    assert all(250 < count < 420 for count in ports(balancer, 1000).values())


def slow(window: str = "60s", **more: Any) -> dict[str, Any]:
    return {"slow_start_config": {"slow_start_window": window, **more}}


@pytest.mark.parametrize(
    ("passed", "config", "share"),
    [
        (0, {}, 0.1),
        (30, {}, 0.5),
        (45, {}, 0.75),
        (30, {"aggression": {"default_value": 2.0, "runtime_key": "x"}}, 0.5**0.5),
        (1, {"min_weight_percent": {"value": 40}}, 0.4),
    ],
)
def test_slow_start_is_walked_through(world: World, passed: int, config: dict[str, Any], share: float) -> None:
    balancer = world.balancer(ROUND_ROBIN, **slow(**config))
    old = host(1)
    world.update(old)
    world.dispatcher.advance(100)
    new = host(2)
    world.update(old, new)
    world.dispatcher.advance(passed)
    world.update(old, new)
    assert ports(balancer, 1000)[2] / 1000 == pytest.approx(share / (1 + share), abs=0.02)


def test_slow_start_is_over_after_its_window(world: World) -> None:
    balancer = world.balancer(ROUND_ROBIN, **slow())
    world.update(host(1))
    world.dispatcher.advance(100)
    hosts = world.priority_set.hosts()
    world.update(*hosts, host(2))
    world.dispatcher.advance(61)
    world.update(*world.priority_set.hosts())
    assert ports(balancer, 100) == {1: 50, 2: 50}


def test_least_request_starts_slowly_too(world: World) -> None:
    balancer = world.balancer(LEAST, **slow())
    old = host(1)
    world.update(old)
    world.dispatcher.advance(100)
    world.update(old, host(2))
    assert ports(balancer, 1000)[2] < 150


def zoned(world: World, local: list[Host], **fields: Any) -> Any:
    world.local_priority_set = PrioritySet()
    world.local_priority_set.update_hosts(HostSet(0, tuple(local)))
    world.local_locality = EAST
    return world.balancer(ROUND_ROBIN, **fields)


def in_zones(east: int, west: int) -> list[Host]:
    return [host(port, locality=EAST) for port in range(1, east + 1)] + [
        host(100 + port, locality=WEST) for port in range(1, west + 1)
    ]


def test_requests_stay_in_the_zone(world: World) -> None:
    balancer = zoned(world, in_zones(1, 1))
    world.update(*in_zones(3, 3))
    assert set(ports(balancer, 30)) == {1, 2, 3}
    assert world.stats.lb_zone_routing_all_directly == 30
    assert world.stats.lb_recalculate_zone_structures == 2


def test_what_the_zone_can_not_take_leaves_it(world: World) -> None:
    balancer = zoned(world, in_zones(3, 1))
    world.update(*in_zones(3, 3))
    shares = ports(balancer, 900)
    assert sum(count for port, count in shares.items() if port < 100) == pytest.approx(600, abs=50)
    stats = world.stats
    assert stats.lb_zone_routing_sampled + stats.lb_zone_routing_cross_zone == 900


@pytest.mark.parametrize(
    ("local", "upstream", "counted"),
    [
        (in_zones(1, 1), in_zones(2, 2), "lb_zone_cluster_too_small"),
        ([*in_zones(0, 1), host(9, locality=Locality("", "north"))], in_zones(3, 3), "lb_local_cluster_not_ok"),
    ],
)
def test_there_is_no_zone_aware_routing_and_that_is_counted(
    world: World, local: list[Host], upstream: list[Host], counted: str
) -> None:
    balancer = zoned(world, local)
    world.update(*upstream)
    assert len(ports(balancer, 60)) == len(upstream)
    assert getattr(world.stats, counted) >= 1


def test_a_change_of_the_local_cluster_is_seen(world: World) -> None:
    balancer = zoned(world, in_zones(1, 0))
    world.update(*in_zones(3, 3))
    assert len(ports(balancer, 60)) == 6
    assert world.local_priority_set is not None
    world.local_priority_set.update_hosts(HostSet(0, tuple(in_zones(1, 1))))
    assert set(ports(balancer, 60)) == {1, 2, 3}


def test_who_is_stopped_does_not_hear_of_the_local_cluster_any_more(world: World) -> None:
    balancer = zoned(world, in_zones(1, 1))
    nested = subsets(world, subset_selectors=[{"keys": ["v"]}], fallback_policy="ANY_ENDPOINT")
    world.update(labelled(1, v="a"), labelled(2, v="b"))
    assert world.local_priority_set is not None
    assert len(world.local_priority_set._callbacks) == 4
    world.update(labelled(1, v="a"))
    assert len(world.local_priority_set._callbacks) == 3
    nested.stop()
    balancer.stop()
    assert world.local_priority_set._callbacks == []


def subsets(world: World, **fields: Any) -> Any:
    return world.balancer(SUBSET, subset_lb_policy=CHILD, **fields)


def test_subsets_come_and_go_with_their_hosts(world: World) -> None:
    balancer = subsets(world, subset_selectors=[{"keys": ["v"]}])
    world.update(labelled(1, v="a"), labelled(2, v="b"))
    assert balancer.choose_host(Request(criteria={"v": "b"})).address.port == 2
    world.update(labelled(1, v="a"))
    assert balancer.choose_host(Request(criteria={"v": "b"})) is None
    # Both of Envoy's threads are counted.
    assert (world.stats.lb_subsets_active, world.stats.lb_subsets_created, world.stats.lb_subsets_removed) == (2, 4, 2)


def test_values_of_other_types_are_other_values(world: World) -> None:
    balancer = subsets(world, subset_selectors=[{"keys": ["v"]}])
    world.update(labelled(1, v=True), labelled(2, v=1.0), labelled(3, v="1"))
    assert [balancer.choose_host(Request(criteria={"v": value})).address.port for value in (True, 1.0, "1")] == [
        1,
        2,
        3,
    ]


def test_a_choice_of_a_subset_is_explained(world: World) -> None:
    balancer = subsets(world, subset_selectors=[{"keys": ["v"]}], fallback_policy="ANY_ENDPOINT")
    world.update(labelled(1, v="a"), labelled(2, flags=SICK, v="a"))
    explain = Explanation()
    balancer.choose_host(Request(criteria={"v": "a"}, explain=explain))
    assert explain["subset"].chose == "v=a"
    assert [str(each) for each in explain["host"].rejected] == ["127.0.0.1:2: /failed_active_hc"]
    balancer.choose_host(Request(criteria={"v": "z"}, explain=explain))
    assert explain["subset"].chose == "any endpoint"


@pytest.mark.parametrize("kind", [ROUND_ROBIN, LEAST, RANDOM, "ring_hash.v3.RingHash", "maglev.v3.Maglev"])
def test_why_nobody_could_be_chosen_is_explained(make_world: Callable[..., World], kind: str) -> None:
    world = make_world(threshold=0)
    balancer = world.balancer(kind)
    world.update(host(1, flags=SICK), host(2, flags=HealthFlag.FAILED_EDS_HEALTH))
    explain = Explanation()
    assert balancer.choose_host(Request(5, explain=explain)) is None
    assert (explain["priority"].chose, explain["priority"].because) == (0, "no healthy hosts")
    shown = [str(each) for each in explain["priority"].rejected]
    assert shown == ["127.0.0.1:1: /failed_active_hc", "127.0.0.1:2: /failed_eds_health"]


def test_an_explanation_does_not_name_thousands_of_hosts(world: World) -> None:
    balancer = world.balancer(ROUND_ROBIN)
    world.update(host(1), host(2), *(host(port, flags=SICK) for port in range(3, 1003)))
    explain = Explanation()
    balancer.choose_host(Request(explain=explain))
    assert explain["priority"].because == "panic"
    world.update(*(host(port) for port in range(1, 2000)), *(host(port, flags=SICK) for port in range(3000, 4000)))
    balancer.choose_host(Request(explain=explain))
    assert len(explain["host"].rejected) == 21
    assert explain["host"].rejected[-1] == "980 more"


class Stream(Request):
    def __init__(self, header: str | None = None, info: StreamInfo | None = None) -> None:
        super().__init__()
        self.info = info or StreamInfo()
        self.headers = RequestHeaderMap(b"GET", b"/", b"a")
        if header is not None:
            self.headers.add(b"x-to", header.encode())

    def downstream_headers(self) -> RequestHeaderMap | None:
        return self.headers

    def request_stream_info(self) -> StreamInfo | None:
        return self.info


def overriding(world: World, **fields: Any) -> Any:
    return world.balancer(
        "override_host.v3.OverrideHost", override_host_sources=[{"header": "x-to"}], fallback_policy=CHILD, **fields
    )


def test_a_header_names_hosts_one_for_each_attempt(world: World) -> None:
    balancer = overriding(world)
    world.update(host(1), host(2), host(3, flags=SICK))
    stream = Stream("127.0.0.1:3, 9.9.9.9:9,127.0.0.1:1")
    assert [balancer.choose_host(stream).address.port for _ in range(2)] == [3, 1]
    assert balancer.choose_host(stream).address.port in (1, 2)


def test_who_was_chosen_is_told_in_metadata(world: World) -> None:
    balancer = overriding(world, selected_host_key={"key": "lb", "path": [{"key": "chosen"}, {"key": "host"}]})
    world.update(host(1))
    stream = Stream()
    balancer.choose_host(stream)
    assert stream.info.dynamic_metadata == {"lb": {"chosen": {"host": "127.0.0.1:1"}}}


CSWRR = "client_side_weighted_round_robin.v3.ClientSideWeightedRoundRobin"


def report(world: World, balancer: Any, each: Host, requests: float, utilization: float) -> None:
    balancer.on_orca_load_report(each, OrcaLoadReport(rps_fractional=requests, application_utilization=utilization))


def test_weights_follow_what_hosts_tell(world: World) -> None:
    balancer = world.balancer(CSWRR)
    hosts = [host(1), host(2), host(3)]
    world.update(*hosts)
    report(world, balancer, hosts[0], 100, 0.5)
    report(world, balancer, hosts[1], 100, 0.25)
    world.dispatcher.advance(9)
    assert [each.weight for each in hosts] == [1, 1, 1]  # the blackout period
    world.dispatcher.advance(3)
    assert [each.weight for each in hosts] == [200, 400, 300]  # who tells nothing gets the median
    shares = ports(balancer, 900)
    assert (shares[1], shares[2], shares[3]) == pytest.approx((200, 400, 300), abs=3)
    world.dispatcher.advance(200)
    assert [each.weight for each in hosts] == [1, 1, 1]  # nobody has told anything for long
    balancer.stop()


def test_errors_make_a_host_lighter_and_nonsense_is_not_heard(world: World) -> None:
    balancer: Any = world.balancer(CSWRR, error_utilization_penalty=2.0, blackout_period="0s")
    hosts = [host(1), host(2)]
    world.update(*hosts)
    balancer.on_orca_load_report(hosts[0], OrcaLoadReport(rps_fractional=100, cpu_utilization=0.5, eps=25))
    balancer.on_orca_load_report(hosts[1], OrcaLoadReport(cpu_utilization=0.5))
    world.dispatcher.advance(2)
    assert [each.weight for each in hosts] == [100, 100]
    balancer.stop()


def test_panic_may_fail_traffic(make_world: Callable[..., World]) -> None:
    world = make_world()
    config = {"locality_lb_config": {"zone_aware_lb_config": {"fail_traffic_on_panic": True}}}
    balancer = world.balancer(ROUND_ROBIN, **config)
    world.update(host(1), host(2, flags=SICK), host(3, flags=SICK))
    assert balancer.choose_host(None) is None
    assert world.stats.lb_healthy_panic == 1


WEIGHTED = "client_side_weighted_round_robin.v3.ClientSideWeightedRoundRobin"
WEIGHTED_CHILD = {
    "policies": [
        {
            "typed_extension_config": {
                "name": "child",
                "typed_config": {"@type": f"type.googleapis.com/envoy.extensions.load_balancing_policies.{WEIGHTED}"},
            }
        }
    ]
}
OVERRIDE = {"override_host_sources": [{"header": "x-to"}], "fallback_policy": CHILD}


@pytest.mark.parametrize(
    ("kind", "config", "words"),
    [
        (ROUND_ROBIN, {}, "round robin over 2 of 3 hosts"),
        (LEAST, {}, "least request of 2 over 2 of 3 hosts"),
        (LEAST, {"selection_method": "FULL_SCAN"}, "least request of all over 2 of 3 hosts"),
        (RANDOM, {}, "random over 2 of 3 hosts"),
        ("ring_hash.v3.RingHash", {}, "ring hash over 2 of 3 hosts by hash 0000000000000005"),
        ("maglev.v3.Maglev", {}, "maglev over 2 of 3 hosts by hash 0000000000000005"),
        (WEIGHTED, {}, "client-side weighted round robin over 2 of 3 hosts"),
        (
            "wrr_locality.v3.WrrLocality",
            {"endpoint_picking_policy": WEIGHTED_CHILD},
            "client-side weighted round robin over 2 of 3 hosts",
        ),
        (SUBSET, {"subset_lb_policy": CHILD, "fallback_policy": "ANY_ENDPOINT"}, "round robin over 2 of 3 hosts"),
        ("override_host.v3.OverrideHost", OVERRIDE, "round robin over 2 of 3 hosts"),
    ],
)
def test_every_policy_explains_who_was_picked_of_whom_and_who_could_not_be(
    world: World, kind: str, config: dict[str, Any], words: str
) -> None:
    balancer = world.balancer(kind, **config)
    world.update(host(1), host(2, flags=SICK), host(3))
    explain = Explanation()
    picked = balancer.choose_host(Request(5, explain=explain))
    decision = explain["host"]
    assert picked is not None
    assert (decision.chose, decision.because) == (picked, words)
    assert [str(each) for each in decision.rejected] == ["127.0.0.1:2: /failed_active_hc"]
    assert balancer.choose_host(Request(5)) in world.priority_set.host_sets[0].healthy_hosts


def test_a_host_that_is_asked_for_is_explained(world: World) -> None:
    balancer = world.balancer("override_host.v3.OverrideHost", **OVERRIDE)
    world.update(host(1), host(2))
    stream = Stream("127.0.0.1:2")
    stream.explain = explain = Explanation()
    balancer.choose_host(stream)
    assert (str(explain["host"].chose), explain["host"].because) == ("127.0.0.1:2", "the request names it")
