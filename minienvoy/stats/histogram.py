"""Histograms: log-linear buckets with two significant digits, quantiles, merging.

Envoy: `Stats::Histogram`, `Stats::ParentHistogram` and `HistogramStatisticsImpl` over libcircllhist.

A sample falls into the bucket of its first two decimal digits: `[1.0, 1.1)`, ... `[9.9, 10)`, `[10, 11)`, ...
`[99, 100)`, `[100, 110)` and so on; zero has a bucket of its own that has no width. The k-th of the n samples of a
bucket is taken to lie at `k / (n + 1)` of the bucket's width, which is why a single sample of 3 is printed as 3.05.

`record` only counts the value. Buckets are made by `merge`, which the stats flush calls: until then nothing of a sample
is to be seen, as in Envoy.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import ceil, nan
from typing import Annotated, NamedTuple

QUANTILES = (0.0, 0.25, 0.5, 0.75, 0.90, 0.95, 0.99, 0.995, 0.999, 1.0)
"""The quantiles Envoy computes, as fractions."""

DEFAULT_BUCKETS = (
    0.5, 1.0, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1000.0, 2500.0, 5000.0, 10000.0, 30000.0, 60000.0, 300000.0,
    600000.0, 1800000.0, 3600000.0,
)  # fmt: skip
"""Upper bounds used where `histogram_bucket_settings` has no match."""

MAX_PENDING = 1024
"""How many different values may wait for a merge; more are folded into their buckets at once, which bounds memory."""

PERCENT_SCALE = 1_000_000
"""A histogram of unit `percent` records fractions times this (`Histogram::PercentScale`)."""


class Bucket(NamedTuple):
    """Samples of `[lower_bound, lower_bound + width)`."""

    lower_bound: float
    width: float
    samples: int


def bucket_of(value: int) -> tuple[int, int]:
    """The exponent and the two leading digits (10..99) of a sample; (0, 0) for zero. Keys sort as the samples do."""
    if value <= 0:
        return (0, 0)
    if value < 10:
        return (0, value * 10)
    digits = len(text := str(value)) - 1
    return (digits, int(text[:2]))


def bucket_bounds(key: tuple[int, int]) -> tuple[float, float]:
    """The lower bound and the width of a bucket."""
    exponent, digits = key
    if digits == 0:
        return (0.0, 0.0)
    return (digits / 10.0 * 10.0**exponent, 10.0**exponent / 10.0)


class HistogramStatistics:
    """What is computed from buckets: quantiles, counts, sum (`HistogramStatisticsImpl`)."""

    __slots__ = ("buckets", "sample_count", "sample_sum", "supported_buckets")

    def __init__(self, counts: Iterable[tuple[tuple[int, int], int]], supported_buckets: Sequence[float]) -> None:
        self.buckets = [Bucket(*bucket_bounds(key), count) for key, count in sorted(counts)]
        self.supported_buckets = supported_buckets
        self.sample_count = sum(bucket.samples for bucket in self.buckets)
        # A bucket stands for the harmonic mean of its bounds.
        self.sample_sum = 0.0
        for lower, width, count in self.buckets:
            if width:
                self.sample_sum += (lower + width * (lower / (lower + (lower + width)))) * count

    def quantiles(self) -> list[float]:
        """One value for each of `QUANTILES`; NaN where there is no sample."""
        if not self.sample_count:
            return [nan] * len(QUANTILES)
        values = []
        buckets = iter(self.buckets)
        lower, width, count = next(buckets)
        below = 0
        for quantile in QUANTILES:
            wanted = max(1, ceil(self.sample_count * quantile))
            while wanted > below + count:
                below += count
                lower, width, count = next(buckets)
            values.append(lower + (wanted - below) / (count + 1) * width)
        return values

    def computed_buckets(self) -> list[int]:
        """Samples at or below each supported bound, as far as whole buckets tell (`le` of Prometheus)."""
        counts = []
        buckets = self.buckets
        position = below = 0
        for bound in self.supported_buckets:
            while position < len(buckets) and buckets[position].lower_bound <= bound:
                below += buckets[position].samples
                position += 1
            counts.append(below)
        return counts

    def disjoint_buckets(self) -> list[int]:
        """Samples between each supported bound and the one before it."""
        counts = self.computed_buckets()
        return [count - before for count, before in zip(counts, [0, *counts], strict=False)]


class Histogram:
    """Samples, by value: integers from 0 on (milliseconds, microseconds, bytes, or no unit)."""

    __slots__ = (
        "_cumulative",
        "_interval",
        "_parts",
        "_pending",
        "_recorded",
        "_whole",
        "supported_buckets",
        "unit",
        "used",
    )

    def __init__(self, unit: str = "unspecified") -> None:
        self.unit = unit
        self.supported_buckets: Sequence[float] = DEFAULT_BUCKETS
        self.used = False
        """Whether a merge has seen a sample."""
        self._pending: dict[int, int] = {}
        self._recorded: dict[tuple[int, int], int] = {}
        self._interval: dict[tuple[int, int], int] = {}
        self._cumulative: dict[tuple[int, int], int] = {}
        self._whole: Histogram | None = None
        self._parts: list[Histogram] = []

    def become_part_of(self, whole: Histogram) -> None:
        """What is recorded here counts there, too: one `record` serves both. To say so twice is fine."""
        if self._whole is not whole:
            self._whole = whole
            whole._parts.append(self)

    def record(self, value: int) -> None:
        """Count one sample in the histogram's unit."""
        try:
            self._pending[value] += 1
        except KeyError:
            self._pending[value] = 1
            if len(self._pending) > MAX_PENDING:
                self._fold()

    def pending_samples(self) -> dict[int, int]:
        """How often each value was recorded since the last merge; of what was folded already, the lower bounds."""
        found: dict[int, int] = {}
        for (exponent, digits), count in self._recorded.items():
            value = int(digits / 10 * 10**exponent)
            found[value] = found.get(value, 0) + count
        for histogram in (self, *self._parts):
            for value, count in histogram._pending.items():
                found[value] = found.get(value, 0) + count
        return found

    def merge(self) -> None:
        """Make what was recorded since the last merge visible; that is the new interval."""
        for histogram in (self, *self._parts):
            if histogram._pending:
                histogram._fold()
        self._interval, self._recorded = self._recorded, {}
        cumulative = self._cumulative
        for key, count in self._interval.items():
            cumulative[key] = cumulative.get(key, 0) + count
        self.used = bool(cumulative)

    def interval_statistics(self) -> HistogramStatistics:
        """Of the samples between the last two merges."""
        return HistogramStatistics(self._interval.items(), self.supported_buckets)

    def cumulative_statistics(self) -> HistogramStatistics:
        """Of all samples up to the last merge."""
        return HistogramStatistics(self._cumulative.items(), self.supported_buckets)

    def _fold(self) -> None:
        for value, count in self._pending.items():
            key = bucket_of(value)
            for histogram in (self,) if self._whole is None else (self, self._whole):
                histogram._recorded[key] = histogram._recorded.get(key, 0) + count
        self._pending.clear()


MillisecondsHistogram = Annotated[Histogram, "ms"]
"""For the fields of a stats struct."""
