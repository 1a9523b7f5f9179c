"""`python -m tests.conformance`: how many cases are identical to Envoy, and in what the others differ."""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from typing import Any

from . import golden, runner, scenario

PARALLEL = 3


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.conformance", description=__doc__)
    parser.add_argument("pattern", nargs="*", help="scenarios or cases whose name contains this text; default all")
    parser.add_argument("--envoy", action="store_true", help="check the golden answers against the real Envoy")
    parser.add_argument("--update", action="store_true", help="write the golden answers anew from the real Envoy")
    parser.add_argument("-v", "--verbose", action="store_true", help="show every difference in full")
    parser.add_argument("-q", "--quiet", action="store_true", help="show only the names of the cases that differ")
    parser.add_argument("--tries", type=int, default=2, help="how often a case that differs is run (default 2)")
    options = parser.parse_args()
    return asyncio.run(judge(options))


def chosen(patterns: list[str]) -> dict[str, list[scenario.Case]]:
    """The cases to run, by scenario; a pattern matches `scenario/case` anywhere."""
    found = {}
    for name in scenario.names():
        cases = scenario.load(name)
        wanted = [c for c in cases if not patterns or any(p in f"{name}/{c.name}" for p in patterns)]
        if wanted:
            found[name] = cases if any(c.sequel for c in cases) else wanted
    return found


async def answers_of(kind: str, cases: list[scenario.Case], expected: dict[str, Any], tries: int) -> dict[str, Any]:
    """The answers to the cases of one scenario; what differs from `expected` is run again, as a busy machine lies about
    time."""
    answers = await runner.run(kind, cases)
    for _ in range(tries - 1):
        again = [case for case in cases if golden.difference(expected.get(case.name), answers[case.name])]
        if not again or any(case.sequel for case in cases):
            break
        answers.update(await runner.run(kind, again))
    return answers


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


async def judge(options: argparse.Namespace) -> int:
    kind = "envoy" if options.envoy or options.update else "minienvoy"
    write = sys.stdout.write
    started = time.monotonic()
    plan = chosen(options.pattern)
    results: dict[str, dict[str, Any]] = {}
    restless: dict[str, list[str]] = {}
    limit = asyncio.Semaphore(PARALLEL)

    async def one(name: str) -> None:
        async with limit:
            if options.update:
                results[name], restless[name] = await settled_answers(plan[name])
            else:
                results[name] = await answers_of(kind, plan[name], golden.load(name), options.tries)
            sys.stderr.write(f"{name}: {len(plan[name])} cases, {time.monotonic() - started:.0f} s\n")

    await asyncio.gather(*map(one, plan))
    same = total = excused = 0
    known = golden.known_differences() if kind == "minienvoy" else {}
    for name in plan:
        if options.update:
            kept = golden.load(name)
            refused = [title for title, answer in results[name].items() if "did not start" in answer]
            for title in refused:
                said = "\n".join(results[name].pop(title)["did not start"])
                write(f"\n{name}/{title}: Envoy refuses it, no answer kept\n{said}\n")
            for title in restless[name]:
                if title not in refused:
                    write(f"\n{name}/{title}: Envoy answers differently from run to run; make the case steadier\n")
            plan[name] = [case for case in plan[name] if case.name not in refused]
            merged = kept | results[name]
            golden.save(name, {case.name: merged[case.name] for case in scenario.load(name) if case.name in merged})
            for case in plan[name]:
                if case.name not in kept:
                    write(f"{name}/{case.name}: new\n")
                elif lines := golden.difference(kept[case.name], merged[case.name]):
                    write(f"\n{name}/{case.name}: changed\n" + "\n".join(lines[:30]) + "\n")
        expected = golden.load(name)
        for case in plan[name]:
            total += 1
            lines = golden.difference(expected.get(case.name), results[name][case.name])
            title = f"{name}/{case.name}"
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
    write(f"\n{same} of {total} identical{more} ({time.monotonic() - started:.0f} s)\n")
    return 0 if same + excused == total else 1


if __name__ == "__main__":
    sys.exit(main())
