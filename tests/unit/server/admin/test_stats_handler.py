from __future__ import annotations

import json

import pytest

from .conftest import recorded


@pytest.fixture(autouse=True)
def some_stats(server):
    server.stats.counter("cluster.svc.upstream_rq_total").add(2)
    server.stats.counter("cluster.svc.upstream_rq_timeout")
    server.stats.gauge("cluster.svc.upstream_cx_active").set(1)
    server.stats.text_readout("control_plane.identifier").set("<me>")


SVC = "/stats?filter=^cluster\\.svc\\.upstream"


def test_stats_as_text(ask):
    response = ask(SVC)
    assert dict(response.headers)["content-type"] == "text/plain; charset=UTF-8"
    assert response.body.decode() == (
        "cluster.svc.upstream_cx_active: 1\ncluster.svc.upstream_rq_timeout: 0\ncluster.svc.upstream_rq_total: 2\n"
    )


def test_only_used_stats_on_demand(ask):
    assert b"upstream_rq_timeout" not in ask(f"{SVC}&usedonly").body


def test_filter_can_be_inverted(ask):
    body = ask("/stats?filter=svc|cluster_manager&invert_filter").body
    assert body == b'control_plane.identifier: "<me>"\n'


def test_stats_as_json(ask):
    response = ask(f"{SVC}&format=json&type=Gauges")
    assert dict(response.headers)["content-type"] == "application/json"
    assert json.loads(response.body) == {"stats": [{"name": "cluster.svc.upstream_cx_active", "value": 1}]}


@pytest.mark.parametrize("target", ["/stats/prometheus", "/stats?format=prometheus", "/stats/prometheus?format=json"])
def test_stats_for_prometheus(ask, target):
    response = ask(target)
    assert dict(response.headers)["content-type"] == "text/plain; charset=UTF-8"
    body = response.body.decode()
    assert (
        '# TYPE envoy_cluster_upstream_rq_total counter\nenvoy_cluster_upstream_rq_total{envoy_cluster_name="svc"} 2\n'
        in body
    )


@pytest.mark.parametrize("page", ["html", "active-html"])
def test_stats_as_a_page_are_escaped(ask, page):
    response = ask(f"/stats?format={page}")
    assert dict(response.headers)["content-type"] == "text/html; charset=UTF-8"
    assert b"&lt;me&gt;" in response.body
    assert b"<me>" not in response.body


def test_the_page_of_stats_has_a_form_with_what_was_asked_for(ask):
    page = ask("/stats?format=html&type=Gauges&usedonly&filter='><script>").body.decode()
    assert "<option value='Gauges' selected>" in page
    assert "<option value='html' selected>" in page
    assert "name='usedonly' id='param-1-stats-usedonly' form='stats' checked" in page
    assert "value='&#x27;&gt;&lt;script&gt;'" in page
    assert "http-equiv" not in page


def test_the_active_page_asks_again_by_itself(ask):
    assert b"<meta http-equiv='refresh' content='5'>" in ask("/stats?format=active-html").body


@pytest.mark.parametrize(
    ("query", "body"),
    [
        ("format=foo", recorded("stats_format_foo.txt")),
        ("filter=*", "Invalid re2 regex: no argument for repetition operator: *"),
        ("type=foo", "invalid &type= param"),
    ],
)
def test_wrong_queries_are_refused_in_envoys_words(ask, query, body):
    response = ask(f"/stats?{query}")
    assert (response.status, response.body.decode()) == (400, body)


def test_a_regex_that_makes_other_engines_explode_does_not_stop_the_server(ask, server):
    server.stats.counter("a" * 200)
    assert ask("/stats?filter=(a*)*b").status == 200


def test_counters_are_reset(ask, server):
    assert ask("/reset_counters", "POST").body == b"OK\n"
    assert server.stats.value("cluster.svc.upstream_rq_total") == 0
    assert server.stats.value("cluster.svc.upstream_cx_active") == 1


def test_gauges_that_are_measured_are_measured_before_they_are_shown(ask, server, monkeypatch):
    asked = []
    monkeypatch.setattr(server.stats_flusher, "on_admin_request", lambda: asked.append(True))
    ask("/stats")
    assert asked == [True]


def test_recent_lookups_are_switched_on_and_off_and_always_empty(ask):
    disabled = b"Lookup tracking is not enabled. Use /stats/recentlookups/enable to enable.\n\ntotal: 0\n"
    assert ask("/stats/recentlookups").body == disabled
    assert ask("/stats/recentlookups/enable", "POST").body == b"OK\n"
    assert ask("/stats/recentlookups").body == b"   Count Lookup\n\ntotal: 0\n"
    assert ask("/stats/recentlookups/clear", "POST").body == b"OK\n"
    assert ask("/stats/recentlookups/disable", "POST").body == b"OK\n"
    assert ask("/stats/recentlookups").body == disabled
