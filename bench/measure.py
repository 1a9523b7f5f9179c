"""Runs the workloads: every contestant in turn, several rounds, one median each.

The proxy has one CPU for itself, load and backend share another. In a round each contestant is measured once and the
next round begins with another one, so that what the machine does meanwhile falls on all. Where the machine has one CPU
everything shares it and absolute figures mean little.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import resource
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import uvloop

from . import http2, load, scale
from .contestants import DIRECT, Contestant, Ports
from .process import BenchError, StartedProcess, free_port, start_backend, wait_for_answer, wait_for_port

ROOT = Path(__file__).resolve().parent.parent
SATURATED = 0.93
START_TIMEOUT = 20.0
SETTLE = 0.3

HTTP_WORKS = {"get": load.GET, "get11": load.GET_VARIED, "post": load.POST}
WORKLOADS = (*HTTP_WORKS, *http2.STREAMS, "latency", "tcp", "bulk", "scale", "start", "memory")


@dataclass(frozen=True, slots=True)
class Plan:
    """What to measure and how long; times in seconds, sizes in bytes."""

    contestants: tuple[Contestant, ...]
    workloads: tuple[str, ...]
    direct: bool = True
    rounds: int = 5
    seconds: float = 0.6
    warm_up: float = 0.2
    connections: int = 64
    rate: float = 1000.0
    idle_connections: int = 2000
    starts: int = 3
    bulk_size: int = 96 * 1024 * 1024
    bulk_connections: int = 4
    proxy_cpu: int = 0
    load_cpu: int = 1
    time_limit: float = 220.0


@dataclass(slots=True)
class Figures:
    """What was measured of one contestant, by the name of the figure; one value for each round."""

    samples: dict[str, list[float]] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)
    """Workload to why it was not measured."""

    def add(self, figure: str, value: float) -> None:
        self.samples.setdefault(figure, []).append(value)

    def median(self, figure: str) -> float | None:
        """Over the rounds that count: those in which the proxy was saturated, or all when it was in none."""
        values = self.samples.get(figure)
        if not values:
            return None
        busy = self.samples.get(f"{figure.partition('.')[0]}.busy", [])
        saturated = [value for value, share in zip(values, busy, strict=False) if share >= SATURATED]
        return median(saturated or values)

    def saturated_rounds(self, workload: str) -> tuple[int, int]:
        """In how many rounds the proxy was saturated, and of how many."""
        busy = self.samples.get(f"{workload}.busy", [])
        return sum(share >= SATURATED for share in busy), len(busy)


@dataclass(slots=True)
class Results:
    """Everything that one run found."""

    plan: Plan
    figures: dict[str, Figures] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0
    cut_short: bool = False


@dataclass(frozen=True, slots=True)
class Running:
    """A contestant that is up; `process` is None for the direct way."""

    name: str
    contestant: Contestant | None
    http_port: int
    tcp_port: int
    http2_port: int
    process: StartedProcess | None

    def cpu_seconds(self) -> float:
        return self.process.cpu_seconds() if self.process else 0.0


class Bench:
    """One run of a plan. `say` gets a line for each step."""

    def __init__(self, plan: Plan, directory: Path, say: Callable[[str], None]) -> None:
        self._plan = plan
        self._directory = directory
        self._say = say
        self._results = Results(plan)
        self._deadline = time.perf_counter() + plan.time_limit
        self._upstream_http = free_port()
        self._upstream_tcp = free_port()

    def run(self) -> Results:
        begun = time.perf_counter()
        with contextlib.ExitStack() as stack:
            runner = stack.enter_context(asyncio.Runner(loop_factory=uvloop.new_event_loop))
            log = self._directory / "backend.log"
            backend = start_backend(self._upstream_http, self._upstream_tcp, cpu=self._plan.load_cpu, log=log, cwd=ROOT)
            stack.callback(backend.stop)
            gc.collect()
            gc.freeze()
            self._measure_starts(runner)
            if not set(self._plan.workloads) <= {"scale", "start", "memory"}:
                with self._all_running() as running:
                    self._measure_rounds(runner, running)
            if "scale" in self._plan.workloads:
                self._measure_scale(runner)
        self._results.seconds = time.perf_counter() - begun
        return self._results

    def _figures(self, name: str) -> Figures:
        return self._results.figures.setdefault(name, Figures())

    def _out_of_time(self) -> bool:
        if time.perf_counter() > self._deadline and not self._results.cut_short:
            self._results.cut_short = True
            self._say(f"time limit of {self._plan.time_limit:.0f} s reached: no further measurement")
        return self._results.cut_short

    # Start-up and memory: fresh processes.

    def _start(self, contestant: Contestant, figures: Figures) -> Running:
        directory = self._directory / contestant.name.replace(" ", "-")
        directory.mkdir(exist_ok=True)
        ports = Ports(free_port(), free_port(), self._upstream_http, self._upstream_tcp, free_port())
        command = contestant.command(directory, ports)
        process = StartedProcess(contestant.name, command, cpu=self._plan.proxy_cpu, log=directory / "log", cwd=ROOT)
        try:
            figures.add("start", wait_for_answer(ports.http, process, START_TIMEOUT))
            if contestant.tcp:
                wait_for_port(ports.tcp, process, START_TIMEOUT)
            process.settle()
        except BaseException:
            process.stop()
            raise
        return Running(contestant.name, contestant, ports.http, ports.tcp, ports.http2, process)

    def _measure_starts(self, runner: asyncio.Runner) -> None:
        """Finds who can run at all; with the workloads `start` and `memory`, how fast and how big."""
        rounds = self._plan.starts if "start" in self._plan.workloads else 1
        for round_number in range(rounds):
            for contestant in self._plan.contestants:
                if contestant.name in self._results.skipped or (round_number and self._out_of_time()):
                    continue
                if reason := contestant.missing():
                    self._skip(contestant.name, reason)
                    continue
                figures = self._figures(contestant.name)
                try:
                    running = self._start(contestant, figures)
                except BenchError as error:
                    self._skip(contestant.name, str(error))
                    continue
                self._say(f"start: {contestant.name} answered after {figures.samples['start'][-1] * 1e3:.0f} ms")
                assert running.process is not None
                try:
                    time.sleep(SETTLE)
                    running.process.settle()
                    figures.add("rss", running.process.resident_bytes())
                    if "memory" in self._plan.workloads and not round_number:
                        figures.add("idle", runner.run(self._idle_bytes(running, running.process)))
                except BenchError as error:
                    figures.failures["memory"] = str(error)
                    self._say(f"memory: {contestant.name}: {error}")
                finally:
                    running.process.stop()

    def _skip(self, name: str, reason: str) -> None:
        self._results.figures.pop(name, None)
        self._results.skipped[name] = reason
        self._say(f"skipped: {name}: {reason}")

    async def _idle_bytes(self, running: Running, process: StartedProcess) -> float:
        """Resident bytes that each further idle connection costs, once the first ones have made the process warm."""
        idle = load.IdleConnections(running.http_port, load.GET)
        try:
            await idle.open(self._plan.connections)
            await asyncio.sleep(SETTLE)
            before = process.resident_bytes()
            await idle.open(self._plan.idle_connections)
            await asyncio.sleep(SETTLE)
            return (process.resident_bytes() - before) / self._plan.idle_connections
        finally:
            await idle.close()

    # Load: all are up, one at a time is busy.

    @contextlib.contextmanager
    def _all_running(self) -> Iterator[list[Running]]:
        with contextlib.ExitStack() as stack:
            running = []
            if self._plan.direct:
                running.append(Running(DIRECT, None, self._upstream_http, self._upstream_tcp, 0, None))
            for contestant in self._plan.contestants:
                if contestant.name in self._results.skipped:
                    continue
                try:
                    # These starts are not samples: the processes that already run disturb them.
                    one = self._start(contestant, Figures())
                except BenchError as error:
                    self._skip(contestant.name, str(error))
                    continue
                assert one.process is not None
                stack.callback(one.process.stop)
                running.append(one)
            yield running

    def _measure_rounds(self, runner: asyncio.Runner, running: Sequence[Running]) -> None:
        for round_number in range(self._plan.rounds):
            first = round_number * len(running) // self._plan.rounds
            for workload in self._plan.workloads:
                if workload in ("scale", "start", "memory"):
                    continue
                for one in (*running[first:], *running[:first]):
                    if self._takes_part(one, workload) and not self._out_of_time():
                        self._measure_one(runner, one, workload, round_number)

    def _takes_part(self, one: Running, workload: str) -> bool:
        if workload in self._figures(one.name).failures:
            return False
        if workload in http2.STREAMS:
            return one.contestant is not None and one.contestant.reads is not None
        return workload not in ("tcp", "bulk") or one.contestant is None or one.contestant.tcp

    def _measure_one(self, runner: asyncio.Runner, one: Running, workload: str, round_number: int) -> None:
        figures = self._figures(one.name)
        try:
            if one.process is not None:
                one.process.check_alive()
            if workload == "latency":
                said = runner.run(self._latency(one, figures))
            elif workload == "bulk":
                said = self._bulk(one, figures)
            elif workload in http2.STREAMS:
                port = one.http2_port if workload in http2.TO_HTTP2 else one.http_port
                driven = http2.drive(port, one.cpu_seconds, workload, self._plan.seconds)
                said = self._note(one, figures, workload, driven)
            else:
                said = runner.run(self._exchanges(one, figures, workload))
        except BenchError as error:
            figures.failures[workload] = said = str(error)
        self._say(f"round {round_number + 1} {workload}: {one.name}: {said}")

    # Many routes: processes of their own, of those that read an Envoy configuration.

    def _measure_scale(self, runner: asyncio.Runner) -> None:
        with contextlib.ExitStack() as stack:
            running = []
            for contestant in self._plan.contestants:
                if contestant.reads is None or contestant.name in self._results.skipped:
                    continue
                directory = self._directory / f"scale-{contestant.name}"
                directory.mkdir()
                listeners = [free_port() for _ in scale.TABLES]
                ports = Ports(0, 0, self._upstream_http, self._upstream_tcp, 0)
                command = contestant.reads(scale.scale_config(directory, ports, listeners))
                log = directory / "log"
                process = StartedProcess(contestant.name, command, cpu=self._plan.proxy_cpu, log=log, cwd=ROOT)
                stack.callback(process.stop)
                try:
                    for port in listeners:
                        wait_for_port(port, process, 2 * START_TIMEOUT)
                except BenchError as error:
                    self._figures(contestant.name).failures["scale"] = str(error)
                    continue
                process.settle()
                running.append((self._figures(contestant.name), listeners, process))
            for _ in range(self._plan.rounds):
                for figures, listeners, process in running:
                    for number, (table, port) in enumerate(zip(scale.TABLES, listeners, strict=True)):
                        if not self._out_of_time() and "scale" not in figures.failures:
                            self._measure_table(runner, figures, process, number, table, port)

    def _measure_table(
        self,
        runner: asyncio.Runner,
        figures: Figures,
        process: StartedProcess,
        number: int,
        table: scale.Table,
        port: int,
    ) -> None:
        plan = self._plan
        try:
            driven = runner.run(
                load.drive(
                    port,
                    table.work,
                    process.cpu_seconds,
                    connections=plan.connections,
                    seconds=plan.seconds / 2,
                    warm_up=plan.warm_up,
                )
            )
        except BenchError as error:
            figures.failures["scale"] = said = str(error)
        else:
            cost = driven.cpu_seconds / driven.exchanges
            figures.add(f"scale{number}.cpu", cost)
            figures.add(f"scale{number}.busy", driven.cpu_seconds / driven.seconds)
            said = f"{cost * 1e6:.1f} us"
        self._say(f"scale: {process.name}, {table.name}: {said}")

    async def _exchanges(self, one: Running, figures: Figures, workload: str) -> str:
        plan = self._plan
        work = load.TCP_ECHO if workload == "tcp" else HTTP_WORKS[workload]
        port = one.tcp_port if workload == "tcp" else one.http_port
        driven = await load.drive(
            port, work, one.cpu_seconds, connections=plan.connections, seconds=plan.seconds, warm_up=plan.warm_up
        )
        return self._note(one, figures, workload, driven)

    @staticmethod
    def _note(one: Running, figures: Figures, workload: str, driven: load.Driven) -> str:
        figures.add(f"{workload}.rate", driven.exchanges / driven.seconds)
        said = f"{driven.exchanges / driven.seconds:.0f}/s"
        if one.process is not None:
            cost, busy = driven.cpu_seconds / driven.exchanges, driven.cpu_seconds / driven.seconds
            figures.add(f"{workload}.cpu", cost)
            figures.add(f"{workload}.busy", busy)
            said += f", {cost * 1e6:.1f} us, {busy:.0%} of its CPU"
        return said

    async def _latency(self, one: Running, figures: Figures) -> str:
        plan = self._plan
        latencies = await load.drive_at_rate(
            one.http_port, load.GET, connections=plan.connections, rate=plan.rate, seconds=plan.seconds
        )
        figures.add("latency.held", float(latencies.held))
        p50, p99 = latencies.quantile(0.5), latencies.quantile(0.99)
        figures.add("latency.p50", p50)
        figures.add("latency.p99", p99)
        return f"p50 {p50 * 1e3:.2f} ms, p99 {p99 * 1e3:.2f} ms{'' if latencies.held else ', rate not held'}"

    def _bulk(self, one: Running, figures: Figures) -> str:
        plan = self._plan
        size = plan.bulk_size * plan.bulk_connections
        before = one.cpu_seconds()
        seconds = load.download(one.tcp_port, plan.bulk_size, connections=plan.bulk_connections, timeout=20)
        figures.add("bulk.rate", size / seconds)
        said = f"{size / seconds / 1e6:.0f} MB/s"
        if one.process is not None:
            cpu = one.cpu_seconds() - before
            figures.add("bulk.cpu", cpu / size)
            figures.add("bulk.busy", cpu / seconds)
            said += f", {cpu / size * 1e9:.2f} CPU s/GB, {cpu / seconds:.0%} of its CPU"
        return said


def run(plan: Plan, say: Callable[[str], None]) -> Results:
    """Carry out `plan`, pinned; everything that was started is stopped when it returns."""
    if sys.platform != "linux":
        raise BenchError("the bench reads /proc and pins CPUs: it runs on Linux only")
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {plan.load_cpu})
    try:
        with TemporaryDirectory(prefix="bench-") as directory:
            return Bench(plan, Path(directory), say).run()
    finally:
        os.sched_setaffinity(0, before)
