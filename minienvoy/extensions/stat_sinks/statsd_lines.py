"""Statistics as statsd reads them, line by line.

Envoy: `buildMessage`, `buildTagStr` of `Common::Statsd::UdpStatsdSink`. Envoy sends every value of a histogram when it
is recorded; here those of an interval are sent with the flush. Where there are very many, the line of a value says how
often it was recorded (`|@rate`), in place of that many lines.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from ...record import record
from ...stats.flush import MetricSnapshot
from ...stats.histogram import PERCENT_SCALE
from ...stats.tag_extractor import TagProducer

DEFAULT_PREFIX: Final = "envoy"
_MANY: Final = 1000
"""Samples of one histogram, of which each has a line of its own."""


@record
class TagFormat:
    """How tags stand in a line: `start`, then names and values around `assign`, between them `separator`."""

    start: str
    assign: str
    separator: str
    after_value: bool


DOG_STATSD: Final = TagFormat("|#", ":", ",", True)
GRAPHITE: Final = TagFormat(";", "=", ";", False)


class StatsdLines:
    """`tags` takes tags out of names, to stand in the lines as `tag_format` says; None: names are whole."""

    def __init__(self, prefix: str, tags: TagProducer | None = None, tag_format: TagFormat = DOG_STATSD) -> None:
        self._prefix = prefix or DEFAULT_PREFIX
        self._tags = tags
        self._format = tag_format

    def of(self, snapshot: MetricSnapshot) -> Iterator[str]:
        """Of what has ever been counted or set; the values of histograms are in `of_samples`."""
        hosts = snapshot.host_metrics
        for counter in snapshot.counters:
            sample = counter.sample
            if sample.used or sample.name in hosts:
                yield self._line(snapshot, sample.name, str(counter.delta), "|c")
        for gauge in snapshot.gauges:
            if gauge.used or gauge.name in hosts:
                yield self._line(snapshot, gauge.name, str(gauge.value), "|g")

    def of_samples(self, snapshot: MetricSnapshot) -> Iterator[str]:
        units = {each.name: each.histogram.unit for each in snapshot.histograms}
        for name, values in snapshot.samples.items():
            percent = units.get(name) == "percent"
            kind = "|h" if percent else "|ms"
            many = sum(values.values()) > _MANY
            for value, count in values.items():
                text = f"{value / PERCENT_SCALE:g}" if percent else str(value)
                if many and count > 1:
                    yield self._line(snapshot, name, text, f"{kind}|@{1 / count:g}")
                    continue
                line = self._line(snapshot, name, text, kind)
                for _ in range(count):
                    yield line

    def _line(self, snapshot: MetricSnapshot, name: str, value: str, kind: str) -> str:
        if self._tags is None:
            return f"{self._prefix}.{name}:{value}{kind}"
        host = snapshot.host_metrics.get(name)
        if host is not None:
            name, pairs = host.tag_extracted_name, host.tags
        else:
            tagged = self._tags.tagged(name)
            name, pairs = tagged.name, tuple((tag.name, tag.value) for tag in tagged.tags)
        how = self._format
        told = how.start + how.separator.join(f"{key}{how.assign}{each}" for key, each in pairs) if pairs else ""
        if how.after_value:
            return f"{self._prefix}.{name}:{value}{kind}{told}"
        return f"{self._prefix}.{name}{told}:{value}{kind}"
