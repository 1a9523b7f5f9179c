from __future__ import annotations

import json
from types import SimpleNamespace

import pytest

from minienvoy.server.admin.admin import Admin
from minienvoy.server.admin.request import AdminRequest
from minienvoy.upstream.host import HealthFlag

from .conftest import recorded

CLUSTERS = """
static_resources:
  clusters:
  - name: svc
    load_assignment: &assignment
      cluster_name: svc
      endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: 35921}}}}]}]
  - name: other
    load_assignment: *assignment
"""


@pytest.fixture
def server(make_server):
    server = make_server(CLUSTERS)
    (host,) = server.cluster_manager.get("svc").hosts()
    host.stats.cx_active, host.stats.cx_total, host.stats.rq_success, host.stats.rq_total = 1, 2, 1, 2
    return server


def test_clusters_as_text(ask):
    assert ask("/clusters?filter=^svc$").body.decode() == recorded("clusters.txt")


def test_clusters_as_json(ask):
    response = ask("/clusters?filter=svc&format=json")
    assert dict(response.headers)["content-type"] == "application/json"
    assert response.body.decode() == recorded("clusters.json")


def test_all_clusters_stand_in_the_order_of_the_configuration(ask):
    names = [line.split("::")[0] for line in ask("/clusters").body.decode().splitlines()]
    assert sorted(set(names), key=names.index) == ["svc", "other"]


def test_a_filter_that_takes_none_leaves_an_empty_message(ask):
    assert ask("/clusters?filter=nope").body == b""
    assert ask("/clusters?filter=nope&format=json").body == b"{}\n"


def test_wrong_filter_is_refused(ask):
    response = ask("/clusters?filter=*")
    assert (response.status, response.body) == (400, b"Invalid re2 regex")


SPECIAL = """
static_resources:
  clusters:
  - name: a
    circuit_breakers: {thresholds: [{max_connections: 0}]}
    load_assignment:
      cluster_name: a
      endpoints:
      - locality: {region: r, zone: z}
        priority: 1
        lb_endpoints:
        - endpoint: {hostname: h, address: {pipe: {path: /tmp/x}}}
          load_balancing_weight: 5
          health_status: DRAINING
          metadata: {filter_metadata: {envoy.lb: {canary: true}}}
"""


@pytest.fixture
def special(make_server):
    server = make_server(SPECIAL)
    (host,) = server.cluster_manager.get("a").hosts()
    host.health_flags |= HealthFlag.FAILED_ACTIVE_HC
    host.outlier = SimpleNamespace(success_rate=99.5, local_origin_success_rate=0.0)
    admin = Admin(server)
    return lambda target: admin.run(AdminRequest.from_parts("GET", target)).body.decode()


def test_a_host_tells_what_is_special_about_it(special):
    (status,) = json.loads(special("/clusters?format=json"))["cluster_statuses"][0]["host_statuses"]
    assert status.pop("stats")
    assert list(status.items()) == [
        ("address", {"pipe": {"path": "/tmp/x"}}),
        ("health_status", {"failed_active_health_check": True, "eds_health_status": "DRAINING"}),
        ("success_rate", {"value": 99.5}),
        ("weight", 5),
        ("hostname", "h"),
        ("priority", 1),
        ("local_origin_success_rate", {}),
        ("locality", {"region": "r", "zone": "z"}),
    ]
    assert {
        "a::/tmp/x::health_flags::/failed_active_hc/eds_status_draining",
        "a::/tmp/x::canary::true",
        "a::/tmp/x::zone::z",
        "a::/tmp/x::priority::1",
        "a::/tmp/x::success_rate::99.5",
        "a::/tmp/x::local_origin_success_rate::0",
    } <= set(special("/clusters").splitlines())


def test_a_limit_of_nothing_is_shown(special):
    breakers = json.loads(special("/clusters?format=json"))["cluster_statuses"][0]["circuit_breakers"]
    assert breakers["thresholds"][0] == {
        "max_connections": 0,
        "max_pending_requests": 1024,
        "max_requests": 1024,
        "max_retries": 3,
    }
