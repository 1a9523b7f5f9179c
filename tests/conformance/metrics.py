"""Statistics and logs that services are sent, by what they say in the end: how often is a matter of time.

Of counters the sum of what they grew by, of gauges the last value, of histograms how many values there were; numbers
that time decides are words.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

_LINE = re.compile(r"^(?P<name>[^:]*(?::[^|]*?)?):(?P<value>-?[\d.]+)\|(?P<kind>c|g|ms|h)(?P<tags>\|#.*)?$")
_TIMED = re.compile(r"(_ms|_time|uptime|memory_\w+)$")
_LOGS = "opentelemetry.proto.collector.logs.v1.ExportLogsServiceRequest"
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


def of_logs(head: list[str], bodies: list[bytes], grpc: bool) -> list[Any]:
    """Logs of OpenTelemetry: the head of the first request, who tells of them, and one after the other."""
    from minienvoy.config.schema import message_class

    requests = [message_class(_LOGS).FromString(body) for body in (grpc_messages(bodies) if grpc else bodies)]
    # Whether lines came one by one; together is a matter of time.
    sizes = {sum(len(scope.log_records) for each in one.resource_logs for scope in each.scope_logs) for one in requests}
    found: list[Any] = [[_build(line) for line in head], f"{'one line' if sizes == {1} else 'lines'} at a time"]
    for request in requests:
        for resource in request.resource_logs:
            who = {"resource": [_pair(each) for each in resource.resource.attributes]}
            if who not in found:
                found.append(who)
            for scope in resource.scope_logs:
                if scope.scope.name or scope.scope.version:
                    found.append({"scope": scope.scope.name})
                found += [_record(each) for each in scope.log_records]
    return found


def grpc_messages(bodies: list[bytes]) -> Iterator[bytes]:
    """Out of their frames."""
    for body in bodies:
        at = 0
        while at + 5 <= len(body):
            end = at + 5 + int.from_bytes(body[at + 1 : at + 5], "big")
            yield body[at + 5 : end]
            at = end


def _record(record: Any) -> dict[str, Any]:
    shown: dict[str, Any] = {"body": _value(record.body), "attributes": [_pair(each) for each in record.attributes]}
    for name in ("severity_number", "severity_text", "flags", "event_name", "dropped_attributes_count"):
        if getattr(record, name):
            shown[name] = getattr(record, name)
    for name in ("trace_id", "span_id"):
        if getattr(record, name):
            shown[name] = f"{len(getattr(record, name))} bytes"
    shown["times"] = [bool(record.time_unix_nano), bool(record.observed_time_unix_nano)]
    return shown


def _pair(pair: Any) -> list[Any]:
    return [pair.key, _build(_value(pair.value))]


def _build(value: Any) -> Any:
    """Which build it is does not matter."""
    return re.sub(r"\b[0-9a-f]{40}/[\w.-]+/.*", "<version>", value) if isinstance(value, str) else value


def _value(value: Any) -> Any:
    kind = value.WhichOneof("value")
    if kind == "kvlist_value":
        return {"list": [_pair(each) for each in value.kvlist_value.values]}
    if kind == "array_value":
        return [_value(each) for each in value.array_value.values]
    return None if kind is None else getattr(value, kind)
