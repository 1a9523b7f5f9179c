"""`envoy.filters.http.admission_control`: refuses requests by chance, the more the more of the last ones have failed.

Envoy: `Extensions::HttpFilters::AdmissionControl::AdmissionControlFilter`, `ThreadLocalControllerImpl`; docs "Admission
Control", after "Handling Overload" of the Site Reliability Engineering book. Of n requests in the sampling window, of
which s succeeded, a request is refused with the probability `((n - s / threshold) / (n + 1)) ** (1 / aggression)`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, Final

from ....config.fields import honours
from ....config.runtime import RuntimeDouble, RuntimeFeatureFlag, RuntimeUInt32
from ....errors import ConfigError
from ....explain.explanation import NO_EXPLANATION
from ....http.filter import (
    HTTP_FILTERS,
    UPSTREAM_HTTP_FILTERS,
    FilterHeadersStatus,
    FilterTrailersStatus,
    HttpFilterFactory,
    StreamFilter,
)
from ....http.grpc import is_grpc
from ....http.header_map import HeaderMap, RequestHeaderMap, ResponseHeaderMap
from ....server.factory_context import FactoryContext
from ....stats.store import CounterValue, StatsStruct

NAME = "envoy.filters.http.admission_control"
CONFIG_TYPE = "envoy.extensions.filters.http.admission_control.v3.AdmissionControl"
DETAILS = "denied_by_admission_control"
ACCURACY: Final = 10_000
GRPC_FAILURES: Final = frozenset({4, 8, 10, 13, 14, 15})
"""Deadline exceeded, resource exhausted, aborted, internal, unavailable, data loss."""
_LAST_GRPC_STATUS: Final = 16

honours(
    CONFIG_TYPE,
    "enabled",
    "success_criteria",
    "sampling_window",
    "aggression",
    "sr_threshold",
    "rps_threshold",
    "max_rejection_probability",
)
honours(f"{CONFIG_TYPE}.SuccessCriteria", "http_criteria", "grpc_criteria")
honours(f"{CONFIG_TYPE}.SuccessCriteria.HttpCriteria", "http_success_status")
honours(f"{CONFIG_TYPE}.SuccessCriteria.GrpcCriteria", "grpc_success_status")
honours("envoy.type.v3.Int32Range", "start", "end")


class AdmissionControlStats(StatsStruct):
    """`http.<stat_prefix>.admission_control.`"""

    rq_failure: CounterValue
    rq_rejected: CounterValue
    rq_success: CounterValue


class AdmissionController:
    """How many requests there were in the sampling window, and how many of them succeeded; counted by seconds."""

    __slots__ = ("_monotonic_time", "_seconds", "_window", "requests", "successes")

    def __init__(self, window: float, monotonic_time: Callable[[], float]) -> None:
        self._window = window
        self._monotonic_time = monotonic_time
        self._seconds: deque[list[float]] = deque()
        self.requests = 0
        self.successes = 0

    def record(self, success: bool) -> None:
        self.forget()
        now, seconds = self._monotonic_time(), self._seconds
        if not seconds or now - seconds[-1][0] >= 1.0:
            seconds.append([now, 0, 0])
        seconds[-1][1] += 1
        self.requests += 1
        if success:
            seconds[-1][2] += 1
            self.successes += 1

    def forget(self) -> None:
        """What is older than the window."""
        now, seconds = self._monotonic_time(), self._seconds
        while seconds and now - seconds[0][0] >= self._window:
            _, requests, successes = seconds.popleft()
            self.requests -= int(requests)
            self.successes -= int(successes)

    def average_rps(self) -> int:
        """Requests a second, since the oldest that counts."""
        self.forget()
        if not self._seconds:
            return 0
        age = int(self._monotonic_time() - self._seconds[0][0])
        return self.requests // max(1, age)


class AdmissionControlConfig:
    """Shared by the filters of a chain; percentages are fractions here."""

    __slots__ = (
        "aggression",
        "controller",
        "draw",
        "enabled",
        "grpc_success",
        "http_success",
        "max_rejection",
        "rps_threshold",
        "runtime",
        "sr_threshold",
        "stats",
    )

    def __init__(self, proto: Any, context: FactoryContext) -> None:
        """Raises ConfigError for criteria that can not be met."""
        server = context.server
        self.stats = context.http_scope.scope("admission_control").struct(AdmissionControlStats)
        self.runtime = server.runtime
        self.draw = server.random.stream(f"{context.http_scope.prefix}admission_control").getrandbits
        window = 30.0
        if proto.HasField("sampling_window"):
            window = proto.sampling_window.seconds + proto.sampling_window.nanos / 1e9
        self.controller = AdmissionController(window, server.dispatcher.monotonic_time)
        self.enabled = RuntimeFeatureFlag.from_proto(proto.enabled) if proto.HasField("enabled") else None
        self.aggression = _number(proto, "aggression", 1.0)
        self.sr_threshold = _number(proto, "sr_threshold", 95.0)
        self.max_rejection = _number(proto, "max_rejection_probability", 80.0)
        self.rps_threshold = RuntimeUInt32.from_proto(proto.rps_threshold)
        if self.sr_threshold.default < 1.0:
            raise ConfigError("Success rate threshold cannot be less than 1.0%.", "sr_threshold.default_value")
        criteria = proto.success_criteria
        self.http_success = None
        if criteria.HasField("http_criteria"):
            self.http_success = _ranges(criteria.http_criteria.http_success_status)
        self.grpc_success = frozenset(range(_LAST_GRPC_STATUS + 1)) - GRPC_FAILURES
        if criteria.HasField("grpc_criteria"):
            self.grpc_success = frozenset(criteria.grpc_criteria.grpc_success_status)
            for status in self.grpc_success:
                if status > _LAST_GRPC_STATUS:
                    raise ConfigError(f"invalid gRPC code {status}", "success_criteria.grpc_criteria")

    @property
    def active(self) -> bool:
        return self.enabled is None or self.enabled.value(self.runtime.snapshot)

    def is_http_success(self, status: int) -> bool:
        if self.http_success is None:
            return status < 500
        return any(start <= status < end for start, end in self.http_success)

    def rejection_probability(self) -> float:
        snapshot, controller = self.runtime.snapshot, self.controller
        controller.forget()
        threshold = min(max(self.sr_threshold.value(snapshot), 1.0), 100.0) / 100.0
        probability = (controller.requests - controller.successes / threshold) / (controller.requests + 1)
        aggression = max(1.0, self.aggression.value(snapshot))
        if aggression != 1.0 and probability > 0:
            probability **= 1.0 / aggression
        return min(probability, self.max_rejection.value(snapshot) / 100.0)


def _number(proto: Any, field: str, default: float) -> RuntimeDouble:
    return RuntimeDouble.from_proto(getattr(proto, field)) if proto.HasField(field) else RuntimeDouble(default)


def _ranges(protos: Any) -> tuple[tuple[int, int], ...]:
    for each in protos:
        if not 100 <= each.start < each.end <= 600:
            problem = f"invalid HTTP range: start={each.start}, end={each.end}"
            raise ConfigError(problem, "success_criteria.http_criteria")
    return tuple((each.start, each.end) for each in protos)


class AdmissionControlFilter(StreamFilter):
    """One stream."""

    def __init__(self, config: AdmissionControlConfig) -> None:
        self._config = config
        self._records = True
        self._status_in_trailers = False

    def decode_headers(self, headers: RequestHeaderMap, end_stream: bool) -> FilterHeadersStatus:
        config, callbacks = self._config, self.decoder_callbacks
        if not config.active or callbacks.stream_info.is_health_check:
            self._records = False
            return FilterHeadersStatus.CONTINUE
        if config.controller.average_rps() < config.rps_threshold.value(config.runtime.snapshot):
            return FilterHeadersStatus.CONTINUE
        probability = config.rejection_probability()
        if max(probability, 0.0) * ACCURACY <= config.draw(64) % ACCURACY:
            return FilterHeadersStatus.CONTINUE
        # What is refused here says nothing about the upstream.
        self._records = False
        config.stats.rq_rejected += 1
        if callbacks.explain is not NO_EXPLANATION:
            counted = f"{config.controller.successes} of {config.controller.requests} requests succeeded"
            callbacks.explain.decided("overload", "refused", f"{DETAILS}: {counted}, probability {probability:.2f}")
        callbacks.send_local_reply(503, "", DETAILS)
        return FilterHeadersStatus.STOP_ITERATION

    def encode_headers(self, headers: ResponseHeaderMap, end_stream: bool) -> FilterHeadersStatus:
        if not self._records:
            return FilterHeadersStatus.CONTINUE
        if is_grpc(headers.get(b"content-type")) and headers.status == 200:
            self._status_in_trailers = not self._record_grpc(headers)
        else:
            self._record(self._config.is_http_success(headers.status))
        return FilterHeadersStatus.CONTINUE

    def encode_trailers(self, trailers: HeaderMap) -> FilterTrailersStatus:
        if self._records and self._status_in_trailers:
            self._record_grpc(trailers)
        return FilterTrailersStatus.CONTINUE

    def _record_grpc(self, headers: HeaderMap) -> bool:
        """Whether there was a status."""
        status = headers.get(b"grpc-status")
        if status is None or not status.isdigit() or len(status) > 9:
            return False
        self._record(int(status) in self._config.grpc_success)
        return True

    def _record(self, success: bool) -> None:
        self._records = False
        config = self._config
        config.controller.record(success)
        if success:
            config.stats.rq_success += 1
        else:
            config.stats.rq_failure += 1


@HTTP_FILTERS.register(NAME, CONFIG_TYPE)
@UPSTREAM_HTTP_FILTERS.register(NAME, CONFIG_TYPE)
def create_admission_control_filter(proto: Any, context: FactoryContext) -> HttpFilterFactory:
    config = AdmissionControlConfig(proto, context)
    return lambda: AdmissionControlFilter(config)
