from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from minienvoy.errors import ConfigError
from minienvoy.upstream.host import Locality


def test_hosts_are_there_at_once(world: Any, locality: Callable[..., dict[str, Any]]) -> None:
    world.start(locality("127.0.0.1:80", "::1:81"))
    assert (world.hosts(), world.initialized) == (["127.0.0.1:80", "[::1]:81"], 1)
    assert (world.count("membership_total"), world.count("update_attempt")) == (2, 0)


def test_localities_of_one_priority_are_one_list(world: Any, locality: Callable[..., dict[str, Any]]) -> None:
    cluster = world.start(
        locality("1.1.1.1:1", locality={"region": "r", "zone": "a"}, load_balancing_weight=3),
        locality("1.1.1.2:1", locality={"region": "r", "zone": "b"}),
        locality("1.1.1.3:1", priority=2),
    )
    assert [[str(host) for host in each.hosts] for each in cluster.priority_set.host_sets] == [
        ["1.1.1.1:1", "1.1.1.2:1"],
        [],
        ["1.1.1.3:1"],
    ]
    assert cluster.priority_set.host_sets[0].locality_weights == {Locality("r", "a"): 3}
    assert [host.locality.zone for host in cluster.hosts()] == ["a", "b", ""]
    assert [host.priority for host in cluster.hosts()] == [0, 0, 2]


def test_endpoint_tells_everything_about_its_host(world: Any) -> None:
    endpoint = {
        "endpoint": {
            "address": {"socket_address": {"address": "127.0.0.1", "port_value": 80}},
            "additional_addresses": [{"address": {"socket_address": {"address": "::1", "port_value": 82}}}],
            "hostname": "h",
        },
        "load_balancing_weight": 7,
        "metadata": {"filter_metadata": {"envoy.lb": {"canary": True, "v": "2"}}},
    }
    (host,) = world.start({"lb_endpoints": [endpoint]}).hosts()
    assert [str(address) for address in host.addresses] == ["127.0.0.1:80", "[::1]:82"]
    assert (host.hostname, host.weight, host.canary) == ("h", 7, True)
    assert host.metadata == {"envoy.lb": {"canary": True, "v": "2"}}


def test_settings_of_the_assignment_reach_the_host_set(world: Any, locality: Callable[..., dict[str, Any]]) -> None:
    assignment = {
        "cluster_name": "c",
        "endpoints": [locality("1.1.1.1:1")],
        "policy": {"overprovisioning_factor": 200, "weighted_priority_health": True},
    }
    cluster = world.create(load_assignment=assignment)
    cluster.start(lambda: None)
    (host_set,) = cluster.priority_set.host_sets
    assert (host_set.overprovisioning_factor, host_set.weighted_priority_health) == (200.0, True)


def test_a_name_is_refused(world: Any, locality: Callable[..., dict[str, Any]]) -> None:
    with pytest.raises(ConfigError) as error:
        world.start(locality("foo.com:80"))
    assert error.value.problem == (
        "malformed IP address: foo.com. Consider setting resolver_name or setting cluster type to 'STRICT_DNS' or "
        "'LOGICAL_DNS'"
    )
    assert error.value.path == "clusters[0].load_assignment.endpoints[0].lb_endpoints[0].endpoint.address"


def test_no_endpoint_is_fine(world: Any) -> None:
    world.start()
    assert (world.hosts(), world.initialized) == ([], 1)
    assert [sample.name for sample in world.store.gauges() if "membership" in sample.name and sample.used] == []
