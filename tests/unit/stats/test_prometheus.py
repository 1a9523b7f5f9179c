from __future__ import annotations

from collections.abc import Callable

from minienvoy.stats.params import StatsParams, parse_stats_params
from minienvoy.stats.prometheus import render_prometheus
from minienvoy.stats.store import Store
from minienvoy.stats.tag_extractor import TagProducer

Recordings = Callable[[str], str]


def without_what_the_admin_requests_changed(exposition: str) -> list[str]:
    return [line.rpartition(" ")[0] if "admin" in line else line for line in exposition.splitlines()]


def test_the_exposition_is_that_of_envoy(recorded_store: Store, recorded: Recordings) -> None:
    exposition = render_prometheus(recorded_store, TagProducer(), StatsParams())
    assert without_what_the_admin_requests_changed(exposition) == without_what_the_admin_requests_changed(
        recorded("stats_prometheus.txt")
    )


def test_a_histogram_with_samples_is_that_of_envoy(rq_per_cx_store: Store, recorded: Recordings) -> None:
    assert render_prometheus(rq_per_cx_store, TagProducer(), StatsParams()) == recorded("rq_per_cx_prometheus.txt")


def test_a_summary_is_that_of_envoy(rq_per_cx_store: Store, recorded: Recordings) -> None:
    params = parse_stats_params({"histogram_buckets": "summary"})
    assert render_prometheus(rq_per_cx_store, TagProducer(), params) == recorded("rq_per_cx_summary_prometheus.txt")


def test_default_buckets_are_those_of_envoy(recorded: Recordings) -> None:
    store = Store()
    store.counter("cluster.ok.upstream_rq_timeout")
    histogram = store.histogram("cluster.ok.upstream_rq_time", "ms")
    for value in (*[0] * 21, 1, 1, 2, 12):
        histogram.record(value)
    store.merge_histograms()
    assert render_prometheus(store, TagProducer(), StatsParams()) == recorded("histogram_prometheus.txt")


def test_used_only_and_filter() -> None:
    store = Store()
    store.counter("server.a").inc()
    store.counter("server.b")
    store.counter("other").inc()
    params = parse_stats_params({"usedonly": "", "filter": "^server"})
    assert render_prometheus(store, TagProducer(), params) == "# TYPE envoy_server_a counter\nenvoy_server_a{} 1\n"


def test_text_readouts_are_gauges_when_asked_for_and_values_are_escaped() -> None:
    store = Store()
    store.text_readout("control_plane.identifier").set('a"b\\c\n')
    assert render_prometheus(store, TagProducer(), StatsParams()) == ""
    assert render_prometheus(store, TagProducer(), parse_stats_params({"text_readouts": ""})) == (
        '# TYPE envoy_control_plane_identifier gauge\nenvoy_control_plane_identifier{text_value="a\\"b\\\\c\\n"} 0\n'
    )
