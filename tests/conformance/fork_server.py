"""minienvoy's command line again and again, each time in a fresh process, without importing it each time.

Importing minienvoy and the schema takes longer than starting with the configuration of a whole scenario. So one process
imports them, and forks for every command line: standard output and standard error, signals and the exit code are those
of a process of its own, and so is all that it does from its first argument on. (That a process starts without this
help is what `tests/integration/test_serving.py` and its neighbours see.)

    python -m tests.conformance.fork_server SOCKET

listens there until its standard input ends. Each connection is one process: it brings a line of JSON (a list of
arguments and the file to write the output to) and is told the process's id, and the exit code when it has ended.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import gc
import io
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import traceback
from functools import cache
from pathlib import Path

from minienvoy import cli

ROOT = Path(__file__).resolve().parents[2]


class ForkedProcess:
    """One of the processes, with what `asyncio.subprocess.Process` offers."""

    def __init__(self, pid: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.pid = pid
        self._writer = writer
        self._end = asyncio.get_running_loop().create_task(self._wait(reader))

    @property
    def returncode(self) -> int | None:
        return self._end.result() if self._end.done() else None

    async def wait(self) -> int:
        return await asyncio.shield(self._end)

    def terminate(self) -> None:
        self._send(signal.SIGTERM)

    def kill(self) -> None:
        self._send(signal.SIGKILL)

    def _send(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)

    async def _wait(self, reader: asyncio.StreamReader) -> int:
        try:
            return int(await reader.readline())
        finally:
            self._writer.close()


async def start(arguments: list[str], output: Path) -> ForkedProcess:
    """Fork a process with this command line, which writes both its outputs to `output`."""
    reader, writer = await asyncio.open_unix_connection(_server())
    writer.write(json.dumps([arguments, str(output)]).encode() + b"\n")
    return ForkedProcess(int(await reader.readline()), reader, writer)


@cache
def _server() -> str:
    """The socket of the one server that serves this process, and ends with it."""
    directory = tempfile.mkdtemp(prefix="fork-server-")
    path = f"{directory}/socket"
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.conformance.fork_server", path],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    process.stdout.readline()

    def stop() -> None:
        process.kill()
        process.communicate()
        shutil.rmtree(directory, ignore_errors=True)

    atexit.register(stop)
    return path


def main() -> None:
    _warm_up()
    gc.collect()
    gc.freeze()  # what the collector does not touch, the processes share
    ended, told = os.pipe()
    os.set_blocking(told, False)
    signal.set_wakeup_fd(told, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    running: dict[int, socket.socket] = {}
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(sys.argv[1])
        listener.listen(64)
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        while sys.stdin not in (ready := select.select([sys.stdin, listener, ended], [], [])[0]):
            if ended in ready:
                os.read(ended, 4096)
                _tell_of_the_ended(running)
            if listener in ready:
                connection, _ = listener.accept()
                with connection.makefile() as line:
                    arguments, output = json.loads(line.readline())
                pid = os.fork()
                if pid == 0:
                    os._exit(_run(arguments, output))
                running[pid] = connection
                connection.sendall(b"%d\n" % pid)


def _warm_up() -> None:
    """Have everything imported that every process needs, and what most cases configure."""
    import uvloop  # noqa: F401

    from minienvoy.server import run_helper  # noqa: F401

    from . import scenario

    resources = scenario.resources(scenario.Case("", "warm-up", {}), {"backend": 1}, Path("/tmp"))
    text = json.dumps(scenario.bootstrap(*resources))
    with contextlib.redirect_stdout(io.StringIO()):
        assert cli.main(["minienvoy", "-l", "off", "--mode", "validate", "--config-yaml", text]) == 0


def _tell_of_the_ended(running: dict[int, socket.socket]) -> None:
    while running:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid == 0:
            return
        with running.pop(pid) as connection, contextlib.suppress(OSError):
            connection.sendall(b"%d\n" % os.waitstatus_to_exitcode(status))


def _run(arguments: list[str], output: str) -> int:
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.closerange(3, 1024)
    descriptor = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os.close(descriptor)
    code = 1
    try:
        code = cli.main(["minienvoy", *arguments])
    except BaseException:
        traceback.print_exc()
    sys.stdout.flush()
    return code


if __name__ == "__main__":
    main()
