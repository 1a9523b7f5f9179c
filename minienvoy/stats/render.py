"""Stats as text and JSON.

Envoy: `Server::StatsTextRender`, `StatsJsonRender`.
"""

from __future__ import annotations

from math import isnan

from .histogram import QUANTILES, Bucket, Histogram
from .params import StatsParams
from .store import HistogramSample, Sample, Store, TextSample


def render_text(store: Store, params: StatsParams) -> str:
    lines = [f'{sample.name}: "{sample.value}"\n' for sample in _texts(store, params)]
    lines.extend(f"{sample.name}: {sample.value}\n" for sample in _numbers(store, params))
    lines.extend(
        f"{name}:{_histogram_text(histogram, params.histogram_buckets)}\n"
        for name, histogram in _histograms(store, params)
    )
    return "".join(lines)


def render_json(store: Store, params: StatsParams) -> str:
    stats = [f'{{"name":{_quote(sample.name)},"value":{_quote(sample.value)}}}' for sample in _texts(store, params)]
    stats.extend(f'{{"name":{_quote(sample.name)},"value":{sample.value}}}' for sample in _numbers(store, params))
    if histograms := _histograms(store, params):
        stats.append(f'{{"histograms":{_histograms_json(histograms, params.histogram_buckets)}}}')
    return f'{{"stats":[{",".join(stats)}]}}'


def quantile_summary(histogram: Histogram) -> str:
    """`P0(interval,cumulative) P25(...) ...`, or that nothing is recorded."""
    if not histogram.used:
        return "No recorded values"
    interval = histogram.interval_statistics().quantiles()
    cumulative = histogram.cumulative_statistics().quantiles()
    return " ".join(
        f"P{100 * quantile:g}({_shortest(recent)},{_shortest(total)})"
        for quantile, recent, total in zip(QUANTILES, interval, cumulative, strict=True)
    )


def _texts(store: Store, params: StatsParams) -> list[TextSample]:
    if params.hidden_only or params.type not in ("All", "TextReadouts"):
        return []
    return [sample for sample in store.text_readouts() if params.wants(sample.name, sample.used)]


def _numbers(store: Store, params: StatsParams) -> list[Sample]:
    if params.hidden_only:
        return []
    samples: list[Sample] = []
    if params.type in ("All", "Counters"):
        samples.extend(store.counters())
    if params.type in ("All", "Gauges"):
        samples.extend(store.gauges())
    hosts = [
        metric.sample
        for metric in store.host_metrics()
        if params.type in ("All", "Gauges" if metric.gauge else "Counters")
    ]
    samples.sort()
    return [sample for sample in (*samples, *hosts) if params.wants(sample.name, sample.used)]


def _histograms(store: Store, params: StatsParams) -> list[HistogramSample]:
    if params.hidden_only or params.type not in ("All", "Histograms"):
        return []
    return [sample for sample in store.histograms() if params.wants(sample.name, sample.histogram.used)]


def _histogram_text(histogram: Histogram, mode: str) -> str:
    if not mode or not histogram.used:
        return f" {quantile_summary(histogram)}"
    interval = histogram.interval_statistics()
    cumulative = histogram.cumulative_statistics()
    if mode == "detailed":
        return (
            f"\n  totals={_detail_text(cumulative.buckets)}\n  intervals={_detail_text(interval.buckets)}"
            f"\n  summary={quantile_summary(histogram)}"
        )
    recent, total = (
        (statistics.disjoint_buckets() if mode == "disjoint" else statistics.computed_buckets())
        for statistics in (interval, cumulative)
    )
    return "".join(
        f" B{bound:g}({of_interval},{of_all})"
        for bound, of_interval, of_all in zip(histogram.supported_buckets, recent, total, strict=True)
    )


def _detail_text(buckets: list[Bucket]) -> str:
    return ", ".join(f"{bucket.lower_bound:g},{bucket.width:g}:{bucket.samples}" for bucket in buckets)


def _histograms_json(histograms: list[HistogramSample], mode: str) -> str:
    if mode in ("cumulative", "disjoint"):
        return f"[{','.join(_buckets_json(name, histogram, mode) for name, histogram in histograms)}]"
    quantiles = ",".join(f"{100 * quantile:g}" for quantile in QUANTILES)
    if mode == "detailed":
        details = ",".join(_detail_json(name, histogram) for name, histogram in histograms)
        return f'{{"supported_percentiles":[{quantiles}],"details":[{details}]}}'
    computed = ",".join(
        f'{{"name":{_quote(name)},"values":{_quantiles_json(histogram)}}}' for name, histogram in histograms
    )
    return f'{{"supported_quantiles":[{quantiles}],"computed_quantiles":[{computed}]}}'


def _buckets_json(name: str, histogram: Histogram, mode: str) -> str:
    recent, total = (
        (statistics.disjoint_buckets() if mode == "disjoint" else statistics.computed_buckets())
        for statistics in (histogram.interval_statistics(), histogram.cumulative_statistics())
    )
    buckets = ",".join(
        f'{{"upper_bound":{json_number(bound)},"interval":{of_interval},"cumulative":{of_all}}}'
        for bound, of_interval, of_all in zip(histogram.supported_buckets, recent, total, strict=True)
    )
    return f'{{"name":{_quote(name)},"buckets":[{buckets}]}}'


def _detail_json(name: str, histogram: Histogram) -> str:
    totals, intervals = (
        ",".join(
            f'{{"lower_bound":{json_number(bucket.lower_bound)},"width":{json_number(bucket.width)},'
            f'"count":{bucket.samples}}}'
            for bucket in statistics.buckets
        )
        for statistics in (histogram.cumulative_statistics(), histogram.interval_statistics())
    )
    return (
        f'{{"name":{_quote(name)},"totals":[{totals}],"intervals":[{intervals}],'
        f'"percentiles":{_quantiles_json(histogram)}}}'
    )


def _quantiles_json(histogram: Histogram) -> str:
    pairs = zip(histogram.cumulative_statistics().quantiles(), histogram.interval_statistics().quantiles(), strict=True)
    values = (f'{{"cumulative":{json_number(total)},"interval":{json_number(recent)}}}' for total, recent in pairs)
    return f"[{','.join(values)}]"


def _quote(text: str) -> str:
    import json

    return json.dumps(text, ensure_ascii=False)


def _shortest(value: float) -> str:
    return repr(value).removesuffix(".0")


def json_number(value: float) -> str:
    """The shortest text that reads back as `value`; where fixed and scientific are as short, fixed. NaN is null."""
    if isnan(value):
        return "null"
    fixed = _shortest(value)
    digits = fixed.rstrip("0")
    if "e" in fixed or "." in fixed or fixed == "0" or digits == fixed:
        return fixed
    mantissa = digits if len(digits) == 1 else f"{digits[0]}.{digits[1:]}"
    scientific = f"{mantissa}e+{len(fixed) - 1:02}"
    return scientific if len(scientific) < len(fixed) else fixed
