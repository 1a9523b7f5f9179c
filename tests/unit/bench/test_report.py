"""The tables say what was measured and what was not."""

from __future__ import annotations

import json

from bench.contestants import CONTESTANTS
from bench.measure import Figures, Plan, Results
from bench.report import as_json, render


def results_of(**figures: dict[str, list[float]]) -> Results:
    plan = Plan(contestants=CONTESTANTS, workloads=("get",))
    return Results(plan, figures={name: Figures(samples) for name, samples in figures.items()})


def rows_of(results: Results) -> dict[str, list[str]]:
    lines = [line.strip("| ").split("|") for line in render(results).splitlines() if line.startswith("| ")]
    return {cells[0].strip(): [cell.strip() for cell in cells[1:]] for cells in lines}


def test_a_row_is_the_median_and_its_ratio_to_envoy_in_the_same_run() -> None:
    rows = rows_of(
        results_of(
            envoy={"get.cpu": [90e-6, 100e-6, 200e-6], "get.rate": [10000.0], "get.busy": [0.99, 0.99, 0.99]},
            nginx={"get.cpu": [25e-6], "get.rate": [40000.0], "get.busy": [0.98]},
        )
    )
    assert rows["envoy"] == ["100.0", "1.00", "-", "10000", "1.00", "99%, 3 of 3"]
    assert rows["nginx"] == ["25.0", "0.25", "-", "40000", "4.00", "98%, 1 of 1"]


def test_a_proxy_that_was_not_saturated_is_marked() -> None:
    rows = rows_of(results_of(nginx={"get.cpu": [25e-6], "get.rate": [40000.0], "get.busy": [0.92]}))
    assert rows["nginx"][-1] == "~92%, 0 of 1"


def test_only_saturated_rounds_count_where_there_are_any() -> None:
    rows = rows_of(
        results_of(nginx={"get.cpu": [25e-6, 60e-6, 70e-6], "get.rate": [4e4, 1e4, 1e4], "get.busy": [0.95, 0.5, 0.4]})
    )
    assert rows["nginx"] == ["25.0", "-", "-", "40000", "-", "95%, 1 of 3"]


def test_what_was_skipped_or_failed_is_said_with_its_reason() -> None:
    results = results_of(nginx={"get.cpu": [25e-6], "get.rate": [40000.0], "get.busy": [0.95]})
    results.skipped["mitmproxy"] = "no mitmdump"
    results.figures["nginx"].failures["tcp"] = "no answer for 11 s"
    text = render(results)
    assert "* mitmproxy: skipped: no mitmdump" in text
    assert "* nginx: tcp not measured: no answer for 11 s" in text


def test_json_keeps_every_sample() -> None:
    results = results_of(envoy={"get.cpu": [90e-6, 100e-6]})
    assert json.loads(as_json(results))["figures"] == {"envoy": {"get.cpu": [90e-6, 100e-6]}}
