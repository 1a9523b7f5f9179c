"""Load reports in headers: three ways to write them, and what is none."""

from __future__ import annotations

import base64

import pytest

from minienvoy.config.api import message_class
from minienvoy.http.header_map import HeaderMap
from minienvoy.upstream.orca import OrcaLoadReport, orca_load_report

QUEUE = b'{"queue": 0.75}}'


def headers(**values: bytes) -> HeaderMap:
    found = HeaderMap([])
    for name, value in values.items():
        found.add(name.replace("_", "-").encode(), value)
    return found


def binary() -> bytes:
    report = message_class("xds.data.orca.v3.OrcaLoadReport")(cpu_utilization=0.5, rps_fractional=10)
    report.named_metrics["queue"] = 0.75
    return base64.b64encode(report.SerializeToString())


@pytest.mark.parametrize(
    "written",
    [
        {"endpoint_load_metrics": b"TEXT cpu_utilization=0.5,rps_fractional=10, named_metrics.queue=0.75"},
        {"endpoint_load_metrics": b'JSON {"cpu_utilization": 0.5, "rps_fractional": 10, "named_metrics": ' + QUEUE},
        {"endpoint_load_metrics": b"BIN " + binary()},
        {"endpoint_load_metrics_bin": binary()},
    ],
)
def test_a_report_is_read(written: dict[str, bytes]) -> None:
    report = orca_load_report(headers(**written))
    assert report == OrcaLoadReport(cpu_utilization=0.5, rps_fractional=10, named_metrics={"queue": 0.75})


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"TEXT",
        b"TEXT cpu_utilization",
        b"TEXT cpu_utilization=nan",
        b"TEXT cpu_utilization=x",
        b"TEXT cpu_utilization=1,cpu_utilization=2",
        b"TEXT unknown=1",
        b"JSON {",
        b"JSON []",
        b'JSON {"cpu_utilization": "x"}',
        b"BIN !!!",
        b"BIN " + base64.b64encode(b"\xff\xff\xff"),
        b"YAML a: b",
        b"TEXT named_metrics." + b"x" * 5000 + b"=1",
    ],
)
def test_nonsense_is_no_report(value: bytes) -> None:
    assert orca_load_report(headers(endpoint_load_metrics=value)) is None


def test_no_header_is_no_report() -> None:
    assert orca_load_report(headers()) is None


def test_the_greatest_of_some_metrics() -> None:
    report = OrcaLoadReport(mem_utilization=0.2, utilization={"a": 0.3}, named_metrics={"b": 0.9, "c": 0.4})
    assert report.max_utilization(["mem_utilization", "utilization.a"]) == 0.3
    assert report.max_utilization(["named_metrics.*"]) == 0.9
    assert report.max_utilization(["named_metrics.nope", "nope"]) == 0.0
