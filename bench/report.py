"""Writes the results as tables that read well in a terminal and are Markdown."""

from __future__ import annotations

import json
import platform
from collections.abc import Callable, Sequence

from .contestants import DIRECT, ENVOY, FLOOR
from .measure import SATURATED, Figures, Results
from .scale import TABLES

TITLES = {
    "get": "Small GET, keep-alive, one header",
    "get11": "The same with eleven headers, ten of them different in every request",
    "post": "POST of 1 KB",
    "h2": "HTTP/2 to HTTP/1.1, small GET, one connection, 10 streams",
    "h2m100": "The same with 100 streams",
    "h2toh2": "HTTP/2 to HTTP/2, small GET, one connection, 10 streams",
    "h2toh2m100": "The same with 100 streams to HTTP/2",
}
NOTHING = "-"


def render(results: Results) -> str:
    """All tables of a run, with what must be known to read them."""
    sections = [_header(results)]
    workloads = results.plan.workloads
    for workload in TITLES:
        if workload in workloads:
            sections.append(f"### {TITLES[workload]}\n\n{_exchange_table(results, workload, 'request')}")
    if "latency" in workloads:
        rate = f"{results.plan.rate:.0f} requests/s"
        sections.append(f"### Latency at {rate}, small GET\n\n{_latency_table(results)}")
    if "tcp" in workloads:
        sections.append(f"### TCP, exchanges of 64 bytes\n\n{_exchange_table(results, 'tcp', 'exchange')}")
    if "bulk" in workloads:
        sections.append(f"### TCP, bulk download\n\n{_bulk_table(results)}")
    if "scale" in workloads:
        sections.append(f"### Route tables, small GET\n\n{_scale_table(results)}")
    if {"start", "memory"} & set(workloads):
        sections.append(f"### Start-up and memory\n\n{_footprint_table(results)}")
    sections.append(_remarks(results))
    return "\n\n".join(section for section in sections if section) + "\n"


def as_json(results: Results) -> str:
    """Every sample: contestant, figure, one value a round, in seconds, bytes and shares."""
    return json.dumps(
        {
            "figures": {name: figures.samples for name, figures in results.figures.items()},
            "failures": {name: figures.failures for name, figures in results.figures.items() if figures.failures},
            "skipped": results.skipped,
            "seconds": results.seconds,
        },
        indent=1,
    )


def _header(results: Results) -> str:
    plan = results.plan
    return (
        f"Median of {plan.rounds} interleaved rounds of {plan.seconds:g} s, {plan.connections} connections with one\n"
        f"request at a time on each; proxy pinned to CPU {plan.proxy_cpu}, load and backend to CPU {plan.load_cpu};\n"
        f"{platform.system()} {platform.machine()}, Python {platform.python_version()}.\n\n"
        f"Trust the CPU per request and its ratios: it is what the kernel charged the process. Requests/s, MB/s and\n"
        f"latencies are absolute: load and backend share one CPU, and whatever else the machine does moves them.\n"
        f"Only rounds count in which the proxy had at least {SATURATED:.0%} of its CPU: see the last column.\n"
        f"~ marks a proxy that never had, because the load could not ask more of it or because others used it:\n"
        f"its requests/s are not its limit, and its CPU per request tends to be higher than under full load."
    )


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    widths = [max(len(row[column]) for row in (heads, *rows)) for column in range(len(heads))]

    def line(cells: Sequence[str]) -> str:
        first, *others = (
            cell.ljust(width) if not column else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(cells, widths, strict=True))
        )
        return f"| {' | '.join((first, *others))} |"

    rule = "|".join((f" {'-' * widths[0]} ", *(f" {'-' * (width - 1)}: " for width in widths[1:])))
    return "\n".join((line(heads), f"|{rule}|", *(line(row) for row in rows)))


def _rows(results: Results, figure: str) -> list[tuple[str, Figures]]:
    """The contestants that have the figure, the direct way first."""
    order = (DIRECT, *(contestant.name for contestant in results.plan.contestants))
    return [
        (name, results.figures[name])
        for name in order
        if name in results.figures and results.figures[name].median(figure) is not None
    ]


def _shown(value: float | None, shape: Callable[[float], str]) -> str:
    return NOTHING if value is None else shape(value)


def _ratio(results: Results, figures: Figures, figure: str, to: str) -> str:
    own = figures.median(figure)
    other = results.figures[to].median(figure) if to in results.figures else None
    return NOTHING if own is None or not other else f"{own / other:.2f}"


def _busy(figures: Figures, workload: str) -> str:
    share = figures.median(f"{workload}.busy")
    if share is None:
        return NOTHING
    saturated, rounds = figures.saturated_rounds(workload)
    return f"{share:.0%}, {saturated} of {rounds}" if saturated else f"~{share:.0%}, 0 of {rounds}"


def _exchange_table(results: Results, workload: str, unit: str) -> str:
    rows = [
        (
            name,
            _shown(figures.median(f"{workload}.cpu"), lambda seconds: f"{seconds * 1e6:.1f}"),
            _ratio(results, figures, f"{workload}.cpu", ENVOY),
            _ratio(results, figures, f"{workload}.cpu", FLOOR),
            _shown(figures.median(f"{workload}.rate"), lambda rate: f"{rate:.0f}"),
            _ratio(results, figures, f"{workload}.rate", ENVOY),
            _busy(figures, workload),
        )
        for name, figures in _rows(results, f"{workload}.rate")
    ]
    return _table(("", f"CPU us/{unit}", "x Envoy", "x floor", f"{unit}s/s", "x Envoy", "of its CPU, rounds"), rows)


def _latency_table(results: Results) -> str:
    rows = []
    for name, figures in _rows(results, "latency.p50"):
        held = figures.median("latency.held") == 1.0
        milliseconds = [
            _shown(figures.median(figure), lambda seconds: f"{seconds * 1e3:.2f}")
            for figure in ("latency.p50", "latency.p99")
        ]
        rows.append(
            (
                name,
                *milliseconds,
                *(_ratio(results, figures, figure, ENVOY) for figure in ("latency.p50", "latency.p99")),
                "yes" if held else "no",
            )
        )
    return _table(("", "p50 ms", "p99 ms", "p50 x Envoy", "p99 x Envoy", "rate held"), rows)


def _bulk_table(results: Results) -> str:
    rows = [
        (
            name,
            _shown(figures.median("bulk.cpu"), lambda seconds: f"{seconds * 1e9:.2f}"),
            _ratio(results, figures, "bulk.cpu", ENVOY),
            _shown(figures.median("bulk.rate"), lambda rate: f"{rate / 1e6:.0f}"),
            _busy(figures, "bulk"),
        )
        for name, figures in _rows(results, "bulk.rate")
    ]
    return _table(("", "CPU s/GB", "x Envoy", "MB/s", "of its CPU, rounds"), rows)


def _scale_table(results: Results) -> str:
    rows = []
    for number, table in enumerate(TABLES):
        figure = f"scale{number}.cpu"
        for name, figures in _rows(results, figure):
            few, cost = figures.median("scale0.cpu"), figures.median(figure)
            rows.append(
                (
                    f"{table.name}: {name}",
                    _shown(cost, lambda seconds: f"{seconds * 1e6:.1f}"),
                    NOTHING if cost is None or not few else f"{cost / few:.2f}",
                    _ratio(results, figures, figure, ENVOY),
                    _busy(figures, f"scale{number}"),
                )
            )
    return _table(("", "CPU us/request", "x its 10 routes", "x Envoy", "of its CPU, rounds"), rows)


def _footprint_table(results: Results) -> str:
    rows = [
        (
            name,
            _shown(figures.median("start"), lambda seconds: f"{seconds * 1e3:.0f}"),
            _ratio(results, figures, "start", ENVOY),
            _shown(figures.median("rss"), lambda size: f"{size / 1e6:.1f}"),
            _shown(figures.median("idle"), lambda size: f"{size / 1e3:.1f}"),
        )
        for name, figures in _rows(results, "start")
    ]
    return _table(("", "start to first 200, ms", "x Envoy", "RSS MB", "KB/idle connection"), rows)


def _remarks(results: Results) -> str:
    remarks = [f"* {name}: skipped: {reason}" for name, reason in results.skipped.items()]
    for name, figures in results.figures.items():
        remarks.extend(f"* {name}: {workload} not measured: {why}" for workload, why in figures.failures.items())
    if results.cut_short:
        remarks.append(f"* cut short by the time limit of {results.plan.time_limit:.0f} s")
    if FLOOR in results.figures:
        remarks.append(f"* floor: {FLOOR}, a proxy that moves bytes and knows nothing of requests")
    remarks.append(f"* the run took {results.seconds:.0f} s")
    return "\n".join(remarks)
