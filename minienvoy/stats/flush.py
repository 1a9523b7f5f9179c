"""The stats flush: merges histograms and hands a snapshot to the sinks.

Envoy: `InstanceBase::flushStats`, `MetricSnapshotImpl`, `Stats::Sink`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from minienvoy.event.dispatcher import Dispatcher
from minienvoy.record import record

from .store import HistogramSample, HostMetric, Sample, Store, TextSample


@record
class CounterSnapshot:
    """A counter, and what it grew by since the flush before."""

    sample: Sample
    delta: int


@record
class MetricSnapshot:
    """Everything at one flush, by name; histograms are merged."""

    counters: Sequence[CounterSnapshot]
    gauges: Sequence[Sample]
    text_readouts: Sequence[TextSample]
    histograms: Sequence[HistogramSample]
    wall_time: float
    """Seconds since the epoch."""
    host_metrics: Mapping[str, HostMetric]
    """Those of the numbers that are of hosts, by name: they have their tags ready."""
    samples: Mapping[str, Mapping[int, int]]
    """How often each value of a histogram was recorded since the flush before, if some sink `wants_samples`."""


class StatSink(Protocol):
    """Where stats go: statsd, a metrics service, ... (`Stats::Sink`)."""

    @property
    def wants_samples(self) -> bool:
        """It tells of every value of a histogram (`Stats::Sink::onHistogramComplete`)."""
        ...

    def close(self) -> None:
        """Nothing more is told."""
        ...

    def flush(self, snapshot: MetricSnapshot) -> None: ...


class StatsFlusher:
    """Flushes every `interval` seconds, or when the admin interface asks if `on_admin`.

    `refresh` is called before each flush and before each read by the admin: gauges that are measured rather than
    counted (memory, uptime) are set there.
    """

    def __init__(
        self,
        store: Store,
        dispatcher: Dispatcher,
        *,
        interval: float = 5.0,
        on_admin: bool = False,
        sinks: Sequence[StatSink] = (),
        refresh: Callable[[], None] | None = None,
    ) -> None:
        self.sinks = list(sinks)
        self._store = store
        self._dispatcher = dispatcher
        self._interval = interval
        self._on_admin = on_admin
        self._refresh = refresh
        self._latched: dict[str, int] = {}
        self._timer = dispatcher.create_timer(self._flush_and_rearm)

    def start(self) -> None:
        if not self._on_admin:
            self._timer.enable(self._interval)

    def stop(self) -> None:
        """The last numbers are told, and nothing more."""
        self._timer.disable()
        if self.sinks:
            self.flush()
        for sink in self.sinks:
            sink.close()

    def on_admin_request(self) -> None:
        """Stats are about to be printed."""
        if self._on_admin:
            self.flush()
        elif self._refresh is not None:
            self._refresh()

    def flush(self) -> None:
        if self._refresh is not None:
            self._refresh()
        samples: dict[str, dict[int, int]] = {}
        if any(sink.wants_samples for sink in self.sinks):
            found = ((each.name, each.histogram.pending_samples()) for each in self._store.histograms())
            samples = {name: values for name, values in found if values}
        self._store.merge_histograms()
        if not self.sinks:
            return
        snapshot = self._snapshot(samples)
        for sink in self.sinks:
            sink.flush(snapshot)

    def _snapshot(self, samples: Mapping[str, Mapping[int, int]]) -> MetricSnapshot:
        before = self._latched
        hosts = self._store.host_metrics()
        numbers = [*self._store.counters(), *(metric.sample for metric in hosts if not metric.gauge)]
        self._latched = {sample.name: sample.value for sample in numbers}
        counters = []
        for sample in numbers:
            grown = sample.value - before.get(sample.name, 0)
            # A counter that is less than it was has been reset, or is a new one of the same name.
            counters.append(CounterSnapshot(sample, grown if grown >= 0 else sample.value))
        return MetricSnapshot(
            counters,
            [*self._store.gauges(), *(metric.sample for metric in hosts if metric.gauge)],
            self._store.text_readouts(),
            self._store.histograms(),
            self._dispatcher.wall_time(),
            {metric.sample.name: metric for metric in hosts},
            samples,
        )

    def _flush_and_rearm(self) -> None:
        self._timer.enable(self._interval)
        self.flush()
