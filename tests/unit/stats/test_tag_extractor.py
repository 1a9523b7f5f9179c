from __future__ import annotations

import pytest

from minienvoy.errors import ConfigError
from minienvoy.stats.settings import TagSpecifier
from minienvoy.stats.tag_extractor import TagProducer


@pytest.mark.parametrize(
    ("stat", "extracted", "tags"),
    [
        ("cluster.svc.upstream_rq_200", "cluster.upstream_rq", {"response_code": "200", "cluster_name": "svc"}),
        (
            "cluster.svc.external.upstream_rq_5xx",
            "cluster.external.upstream_rq_xx",
            {"response_code_class": "5", "cluster_name": "svc"},
        ),
        ("http.in.downstream_cx_total", "http.downstream_cx_total", {"http_conn_manager_prefix": "in"}),
        (
            "listener.127.0.0.1_80.http.in.downstream_rq_2xx",
            "listener.http.downstream_rq_xx",
            {"response_code_class": "2", "http_conn_manager_prefix": "in", "listener_address": "127.0.0.1_80"},
        ),
        ("listener.[__1]_80.downstream_cx_total", "listener.downstream_cx_total", {"listener_address": "[__1]_80"}),
        ("listener.admin.downstream_cx_total", "listener.admin.downstream_cx_total", {}),
        (
            "listener.0.0.0.0_80.worker_3.downstream_cx_total",
            "listener.worker_downstream_cx_total",
            {"worker_id": "3", "listener_address": "0.0.0.0_80"},
        ),
        ("server.worker_0.watchdog_miss", "server.worker_watchdog_miss", {"worker_id": "0"}),
        ("tcp.in.downstream_cx_total", "tcp.downstream_cx_total", {"tcp_prefix": "in"}),
        (
            "vhost.v.vcluster.c.upstream_rq_404",
            "vhost.vcluster.upstream_rq",
            {"response_code": "404", "virtual_cluster": "c", "virtual_host": "v"},
        ),
        ("vhost.v.route.r.upstream_rq_total", "vhost.route.upstream_rq_total", {"virtual_host": "v", "route": "r"}),
        (
            "http.in.rds.a.b.update_success",
            "http.rds.update_success",
            {"rds_route_config": "a.b", "http_conn_manager_prefix": "in"},
        ),
        (
            "mongo.p.collection.c.query.total",
            "mongo.collection.query.total",
            {"mongo_collection": "c", "mongo_prefix": "p"},
        ),
        ("in.http_local_rate_limit.ok", "http_local_rate_limit.ok", {"local_http_ratelimit_prefix": "in"}),
        ("server.live", "server.live", {}),
        ("cluster_manager.active_clusters", "cluster_manager.active_clusters", {}),
    ],
)
def test_envoys_rules(stat: str, extracted: str, tags: dict[str, str]) -> None:
    tagged = TagProducer().tagged(stat)
    assert tagged.name == extracted
    assert {tag.name.removeprefix("envoy."): tag.value for tag in tagged.tags} == tags


def test_rules_of_the_configuration() -> None:
    producer = TagProducer(
        [
            TagSpecifier("zone", fixed_value="z1"),
            TagSpecifier("shard", regex=r"^cluster\.(shard_(\d+)\.)"),
            TagSpecifier("envoy.response_code"),
        ],
        use_all_default_tags=False,
    )
    tagged = producer.tagged("cluster.shard_7.upstream_rq_200")
    assert tagged.name == "cluster.upstream_rq"
    assert dict(tagged.tags) == {"zone": "z1", "shard": "7", "envoy.response_code": "200"}


@pytest.mark.parametrize(
    ("specifier", "problem"),
    [
        (TagSpecifier("mine"), "No regex specified for tag specifier and no default regex for name: 'mine'"),
        (TagSpecifier("mine", regex="("), "Invalid regex"),
    ],
)
def test_rules_that_can_not_be_used_are_refused(specifier: TagSpecifier, problem: str) -> None:
    with pytest.raises(ConfigError, match=problem.replace("(", r"\(")):
        TagProducer([specifier])


def test_a_rule_without_a_group_says_nothing() -> None:
    producer = TagProducer([TagSpecifier("mine", regex="a")], use_all_default_tags=False)
    assert producer.tagged("cluster.a.x").tags == ()


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(TagProducer, "MAX_REMEMBERED", 3)
    producer = TagProducer()
    for number in range(10):
        assert producer.tagged(f"cluster.c{number}.x").name == "cluster.x"
    assert len(producer._remembered) <= 3
