"""`python -m bench`: all contestants side by side, in under four minutes; `--quick` in under one."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from .contestants import CONTESTANTS, DIRECT, connections_limit
from .measure import WORKLOADS, Plan, run
from .process import BenchError, end_on_sigterm
from .report import as_json, render

NAMES = (DIRECT, *(contestant.name for contestant in CONTESTANTS))


def _names(known: Sequence[str]) -> type[argparse.Action]:
    """An argparse action for a comma-separated choice of `known`, spaces in names optional."""

    class Choose(argparse.Action):
        def __call__(
            self,
            parser: argparse.ArgumentParser,
            namespace: argparse.Namespace,
            values: object,
            option_string: str | None = None,
        ) -> None:
            by_key = {name.replace(" ", "").lower(): name for name in known}
            chosen = [by_key.get(value.replace(" ", "").lower(), "") for value in str(values).split(",")]
            if "" in chosen:
                parser.error(f"{option_string}: one or more of {', '.join(known)}; separated by commas, not {values!r}")
            setattr(namespace, self.dest, tuple(name for name in known if name in chosen))

    return Choose


def _number(low: float, high: float, kind: type[int] | type[float]) -> type[argparse.Action]:
    """An argparse action for a number from `low` to `high`."""

    class Number(argparse.Action):
        def __call__(
            self,
            parser: argparse.ArgumentParser,
            namespace: argparse.Namespace,
            values: object,
            option_string: str | None = None,
        ) -> None:
            try:
                number = kind(str(values))
            except ValueError:
                number = high + 1
            if not low <= number <= high:
                parser.error(f"{option_string}: a number from {low} to {high}, not {values!r}")
            setattr(namespace, self.dest, number)

    return Number


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    made.add_argument("--quick", action="store_true", help="one short round of everything")
    made.add_argument("--only", action=_names(NAMES), default=NAMES, help=f"contestants: {', '.join(NAMES)}")
    made.add_argument(
        "--workloads", action=_names(WORKLOADS), default=WORKLOADS, help=f"workloads: {', '.join(WORKLOADS)}"
    )
    made.add_argument("--rounds", action=_number(1, 50, int), help="rounds (5)")
    made.add_argument("--seconds", action=_number(0.1, 30, float), help="seconds of each measurement (0.6)")
    made.add_argument("--connections", action=_number(1, 1000, int), help="connections (64)")
    made.add_argument("--rate", action=_number(10, 20000, float), help="requests/s of the latency workload (1000)")
    made.add_argument(
        "--idle-connections",
        action=_number(10, connections_limit() - 1000, int),
        help="idle connections of the memory workload (2000)",
    )
    made.add_argument(
        "--time-limit", action=_number(5, 3600, float), help="begin no measurement after this many seconds (220)"
    )
    made.add_argument("--markdown", metavar="FILE", type=Path, help="write the tables to FILE")
    made.add_argument("--json", metavar="FILE", type=Path, help="write every sample to FILE")
    return made


def plan_of(arguments: argparse.Namespace) -> Plan:
    """What the command line asks for, on the CPUs that this process may use."""
    cpus = sorted(os.sched_getaffinity(0))
    plan = Plan(
        contestants=tuple(contestant for contestant in CONTESTANTS if contestant.name in arguments.only),
        workloads=arguments.workloads,
        direct=DIRECT in arguments.only,
        proxy_cpu=cpus[0],
        load_cpu=cpus[-1],
    )
    if arguments.quick:
        plan = replace(
            plan,
            rounds=1,
            seconds=0.4,
            warm_up=0.1,
            idle_connections=500,
            starts=1,
            bulk_size=32 * 1024 * 1024,
            time_limit=50.0,
        )
    given = {
        name: getattr(arguments, name)
        for name in ("rounds", "seconds", "connections", "rate", "idle_connections", "time_limit")
    }
    return replace(plan, **{name: value for name, value in given.items() if value is not None})


def main() -> int:
    arguments = parser().parse_args()
    plan = plan_of(arguments)
    end_on_sigterm()
    try:
        results = run(plan, lambda line: print(line, file=sys.stderr, flush=True))
    except BenchError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    tables = render(results)
    print(tables, end="")
    if arguments.markdown:
        arguments.markdown.write_text(tables)
    if arguments.json:
        arguments.json.write_text(as_json(results))
    return 0


if __name__ == "__main__":
    sys.exit(main())
