"""What outlier detection knows of one host: `Host.outlier`.

Envoy: `Upstream::Outlier::DetectorHostMonitorImpl`, `SuccessRateAccumulator`.

The router and the TCP proxy report here. Errors come from the host (a 5xx), or from the way to it (a connection that
fails, a timeout): the *local origin*. Unless `split_external_local_origin_errors` is set, the latter count as if the
host had answered 503 or 504.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .host import HealthFlag, Host
from .outlier_config import EjectionType, OutlierMonitor

if TYPE_CHECKING:
    from .outlier_detection import OutlierDetector


class HostMonitor:
    """Attributes:
    success_rate, local_origin_success_rate: percent in the last interval, for `/clusters`; -1 if it had too few.
    eject_time_backoff: by how much `base_ejection_time` is multiplied.
    ejection_time, unejection_time, degraded_time: monotonic seconds of the last time; None before the first.
    jitter: milliseconds by which the last ejection is longer.
    """

    __slots__ = (
        "_detector",
        "_local_origin_success",
        "_local_origin_total",
        "_monitors",
        "_split",
        "_success",
        "_total",
        "_was",
        "cluster_name",
        "consecutive_5xx",
        "consecutive_gateway_failure",
        "consecutive_local_origin_failure",
        "degraded_time",
        "detects_degraded",
        "eject_time_backoff",
        "ejection_time",
        "failed_monitor",
        "failed_monitor_enforcing",
        "failed_monitor_info",
        "host",
        "jitter",
        "local_origin_success_rate",
        "num_ejections",
        "success_rate",
        "unejection_time",
    )

    def __init__(self, detector: OutlierDetector, host: Host) -> None:
        self._detector = detector
        self.host = host
        self.cluster_name = detector.cluster_name
        self.consecutive_5xx = self.consecutive_gateway_failure = self.consecutive_local_origin_failure = 0
        self._success = self._total = self._local_origin_success = self._local_origin_total = 0
        self._was = ((0, 0), (0, 0))
        self.success_rate = self.local_origin_success_rate = -1.0
        self.num_ejections = self.eject_time_backoff = self.jitter = 0
        self.degraded_time = 0.0
        self.ejection_time: float | None = None
        self.unejection_time: float | None = None
        self.failed_monitor = self.failed_monitor_info = ""
        self.failed_monitor_enforcing = 0
        self.detects_degraded = detector.config.detect_degraded_hosts
        self._split = detector.config.split_external_local_origin_errors
        self._monitors: tuple[OutlierMonitor, ...] = tuple(
            make(host, self._on_monitor_failed) for make in detector.config.monitors
        )

    # -- from requests

    def put_http_response_code(self, status: int) -> None:
        """The host has answered, or failed in a way that counts as if it had."""
        self._total += 1
        if status < 500:
            self._success += 1
            self.consecutive_5xx = self.consecutive_gateway_failure = 0
        else:
            detector = self._detector
            if status in (502, 503, 504):
                self.consecutive_gateway_failure += 1
                if self.consecutive_gateway_failure == detector.setting("consecutive_gateway_failure"):
                    detector.on_consecutive_errors(self, EjectionType.CONSECUTIVE_GATEWAY_FAILURE)
            else:
                self.consecutive_gateway_failure = 0
            self.consecutive_5xx += 1
            if self.consecutive_5xx == detector.setting("consecutive_5xx"):
                detector.on_consecutive_errors(self, EjectionType.CONSECUTIVE_5XX)
        for monitor in self._monitors:
            monitor.put_http_response_code(status)

    def put_matched(self, error: bool) -> None:
        """The host has answered, and the cluster's `error_matcher` says whether that is an error."""
        if not error:
            self.put_http_response_code(200)
            if self._split:
                self._put_local_origin_success()
        else:
            self.put_http_response_code(500)

    def put_connected(self) -> None:
        """A connection is there, and a request can be sent: what comes of it is told later."""
        if self._split:
            self._put_local_origin_success()
        for monitor in self._monitors:
            monitor.put_local_origin(False)

    def put_connected_finally(self) -> None:
        """A connection is there, and more can not be known of what it carries: TCP."""
        if self._split:
            self._put_local_origin_success()
            for monitor in self._monitors:
                monitor.put_local_origin(False)
        else:
            self.put_http_response_code(200)

    def put_connect_failure(self) -> None:
        """No connection, or one that ended before the answer did."""
        self._put_local_origin_failure(503)

    def put_timeout(self, status: int = 504) -> None:
        """No answer in time; the client was told `status`."""
        self._put_local_origin_failure(status)

    def put_degraded(self, status: int, degraded: bool) -> None:
        """The answer may have had an `x-envoy-degraded` header; that of a failure does not count."""
        if degraded and status < 500 and not self.host.health_flags & HealthFlag.DEGRADED_OUTLIER_DETECTION:
            self._detector.on_degraded(self)

    # -- from the detector

    def on_ejected(self, now: float, jitter: int) -> None:
        self.host.health_flags |= HealthFlag.FAILED_OUTLIER_CHECK
        self.num_ejections += 1
        self.ejection_time = now
        self.jitter = jitter

    def on_unejected(self, now: float) -> None:
        self.consecutive_5xx = self.consecutive_gateway_failure = self.consecutive_local_origin_failure = 0
        self.unejection_time = now
        for monitor in self._monitors:
            monitor.reset()

    def next_interval(self) -> None:
        """What was counted is kept for the rules of this interval, and counting begins anew."""
        self._was = ((self._local_origin_success, self._local_origin_total), (self._success, self._total))
        self._success = self._total = self._local_origin_success = self._local_origin_total = 0
        self.success_rate = self.local_origin_success_rate = -1.0

    def last_interval(self, external: bool) -> tuple[int, int]:
        """(successes, requests) of the interval that has just ended."""
        return self._was[external]

    def set_success_rate(self, external: bool, rate: float) -> None:
        if external:
            self.success_rate = rate
        else:
            self.local_origin_success_rate = rate

    # -- inside

    def _put_local_origin_success(self) -> None:
        self._local_origin_total += 1
        self._local_origin_success += 1
        self.consecutive_local_origin_failure = 0

    def _put_local_origin_failure(self, status: int) -> None:
        if not self._split:
            self.put_http_response_code(status)
            return
        self._local_origin_total += 1
        self.consecutive_local_origin_failure += 1
        detector = self._detector
        if self.consecutive_local_origin_failure == detector.setting("consecutive_local_origin_failure"):
            detector.on_consecutive_errors(self, EjectionType.CONSECUTIVE_LOCAL_ORIGIN_FAILURE)
        for monitor in self._monitors:
            monitor.put_local_origin(True)

    def _on_monitor_failed(self, name: str, enforcing: int, info: str) -> None:
        self.failed_monitor, self.failed_monitor_enforcing, self.failed_monitor_info = name, enforcing, info
        self._detector.on_consecutive_errors(self, EjectionType.EXTENSION)
