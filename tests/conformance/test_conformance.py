"""Every case of every scenario, through minienvoy, compared with what Envoy answered.

The scenarios run once per session, several at a time; a test looks at one case. `python -m tests.conformance` is the
same with a summary and with the real Envoy.
"""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from . import golden, scenario
from .__main__ import PARALLEL, answers_of

KNOWN = golden.known_differences()
CASES = [(name, case.name) for name in scenario.names() for case in scenario.load(name)]


@pytest.fixture(scope="session")
def answers(request: pytest.FixtureRequest) -> dict[str, dict[str, Any]]:
    """minienvoy's answers to every scenario that a selected test asks for."""
    wanted: set[str] = {
        str(item.callspec.params["scenario_name"])
        for item in request.session.items
        if isinstance(item, pytest.Function) and item.originalname == "test_case_is_answered_as_envoy_answers_it"
    }
    limit = asyncio.Semaphore(PARALLEL)

    async def one(name: str) -> tuple[str, dict[str, Any]]:
        async with limit:
            return name, await answers_of("minienvoy", scenario.load(name), golden.load(name), 2)

    async def everything() -> dict[str, dict[str, Any]]:
        return dict(await asyncio.gather(*map(one, sorted(wanted))))

    return asyncio.run(everything())


def parameter(scenario_name: str, case_name: str) -> Any:
    reason = KNOWN.get(f"{scenario_name}/{case_name}")
    marks = [pytest.mark.xfail(reason=reason, strict=True)] if reason else []
    return pytest.param(scenario_name, case_name, id=f"{scenario_name}/{case_name}", marks=marks)


@pytest.mark.parametrize(("scenario_name", "case_name"), [parameter(*case) for case in CASES])
def test_case_is_answered_as_envoy_answers_it(
    scenario_name: str, case_name: str, answers: dict[str, dict[str, Any]]
) -> None:
    expected = golden.load(scenario_name)[case_name]
    lines = golden.difference(expected, answers[scenario_name][case_name])
    assert not lines, "\n".join(["", *lines])
