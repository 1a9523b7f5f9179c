"""A started process and what the kernel charges it: CPU seconds, resident memory, for all its threads and children.

Linux only: it reads /proc.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from random import SystemRandom

HOST = "127.0.0.1"
PROC = Path("/proc")
# Below the kernel's ephemeral ports: no outgoing connection takes one between the choice and the bind.
PORTS = range(18000, 31000)


class BenchError(Exception):
    """A contestant did not start or did not answer as it should; the message is one line for the report."""


@contextmanager
def pinned(cpu: int) -> Iterator[None]:
    """Run on `cpu` inside the block; children started there stay there."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {cpu})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on now."""
    choice = SystemRandom()
    for _ in range(200):
        port = choice.choice(PORTS)
        with socket.socket() as probe:
            try:
                probe.bind((HOST, port))
            except OSError:
                continue
            return port
    raise BenchError("no free port found")


def process_tree(pid: int) -> list[int]:
    """`pid` and its descendants."""
    children: dict[int, list[int]] = {}
    for entry in PROC.iterdir():
        if entry.name.isdigit():
            try:
                # The command name may hold spaces and parentheses: fields are counted from the last one.
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except (OSError, IndexError):
                continue
            children.setdefault(parent, []).append(int(entry.name))
    tree = [pid]
    for member in tree:
        tree.extend(children.get(member, ()))
    return tree


def cpu_seconds(pids: Sequence[int]) -> float:
    """CPU time of all living threads of `pids`: schedstat's nanoseconds or, where there is none, stat's 10 ms ticks."""
    total = 0.0
    for pid in pids:
        try:
            total += (
                sum(int(task.read_text().split()[0]) for task in (PROC / str(pid) / "task").glob("*/schedstat")) / 1e9
            )
        except OSError as error:
            raise BenchError(f"process {pid} is gone") from error
    return total or _cpu_seconds_by_ticks(pids)


def _cpu_seconds_by_ticks(pids: Sequence[int]) -> float:
    fields = ((PROC / str(pid) / "stat").read_text().rpartition(")")[2].split() for pid in pids)
    return sum(int(stat[11]) + int(stat[12]) for stat in fields) / os.sysconf("SC_CLK_TCK")


def resident_bytes(pids: Sequence[int]) -> int:
    """Resident memory of `pids`, summed; pages they share are counted once for each."""
    total = 0
    for pid in pids:
        try:
            rollup = (PROC / str(pid) / "smaps_rollup").read_text()
            total += next(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Rss:")) * 1024
        except (OSError, StopIteration):
            total += int((PROC / str(pid) / "statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return total


def end_on_sigterm() -> None:
    """SIGTERM unwinds this process as SystemExit, so that what it started is stopped too."""
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))


class StartedProcess:
    """One command, pinned to one CPU, its output kept in `log`."""

    def __init__(self, name: str, command: Sequence[str], *, cpu: int, log: Path, cwd: Path) -> None:
        self.name = name
        self._log = log
        self._tree: list[int] = []
        with pinned(cpu), log.open("wb") as output:
            self.started_at = time.perf_counter()
            # As it runs outside of a bench: a Python that may not keep its bytecode compiles itself at every start.
            environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=cwd,
                env=environment,
                start_new_session=True,
            )

    def check_alive(self) -> None:
        """Raise `BenchError` with the last line of its log when the process has ended."""
        if (status := self._process.poll()) is not None:
            raise BenchError(f"ended with status {status}: {self.last_words()}")

    def last_words(self) -> str:
        """The last line that the process wrote, for the report."""
        lines = [line.strip() for line in self._log.read_text(errors="replace").splitlines() if line.strip()]
        return lines[-1][:160] if lines else "it wrote nothing"

    def settle(self) -> None:
        """Note the process tree: from here on `cpu_seconds` and `resident_bytes` count these processes."""
        self._tree = process_tree(self._process.pid)

    def cpu_seconds(self) -> float:
        return cpu_seconds(self._tree)

    def resident_bytes(self) -> int:
        return resident_bytes(self._tree)

    def stop(self) -> None:
        """End the process and its children: SIGTERM, and after two seconds SIGKILL."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            try:
                os.killpg(self._process.pid, number)
                self._process.wait(2)
            except ProcessLookupError:
                break
            except subprocess.TimeoutExpired:
                continue
        self._process.wait(2)


def start_backend(http_port: int, tcp_port: int, *, cpu: int, log: Path, cwd: Path) -> StartedProcess:
    """The process that stands behind every contestant, listening."""
    backend = StartedProcess(
        "backend", [sys.executable, "-m", "bench.backend", str(http_port), str(tcp_port)], cpu=cpu, log=log, cwd=cwd
    )
    try:
        for port in (http_port, tcp_port):
            wait_for_port(port, backend, timeout=10)
    except BaseException:
        backend.stop()
        raise
    return backend


def wait_for_port(port: int, process: StartedProcess, timeout: float) -> float:
    """Seconds from the start of `process` to the first connection that `port` takes; `BenchError` after `timeout`."""
    while True:
        try:
            socket.create_connection((HOST, port), timeout=1).close()
        except OSError:
            process.check_alive()
            if time.perf_counter() - process.started_at > timeout:
                raise BenchError(f"not listening after {timeout:.0f} s: {process.last_words()}") from None
            time.sleep(0.001)
        else:
            return time.perf_counter() - process.started_at


def wait_for_answer(port: int, process: StartedProcess, timeout: float) -> float:
    """Seconds from the start of `process` to its first 200 on `port`; `BenchError` after `timeout`."""
    status = b"nothing"
    while True:
        wait_for_port(port, process, timeout)
        try:
            with socket.create_connection((HOST, port), timeout=1) as connection:
                connection.sendall(b"GET / HTTP/1.1\r\nhost: bench\r\n\r\n")
                status = connection.recv(4096)[:12] or b"nothing"
        except OSError:
            status = b"no answer"
        elapsed = time.perf_counter() - process.started_at
        if status == b"HTTP/1.1 200":
            return elapsed
        process.check_alive()
        if elapsed > timeout:
            raise BenchError(
                f"answered {status.decode(errors='replace')!r} for {timeout:.0f} s: {process.last_words()}"
            )
        time.sleep(0.001)
