"""minienvoy's command line again and again, each time in a fresh process, without importing it each time.

Importing minienvoy and the schema takes twenty times as long as validating a file. So one process imports them, and
forks for every command line: exit code, standard output and standard error are those of a process of its own.

    python -m tests.conformance.validator

reads lines of JSON (a list of arguments and the file to write the output to) and answers each with the exit code.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import os
import sys
import traceback
from pathlib import Path
from typing import Self

from minienvoy import cli

ROOT = Path(__file__).resolve().parents[2]
_WARM_UP = [
    "minienvoy",
    "-l",
    "off",
    "--mode",
    "validate",
    "--config-yaml",
    "static_resources: {listeners: [], clusters: []}",
]


class Validator:
    """The process that imports, as `async with` keeps it; `run` has it fork."""

    def __init__(self) -> None:
        self._process: asyncio.subprocess.Process | None = None
        self._turn = asyncio.Lock()

    async def run(self, arguments: list[str], output: Path, patience: float) -> tuple[int, str]:
        """The exit code and what was written.

        Raises:
            TimeoutError: it did not end within `patience` seconds.
        """
        async with self._turn:
            if self._process is None:
                self._process = await asyncio.create_subprocess_exec(
                    *(sys.executable, "-m", "tests.conformance.validator"),
                    cwd=ROOT,
                    stdin=asyncio.subprocess.PIPE,
                    stdout=asyncio.subprocess.PIPE,
                )
            process = self._process
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(json.dumps([arguments, str(output)]).encode() + b"\n")
            code = await asyncio.wait_for(process.stdout.readline(), patience)
            return int(code), await asyncio.to_thread(output.read_text, "utf-8", "replace")

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._process is not None:
            self._process.kill()
            await self._process.communicate()


def main() -> None:
    with contextlib.redirect_stdout(io.StringIO()):
        cli.main(_WARM_UP)
    for line in sys.stdin:
        arguments, output = json.loads(line)
        child = os.fork()
        if child == 0:
            os._exit(_child(arguments, output))
        _, status = os.waitpid(child, 0)
        sys.stdout.write(f"{os.waitstatus_to_exitcode(status)}\n")
        sys.stdout.flush()


def _child(arguments: list[str], output: str) -> int:
    descriptor = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    code = 1
    try:
        code = cli.main(["minienvoy", *arguments])
    except BaseException:
        traceback.print_exc()
    sys.stdout.flush()
    return code


if __name__ == "__main__":
    main()
