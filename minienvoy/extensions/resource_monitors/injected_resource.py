"""`envoy.resource_monitors.injected_resource`: a pressure that somebody writes into a file, for tests.

Envoy: `Extensions::ResourceMonitors::InjectedResourceMonitor`. As in Envoy a file that is written in place is not
looked at again, only one that is moved to the place of the old one.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ...config.fields import honours
from ...server.resource_monitor import RESOURCE_MONITORS, ResourceUnavailable

TYPE = "envoy.extensions.resource_monitors.injected_resource.v3.InjectedResourceConfig"
MAX_SIZE = 100
"""Characters of the file that are read."""

honours(TYPE, "filename")


class InjectedResourceMonitor:
    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: tuple[int, int] | None = None
        self._pressure: float | None = None

    def pressure(self) -> float:
        try:
            found = self._path.stat()
            if self._seen != (found.st_dev, found.st_ino):
                self._seen = (found.st_dev, found.st_ino)
                self._pressure = None
                with self._path.open(encoding="utf-8") as file:
                    self._pressure = float(file.read(MAX_SIZE))
        except (OSError, ValueError) as error:
            raise ResourceUnavailable(f"{self._path}: {error}") from None
        if self._pressure is None or not 0.0 <= self._pressure <= 1.0:
            raise ResourceUnavailable(f"{self._path} holds no number from 0 to 1")
        return self._pressure


@RESOURCE_MONITORS.register("envoy.resource_monitors.injected_resource", TYPE)
def create_injected_resource_monitor(proto: Any, server: Any) -> InjectedResourceMonitor:
    return InjectedResourceMonitor(Path(proto.filename))
