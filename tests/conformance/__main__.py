"""`python -m tests.conformance`: how many cases are identical to Envoy, and in what the others differ.

Every case that time does not decide is judged in both ways here; the test suite takes some of each file (judge.py).
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections.abc import Callable
from typing import Any

from . import golden, judge, runner, scenario


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.conformance", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("pattern", nargs="*", help="scenarios or cases whose name contains this text; default all")
    parser.add_argument("--envoy", action="store_true", help="check the golden answers against the real Envoy")
    parser.add_argument("--update", action="store_true", help="write the golden answers anew from the real Envoy")
    parser.add_argument("-v", "--verbose", action="store_true", help="show every difference in full")
    parser.add_argument("-q", "--quiet", action="store_true", help="show only the names of the cases that differ")
    options = parser.parse_args()
    started = time.monotonic()

    def progress(what: str) -> None:
        sys.stderr.write(f"{what}, {time.monotonic() - started:.0f} s\n")

    plan = chosen(options.pattern)
    if options.update:
        found = update(plan, progress)
    elif options.envoy:
        found = asyncio.run(envoy_differences(plan, progress))
    else:
        found = judge.differences(plan, progress, sys.maxsize)
    known = {} if options.envoy or options.update else golden.known_differences()
    agreed = report(found, known, options)
    sys.stdout.write(f" ({time.monotonic() - started:.0f} s)\n")
    return 0 if agreed else 1


def chosen(patterns: list[str]) -> judge.Plan:
    """The cases to run, by scenario; a pattern matches `scenario/case` anywhere."""
    found = {}
    for name in scenario.names():
        cases = scenario.load(name)
        wanted = [c for c in cases if not patterns or any(p in f"{name}/{c.name}" for p in patterns)]
        if wanted:
            found[name] = cases if any(c.sequel for c in cases) else wanted
    return found


def report(found: judge.Differences, known: dict[str, str], options: argparse.Namespace) -> bool:
    """Write what differs and how much does not; whether everything is as it should be."""
    write = sys.stdout.write
    same = total = excused = 0
    for name, cases in found.items():
        for case, lines in cases.items():
            total += 1
            title = f"{name}/{case}"
            if not lines:
                same += 1
                if title in known:
                    write(f"\n{title}: identical now; take it out of {golden.KNOWN.name}\n")
                continue
            if title in known:
                excused += 1
                if not options.verbose:
                    continue
            write(f"\n{title}{': known, ' + known[title] if title in known else ''}\n")
            if not options.quiet:
                write("\n".join(lines if options.verbose else lines[:30]) + "\n")
    more = f", {excused} differ as known" if excused else ""
    write(f"\n{same} of {total} identical{more}")
    return same + excused == total


async def envoy_differences(plan: judge.Plan, progress: Callable[[str], None]) -> judge.Differences:
    """The real Envoy, in real time, against its own golden answers."""
    limit = asyncio.Semaphore(judge.PARALLEL)

    async def one(name: str) -> tuple[str, dict[str, list[str]]]:
        async with limit:
            answers = await runner.run("envoy", plan[name])
            progress(f"{name}: {len(plan[name])} cases")
        expected = golden.load(name)
        return name, {title: golden.difference(expected.get(title), answer) for title, answer in answers.items()}

    return dict(await asyncio.gather(*map(one, plan)))


def update(plan: judge.Plan, progress: Callable[[str], None]) -> judge.Differences:
    """Write the golden answers anew and show what changed; what Envoy refuses is told and not kept."""
    write = sys.stdout.write
    limit = asyncio.Semaphore(judge.PARALLEL)

    async def one(name: str) -> tuple[str, dict[str, Any], list[str]]:
        async with limit:
            settled, restless = await settled_answers(plan[name])
            progress(f"{name}: {len(plan[name])} cases")
            return name, settled, restless

    async def everything() -> list[tuple[str, dict[str, Any], list[str]]]:
        return await asyncio.gather(*map(one, plan))

    found: judge.Differences = {}
    for name, answers, restless in asyncio.run(everything()):
        kept = golden.load(name)
        refused = [title for title, answer in answers.items() if "did not start" in answer]
        for title in refused:
            said = "\n".join(answers.pop(title)["did not start"])
            write(f"\n{name}/{title}: Envoy refuses it, no answer kept\n{said}\n")
        for title in restless:
            if title not in refused:
                write(f"\n{name}/{title}: Envoy answers differently from run to run; make the case steadier\n")
        merged = kept | answers
        golden.save(name, {case.name: merged[case.name] for case in scenario.load(name) if case.name in merged})
        for title in answers:
            if title not in kept:
                write(f"{name}/{title}: new\n")
            elif lines := golden.difference(kept[title], merged[title]):
                write(f"\n{name}/{title}: changed\n" + "\n".join(lines[:30]) + "\n")
        found[name] = {title: [] for title in answers}
    return found


async def settled_answers(cases: list[scenario.Case]) -> tuple[dict[str, Any], list[str]]:
    """Envoy's answers that came out the same twice, and the names of the cases that did not within four runs."""
    first, open_cases, settled = await runner.run("envoy", cases), cases, {}
    seen = {name: [answer] for name, answer in first.items()}
    for _ in range(3):
        for name, answer in (await runner.run("envoy", open_cases)).items():
            if any(not golden.difference(before, answer) for before in seen[name]):
                settled[name] = answer
            seen[name].append(answer)
        if any(case.sequel for case in cases):
            break
        open_cases = [case for case in open_cases if case.name not in settled]
        if not open_cases:
            break
    restless = [case.name for case in cases if case.name not in settled]
    return {case.name: settled.get(case.name, first[case.name]) for case in cases}, restless


if __name__ == "__main__":
    sys.exit(main())
