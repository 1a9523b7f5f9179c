from __future__ import annotations

from collections.abc import Callable

from minienvoy.upstream.cluster import Cluster
from minienvoy.upstream.cluster_status import clusters_json, clusters_text
from minienvoy.upstream.host import HealthFlag

# What Envoy 1.40 answers to /clusters.
TEXT = """\
svc::observability_name::svc
svc::default_priority::max_connections::1024
svc::default_priority::max_pending_requests::1024
svc::default_priority::max_requests::1024
svc::default_priority::max_retries::3
svc::high_priority::max_connections::1024
svc::high_priority::max_pending_requests::1024
svc::high_priority::max_requests::1024
svc::high_priority::max_retries::3
svc::added_via_api::false
svc::127.0.0.1:35921::cx_active::1
svc::127.0.0.1:35921::cx_connect_fail::0
svc::127.0.0.1:35921::cx_total::2
svc::127.0.0.1:35921::rq_active::0
svc::127.0.0.1:35921::rq_error::0
svc::127.0.0.1:35921::rq_pending_active::0
svc::127.0.0.1:35921::rq_success::1
svc::127.0.0.1:35921::rq_timeout::0
svc::127.0.0.1:35921::rq_total::2
svc::127.0.0.1:35921::hostname::
svc::127.0.0.1:35921::health_flags::healthy
svc::127.0.0.1:35921::weight::1
svc::127.0.0.1:35921::region::
svc::127.0.0.1:35921::zone::
svc::127.0.0.1:35921::sub_zone::
svc::127.0.0.1:35921::canary::false
svc::127.0.0.1:35921::priority::0
svc::127.0.0.1:35921::success_rate::-1
svc::127.0.0.1:35921::local_origin_success_rate::-1
"""
JSON = {
    "cluster_statuses": [
        {
            "name": "svc",
            "host_statuses": [
                {
                    "address": {"socket_address": {"address": "127.0.0.1", "port_value": 35921}},
                    "stats": [
                        {"name": "cx_connect_fail"},
                        {"value": "2", "name": "cx_total"},
                        {"name": "rq_error"},
                        {"value": "1", "name": "rq_success"},
                        {"name": "rq_timeout"},
                        {"value": "2", "name": "rq_total"},
                        {"type": "GAUGE", "value": "1", "name": "cx_active"},
                        {"type": "GAUGE", "name": "rq_active"},
                        {"type": "GAUGE", "name": "rq_pending_active"},
                    ],
                    "health_status": {"eds_health_status": "HEALTHY"},
                    "weight": 1,
                    "locality": {},
                }
            ],
            "circuit_breakers": {
                "thresholds": [
                    {"max_connections": 1024, "max_pending_requests": 1024, "max_requests": 1024, "max_retries": 3},
                    {
                        "priority": "HIGH",
                        "max_connections": 1024,
                        "max_pending_requests": 1024,
                        "max_requests": 1024,
                        "max_retries": 3,
                    },
                ]
            },
            "observability_name": "svc",
        }
    ]
}


def used_cluster(make_cluster: Callable[..., Cluster]) -> Cluster:
    cluster = make_cluster("svc", ["127.0.0.1:35921"])
    stats = cluster.hosts()[0].stats
    stats.cx_active = 1
    stats.cx_total = stats.rq_total = 2
    stats.rq_success = 1
    return cluster


def test_text_is_envoys(make_cluster: Callable[..., Cluster]) -> None:
    assert clusters_text([used_cluster(make_cluster)]) == TEXT


def test_json_is_envoys(make_cluster: Callable[..., Cluster]) -> None:
    found = clusters_json([used_cluster(make_cluster)])
    assert found == JSON
    assert str(found) == str(JSON), "the order of the fields is Envoy's too"


def test_no_cluster_is_an_empty_message() -> None:
    assert (clusters_json([]), clusters_text([])) == ({}, "")


def test_host_tells_what_is_special_about_it(make_cluster: Callable[..., Cluster]) -> None:
    locality = {
        "locality": {"region": "r", "zone": "z"},
        "priority": 1,
        "lb_endpoints": [
            {
                "endpoint": {"hostname": "h", "address": {"pipe": {"path": "/tmp/x"}}},
                "load_balancing_weight": 5,
                "health_status": "DRAINING",
                "metadata": {"filter_metadata": {"envoy.lb": {"canary": True}}},
            }
        ],
    }
    cluster = make_cluster("a", load_assignment={"cluster_name": "a", "endpoints": [locality]})
    cluster.hosts()[0].health_flags |= HealthFlag.FAILED_ACTIVE_HC
    status = clusters_json([cluster])["cluster_statuses"][0]["host_statuses"][0]
    assert status.pop("stats")
    assert status == {
        "address": {"pipe": {"path": "/tmp/x"}},
        "health_status": {"failed_active_health_check": True, "eds_health_status": "DRAINING"},
        "weight": 5,
        "hostname": "h",
        "priority": 1,
        "locality": {"region": "r", "zone": "z"},
    }
    lines = clusters_text([cluster]).splitlines()
    assert "a::/tmp/x::health_flags::/failed_active_hc/eds_status_draining" in lines
    assert {"a::/tmp/x::canary::true", "a::/tmp/x::zone::z", "a::/tmp/x::priority::1"} <= set(lines)
