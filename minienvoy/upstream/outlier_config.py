"""What outlier detection looks for, and what it counts.

Envoy: `Upstream::Outlier::DetectorConfig`, `DetectionStats`, `envoy.data.cluster.v3.OutlierEjectionType`.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import TYPE_CHECKING, Any, Final, Protocol

from ..config.api import type_of, unpack
from ..errors import ConfigError
from ..record import record
from ..registry import Registry
from ..stats.store import CounterValue, GaugeValue, StatsStruct
from .duration import duration_of

if TYPE_CHECKING:
    from .host import Host

_DURATIONS: Final = ("interval", "base_ejection_time", "max_ejection_time", "max_ejection_time_jitter")
_NUMBERS: Final = (
    "max_ejection_percent",
    "consecutive_5xx",
    "consecutive_gateway_failure",
    "consecutive_local_origin_failure",
    "enforcing_consecutive_5xx",
    "enforcing_consecutive_gateway_failure",
    "enforcing_consecutive_local_origin_failure",
    "enforcing_success_rate",
    "enforcing_local_origin_success_rate",
    "enforcing_failure_percentage",
    "enforcing_failure_percentage_local_origin",
    "success_rate_minimum_hosts",
    "success_rate_request_volume",
    "success_rate_stdev_factor",
    "failure_percentage_threshold",
    "failure_percentage_minimum_hosts",
    "failure_percentage_request_volume",
    "always_eject_one_host",
    "successful_active_health_check_uneject_host",
    "detect_degraded_hosts",
)
"""Fields that are wrappers, and are called here as there."""


class EjectionType(Enum):
    """`envoy.data.cluster.v3.OutlierEjectionType`; `EXTENSION` is what a monitor of somebody else's finds."""

    CONSECUTIVE_5XX = 0
    CONSECUTIVE_GATEWAY_FAILURE = 1
    SUCCESS_RATE = 2
    CONSECUTIVE_LOCAL_ORIGIN_FAILURE = 3
    SUCCESS_RATE_LOCAL_ORIGIN = 4
    FAILURE_PERCENTAGE = 5
    FAILURE_PERCENTAGE_LOCAL_ORIGIN = 6
    DEGRADED = 7
    EXTENSION = 8

    @property
    def detected_stat(self) -> str:
        """The counter; empty if there is none."""
        return f"ejections_detected_{_STATS[self]}" if self in _STATS else ""

    @property
    def enforced_stat(self) -> str:
        return f"ejections_enforced_{_STATS[self]}" if self in _STATS else ""


_STATS: Final = {
    EjectionType.CONSECUTIVE_5XX: "consecutive_5xx",
    EjectionType.CONSECUTIVE_GATEWAY_FAILURE: "consecutive_gateway_failure",
    EjectionType.SUCCESS_RATE: "success_rate",
    EjectionType.CONSECUTIVE_LOCAL_ORIGIN_FAILURE: "consecutive_local_origin_failure",
    EjectionType.SUCCESS_RATE_LOCAL_ORIGIN: "local_origin_success_rate",
    EjectionType.FAILURE_PERCENTAGE: "failure_percentage",
    EjectionType.FAILURE_PERCENTAGE_LOCAL_ORIGIN: "local_origin_failure_percentage",
}
ENFORCING: Final = {
    EjectionType.CONSECUTIVE_5XX: "enforcing_consecutive_5xx",
    EjectionType.CONSECUTIVE_GATEWAY_FAILURE: "enforcing_consecutive_gateway_failure",
    EjectionType.SUCCESS_RATE: "enforcing_success_rate",
    EjectionType.CONSECUTIVE_LOCAL_ORIGIN_FAILURE: "enforcing_consecutive_local_origin_failure",
    EjectionType.SUCCESS_RATE_LOCAL_ORIGIN: "enforcing_local_origin_success_rate",
    EjectionType.FAILURE_PERCENTAGE: "enforcing_failure_percentage",
    EjectionType.FAILURE_PERCENTAGE_LOCAL_ORIGIN: "enforcing_failure_percentage_local_origin",
}
"""The setting that says in how many percent of cases it is carried out."""


class DetectionStats(StatsStruct):
    """`cluster.NAME.outlier_detection.*`; the first four counters are Envoy's older names."""

    ejections_consecutive_5xx: CounterValue
    ejections_detected_consecutive_5xx: CounterValue
    ejections_detected_consecutive_gateway_failure: CounterValue
    ejections_detected_consecutive_local_origin_failure: CounterValue
    ejections_detected_degradation: CounterValue
    ejections_detected_failure_percentage: CounterValue
    ejections_detected_local_origin_failure_percentage: CounterValue
    ejections_detected_local_origin_success_rate: CounterValue
    ejections_detected_success_rate: CounterValue
    ejections_enforced_consecutive_5xx: CounterValue
    ejections_enforced_consecutive_gateway_failure: CounterValue
    ejections_enforced_consecutive_local_origin_failure: CounterValue
    ejections_enforced_failure_percentage: CounterValue
    ejections_enforced_local_origin_failure_percentage: CounterValue
    ejections_enforced_local_origin_success_rate: CounterValue
    ejections_enforced_success_rate: CounterValue
    ejections_enforced_total: CounterValue
    ejections_overflow: CounterValue
    ejections_success_rate: CounterValue
    ejections_total: CounterValue
    ejections_active: GaugeValue


class OutlierMonitor(Protocol):
    """An extension that looks at the results of one host (`Outlier::ExtMonitor`)."""

    def put_http_response_code(self, status: int) -> None: ...
    def put_local_origin(self, failed: bool) -> None: ...
    def reset(self) -> None:
        """The host has come back."""


OnMonitorFailed = Callable[[str, int, str], None]
"""(name of the monitor, percentage of cases in which it ejects, what else it has to say)"""
MakeMonitor = Callable[["Host", OnMonitorFailed], OutlierMonitor]
OUTLIER_MONITORS: Registry[Callable[[str, Any], MakeMonitor]] = Registry("envoy.outlier_detection_monitors")
"""(name in the configuration, configuration message) -> MakeMonitor. Envoy 1.40 has none of its own."""


@record
class DetectorConfig:
    """Names are those of the runtime keys below `outlier_detection.`; times are whole milliseconds, as there."""

    interval_ms: int = 10_000
    base_ejection_time_ms: int = 30_000
    max_ejection_time_ms: int = 300_000
    max_ejection_time_jitter_ms: int = 0
    max_ejection_percent: int = 10
    consecutive_5xx: int = 5
    consecutive_gateway_failure: int = 5
    consecutive_local_origin_failure: int = 5
    enforcing_consecutive_5xx: int = 100
    enforcing_consecutive_gateway_failure: int = 0
    enforcing_consecutive_local_origin_failure: int = 100
    enforcing_success_rate: int = 100
    enforcing_local_origin_success_rate: int = 100
    enforcing_failure_percentage: int = 0
    enforcing_failure_percentage_local_origin: int = 0
    success_rate_minimum_hosts: int = 5
    success_rate_request_volume: int = 100
    success_rate_stdev_factor: int = 1900
    failure_percentage_threshold: int = 85
    failure_percentage_minimum_hosts: int = 5
    failure_percentage_request_volume: int = 50
    split_external_local_origin_errors: bool = False
    always_eject_one_host: bool = False
    successful_active_health_check_uneject_host: bool = True
    detect_degraded_hosts: bool = False
    monitors: tuple[MakeMonitor, ...] = ()

    @classmethod
    def from_proto(cls, config: Any, path: str = "") -> DetectorConfig:
        """From `envoy.config.cluster.v3.OutlierDetection`.

        Raises:
            ConfigError: a monitor that is not known.
        """
        values: dict[str, Any] = {}
        for name in _DURATIONS:
            if config.HasField(name):
                values[f"{name}_ms"] = int(duration_of(config, name, 0.0) * 1000 + 1e-6)
        for name in _NUMBERS:
            if config.HasField(name):
                values[name] = getattr(config, name).value
        base = values.get("base_ejection_time_ms", cls().base_ejection_time_ms)
        values.setdefault("max_ejection_time_ms", max(cls().max_ejection_time_ms, base))
        monitors = []
        for index, each in enumerate(config.monitors):
            where = f"{path}.monitors[{index}].typed_config"
            try:
                entry = OUTLIER_MONITORS.find(type_of(each.typed_config, where), where, each.name)
            except ConfigError:
                continue  # Envoy 1.40 has none and takes no notice of any
            monitors.append(entry.factory(each.name, unpack(each.typed_config, where, validate=True)))
        return cls(
            **values,
            split_external_local_origin_errors=config.split_external_local_origin_errors,
            monitors=tuple(monitors),
        )
