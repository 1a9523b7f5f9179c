"""Every case of every scenario, through minienvoy, compared with what Envoy answered.

The scenarios run once per session (`judge.py`), a group of them at a time; a test looks at one case. The workers of
pytest-xdist share the groups out (`tests/conftest.py`). `python -m tests.conformance` is the same with a summary, and
with the real Envoy.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from . import golden, judge, scenario

KNOWN = golden.known_differences()
# Every case has a golden answer, which test_harness.py looks at; scenarios are read by who judges them.
CASES = [(name, case) for name in scenario.names() for case in golden.load(name)]


@pytest.fixture(scope="session")
def differences(request: pytest.FixtureRequest) -> Callable[[str], dict[str, list[str]]]:
    """minienvoy's differences in a scenario, by case; judged with those of its group that a selected test asks for."""
    wanted: set[str] = {
        str(item.callspec.params["scenario_name"])
        for item in request.session.items
        if isinstance(item, pytest.Function) and item.originalname == "test_case_is_answered_as_envoy_answers_it"
    }
    found: judge.Differences = {}

    def differences_in(name: str) -> dict[str, list[str]]:
        if name not in found:
            group = sorted(each for each in wanted if judge.group(each) == judge.group(name))
            found.update(judge.differences({each: scenario.load(each) for each in group}, lambda _: None))
        return found[name]

    return differences_in


def parameter(scenario_name: str, case_name: str) -> Any:
    reason = KNOWN.get(f"{scenario_name}/{case_name}")
    marks = [pytest.mark.xfail(reason=reason, strict=True)] if reason else []
    return pytest.param(scenario_name, case_name, id=f"{scenario_name}/{case_name}", marks=marks)


@pytest.mark.parametrize(("scenario_name", "case_name"), [parameter(*case) for case in CASES])
def test_case_is_answered_as_envoy_answers_it(
    scenario_name: str, case_name: str, differences: Callable[[str], dict[str, list[str]]]
) -> None:
    lines = differences(scenario_name)[case_name]
    assert not lines, "\n".join(["", *lines])


def test_every_case_is_judged() -> None:
    plan = {name: scenario.load(name) for name in scenario.names()}
    assert list(judge.judged_in_no_way(plan)) == []
