"""Stats as Prometheus reads them.

Envoy: `Server::PrometheusStatsFormatter` and `PrometheusStatsRender`.

Stats of one tag-extracted name are one metric. Counters come first, then gauges, text readouts and histograms, each
sorted token by token (`cluster.x` before `cluster_manager.x`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from math import isnan
from typing import Protocol, TypeVar

from .histogram import QUANTILES, Histogram
from .params import StatsParams
from .store import HistogramSample, HostMetric, Sample, Store, TextSample
from .tag_extractor import Tag, TagProducer

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_NOT_IN_NAMES = re.compile("[^a-zA-Z0-9_]")


class _Named(Protocol):
    @property
    def name(self) -> str: ...


_Metric = TypeVar("_Metric", bound=_Named)


def metric_name(tag_extracted_name: str) -> str:
    return "envoy_" + _NOT_IN_NAMES.sub("_", tag_extracted_name)


def formatted_tags(tags: Iterable[Tag]) -> str:
    """Label values are escaped as the exposition format wants it."""
    return ",".join(f'{_NOT_IN_NAMES.sub("_", name)}="{_escape(value)}"' for name, value in tags)


def render_prometheus(store: Store, tags: TagProducer, params: StatsParams) -> str:
    """The whole exposition; `type` of the query is not looked at, as in Envoy."""
    lines: list[str] = []
    counters = [sample for sample in store.counters() if params.wants(sample.name, sample.used)]
    _render(lines, tags, counters, "counter", _number)
    gauges = [sample for sample in store.gauges() if params.wants(sample.name, sample.used)]
    _render(lines, tags, gauges, "gauge", _number)
    if params.text_readouts:
        texts = [sample for sample in store.text_readouts() if params.wants(sample.name, sample.used)]
        _render(lines, tags, texts, "gauge", _text)
    histograms = [sample for sample in store.histograms() if params.wants(sample.name, sample.histogram.used)]
    if params.histogram_summary:
        _render(lines, tags, histograms, "summary", _summary)
    else:
        _render(lines, tags, histograms, "histogram", _buckets)
    hosts = [metric for metric in store.host_metrics() if params.wants(metric.sample.name, metric.sample.used)]
    _render_hosts(lines, [metric for metric in hosts if not metric.gauge], "counter")
    _render_hosts(lines, [metric for metric in hosts if metric.gauge], "gauge")
    return "".join(lines)


def _render_hosts(lines: list[str], metrics: list[HostMetric], kind: str) -> None:
    groups: dict[str, list[HostMetric]] = {}
    for metric in metrics:
        groups.setdefault(metric.tag_extracted_name, []).append(metric)
    for extracted, group in sorted(groups.items()):
        name = metric_name(extracted)
        lines.append(f"# TYPE {name} {kind}\n")
        for metric in group:
            _number(lines, name, tuple(Tag(*each) for each in metric.tags), metric.sample)


def _render(
    lines: list[str],
    tags: TagProducer,
    samples: Iterable[_Metric],
    kind: str,
    write: Callable[[list[str], str, tuple[Tag, ...], _Metric], None],
) -> None:
    groups: dict[str, list[tuple[list[str], tuple[Tag, ...], _Metric]]] = {}
    for sample in samples:
        tagged = tags.tagged(sample.name)
        groups.setdefault(tagged.name, []).append((sample.name.split("."), tagged.tags, sample))
    for extracted in sorted(groups, key=lambda name: name.split(".")):
        name = metric_name(extracted)
        lines.append(f"# TYPE {name} {kind}\n")
        for _, sample_tags, sample in sorted(groups[extracted], key=lambda entry: entry[0]):
            write(lines, name, sample_tags, sample)


def _number(lines: list[str], name: str, tags: tuple[Tag, ...], sample: Sample) -> None:
    lines.append(f"{name}{{{formatted_tags(tags)}}} {sample.value}\n")


def _text(lines: list[str], name: str, tags: tuple[Tag, ...], sample: TextSample) -> None:
    lines.append(f"{name}{{{formatted_tags((*tags, Tag('text_value', sample.value)))}}} 0\n")


def _buckets(lines: list[str], name: str, tags: tuple[Tag, ...], sample: HistogramSample) -> None:
    labels = formatted_tags(tags)
    before = f"{labels}," if labels else ""
    statistics = sample.histogram.cumulative_statistics()
    for bound, count in zip(statistics.supported_buckets, statistics.computed_buckets(), strict=True):
        lines.append(f'{name}_bucket{{{before}le="{bound:.32g}"}} {count}\n')
    lines.append(f'{name}_bucket{{{before}le="+Inf"}} {statistics.sample_count}\n')
    lines.append(f"{name}_sum{{{labels}}} {statistics.sample_sum:.32g}\n")
    lines.append(f"{name}_count{{{labels}}} {statistics.sample_count}\n")


def _summary(lines: list[str], name: str, tags: tuple[Tag, ...], sample: HistogramSample) -> None:
    # Of the last interval alone, as in Envoy.
    labels = formatted_tags(tags)
    before = f"{labels}," if labels else ""
    histogram: Histogram = sample.histogram
    statistics = histogram.interval_statistics()
    for quantile, value in zip(QUANTILES, statistics.quantiles(), strict=True):
        text = "nan" if isnan(value) else f"{value:.32g}"
        lines.append(f'{name}{{{before}quantile="{quantile:g}"}} {text}\n')
    lines.append(f"{name}_sum{{{labels}}} {statistics.sample_sum:.32g}\n")
    lines.append(f"{name}_count{{{labels}}} {statistics.sample_count}\n")


def _escape(value: str) -> str:
    return value.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')
