"""Which configurations of a folder run unchanged: what Envoy says of each, what minienvoy says, and the causes counted.

    python -m tests.configurations FOLDER [--json FILE] [--no-start] [--jobs N] [NAME ...]

Every `.yaml`, `.yml`, `.json`, `.pb_text` and `.pb` below the folder is validated by the real Envoy and by minienvoy
(`--mode validate`, in the directory of the file, so that relative names of certificates are found); what both take is
started for real on other ports. The files are whatever the reader has: none are shipped, because they are other
people's. Only loopback is listened on, and nothing but what a configuration does by itself as it starts (DNS, its
management server) leaves the process.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import repeat
from pathlib import Path
from typing import NamedTuple

from .conformance.proxies import command

SUFFIXES = {".yaml", ".yml", ".json", ".pb_text", ".pb"}
TIMEOUT = 30.0
"""Seconds for one validation or one start."""

_LOG_HEAD = re.compile(r"^\[[^\]]*\](?:\[[^\]]*\])* (?:\[[^\]]*\] )?")
_PLACE = re.compile(r"\S+:\d+:\d+: ")
_INDEX = re.compile(r"\[[^\]]*\]")
_NOT_HONOURED = re.compile(r"\d+ fields? (?:is|are) set that minienvoy does not honour:")


class Verdict(NamedTuple):
    """What one program says of one file: whether it takes it, and why not, one reason a line."""

    taken: bool
    reasons: tuple[str, ...] = ()


class Row(NamedTuple):
    name: str
    envoy: Verdict
    ours: Verdict
    start: Verdict | None

    @property
    def agreed(self) -> bool:
        return self.envoy.taken == self.ours.taken

    def what(self) -> str:
        """One word or two for the table."""
        if self.envoy.taken and self.ours.taken:
            return "both" if self.start is None or self.start.taken else "does not start"
        if self.envoy.taken:
            return "only Envoy"
        return "only minienvoy" if self.ours.taken else "neither"


def files_below(folder: Path, names: Sequence[str] = ()) -> list[Path]:
    """The configurations below a folder, sorted; those whose path contains one of `names` if there are any."""
    found = (path for path in sorted(folder.rglob("*")) if path.suffix in SUFFIXES and path.is_file())
    return [path for path in found if not names or any(name in str(path) for name in names)]


def reasons_of(said: str) -> tuple[str, ...]:
    """The reasons out of what a program wrote when it refused a configuration, without log heads, places and dumps."""
    lines = [_LOG_HEAD.sub("", line).strip() for line in said.splitlines()]
    lines = [line for line in lines if line]
    errors = [at for at, line in enumerate(lines) if line.startswith("error initializing configuration")]
    if not errors:
        return (lines[-1][:300] if lines else "said nothing",)
    first = re.sub(r"^error initializing configuration '[^']*': ", "", lines[errors[-1]])
    if _NOT_HONOURED.search(first):
        listed = (line.removeprefix("error initializing configuration").strip() for line in lines[errors[-1] + 1 :])
        return tuple(_PLACE.sub("", line) for line in listed if not line.startswith("(docs/"))
    first = _PLACE.sub("", first)
    return (re.sub(r"\s+", " ", first)[:300],)


def cause_of(reason: str) -> str:
    """A reason without what is particular to one file, for counting: what type or which field."""
    kind = re.search(r"no extension of minienvoy takes ([\w.]+)", reason)
    if kind:
        return kind[1]
    path, _, why = reason.partition(": ")
    return f"{_INDEX.sub('[]', path)[-70:]}: {why[:60]}" if why else reason[:100]


def validate(kind: str, path: Path) -> Verdict:
    """`--mode validate` of "envoy" or "minienvoy"."""
    arguments = [*command(kind), "-c", path.name, "--mode", "validate", "-l", "error", "--use-dynamic-base-id"]
    try:
        answer = subprocess.run(
            arguments, cwd=path.parent, capture_output=True, text=True, errors="replace", timeout=TIMEOUT, check=False
        )
    except subprocess.TimeoutExpired:
        return Verdict(False, (f"no answer within {TIMEOUT:.0f} s",))
    if answer.returncode == 0:
        return Verdict(True)
    if answer.returncode < 0:
        return Verdict(False, (f"ended by signal {-answer.returncode}",))
    return Verdict(False, reasons_of(answer.stderr))


def start(path: Path) -> Verdict:
    """Start it in a process of its own, on ports that the kernel chooses, and stop it again."""
    try:
        answer = subprocess.run(
            [sys.executable, "-m", "tests.configurations", "--start-one", str(path.resolve())],
            cwd=path.parent,
            env=os.environ | {"PYTHONPATH": str(Path(__file__).resolve().parents[1])},
            capture_output=True,
            text=True,
            errors="replace",
            timeout=TIMEOUT,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return Verdict(False, (f"not ready within {TIMEOUT:.0f} s",))
    if answer.returncode == 0:
        return Verdict(True)
    lines = answer.stderr.strip().splitlines()
    return Verdict(False, (lines[-1][:300] if lines else f"ended with {answer.returncode}",))


async def _start_one(path: Path) -> None:
    from minienvoy import Proxy

    try:
        async with asyncio.timeout(TIMEOUT / 2), Proxy.from_file(path, ports="ephemeral"):
            pass
    except TimeoutError:
        # Waiting for a management server or a name is what Envoy would do as well.
        sys.stdout.write("waits\n")


def compare(path: Path, name: str, starts: bool) -> Row:
    envoy, ours = validate("envoy", path), validate("minienvoy", path)
    return Row(name, envoy, ours, start(path) if starts and ours.taken else None)


def table(rows: Iterable[Row]) -> str:
    """One line a file: what of it, its name, and the first reason of who does not take it."""
    lines = []
    for row in rows:
        verdict = row.ours if row.envoy.taken else row.envoy
        reason = verdict.reasons[0] if verdict.reasons else ""
        if row.start is not None and not row.start.taken:
            reason = row.start.reasons[0]
        lines.append(f"{row.what():15} {row.name:48} {reason[:160]}")
    return "\n".join(lines)


def summary(rows: Sequence[Row]) -> str:
    """How many, and the causes in order of how many files each one keeps, and of how many it is the only one."""
    taken = [row for row in rows if row.envoy.taken]
    ours = [row for row in taken if row.ours.taken]
    alone: Counter[str] = Counter()
    together: Counter[str] = Counter()
    for row in taken:
        causes = {cause_of(reason) for reason in row.ours.reasons}
        together.update(causes)
        if len(causes) == 1:
            alone.update(causes)
    share = f" ({100 * len(ours) / len(taken):.1f} %)" if taken else ""
    lines = [
        f"{len(rows)} files; Envoy takes {len(taken)}, minienvoy takes {len(ours)} of them{share}; "
        f"started: {sum(row.start is not None and row.start.taken for row in ours)}",
        f"Envoy refuses and minienvoy takes: {sum(row.ours.taken for row in rows if not row.envoy.taken)}",
        *(f"  {alone[cause]:4} alone {count:4} in all  {cause}" for cause, count in together.most_common()),
    ]
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.configurations", description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path, nargs="?", default=Path())
    parser.add_argument("names", nargs="*", help="only files whose path contains one of these")
    parser.add_argument("--json", type=Path, help="write everything that was said into this file as well")
    parser.add_argument("--no-start", action="store_true", help="validate only")
    parser.add_argument("--jobs", type=int, default=2, help="how many files at once")
    parser.add_argument("--start-one", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.start_one is not None:
        asyncio.run(_start_one(options.start_one))
        return 0
    paths = files_below(options.folder, options.names)
    names = [str(path.relative_to(options.folder)) for path in paths]
    with ThreadPoolExecutor(options.jobs) as pool:
        rows = list(pool.map(compare, paths, names, repeat(not options.no_start)))
    sys.stdout.write(f"{table(rows)}\n\n{summary(rows)}\n")
    if options.json is not None:
        told = [{**row._asdict(), "what": row.what()} for row in rows]
        options.json.write_text(json.dumps(told, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
