"""Ejects hosts that answer badly, without asking them anything.

Envoy: `Upstream::Outlier::DetectorImpl`, `DetectorConfig`; docs "Outlier detection".

What a host answers is counted in its `HostMonitor` (`outlier_host_monitor.py`). Errors in a row are noticed at once;
success rates and failure percentages are looked at every `interval`, over what was counted in the interval before.
An ejected host comes back at the end of an interval, when it has been away for `base_ejection_time` times how often it
was ejected lately, at most `max_ejection_time`. That multiplier goes down by one in each interval without ejection.

No more than `max_ejection_percent` of the hosts are away at a time, and each kind of ejection is carried out for its
`enforcing_*` percentage of cases only; the others are counted and logged as detected. Any of the numbers can be
replaced by a runtime key `outlier_detection.*`.
"""

from __future__ import annotations

from collections.abc import Callable
from math import sqrt
from typing import TYPE_CHECKING, Any, Final

from ..errors import ConfigError
from .health_transition import HealthTransition
from .host import HealthFlag, Host, HostSet
from .outlier_config import ENFORCING, DetectionStats, DetectorConfig, EjectionType
from .outlier_event_logger import OutlierEventLogger
from .outlier_host_monitor import HostMonitor

if TYPE_CHECKING:
    from ..config.runtime import Loader
    from ..event.dispatcher import Dispatcher
    from ..event.random import RandomStream
    from ..explain.journal import Journal
    from .cluster import Cluster, ClusterContext

ChangedState = Callable[[Host], None]
_OURS: Final = HealthFlag.FAILED_OUTLIER_CHECK | HealthFlag.DEGRADED_OUTLIER_DETECTION


class OutlierDetector:
    """Of one cluster.

    Attributes:
        monitors: of every host, in the order in which they came.
        success_rates: by whether the errors are the host's (external) or the network's (local origin): average and
            ejection threshold of the last interval, percent; -1 if it had none.
    """

    def __init__(
        self,
        config: DetectorConfig,
        cluster: Cluster,
        dispatcher: Dispatcher,
        random: RandomStream,
        runtime: Loader | None = None,
        event_logger: OutlierEventLogger | None = None,
        journal: Journal | None = None,
    ) -> None:
        self.config = config
        self.monitors: dict[Host, HostMonitor] = {}
        self.success_rates: dict[bool, tuple[float, float]] = {True: (-1.0, -1.0), False: (-1.0, -1.0)}
        self.stats = cluster.stats.scope.scope("outlier_detection").struct(DetectionStats)
        self.dispatcher = dispatcher
        self.cluster_name = cluster.name
        self._random = random
        self._runtime = runtime
        self._event_logger = event_logger
        self._journal = journal
        self._callbacks: list[ChangedState] = []
        self._stopped = False
        self._interval_timer = dispatcher.create_timer(self._on_interval)
        cluster.priority_set.add_member_update_callback(self._on_member_update)

    def add_changed_state_callback(self, callback: ChangedState) -> None:
        """Called after a host was ejected or has come back."""
        self._callbacks.append(callback)

    def start(self) -> None:
        self._arm()

    def stop(self) -> None:
        """Nothing is ejected or comes back any more."""
        self._stopped = True
        self._interval_timer.disable()
        self._callbacks.clear()

    def setting(self, name: str) -> int:
        """A number of the configuration, or what runtime says instead."""
        default: int = getattr(self.config, name)
        if self._runtime is None:
            return default
        return self._runtime.snapshot.get_integer(f"outlier_detection.{name}", default)

    # -- from the monitors

    def on_consecutive_errors(self, monitor: HostMonitor, kind: EjectionType) -> None:
        """As many errors in a row as it takes. Not from inside the request: an ejection closes connections."""
        self.dispatcher.post(lambda: self._on_consecutive_errors(monitor, kind))

    def on_degraded(self, monitor: HostMonitor) -> None:
        """A host has said of itself that it is degraded."""
        self.dispatcher.post(lambda: self._on_degraded(monitor))

    # -- from the health checker

    def on_check_complete(self, host: Host, change: HealthTransition, succeeded: bool) -> None:
        """A host that a check finds well comes back at once."""
        if (
            succeeded
            and self.config.successful_active_health_check_uneject_host
            and not host.health_flags & HealthFlag.FAILED_ACTIVE_HC
            and host.health_flags & HealthFlag.FAILED_OUTLIER_CHECK
        ):
            self._uneject(self.monitors[host], "a health check has succeeded")

    # -- inside

    def _arm(self) -> None:
        self._interval_timer.enable(max(1, self.setting("interval_ms")) / 1000)

    def _on_member_update(self, host_set: HostSet, added: tuple[Host, ...], removed: tuple[Host, ...]) -> None:
        for host in added:
            host.outlier = self.monitors[host] = HostMonitor(self, host)
        for host in removed:
            if self.monitors.pop(host, None) is not None and host.health_flags & HealthFlag.FAILED_OUTLIER_CHECK:
                self.stats.ejections_active -= 1

    def _on_consecutive_errors(self, monitor: HostMonitor, kind: EjectionType) -> None:
        host = monitor.host
        if self._stopped or host not in self.monitors or host.health_flags & HealthFlag.FAILED_OUTLIER_CHECK:
            return
        self._count_detected(kind)
        self._eject(monitor, kind)
        if kind is EjectionType.CONSECUTIVE_5XX:
            self.stats.ejections_consecutive_5xx += 1
            monitor.consecutive_5xx = 0
        elif kind is EjectionType.CONSECUTIVE_GATEWAY_FAILURE:
            monitor.consecutive_gateway_failure = 0
        elif kind is EjectionType.CONSECUTIVE_LOCAL_ORIGIN_FAILURE:
            monitor.consecutive_local_origin_failure = 0

    def _on_degraded(self, monitor: HostMonitor) -> None:
        host = monitor.host
        if self._stopped or host not in self.monitors or host.health_flags & HealthFlag.DEGRADED_OUTLIER_DETECTION:
            return
        self.stats.ejections_detected_degradation += 1
        host.health_flags |= HealthFlag.DEGRADED_OUTLIER_DETECTION
        monitor.degraded_time = self.dispatcher.monotonic_time()
        self._tell(host, "degraded", "x-envoy-degraded")
        if self._event_logger is not None:
            self._event_logger.log_eject(monitor, self, EjectionType.DEGRADED, True)

    def _count_detected(self, kind: EjectionType) -> None:
        name = kind.detected_stat
        if name:
            setattr(self.stats, name, getattr(self.stats, name) + 1)

    def _may_eject(self) -> bool:
        active = self.stats.ejections_active
        if self.config.always_eject_one_host and not active:
            return True
        most = min(100, self.setting("max_ejection_percent"))
        return 100.0 * (active + 1) / len(self.monitors) <= most

    def _eject(self, monitor: HostMonitor, kind: EjectionType) -> None:
        stats = self.stats
        if not self._may_eject():
            stats.ejections_overflow += 1
            self._note(monitor.host, "not ejected", f"{kind.name}, but max_ejection_percent are away")
            return
        if kind in (EjectionType.CONSECUTIVE_5XX, EjectionType.SUCCESS_RATE):
            stats.ejections_total += 1
        enforced = self._enforces(monitor, kind)
        if enforced:
            stats.ejections_active += 1
            stats.ejections_enforced_total += 1
            name = kind.enforced_stat
            if name:
                setattr(stats, name, getattr(stats, name) + 1)
            base, most = self.setting("base_ejection_time_ms"), self.setting("max_ejection_time_ms")
            jitter = self._random.getrandbits(64) % (self.setting("max_ejection_time_jitter_ms") + 1)
            monitor.on_ejected(self.dispatcher.monotonic_time(), jitter)
            if monitor.eject_time_backoff * base < most + base:
                monitor.eject_time_backoff += 1
            self._tell(monitor.host, "ejected", kind.name)
        else:
            self._note(monitor.host, "not ejected", f"{kind.name}, which is not enforced")
        if self._event_logger is not None:
            self._event_logger.log_eject(monitor, self, kind, enforced)

    def _enforces(self, monitor: HostMonitor, kind: EjectionType) -> bool:
        if kind is EjectionType.EXTENSION:
            name, percent = f"enforcing_extension.{monitor.failed_monitor}", monitor.failed_monitor_enforcing
        else:
            name = ENFORCING[kind]
            percent = getattr(self.config, name)
        drawn = self._random.getrandbits(64)
        if self._runtime is None:
            return drawn % 100 < percent
        return self._runtime.snapshot.feature_enabled(f"outlier_detection.{name}", percent, drawn)

    def _uneject(self, monitor: HostMonitor, because: str) -> None:
        self.stats.ejections_active -= 1
        monitor.host.health_flags &= ~HealthFlag.FAILED_OUTLIER_CHECK
        monitor.on_unejected(self.dispatcher.monotonic_time())
        self._tell(monitor.host, "unejected", because)
        if self._event_logger is not None:
            self._event_logger.log_uneject(monitor)

    def _tell(self, host: Host, what: str, because: str) -> None:
        self._note(host, what, because)
        for callback in tuple(self._callbacks):
            callback(host)

    def _note(self, host: Host, what: str, because: str) -> None:
        if self._journal is not None:
            now = self.dispatcher.monotonic_time()
            self._journal.record(now, self.cluster_name, "ejection", f"{host} {what}", because)

    # -- every interval

    def _on_interval(self) -> None:
        now = self.dispatcher.monotonic_time()
        monitors = tuple(self.monitors.values())
        for monitor in monitors:
            if monitor.host.health_flags & _OURS:
                self._check_for_return(monitor, now)
            monitor.next_interval()
        self._process_success_rates(True)
        self._process_success_rates(False)
        interval = self.setting("interval_ms") / 1000
        for monitor in monitors:
            if (
                not monitor.host.health_flags & HealthFlag.FAILED_OUTLIER_CHECK
                and monitor.unejection_time is not None
                and now - monitor.unejection_time >= interval - 1e-6
                and monitor.eject_time_backoff
            ):
                monitor.eject_time_backoff -= 1
        if not self._stopped:
            self._arm()

    def _check_for_return(self, monitor: HostMonitor, now: float) -> None:
        flags = monitor.host.health_flags
        base = self.setting("base_ejection_time_ms")
        if flags & HealthFlag.FAILED_OUTLIER_CHECK and monitor.ejection_time is not None:
            away = min(base * monitor.eject_time_backoff, self.setting("max_ejection_time_ms")) + monitor.jitter
            if away / 1000 <= now - monitor.ejection_time + 1e-6:
                self._uneject(monitor, f"away for {away / 1000:g} s")
        if flags & HealthFlag.DEGRADED_OUTLIER_DETECTION and base / 1000 <= now - monitor.degraded_time + 1e-6:
            monitor.host.health_flags &= ~HealthFlag.DEGRADED_OUTLIER_DETECTION
            self._tell(monitor.host, "no longer degraded", f"for {base / 1000:g} s")
            if self._event_logger is not None:
                self._event_logger.log_uneject(monitor)

    def _process_success_rates(self, external: bool) -> None:
        self.success_rates[external] = (-1.0, -1.0)
        minimum_hosts = self.setting("success_rate_minimum_hosts")
        failure_minimum_hosts = self.setting("failure_percentage_minimum_hosts")
        if len(self.monitors) < minimum_hosts and len(self.monitors) < failure_minimum_hosts:
            return
        volume = self.setting("success_rate_request_volume")
        failure_volume = self.setting("failure_percentage_request_volume")
        by_rate: list[tuple[HostMonitor, float]] = []
        by_failures: list[tuple[HostMonitor, float]] = []
        for monitor in self.monitors.values():
            if monitor.host.health_flags & HealthFlag.FAILED_OUTLIER_CHECK:
                continue
            succeeded, total = monitor.last_interval(external)
            if not total:
                continue
            rate = succeeded * 100.0 / total
            if total >= min(volume, failure_volume):
                monitor.set_success_rate(external, rate)
            if total >= volume:
                by_rate.append((monitor, rate))
            if total >= failure_volume:
                by_failures.append((monitor, rate))
        if by_rate and len(by_rate) >= minimum_hosts:
            self._eject_below_average(external, by_rate)
        if by_failures and len(by_failures) >= failure_minimum_hosts:
            threshold = self.setting("failure_percentage_threshold")
            kind = EjectionType.FAILURE_PERCENTAGE if external else EjectionType.FAILURE_PERCENTAGE_LOCAL_ORIGIN
            for monitor, rate in by_failures:
                if 100.0 - rate >= threshold:
                    self._count_detected(kind)
                    self._eject_once(monitor, kind)

    def _eject_below_average(self, external: bool, rates: list[tuple[HostMonitor, float]]) -> None:
        mean = sum(rate for _, rate in rates) / len(rates)
        deviation = sqrt(sum((rate - mean) ** 2 for _, rate in rates) / len(rates))
        threshold = mean - self.setting("success_rate_stdev_factor") / 1000.0 * deviation
        self.success_rates[external] = (mean, threshold)
        kind = EjectionType.SUCCESS_RATE if external else EjectionType.SUCCESS_RATE_LOCAL_ORIGIN
        for monitor, rate in rates:
            if rate < threshold:
                self.stats.ejections_success_rate += 1
                self._count_detected(kind)
                self._eject_once(monitor, kind)

    def _eject_once(self, monitor: HostMonitor, kind: EjectionType) -> None:
        """Two rules may find the same host in one interval; it can be away only once."""
        if not monitor.host.health_flags & HealthFlag.FAILED_OUTLIER_CHECK:
            self._eject(monitor, kind)


def create_outlier_detector(config: Any, cluster: Cluster, context: ClusterContext) -> OutlierDetector:
    """From `envoy.config.cluster.v3.OutlierDetection`; `context.path` is that of the cluster.

    Raises:
        ConfigError: it contradicts itself.
    """
    path = f"{context.path}.outlier_detection"
    settings = DetectorConfig.from_proto(config, path)
    if settings.max_ejection_time_ms < settings.base_ejection_time_ms:
        raise ConfigError(
            "outlier detector's max_ejection_time cannot be smaller than base_ejection_time",
            f"{path}.max_ejection_time",
        )
    return OutlierDetector(
        settings,
        cluster,
        context.dispatcher,
        context.random.stream(f"cluster.{cluster.name}.outlier_detection"),
        context.runtime,
        context.outlier_event_logger,
        context.journal,
    )
