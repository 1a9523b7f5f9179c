"""Where minienvoy's time goes: `python -m bench.hotspots get11` runs it in this process under one workload.

Two views. By default cProfile: exact counts of calls, with a cost on each call that makes small functions look dear.
With `--sample`, a signal at each tick of CPU time (1 to 10 ms): no cost on calls, shares only; time in the kernel and
in uvloop falls on the Python function that runs next. Neither gives figures to publish: `python -m bench` does.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import cProfile
import os
import pstats
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from types import FrameType

import uvloop

from . import load
from .contestants import Ports, envoy_config
from .measure import HTTP_WORKS, ROOT
from .process import BenchError, end_on_sigterm, free_port, pinned, start_backend

WORKS = {**HTTP_WORKS, "tcp": load.TCP_ECHO}
SAMPLE_EVERY = 0.001
WARM_UP = 0.5


def drive_and_stop(pid: int, work: str, port: int, seconds: float) -> None:
    """The other process: waits for the proxy, loads it, then ends it as an operator would (SIGTERM)."""

    async def exchanges() -> int:
        deadline = time.perf_counter() + 20
        while True:
            try:
                driven = await load.drive(
                    port, WORKS[work], lambda: 0.0, connections=64, seconds=seconds, warm_up=WARM_UP
                )
            except BenchError as error:
                if not str(error).startswith("cannot connect") or time.perf_counter() > deadline:
                    raise
                await asyncio.sleep(0.05)
            else:
                return driven.exchanges

    try:
        print(f"{uvloop.run(exchanges())} exchanges of {work!r} in {seconds:g} s, under the profiler", file=sys.stderr)
    except BenchError as error:
        print(f"hotspots: {error}", file=sys.stderr)
    finally:
        os.kill(pid, signal.SIGTERM)


@contextlib.contextmanager
def counted_calls(top: int) -> Iterator[None]:
    """cProfile around the block; prints the `top` functions by their own time."""
    profile = cProfile.Profile()
    profile.enable()
    try:
        yield
    finally:
        profile.disable()
        pstats.Stats(profile).strip_dirs().sort_stats("tottime").print_stats(top)


@contextlib.contextmanager
def sampled(top: int) -> Iterator[None]:
    """Samples the running function by CPU time in the block; prints the `top` by their own share."""
    own: Counter[str] = Counter()
    with_callees: Counter[str] = Counter()

    def sample(_: int, frame: FrameType | None) -> None:
        if frame is None:
            return
        own[_place(frame)] += 1
        above = set()
        while frame is not None:
            above.add(_place(frame))
            frame = frame.f_back
        with_callees.update(above)

    before = signal.signal(signal.SIGPROF, sample)
    signal.setitimer(signal.ITIMER_PROF, SAMPLE_EVERY, SAMPLE_EVERY)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)
        samples = own.total() or 1
        print(f"{own.total()} samples\n   own  with callees")
        for place, times in own.most_common(top):
            print(f"{times / samples:6.1%} {with_callees[place] / samples:13.1%}  {place}")


def _place(frame: FrameType) -> str:
    code = frame.f_code
    path = Path(code.co_filename)
    return (
        f"{path.relative_to(ROOT) if path.is_relative_to(ROOT) else path.name}:{code.co_firstlineno} {code.co_qualname}"
    )


def profile(arguments: argparse.Namespace) -> None:
    """Run minienvoy here with a backend and a load beside it, and print where its time went."""
    cpus = sorted(os.sched_getaffinity(0))
    with contextlib.ExitStack() as stack:
        directory = Path(stack.enter_context(TemporaryDirectory(prefix="bench-")))
        ports = Ports(*(free_port() for _ in range(5)))
        config = envoy_config(directory, ports)
        log = directory / "backend.log"
        backend = start_backend(ports.upstream_http, ports.upstream_tcp, cpu=cpus[-1], log=log, cwd=ROOT)
        stack.callback(backend.stop)
        # Imports are not the data path's: they happen before the profile begins.
        main = import_module("minienvoy.cli").main
        port = ports.tcp if arguments.workload == "tcp" else ports.http
        with pinned(cpus[-1]):
            driver = subprocess.Popen(
                [
                    *(sys.executable, "-m", "bench.hotspots", arguments.workload, "--seconds", str(arguments.seconds)),
                    *("--drive", f"{os.getpid()}:{port}"),
                ],
                cwd=ROOT,
            )
        stack.callback(driver.wait, 5)
        stack.callback(driver.terminate)
        stack.enter_context(pinned(cpus[0]))
        sys.argv = ["minienvoy", "-c", str(config), "--concurrency", "1", *arguments.options]
        stack.enter_context((sampled if arguments.sample else counted_calls)(arguments.top))
        try:
            main()
        except SystemExit as ended:
            if ended.code:
                raise BenchError(f"minienvoy ended: {ended.code}") from None


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.hotspots", description=__doc__)
    parser.add_argument("workload", choices=WORKS)
    parser.add_argument("--sample", action="store_true", help="sample by CPU time instead of counting calls")
    parser.add_argument("--seconds", type=float, default=3.0, help="seconds under load (3)")
    parser.add_argument("--top", type=int, default=40, help="functions to print (40)")
    parser.add_argument("--option", dest="options", action="append", default=[], help="a further option for minienvoy")
    parser.add_argument("--drive", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    try:
        if arguments.drive:
            pid, _, port = arguments.drive.partition(":")
            drive_and_stop(int(pid), arguments.workload, int(port), arguments.seconds)
        else:
            end_on_sigterm()
            profile(arguments)
    except (BenchError, ModuleNotFoundError) as error:
        print(f"hotspots: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
