from __future__ import annotations

from collections.abc import Callable

import pytest

from minienvoy.stats.params import StatsParams, parse_stats_params
from minienvoy.stats.render import json_number, render_json, render_text
from minienvoy.stats.store import Store

Recordings = Callable[[str], str]


def test_the_text_is_that_of_envoy(recorded_store: Store, recorded: Recordings) -> None:
    assert render_text(recorded_store, StatsParams()) == recorded("stats.txt")


def without_numbers_of_the_admin_requests(answer: str) -> list[str]:
    return [part.rpartition(":")[0] if "admin" in part else part for part in answer.split("},{")]


@pytest.mark.parametrize(("buckets", "file"), [("", "stats.json"), ("cumulative", "stats_cumulative.json")])
def test_the_json_is_that_of_envoy(recorded_store: Store, buckets: str, file: str, recorded: Recordings) -> None:
    answer = render_json(recorded_store, parse_stats_params({"histogram_buckets": buckets}))
    assert without_numbers_of_the_admin_requests(answer) == without_numbers_of_the_admin_requests(recorded(file))


@pytest.mark.parametrize("buckets", ["cumulative", "disjoint", "detailed", "none"])
def test_histograms_are_those_of_envoy(rq_per_cx_store: Store, buckets: str, recorded: Recordings) -> None:
    params = parse_stats_params({"histogram_buckets": buckets})
    assert render_text(rq_per_cx_store, params) == recorded(f"rq_per_cx_{buckets}.txt")
    assert render_json(rq_per_cx_store, params) == recorded(f"rq_per_cx_{buckets}.json")


def test_detailed_json_with_other_stats_is_that_of_envoy(recorded: Recordings) -> None:
    store = Store()
    store.counter("cluster.ok.upstream_rq_timeout")
    histogram = store.histogram("cluster.ok.upstream_rq_time", "ms")
    for value in (*[0] * 21, 1, 1, 2, 12):
        histogram.record(value)
    store.merge_histograms()
    store.merge_histograms()
    answer = render_json(store, parse_stats_params({"histogram_buckets": "detailed"}))
    assert answer == recorded("histogram_detailed.json")


@pytest.fixture
def small_store() -> Store:
    store = Store()
    store.counter("b").inc()
    store.counter("unused")
    store.gauge("a").set(2)
    store.text_readout("t").set('x"<y>')
    store.histogram("h").record(3)
    store.merge_histograms()
    return store


def test_text_readouts_come_first_and_histograms_last(small_store: Store) -> None:
    assert [line.partition(":")[0] for line in render_text(small_store, StatsParams()).splitlines()] == [
        "t",
        "a",
        "b",
        "unused",
        "h",
    ]


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ({"type": "Counters"}, ["b", "unused"]),
        ({"type": "Gauges"}, ["a"]),
        ({"type": "Histograms"}, ["h"]),
        ({"type": "TextReadouts"}, ["t"]),
        ({"usedonly": ""}, ["t", "a", "b", "h"]),
        ({"filter": "u"}, ["unused"]),
        ({"hidden": "only"}, []),
    ],
)
def test_only_what_is_asked_for(small_store: Store, query: dict[str, str], names: list[str]) -> None:
    text = render_text(small_store, parse_stats_params(query))
    assert [line.partition(":")[0] for line in text.splitlines()] == names


def test_json_of_nothing() -> None:
    assert render_json(Store(), StatsParams()) == '{"stats":[]}'


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"), (0.5, "0.5"), (60000.0, "60000"), (300000.0, "3e+05"), (1800000.0, "1800000"),
        (110.00000000000001, "110.00000000000001"), (float("nan"), "null"), (1e22, "1e+22"), (1200000.0, "1200000"),
        (12000000.0, "1.2e+07"),
    ],
)  # fmt: skip
def test_json_numbers_are_as_short_as_they_can_be(value: float, text: str) -> None:
    assert json_number(value) == text
