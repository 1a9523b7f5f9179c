from __future__ import annotations

import pytest

from minienvoy.stats.histogram import DEFAULT_BUCKETS, Histogram, MillisecondsHistogram
from minienvoy.stats.settings import HistogramBucketSettings, StatsMatcherSettings
from minienvoy.stats.store import CounterValue, GaugeValue, Sample, StatsStruct, Store


class ConnectionStats(StatsStruct):
    USED_WITH = {"cx_active": "cx_total", "cx_limit": ""}

    cx_total: CounterValue
    cx_active: GaugeValue
    cx_limit: GaugeValue
    cx_idle: GaugeValue
    cx_length_ms: MillisecondsHistogram
    cx_bytes: Histogram


class MoreConnectionStats(ConnectionStats):
    cx_more: CounterValue


def test_a_struct_has_slots_that_start_at_zero() -> None:
    stats = ConnectionStats()
    assert (stats.cx_total, stats.cx_active) == (0, 0)
    assert (stats.cx_length_ms.unit, stats.cx_bytes.unit) == ("ms", "unspecified")
    assert not hasattr(stats, "__dict__")


def test_a_derived_struct_has_the_fields_of_its_base_first() -> None:
    assert MoreConnectionStats.COUNTERS == ("cx_total", "cx_more")
    assert MoreConnectionStats.GAUGES == ConnectionStats.GAUGES


def test_a_scope_names_what_is_under_it() -> None:
    store = Store()
    stats = store.scope("tcp.").scope("ingress").struct(ConnectionStats)
    stats.cx_total += 2
    assert store.counters() == [Sample("tcp.ingress.cx_total", 2, True)]
    assert [sample.name for sample in store.histograms()] == ["tcp.ingress.cx_bytes", "tcp.ingress.cx_length_ms"]


def test_characters_that_confuse_sinks_are_replaced_in_scopes() -> None:
    store = Store()
    store.scope("listener.[::1]:80").counter("a")
    store.scope("cluster.http://x:/y").counter("b")
    assert [sample.name for sample in store.counters()] == ["cluster.http_x_y.b", "listener.[__1]_80.a"]


def test_the_same_struct_under_the_same_prefix_is_one() -> None:
    store = Store()
    first, second = store.scope("x"), store.scope("x.")
    assert first.struct(ConnectionStats) is second.struct(ConnectionStats)
    first.remove()
    assert store.counters()
    second.remove()
    assert not store.entries


def test_asking_twice_in_one_scope_is_one_reference() -> None:
    store = Store()
    scope = store.scope("x")
    assert scope.counter("a") is scope.counter("a")
    scope.remove()
    assert not store.entries


def test_scopes_below_are_removed_with_their_parent() -> None:
    store = Store()
    scope = store.scope("x")
    scope.scope("y").histogram("h").record(1)
    scope.scope("z").provider(lambda: [("p", 1)])
    scope.remove()
    assert not store.entries


def test_removed_stats_start_again_at_zero() -> None:
    store = Store()
    scope = store.scope("x")
    scope.struct(ConnectionStats).cx_total += 5
    scope.remove()
    store.scope("x").struct(ConnectionStats)
    assert store.counters() == [Sample("x.cx_total", 0, False)]


def test_sources_of_one_name_add_up() -> None:
    store = Store()
    scope = store.scope("x")
    scope.struct(ConnectionStats).cx_total += 5
    scope.provider(lambda: [("cx_total", 2)])
    assert store.value("x.cx_total") == 7


def test_gauges_are_used_with_their_counter_or_once_seen() -> None:
    store = Store()
    stats = store.scope("x").struct(ConnectionStats)

    def used() -> list[str]:
        return [sample.name for sample in store.gauges() if sample.used]

    assert used() == ["x.cx_limit"]
    stats.cx_total += 1
    assert used() == ["x.cx_active", "x.cx_limit"]
    stats.cx_idle = 1
    assert "x.cx_idle" in used()
    stats.cx_idle = 0
    assert "x.cx_idle" in used()


def test_the_counter_that_shows_use_can_be_in_another_struct() -> None:
    class BreakerStats(StatsStruct):
        USED_WITH = {"cx_open": "cx_total"}

        cx_open: GaugeValue

    store = Store()
    connections = store.scope("x").struct(ConnectionStats)
    store.scope("x.breakers").struct(BreakerStats, used_with=connections)
    connections.cx_total += 1
    assert Sample("x.breakers.cx_open", 0, True) in store.gauges()


def test_a_single_gauge_that_was_set_to_zero_is_used() -> None:
    store = Store()
    store.gauge("a").set(0)
    store.gauge("b")
    assert [sample.used for sample in store.gauges()] == [True, False]


def test_reset_counters_keeps_gauges_and_what_was_used() -> None:
    store = Store()
    scope = store.scope("x")
    stats = scope.struct(ConnectionStats)
    stats.cx_total = stats.cx_active = 3
    store.counter("single").inc()
    provided = {"p": 4}
    scope.provider(lambda: provided.items(), reset=lambda: provided.update(p=0))
    store.reset_counters()
    assert store.counters() == [Sample("single", 0, True), Sample("x.cx_total", 0, True), Sample("x.p", 0, True)]
    assert store.value("x.cx_active") == 3


def test_what_the_matcher_rejects_does_not_exist() -> None:
    matcher = StatsMatcherSettings(exclusion_list=(lambda name: name.endswith("cx_total"),))
    store = Store(matcher)
    store.scope("x").struct(ConnectionStats)
    assert store.counters() == []
    assert len(store.gauges()) == 3


def test_an_inclusion_list_rejects_the_rest_and_reject_all_everything() -> None:
    included = StatsMatcherSettings(inclusion_list=(lambda name: name.startswith("a"), lambda name: name == "b"))
    assert [included.rejects(name) for name in ("ax", "b", "c")] == [False, False, True]
    assert StatsMatcherSettings(reject_all=True).rejects("a")
    assert not StatsMatcherSettings().rejects("a")


def test_bucket_settings_given_later_reach_histograms_that_exist() -> None:
    store = Store()
    early = store.scope("x").struct(ConnectionStats)
    store.configure(None, HistogramBucketSettings(((lambda name: name.endswith("_ms"), (1.0, 2.0)),)))
    late = store.histogram("y_ms")
    assert early.cx_length_ms.supported_buckets == late.supported_buckets == (1.0, 2.0)
    assert early.cx_bytes.supported_buckets == DEFAULT_BUCKETS


def test_the_value_of_an_unknown_name_is_an_error() -> None:
    with pytest.raises(KeyError):
        Store().value("nope")
