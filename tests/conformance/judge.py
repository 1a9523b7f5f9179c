"""minienvoy against the golden answers: each case in the ways in which it can be judged exactly.

* "in virtual time": minienvoy, clients and upstreams in one event loop (`virtual_time.py`); durations count. Every case
  but those that need a process.
* "as a process": what users run, in real time; durations do not count, and what is expected is waited for. Cases that
  need a process, and of those that time does not decide as many of a file as show that the process does the same:
  `MOST_TWICE`, from all over the file.
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Callable, Iterator
from typing import Any

from . import golden, runner, virtual_time
from .scenario import Case

PARALLEL = 3
"""Scenarios with a process each that run at the same time."""

GROUPS = 16
"""Few enough that many processes of a group overlap in their waiting, enough for workers to end at the same time."""

MOST_TWICE = 16
"""Of a file, that are judged in both ways."""

Plan = dict[str, list[Case]]
Differences = dict[str, dict[str, list[str]]]
"""By scenario and case, the lines in which it differs from Envoy."""


def group(scenario: str) -> int:
    """Which of the groups of scenarios that are judged together it belongs to."""
    return zlib.crc32(scenario.encode()) % GROUPS


def in_virtual_time(cases: list[Case]) -> list[Case]:
    chosen = [case for case in cases if not case.needs_a_process]
    return chosen if len(chosen) == len(cases) or not _is_conversation(cases) else []


def as_a_process(cases: list[Case], expected: dict[str, Any], most: int = MOST_TWICE) -> list[Case]:
    if _is_conversation(cases):
        # What they wait for is that everything has been counted, and a process can be asked whether it is idle.
        return [] if any(golden.is_timed(expected.get(case.name)) for case in cases) else cases
    known = golden.known_differences()

    def wanted(case: Case) -> bool:
        timed = case.depends_on_time or golden.is_timed(expected.get(case.name))
        # For what will not come there is no need to wait: a known difference is seen in virtual time.
        return case.needs_a_process or not (timed or f"{case.scenario}/{case.name}" in known)

    chosen = [case for case in cases if wanted(case)]
    twice = [case for case in chosen if not case.needs_a_process]
    if len(twice) > most:
        kept = {twice[at * len(twice) // most].name for at in range(most)}
        chosen = [case for case in chosen if case.needs_a_process or case.name in kept]
    return chosen


def _is_conversation(cases: list[Case]) -> bool:
    """All cases of such a file talk to one process, one after the other: all go the same way."""
    return any(case.sequel for case in cases)


def differences(plan: Plan, progress: Callable[[str], object], most: int = MOST_TWICE) -> Differences:
    """minienvoy's differences; a case without any has an empty list. `most` of a file are judged in both ways."""
    expected = {name: golden.load(name) for name in plan}
    found: Differences = {name: {case.name: [] for case in cases} for name, cases in plan.items()}
    for name, cases in plan.items():
        if chosen := in_virtual_time(cases):
            answers = virtual_time.run(runner.run("here", chosen))
            _note(found[name], "in virtual time", expected[name], answers)
            progress(f"{name}: {len(chosen)} cases in virtual time")
    as_processes = asyncio.run(_as_processes(plan, expected, progress, most))
    for name, answers in as_processes.items():
        timeless = {title: golden.timeless(answer) for title, answer in expected[name].items()}
        _note(found[name], "as a process", timeless, {k: golden.timeless(answer) for k, answer in answers.items()})
    return found


async def _as_processes(
    plan: Plan, expected: dict[str, dict[str, Any]], progress: Callable[[str], object], most: int
) -> dict[str, dict[str, Any]]:
    limit = asyncio.Semaphore(PARALLEL)
    answers: dict[str, dict[str, Any]] = {}

    async def one(name: str, cases: list[Case]) -> None:
        async with limit:
            answers[name] = await runner.run("minienvoy", cases, expected[name])
            progress(f"{name}: {len(cases)} cases as a process")

    chosen = {name: as_a_process(cases, expected[name], most) for name, cases in plan.items()}
    await asyncio.gather(*(one(name, cases) for name, cases in chosen.items() if cases))
    return answers


def _note(found: dict[str, list[str]], way: str, expected: dict[str, Any], answers: dict[str, Any]) -> None:
    for title, answer in answers.items():
        if lines := golden.difference(expected.get(title), answer):
            found[title] += [f"{way}:", *lines]


def judged_in_no_way(plan: Plan) -> Iterator[str]:
    """The cases that neither way takes: there must be none."""
    for name, cases in plan.items():
        taken = {case.name for case in (*in_virtual_time(cases), *as_a_process(cases, golden.load(name)))}
        yield from (f"{name}/{case.name}" for case in cases if case.name not in taken)
