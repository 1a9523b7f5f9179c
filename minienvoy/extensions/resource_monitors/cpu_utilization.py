"""`envoy.resource_monitors.cpu_utilization`: how busy the CPUs are, of the machine or of the control group.

Envoy: `Extensions::ResourceMonitors::CpuUtilizationMonitor`. What was measured since the last time counts for a
twentieth of what is told: a moment's peak is no overload.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from ...config.fields import honours
from ...server.resource_monitor import RESOURCE_MONITORS, ResourceUnavailable

TYPE = "envoy.extensions.resource_monitors.cpu_utilization.v3.CpuUtilizationConfig"
DAMPENING: Final = 0.05
CONTAINER: Final = 1

honours(TYPE, "mode")

Times = Callable[[], tuple[float, float]]
"""(work, time in which it could have been done), in any unit, since any moment"""


class CpuUtilizationMonitor:
    def __init__(self, times: Times) -> None:
        self._times = times
        self._last: tuple[float, float] | None = None
        self._utilization = 0.0

    def pressure(self) -> float:
        try:
            work, total = self._times()
        except (OSError, ValueError, IndexError) as error:
            raise ResourceUnavailable(f"the system does not tell how busy it is: {error}") from None
        last, self._last = self._last, (work, total)
        if last is None:
            return 0.0
        if work < last[0] or total <= last[1]:
            raise ResourceUnavailable("times of the CPU have not gone on")
        now = min(1.0, (work - last[0]) / (total - last[1]))
        self._utilization += DAMPENING * (now - self._utilization)
        return self._utilization


def host_times(path: Path = Path("/proc/stat")) -> tuple[float, float]:
    """User, nice and system time, and all that has passed."""
    fields = [float(each) for each in path.read_text("ascii").split("\n", 1)[0].split()[1:]]
    return sum(fields[:3]), sum(fields)


def container_times(now: float, root: Path = Path("/sys/fs/cgroup")) -> tuple[float, float]:
    """Seconds that the group has worked, and those that it may have worked until `now` (seconds)."""
    usage, quota = root / "cpu.stat", root / "cpu.max"
    if usage.exists():
        values = dict(line.split(" ", 1) for line in usage.read_text("ascii").splitlines())
        work = float(values["usage_usec"]) / 1e6
        limit, period = quota.read_text("ascii").split() if quota.exists() else ("max", "1")
    else:
        work = float((root / "cpuacct/cpuacct.usage").read_text("ascii")) / 1e9
        limit = (root / "cpu/cpu.cfs_quota_us").read_text("ascii").strip().replace("-1", "max")
        period = (root / "cpu/cpu.cfs_period_us").read_text("ascii")
    cores = float(os.cpu_count() or 1) if limit == "max" else float(limit) / float(period)
    return work, now * cores


@RESOURCE_MONITORS.register("envoy.resource_monitors.cpu_utilization", TYPE)
def create_cpu_utilization_monitor(proto: Any, server: Any) -> CpuUtilizationMonitor:
    if proto.mode == CONTAINER:
        return CpuUtilizationMonitor(lambda: container_times(server.dispatcher.monotonic_time()))
    return CpuUtilizationMonitor(host_times)
