"""How much memory the process has.

Envoy: `Memory::Stats` (`source/common/memory/stats.h`). Envoy asks its allocator; we ask the kernel, because neither
Python's small-object allocator nor the C library's will say.
"""

from __future__ import annotations

import os
from typing import NamedTuple


class MemoryStats(NamedTuple):
    """Bytes.

    Attributes:
        allocated: resident memory that no file backs: what the process has written to.
        heap_size: data segments and stacks, resident or not.
        physical: resident memory.
    """

    allocated: int
    heap_size: int
    physical: int


def read_memory_stats() -> MemoryStats:
    """Of this process, now; zeros where there is no `/proc`."""
    try:
        with open("/proc/self/statm", "rb") as statm:  # noqa: PTH123 (importing pathlib costs 5 ms)
            _, resident, shared, _, _, data, _ = map(int, statm.read().split())
        page = os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError):
        return MemoryStats(0, 0, 0)
    return MemoryStats((resident - shared) * page, data * page, resident * page)
