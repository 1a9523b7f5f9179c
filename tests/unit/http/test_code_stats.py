from __future__ import annotations

from minienvoy.http.code_stats import CodeCounts, CodeStats
from minienvoy.stats.store import Store


def counters(store: Store) -> dict[str, int]:
    return {sample.name: sample.value for sample in store.counters()}


def test_nothing_exists_before_the_first_response() -> None:
    store = Store()
    CodeStats(store.scope("cluster.svc"))
    assert counters(store) == {}
    assert store.histograms() == []


def test_a_response_counts_by_code_by_class_and_split() -> None:
    store = Store()
    codes = CodeStats(store.scope("cluster.svc"))
    codes.charge_response(200, False)
    codes.charge_response(200, False)
    codes.charge_response(204, True)
    assert counters(store) == {
        "cluster.svc.external.upstream_rq_200": 2,
        "cluster.svc.external.upstream_rq_2xx": 2,
        "cluster.svc.external.upstream_rq_completed": 2,
        "cluster.svc.internal.upstream_rq_204": 1,
        "cluster.svc.internal.upstream_rq_2xx": 1,
        "cluster.svc.internal.upstream_rq_completed": 1,
        "cluster.svc.upstream_rq_200": 2,
        "cluster.svc.upstream_rq_204": 1,
        "cluster.svc.upstream_rq_2xx": 3,
        "cluster.svc.upstream_rq_completed": 3,
    }


def test_a_code_outside_the_classes_is_unknown() -> None:
    store = Store()
    CodeCounts(store.scope("vhost.v.vcluster.c")).charge(777)
    assert counters(store) == {
        "vhost.v.vcluster.c.upstream_rq_unknown": 1,
        "vhost.v.vcluster.c.upstream_rq_completed": 1,
    }


def test_canary_and_zones_are_counted_beside() -> None:
    store = Store()
    codes = CodeStats(store.scope("cluster.svc"))
    codes.charge_category("canary", 503)
    codes.charge_category_timing("canary", 4)
    codes.charge_category("zone.a.b", 200)
    assert counters(store)["cluster.svc.canary.upstream_rq_5xx"] == 1
    assert counters(store)["cluster.svc.zone.a.b.upstream_rq_200"] == 1
    assert [sample.name for sample in store.histograms()] == ["cluster.svc.canary.upstream_rq_time"]


def test_times_are_split_as_codes_are() -> None:
    store = Store()
    codes = CodeStats(store.scope("cluster.svc"))
    codes.charge_timing(3, False)
    codes.charge_timing(4, True)
    store.merge_histograms()
    counts = {sample.name: sample.histogram.cumulative_statistics().sample_count for sample in store.histograms()}
    assert counts == {
        "cluster.svc.external.upstream_rq_time": 1,
        "cluster.svc.internal.upstream_rq_time": 1,
        "cluster.svc.upstream_rq_time": 2,
    }


def test_reset_keeps_the_names() -> None:
    store = Store()
    codes = CodeStats(store.scope("c"))
    codes.charge_response(200, False)
    store.reset_counters()
    assert set(counters(store).values()) == {0}
    assert "c.upstream_rq_200" in counters(store)
    codes.charge_response(200, False)
    assert counters(store)["c.external.upstream_rq_2xx"] == 1


def test_everything_goes_with_the_cluster() -> None:
    store = Store()
    scope = store.scope("cluster.svc")
    codes = CodeStats(scope)
    codes.charge_response(200, False)
    codes.charge_timing(1, False)
    codes.charge_category("canary", 200)
    scope.remove()
    assert not store.entries
