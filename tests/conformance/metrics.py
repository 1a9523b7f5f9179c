"""Statistics that sinks are sent, by what they say in the end: how often they are sent is a matter of time.

Of counters the sum of what they grew by, of gauges the last value, of histograms how many values there were; numbers
that time decides are words.
"""

from __future__ import annotations

import re
from typing import Any

_LINE = re.compile(r"^(?P<name>[^:]*(?::[^|]*?)?):(?P<value>-?[\d.]+)\|(?P<kind>c|g|ms|h)(?P<tags>\|#.*)?$")
_TIMED = re.compile(r"(_ms|_time|uptime|memory_\w+)$")
_MESSAGE = "envoy.service.metrics.v3.StreamMetricsMessage"


def of_statsd(datagrams: list[bytes]) -> list[str]:
    """Each datagram has one line, or several."""
    sums: dict[str, Any] = {}
    several = False
    for datagram in datagrams:
        lines = datagram.decode("latin-1").split("\n")
        several = several or len(lines) > 1
        for line in filter(None, lines):
            found = _LINE.match(line)
            if found is None:
                sums[f"<no line: {line}>"] = ""
                continue
            key = f"{found['name']} |{found['kind']}{found['tags'] or ''}"
            if found["kind"] == "c":
                sums[key] = sums.get(key, 0) + int(found["value"])
            elif found["kind"] == "g":
                sums[key] = "<number>" if _TIMED.search(found["name"]) else found["value"]
            else:
                sums[key] = sums.get(key, 0) + 1
    shown = [f"{key}: {value}" for key, value in sorted(sums.items())]
    return [*shown, "<several lines in one datagram>"] if several else shown


def of_metrics_service(body: bytes) -> list[Any]:
    """Messages of gRPC, each with families of metrics."""
    from minienvoy.config.schema import message_class

    message = message_class(_MESSAGE)
    found: dict[str, Any] = {}
    identified: list[bool] = []
    sizes: set[int] = set()
    while len(body) >= 5:
        size = 5 + int.from_bytes(body[1:5], "big")
        one = message.FromString(body[5:size])
        body = body[size:]
        identified.append(one.HasField("identifier"))
        sizes.add(len(one.envoy_metrics))
        for family in one.envoy_metrics:
            for metric in family.metric:
                labels = " ".join(f"{each.name}={each.value}" for each in metric.label)
                kind = next(each for each in ("counter", "gauge", "summary", "histogram") if metric.HasField(each))
                key = " ".join(filter(None, (kind, family.name, labels)))
                _note(found, key, kind, metric)
    for key, value in found.items():
        if isinstance(value, dict) and "last" in value:
            found[key] = {"last": value["last"]}
    return [{"who": identified[:1], "again": any(identified[1:]), "largest": max(sizes, default=0)}, found]


def _note(found: dict[str, Any], key: str, kind: str, metric: Any) -> None:
    value = getattr(metric, kind)
    if kind == "counter":
        before = found.get(key, {"last": 0, "sum": 0})
        # One that falls is told what it grew by: which of its values was the last one is a matter of time.
        grew = "last" not in before or value.value < before["last"]
        found[key] = {"sum": before["sum"] + value.value} | ({} if grew else {"last": value.value})
    elif kind == "gauge":
        found[key] = value.value
    elif value.sample_count:
        of = (
            [each.quantile for each in value.quantile]
            if kind == "summary"
            else [each.upper_bound for each in value.bucket]
        )
        found[key] = {"samples": value.sample_count, "of": of, "timed": bool(metric.timestamp_ms)}
    else:
        found.setdefault(key, "no samples")
