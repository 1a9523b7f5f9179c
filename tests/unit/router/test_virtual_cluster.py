"""What a virtual host counts for itself."""

from __future__ import annotations

from minienvoy.config.loader import load_dict
from minienvoy.http.header_map import RequestHeaderMap
from minienvoy.router.virtual_cluster import VirtualClusters, route_counters
from minienvoy.stats.store import Store


def request(method: str, path: str) -> RequestHeaderMap:
    return RequestHeaderMap(method.encode(), path.encode(), b"a.test", [], 0)


def virtual_clusters(store: Store) -> VirtualClusters:
    fields = {
        "name": "shop",
        "domains": ["*"],
        "virtual_clusters": [
            {
                "name": "users",
                "headers": [
                    {"name": ":path", "string_match": {"safe_regex": {"regex": r"/users/\d+"}}},
                    {"name": ":method", "string_match": {"exact": "GET"}},
                ],
            },
            {"name": "all", "headers": [{"name": ":path", "string_match": {"prefix": "/users"}}]},
        ],
    }
    proto = load_dict(fields, "envoy.config.route.v3.VirtualHost").message
    return VirtualClusters(proto.virtual_clusters, "v", proto.name, store)


def test_the_first_that_matches_has_the_request() -> None:
    found = virtual_clusters(Store())
    assert found.find(request("GET", "/users/7"))[0] == "users"
    assert found.find(request("POST", "/users/7"))[0] == "all"


def test_what_belongs_to_none_is_other_and_has_no_name() -> None:
    store = Store()
    name, counters = virtual_clusters(store).find(request("GET", "/"))
    counters.stats.upstream_rq_total += 1
    counters.charge_response(503, False)
    assert name is None
    assert store.value("vhost.shop.vcluster.other.upstream_rq_total") == 1
    assert store.value("vhost.shop.vcluster.other.upstream_rq_5xx") == 1


def test_response_codes_exist_from_when_they_first_happened() -> None:
    store = Store()
    counters = route_counters("r", "v", store)
    before = {sample.name for sample in store.counters()}
    counters.charge_response(200, False)
    counters.charge_timing(3, False)
    assert "vhost.v.route.r.upstream_rq_retry" in before
    assert {sample.name for sample in store.counters()} - before == {
        "vhost.v.route.r.upstream_rq_200",
        "vhost.v.route.r.upstream_rq_2xx",
        "vhost.v.route.r.upstream_rq_completed",
    }
    assert [sample.name for sample in store.histograms()] == ["vhost.v.route.r.upstream_rq_time"]


def test_routes_of_one_prefix_are_counted_together() -> None:
    store = Store()
    for status in (200, 404):
        route_counters("r", "v", store).charge_response(status, False)
    assert store.value("vhost.v.route.r.upstream_rq_completed") == 2
