"""How much of something is used up.

Envoy: `envoy/server/resource_monitor.h`, `proactive_resource_monitor.h`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from ..registry import Registry


class ResourceUnavailable(Exception):
    """Nobody can tell how much is used up; what was known stays."""


class ResourceMonitor(Protocol):
    def pressure(self) -> float:
        """0 for nothing used, 1 for everything; more is possible.

        Raises:
            ResourceUnavailable: it can not be told now.
        """


RESOURCE_MONITORS: Registry[Callable[[Any, Any], ResourceMonitor]] = Registry("envoy.resource_monitors")
"""(configuration message, `ServerContext`) -> ResourceMonitor"""
