"""What is remembered of slices changes nothing: any history ends in the hosts that its last state alone gives."""

from __future__ import annotations

from collections import Counter
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from minienvoy.config.loader import load_dict
from minienvoy.discovery.kubernetes.mapped import Health
from minienvoy.discovery.kubernetes.mapping import Mapper, map_endpoints
from minienvoy.discovery.kubernetes.objects import EndpointSlice, ObjectKey, slim_service, slim_slice
from minienvoy.discovery.kubernetes.settings import from_values
from minienvoy.discovery.kubernetes.store import Store
from minienvoy.discovery.kubernetes.wanted import Found
from minienvoy.event.random import RandomGenerator
from minienvoy.event.simulated import SimulatedDispatcher
from minienvoy.stats.store import Store as StatsStore
from minienvoy.upstream.cluster import ClusterContext, create_cluster

ENDPOINTS = st.lists(
    st.tuples(st.integers(1, 6), st.sampled_from(["ready", "draining", "not ready"]), st.sampled_from(["", "a", "b"])),
    max_size=4,
)
CHANGES = st.lists(st.tuples(st.integers(0, 3), st.none() | ENDPOINTS), min_size=1, max_size=20)
SETTINGS = st.fixed_dictionaries(
    {
        "include_not_ready": st.sampled_from(["drop", "unhealthy"]),
        "family": st.sampled_from(["v4", "all"]),
        "zone": st.sampled_from(["", "a"]),
        "traffic_distribution": st.sampled_from(["ignore", "PreferClose"]),
    }
)
CONDITIONS: dict[str, dict[str, Any]] = {
    "ready": {"ready": True},
    "draining": {"ready": False, "serving": True, "terminating": True},
    "not ready": {"ready": False},
}


def slice_at(number: int, version: int, endpoints: list[tuple[int, str, str]]) -> EndpointSlice:
    labels = {"kubernetes.io/service-name": "web"}
    made = slim_slice(
        {
            "metadata": {"name": f"s{number}", "namespace": "n", "resourceVersion": str(version), "labels": labels},
            "addressType": "IPv4",
            "ports": [{"name": "http", "port": 80}],
            "endpoints": [
                {
                    "addresses": [f"10.0.0.{address}"],
                    "conditions": CONDITIONS[condition],
                    "zone": zone,
                    "hints": {"forZones": [{"name": zone}]} if zone else None,
                    "targetRef": {"kind": "Pod", "name": f"p{address}", "namespace": "n", "uid": f"u{address}"},
                }
                for address, condition, zone in endpoints
            ],
        }
    )
    assert made is not None
    return made


@given(CHANGES, SETTINGS)
def test_any_history_of_slices_ends_as_its_last_state(changes: Any, values: dict[str, str]) -> None:
    settings = from_values({"service": "n/web", "port": "http", **values}, "value")
    service = slim_service({"metadata": {"name": "web", "namespace": "n"}, "spec": {"ports": [{"name": "http"}]}})
    store, mapper = Store(), Mapper(settings)
    group = ObjectKey("n", "web")
    before: dict[Any, Any] = {}
    for version, (number, endpoints) in enumerate(changes, 1):
        if endpoints is None:
            store.remove(ObjectKey("n", f"s{number}"))
        else:
            store.put(slice_at(number, version, endpoints))
        found = [Found(settings.refs[0], list(store.group(group)), service, True)]  # type: ignore[arg-type]
        kept, fresh = mapper.map(found), map_endpoints(settings, found)
        assert dict(kept.hosts) == dict(fresh.hosts)
        assert Counter(kept.excluded) == Counter(fresh.excluded)
        assert kept.notes == fresh.notes
        if kept.changed is not None:
            keys = before.keys() | kept.hosts.keys()
            assert {key for key in keys if before.get(key) != kept.hosts.get(key)} <= kept.changed
        before = dict(kept.hosts)


@given(CHANGES, SETTINGS)
def test_hosts_are_what_the_assignment_says_whatever_came_before(changes: Any, values: dict[str, str]) -> None:
    cluster = a_cluster(values)
    mapper = Mapper(cluster.settings)
    store = Store()
    known: dict[Any, Any] = {}
    for version, (number, endpoints) in enumerate(changes, 1):
        if endpoints is None:
            store.remove(ObjectKey("n", f"s{number}"))
        else:
            store.put(slice_at(number, version, endpoints))
        slices: Any = list(store.group(ObjectKey("n", "web")))
        assignment = mapper.map([Found(cluster.settings.refs[0], slices, None, False)])
        for _ in cluster._on_assignment(assignment):
            pass
        hosts = {(host.address.host, host.address.port): host for host in cluster.hosts()}
        assert hosts.keys() == assignment.hosts.keys()
        assert len(cluster.hosts()) == len(hosts)
        for priority, host_set in enumerate(cluster.priority_set.host_sets):
            assert all(host.priority == priority for host in host_set.hosts)
            balanced = cluster.updates.target.host_sets[priority]
            assert balanced.hosts == host_set.hosts
            assert balanced.healthy_hosts == tuple(host for host in host_set.hosts if host.healthy)
        for key, endpoint in assignment.hosts.items():
            assert hosts[key].healthy == (endpoint.health is Health.HEALTHY)
            assert hosts[key].priority == endpoint.priority
            assert hosts[key].locality.zone == endpoint.zone
            if key in known and known[key].priority == endpoint.priority:
                assert hosts[key] is known[key]
        known = hosts


class NoLoop:
    def time(self) -> float:
        return 0.0


def a_cluster(values: dict[str, str]) -> Any:
    typed = {
        "@type": "type.googleapis.com/xds.type.v3.TypedStruct",
        "type_url": "type.googleapis.com/minienvoy.clusters.Kubernetes",
        "value": {"service": "n/web", "port": "http", **values},
    }
    config = {"name": "c", "cluster_type": {"name": "minienvoy.clusters.kubernetes", "typed_config": typed}}
    message = load_dict(config, "envoy.config.cluster.v3.Cluster").message
    dispatcher = SimulatedDispatcher(NoLoop())  # type: ignore[arg-type]
    return create_cluster(message, ClusterContext(dispatcher, RandomGenerator(1), StatsStore()))
