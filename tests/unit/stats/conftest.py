"""What Envoy 1.40 answered, and stores that hold the same."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from minienvoy.stats.prometheus import metric_name
from minienvoy.stats.settings import HistogramBucketSettings
from minienvoy.stats.store import Store
from minienvoy.stats.tag_extractor import TagProducer

RECORDED = Path(__file__).parent / "recorded"


@pytest.fixture
def recorded() -> Callable[[str], str]:
    """Reads one of the recordings."""
    return lambda name: (RECORDED / name).read_text()


@pytest.fixture
def recorded_store(recorded: Callable[[str], str]) -> Store:
    """One with the stats of `stats.txt`; their types are those that `stats_prometheus.txt` tells."""
    words = [line.split() for line in recorded("stats_prometheus.txt").splitlines() if line.startswith("# TYPE ")]
    types = {metric: kind for _, _, metric, kind in words}
    tags = TagProducer()
    store = Store()
    for line in recorded("stats.txt").splitlines():
        name, _, value = line.partition(": ")
        kind = types[metric_name(tags.tagged(name).name)]
        if kind == "histogram":
            store.histogram(name)
        elif kind == "gauge":
            store.gauge(name).set(int(value))
        else:
            store.counter(name).add(int(value))
    return store


@pytest.fixture
def rq_per_cx_store() -> Store:
    """One with the histogram of the recordings `rq_per_cx_*`, one flush after the samples' own."""
    bounds = (1, 2, 10, 11, 25, 99, 100, 101, 104, 105, 110, 111, 250)
    store = Store(histogram_settings=HistogramBucketSettings(((lambda name: True, bounds),)))
    store.histogram("cluster.dns.upstream_rq_per_cx")
    histogram = store.histogram("cluster.svc.upstream_rq_per_cx")
    for value in (1, 2, 9, 10, 10, 25, 99, 100, 101, 105, 110):
        histogram.record(value)
    store.merge_histograms()
    store.merge_histograms()
    return store
