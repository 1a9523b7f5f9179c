"""Ejections and returns as lines of JSON.

Envoy: `Upstream::Outlier::EventLoggerImpl`, `envoy.data.cluster.v3.OutlierDetectionEvent`; docs "Outlier detection >
Ejection event logging". One file for all clusters: `cluster_manager.outlier_detection.event_log_path`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from .event_time import timestamp
from .outlier_config import EjectionType

if TYPE_CHECKING:
    from ..event.dispatcher import Dispatcher
    from .outlier_detection import OutlierDetector
    from .outlier_host_monitor import HostMonitor


class OutlierEventLogger:
    def __init__(self, write: Callable[[str], None], dispatcher: Dispatcher) -> None:
        self._write = write
        self._dispatcher = dispatcher

    def log_eject(self, monitor: HostMonitor, detector: OutlierDetector, kind: EjectionType, enforced: bool) -> None:
        """`enforced` is whether the host was really ejected."""
        if kind in (EjectionType.SUCCESS_RATE, EjectionType.SUCCESS_RATE_LOCAL_ORIGIN):
            external = kind is EjectionType.SUCCESS_RATE
            mean, threshold = detector.success_rates[external]
            details = {
                "eject_success_rate_event": {
                    "host_success_rate": int(_rate(monitor, external)),
                    "cluster_average_success_rate": int(mean),
                    "cluster_success_rate_ejection_threshold": int(max(0.0, threshold)),
                }
            }
        elif kind in (EjectionType.FAILURE_PERCENTAGE, EjectionType.FAILURE_PERCENTAGE_LOCAL_ORIGIN):
            rate = _rate(monitor, kind is EjectionType.FAILURE_PERCENTAGE)
            details = {"eject_failure_percentage_event": {"host_success_rate": int(rate)}}
        else:
            details = {"eject_consecutive_event": {}}
        self._log(monitor, kind.name, monitor.unejection_time, "EJECT", enforced, details)

    def log_uneject(self, monitor: HostMonitor) -> None:
        self._log(monitor, EjectionType.CONSECUTIVE_5XX.name, monitor.ejection_time, "UNEJECT", False, {})

    def _log(
        self,
        monitor: HostMonitor,
        kind: str,
        last_action: float | None,
        action: str,
        enforced: bool,
        details: dict[str, Any],
    ) -> None:
        shown: dict[str, Any] = {"type": kind, "timestamp": timestamp(self._dispatcher.wall_time())}
        if last_action is not None:
            shown["secs_since_last_action"] = str(int(self._dispatcher.monotonic_time() - last_action))
        shown["cluster_name"] = monitor.cluster_name
        shown["upstream_url"] = monitor.host.address.text
        shown["action"] = action
        shown["num_ejections"] = monitor.num_ejections
        shown["enforced"] = enforced
        import json

        line = json.dumps({**shown, **details}, separators=(",", ":"), ensure_ascii=False) + "\n"
        self._write(line.encode().decode("latin-1"))


def _rate(monitor: HostMonitor, external: bool) -> float:
    return max(0.0, monitor.success_rate if external else monitor.local_origin_success_rate)
