from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from minienvoy.event.simulated import SimulatedDispatcher
from minienvoy.stats.flush import MetricSnapshot, StatsFlusher
from minienvoy.stats.store import Store


@pytest.fixture
def dispatcher() -> Iterator[SimulatedDispatcher]:
    loop = asyncio.new_event_loop()
    yield SimulatedDispatcher(loop)
    loop.close()


class RecordingSink:
    def __init__(self, wants_samples: bool = False) -> None:
        self.snapshots: list[MetricSnapshot] = []
        self.wants_samples = wants_samples
        self.closed = False

    def close(self) -> None:
        self.closed = True

    def flush(self, snapshot: MetricSnapshot) -> None:
        self.snapshots.append(snapshot)

    def deltas(self) -> list[dict[str, int]]:
        return [{counter.sample.name: counter.delta for counter in one.counters} for one in self.snapshots]


def test_histograms_are_merged_and_sinks_called_every_interval(dispatcher: SimulatedDispatcher) -> None:
    store, sink = Store(), RecordingSink()
    histogram = store.histogram("h")
    flusher = StatsFlusher(store, dispatcher, interval=5, sinks=[sink])
    flusher.start()
    histogram.record(1)
    dispatcher.advance(4.9)
    assert not histogram.used
    dispatcher.advance(0.2)
    assert histogram.used
    dispatcher.advance(5)
    assert len(sink.snapshots) == 2
    flusher.stop()
    assert (len(sink.snapshots), sink.closed) == (3, True), "the last numbers are told"
    dispatcher.advance(20)
    assert len(sink.snapshots) == 3


def test_sinks_see_what_counters_grew_by(dispatcher: SimulatedDispatcher) -> None:
    store, sink = Store(), RecordingSink()
    flusher = StatsFlusher(store, dispatcher, sinks=[sink])
    counter = store.counter("c")
    counter.add(3)
    flusher.flush()
    counter.add(2)
    flusher.flush()
    flusher.flush()
    store.reset_counters()
    counter.add(1)
    flusher.flush()
    assert sink.deltas() == [{"c": 3}, {"c": 2}, {"c": 0}, {"c": 1}]


def test_flush_on_admin_flushes_then_and_never_by_time(dispatcher: SimulatedDispatcher) -> None:
    store = Store()
    histogram = store.histogram("h")
    flusher = StatsFlusher(store, dispatcher, interval=1, on_admin=True)
    flusher.start()
    histogram.record(1)
    dispatcher.advance(10)
    assert not histogram.used
    flusher.on_admin_request()
    assert histogram.used


def test_measured_gauges_are_refreshed_before_an_admin_reads_them(dispatcher: SimulatedDispatcher) -> None:
    store = Store()
    uptime = store.gauge("server.uptime")
    flusher = StatsFlusher(store, dispatcher, refresh=lambda: uptime.set(uptime.value + 1))
    flusher.on_admin_request()
    flusher.flush()
    assert store.value("server.uptime") == 2


def test_a_sink_that_wants_samples_is_told_of_every_value(dispatcher: SimulatedDispatcher) -> None:
    store, sink = Store(), RecordingSink(wants_samples=True)
    flusher = StatsFlusher(store, dispatcher, sinks=[sink, RecordingSink()])
    histogram = store.histogram("h")
    for value in (3, 3, 5):
        histogram.record(value)
    flusher.flush()
    flusher.flush()
    assert [dict(one.samples) for one in sink.snapshots] == [{"h": {3: 2, 5: 1}}, {}]


def test_samples_that_are_folded_already_are_told_by_their_buckets(dispatcher: SimulatedDispatcher) -> None:
    store, sink = Store(), RecordingSink(wants_samples=True)
    flusher = StatsFlusher(store, dispatcher, sinks=[sink])
    histogram = store.histogram("h")
    for value in range(2000):
        histogram.record(value)
    flusher.flush()
    told = sink.snapshots[0].samples["h"]
    assert sum(told.values()) == 2000
    assert told[100] == 10, "100 to 109"
    assert len(told) < 1300
