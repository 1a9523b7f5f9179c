"""`envoy.resource_monitors.cgroup_memory`: memory of the control group, of as much as it may have.

Envoy: `Extensions::ResourceMonitors::CgroupMemory::CgroupMemoryMonitor`. Both versions of control groups are known; the
limit is the group's own, or `max_memory_bytes` where that is less.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from ...config.fields import honours
from ...server.resource_monitor import RESOURCE_MONITORS, ResourceUnavailable

TYPE = "envoy.extensions.resource_monitors.cgroup_memory.v3.CgroupMemoryConfig"
UNLIMITED: Final = 2**63
FILES: Final = (("memory.current", "memory.max"), ("memory/memory.usage_in_bytes", "memory/memory.limit_in_bytes"))
"""What is used and what there may be: version 2, version 1."""

honours(TYPE, "max_memory_bytes")


class CgroupMemoryMonitor:
    def __init__(self, most: int, root: Path = Path("/sys/fs/cgroup")) -> None:
        """`most`: bytes; 0 leaves it to the group."""
        self._most = most
        self._root = root

    def pressure(self) -> float:
        for used, limit in FILES:
            if (self._root / used).exists():
                return self._read(used) / max(1, min(self._read(limit), self._most or UNLIMITED))
        raise ResourceUnavailable("there is no control group for memory")

    def _read(self, name: str) -> int:
        try:
            text = (self._root / name).read_text("ascii").strip()
            return UNLIMITED if text in ("max", "-1") else int(text)
        except (OSError, ValueError) as error:
            raise ResourceUnavailable(f"{name}: {error}") from None


@RESOURCE_MONITORS.register("envoy.resource_monitors.cgroup_memory", TYPE)
def create_cgroup_memory_monitor(proto: Any, server: Any) -> CgroupMemoryMonitor:
    return CgroupMemoryMonitor(proto.max_memory_bytes)
