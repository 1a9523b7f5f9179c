"""What monitors make of the files of a kernel."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from minienvoy.config.loader import load_dict
from minienvoy.config.runtime import Layer, Loader, Snapshot, static_values
from minienvoy.extensions.resource_monitors.cgroup_memory import CgroupMemoryMonitor
from minienvoy.extensions.resource_monitors.cpu_utilization import (
    CpuUtilizationMonitor,
    container_times,
    host_times,
)
from minienvoy.extensions.resource_monitors.fixed_heap import TYPE as FIXED_HEAP
from minienvoy.extensions.resource_monitors.fixed_heap import create_fixed_heap_monitor
from minienvoy.server.resource_monitor import ResourceUnavailable


def put(directory: Path, name: str, text: str) -> None:
    path = directory / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.mark.parametrize(("most", "pressure"), [(0, 0.25), (1000, 0.5), (5000, 0.25)])
def test_memory_of_a_control_group(tmp_path: Path, most: int, pressure: float) -> None:
    put(tmp_path, "memory.current", "500\n")
    put(tmp_path, "memory.max", "2000\n")
    assert CgroupMemoryMonitor(most, tmp_path).pressure() == pressure


def test_memory_of_an_old_control_group_without_a_limit(tmp_path: Path) -> None:
    put(tmp_path, "memory/memory.usage_in_bytes", "500\n")
    put(tmp_path, "memory/memory.limit_in_bytes", "-1\n")
    assert CgroupMemoryMonitor(1000, tmp_path).pressure() == 0.5
    assert CgroupMemoryMonitor(0, tmp_path).pressure() < 1e-9


def test_memory_without_a_control_group(tmp_path: Path) -> None:
    with pytest.raises(ResourceUnavailable):
        CgroupMemoryMonitor(0, tmp_path).pressure()


def test_a_peak_of_the_cpu_counts_for_a_twentieth() -> None:
    times = iter([(0.0, 0.0), (10.0, 10.0), (10.0, 20.0)])
    monitor = CpuUtilizationMonitor(lambda: next(times))
    assert monitor.pressure() == 0.0
    assert monitor.pressure() == pytest.approx(0.05)
    assert monitor.pressure() == pytest.approx(0.0475)


def test_a_clock_that_stands_still_tells_nothing() -> None:
    monitor = CpuUtilizationMonitor(lambda: (1.0, 1.0))
    monitor.pressure()
    with pytest.raises(ResourceUnavailable):
        monitor.pressure()


def test_times_of_a_machine(tmp_path: Path) -> None:
    put(tmp_path, "stat", "cpu  10 20 30 40 5 0 1 0 0 0\ncpu0 1 1 1 1\n")
    assert host_times(tmp_path / "stat") == (60.0, 106.0)


def test_times_of_a_container(tmp_path: Path) -> None:
    put(tmp_path, "cpu.stat", "usage_usec 3000000\nuser_usec 1\n")
    put(tmp_path, "cpu.max", "50000 100000\n")
    assert container_times(10.0, tmp_path) == (3.0, 5.0)


def test_times_of_an_old_container(tmp_path: Path) -> None:
    put(tmp_path, "cpuacct/cpuacct.usage", "3000000000\n")
    put(tmp_path, "cpu/cpu.cfs_quota_us", "200000\n")
    put(tmp_path, "cpu/cpu.cfs_period_us", "100000\n")
    assert container_times(10.0, tmp_path) == (3.0, 20.0)


def test_the_runtime_may_say_how_large_the_heap_may_be() -> None:
    config = {"max_heap_size_bytes_runtime": {"default_value": 2**50, "runtime_key": "heap"}}
    runtime = Loader()
    monitor = create_fixed_heap_monitor(load_dict(config, FIXED_HEAP).message, SimpleNamespace(runtime=runtime))
    assert 0 < monitor.pressure() < 1e-3
    values = load_dict({"heap": 1024}, "google.protobuf.Struct").message
    runtime.snapshot = Snapshot((Layer("test", static_values(values)),))
    assert monitor.pressure() > 100
