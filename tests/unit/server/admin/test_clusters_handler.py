from __future__ import annotations

import pytest

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
