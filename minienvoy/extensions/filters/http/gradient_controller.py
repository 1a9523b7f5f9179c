"""How many requests may be under way, by how much longer they take than they would take at best.

Envoy: `AdaptiveConcurrency::Controller::GradientController`; docs "Adaptive Concurrency". At times few requests are let
through, and how long those take is the best that can be had (`min_rtt`). In between, at each `update_interval` what a
percentile of the requests took is compared with that: the limit grows or shrinks by the ratio of the two, the gradient,
and has the square root of itself as headroom.

There are no timers: what would be due is done when the next request comes or ends, which nobody can tell apart.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from ....config.fields import honours
from ....errors import ConfigError
from ....stats.histogram import bucket_bounds, bucket_of
from ....stats.store import CounterValue, GaugeValue, StatsStruct

_TYPE: Final = "envoy.extensions.filters.http.adaptive_concurrency.v3.GradientControllerConfig"
MANY_WINDOWS_AT_MINIMUM: Final = 5
_MICROSECONDS: Final = 1_000_000

honours(_TYPE, "sample_aggregate_percentile", "concurrency_limit_params", "min_rtt_calc_params")
honours(
    f"{_TYPE}.ConcurrencyLimitCalculationParams",
    "max_concurrency_limit",
    "concurrency_update_interval",
    "min_concurrency_limit",
)
honours(
    f"{_TYPE}.MinimumRTTCalculationParams",
    "interval",
    "fixed_value",
    "request_count",
    "jitter",
    "min_concurrency",
    "buffer",
)


class GradientControllerStats(StatsStruct):
    """`http.<stat_prefix>.adaptive_concurrency.gradient_controller.`"""

    rq_blocked: CounterValue
    burst_queue_size: GaugeValue
    concurrency_limit: GaugeValue
    gradient: GaugeValue
    min_rtt_calculation_active: GaugeValue
    min_rtt_msecs: GaugeValue
    sample_rtt_msecs: GaugeValue


@dataclass(frozen=True, slots=True)
class GradientSettings:
    """Times in seconds, shares from 0 to 1.

    Attributes:
        fixed_min_rtt: 0: it is measured.
    """

    percentile: float
    max_limit: int
    min_limit: int
    update_interval: float
    min_rtt_interval: float
    fixed_min_rtt: float
    request_count: int
    jitter: float
    min_concurrency: int
    buffer: float

    @classmethod
    def from_proto(cls, proto: Any, path: str) -> GradientSettings:
        """Raises ConfigError below `path`."""
        limits, measuring = proto.concurrency_limit_params, proto.min_rtt_calc_params

        def wrapped(message: Any, field: str, default: int) -> int:
            return int(getattr(message, field).value) if message.HasField(field) else default

        def percent(message: Any, field: str, default: float) -> float:
            return (getattr(message, field).value if message.HasField(field) else default) / 100.0

        interval, fixed = _seconds(measuring.interval), _seconds(measuring.fixed_value)
        if interval < 0.001 and fixed < 0.001:
            raise ConfigError(
                "adaptive_concurrency: neither `concurrency_update_interval` nor `fixed_value` set",
                f"{path}.min_rtt_calc_params",
            )
        min_concurrency = wrapped(measuring, "min_concurrency", 3)
        return cls(
            percentile=percent(proto, "sample_aggregate_percentile", 50.0),
            max_limit=wrapped(limits, "max_concurrency_limit", 1000),
            min_limit=wrapped(limits, "min_concurrency_limit", min_concurrency),
            update_interval=_seconds(limits.concurrency_update_interval),
            min_rtt_interval=interval,
            fixed_min_rtt=fixed,
            request_count=wrapped(measuring, "request_count", 50),
            jitter=percent(measuring, "jitter", 15.0),
            min_concurrency=min_concurrency,
            buffer=percent(measuring, "buffer", 25.0),
        )


class GradientController:
    """Shared by the filters of a chain.

    Attributes:
        limit: how many requests may be under way.
        outstanding: how many are.
    """

    def __init__(
        self,
        settings: GradientSettings,
        stats: GradientControllerStats,
        monotonic_time: Callable[[], float],
        draw: Callable[[], float],
    ) -> None:
        self._settings = settings
        self._stats = stats
        self._now = monotonic_time
        self._draw = draw
        self.limit = settings.min_concurrency
        self.outstanding = 0
        self._samples: dict[tuple[int, int], int] = {}
        self._sample_count = 0
        self._at_minimum = 0
        self._min_rtt = settings.fixed_min_rtt
        self._limit_before = 0
        """Before the window in which the minimum is measured; 0 outside of it."""
        self._epoch = 0.0
        self._next_min_rtt = math.inf
        self._next_update = monotonic_time() + settings.update_interval
        stats.concurrency_limit = self.limit
        stats.min_rtt_msecs = int(self._min_rtt * 1000)
        if not settings.fixed_min_rtt:
            self._start_measuring()

    # -- what the filter asks

    def may_forward(self) -> bool:
        """Whether another request may be under way; True counts it."""
        self._catch_up()
        if self.outstanding < self.limit:
            self.outstanding += 1
            return True
        self._stats.rq_blocked += 1
        return False

    def record_latency(self, start: float) -> None:
        """A request that was sent at `start` is complete."""
        self._catch_up()
        self.outstanding -= 1
        if start < self._epoch:
            return  # it began with others that would spoil the measurement
        key = bucket_of(int((self._now() - start) * _MICROSECONDS))
        self._samples[key] = self._samples.get(key, 0) + 1
        self._sample_count += 1
        if self._limit_before and self._sample_count >= self._settings.request_count:
            self._end_measuring()

    def cancel(self) -> None:
        """A request has ended some other way: how long it took says nothing."""
        self.outstanding -= 1

    # -- inside

    def _catch_up(self) -> None:
        now = self._now()
        if now >= self._next_update:
            interval = max(self._settings.update_interval, 0.001)
            self._next_update += interval * (int((now - self._next_update) / interval) + 1)
            if not self._limit_before and self._sample_count:
                self._update_limit()
        if now >= self._next_min_rtt:
            self._start_measuring()

    def _update_limit(self) -> None:
        settings, stats = self._settings, self._stats
        sample = self._take_samples()
        stats.sample_rtt_msecs = int(sample * 1000)
        buffered = self._min_rtt * (1.0 + settings.buffer)
        gradient = max(0.5, min(2.0, buffered / sample if sample else 2.0))
        stats.gradient = int(gradient)
        limit = self.limit * gradient
        headroom = math.sqrt(limit)
        stats.burst_queue_size = int(headroom)
        self._set_limit(max(settings.min_limit, min(settings.max_limit, int(limit + headroom))))

    def _set_limit(self, limit: int) -> None:
        least = self._settings.min_concurrency
        stays = not self._limit_before and self.limit == limit == least
        self._at_minimum = self._at_minimum + 1 if stays else 0
        self.limit = self._stats.concurrency_limit = limit
        if self._at_minimum >= MANY_WINDOWS_AT_MINIMUM and not self._settings.fixed_min_rtt:
            # The limit does not get off the ground: perhaps what was measured is not right any more.
            self._next_min_rtt = self._now()

    def _start_measuring(self) -> None:
        self._next_min_rtt = math.inf
        if self._limit_before:
            return
        self._stats.min_rtt_calculation_active = 1
        self._limit_before = self.limit
        self._set_limit(self._settings.min_concurrency)
        self._samples.clear()
        self._sample_count = 0
        self._epoch = self._now()

    def _end_measuring(self) -> None:
        settings, stats, now = self._settings, self._stats, self._now()
        self._min_rtt = self._take_samples()
        stats.min_rtt_msecs = int(self._min_rtt * 1000)
        before, self._limit_before = self._limit_before, 0
        self._set_limit(before)
        stats.min_rtt_calculation_active = 0
        self._next_min_rtt = now + settings.min_rtt_interval * (1.0 + settings.jitter * self._draw())
        self._next_update = now + settings.update_interval

    def _take_samples(self) -> float:
        """The percentile of what has been recorded, in seconds; it is forgotten."""
        wanted = self._settings.percentile * self._sample_count
        found = 0.0
        seen = 0
        for key in sorted(self._samples):
            count = self._samples[key]
            lower, width = bucket_bounds(key)
            if seen + count >= wanted:
                found = lower + width * (max(0.0, wanted - seen) / count)
                break
            seen += count
        self._samples.clear()
        self._sample_count = 0
        return found / _MICROSECONDS


def _seconds(duration: Any) -> float:
    return float(duration.seconds + duration.nanos / 1e9)
