"""`envoy.resource_monitors.fixed_heap`: memory, of as much as there should be at most.

Envoy: `Extensions::ResourceMonitors::FixedHeapMonitor`. Envoy asks its allocator for the heap; here it is the memory of
the process that is resident, which is what runs short.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ...config.fields import honours
from ...errors import ConfigError
from ...server.memory import read_memory_stats
from ...server.resource_monitor import RESOURCE_MONITORS, ResourceUnavailable

TYPE = "envoy.extensions.resource_monitors.fixed_heap.v3.FixedHeapConfig"

honours(TYPE, "max_heap_size_bytes", "max_heap_size_bytes_runtime")
honours("envoy.config.core.v3.RuntimeUInt64", "default_value", "runtime_key")


class FixedHeapMonitor:
    def __init__(self, max_size: Callable[[], int]) -> None:
        """`max_size`: bytes, as of now."""
        self._max_size = max_size

    def pressure(self) -> float:
        used = read_memory_stats().physical
        if not used:
            raise ResourceUnavailable("the system does not tell how much memory is used")
        return used / max(1, self._max_size())


@RESOURCE_MONITORS.register("envoy.resource_monitors.fixed_heap", TYPE)
def create_fixed_heap_monitor(proto: Any, server: Any) -> FixedHeapMonitor:
    if proto.HasField("max_heap_size_bytes_runtime"):
        if proto.max_heap_size_bytes:
            raise ConfigError("fixed_heap: only one maximum can be set", "max_heap_size_bytes_runtime")
        setting, runtime = proto.max_heap_size_bytes_runtime, server.runtime
        if not setting.default_value:
            raise ConfigError("fixed_heap: max heap size must be greater than 0", "max_heap_size_bytes_runtime")
        return FixedHeapMonitor(lambda: runtime.snapshot.get_integer(setting.runtime_key, setting.default_value))
    if not proto.max_heap_size_bytes:
        raise ConfigError("fixed_heap: max heap size must be greater than 0", "max_heap_size_bytes")
    most = proto.max_heap_size_bytes
    return FixedHeapMonitor(lambda: most)
