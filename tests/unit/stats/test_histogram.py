from __future__ import annotations

from math import isnan

import pytest

from minienvoy.stats.histogram import MAX_PENDING, Histogram, bucket_bounds, bucket_of


def merged(*samples: tuple[int, int]) -> Histogram:
    histogram = Histogram("ms")
    for value, times in samples:
        for _ in range(times):
            histogram.record(value)
    histogram.merge()
    return histogram


@pytest.mark.parametrize(
    ("value", "lower_bound", "width"),
    [
        (0, 0, 0),
        (1, 1, 0.1),
        (9, 9, 0.1),
        (10, 10, 1),
        (99, 99, 1),
        (100, 100, 10),
        (119, 110.00000000000001, 10),
        (1849, 1800, 100),
        (10**18, 10**18, 10**17),
    ],
)
def test_a_sample_falls_into_the_bucket_of_its_first_two_digits(value: int, lower_bound: float, width: float) -> None:
    assert bucket_bounds(bucket_of(value)) == (lower_bound, pytest.approx(width))


def test_buckets_sort_as_the_samples_do() -> None:
    values = [0, 1, 9, 10, 11, 99, 100, 990, 1000, 123456]
    assert sorted(values, key=bucket_of) == values


def test_quantiles_are_those_envoy_computed_for_25_response_times() -> None:
    histogram = merged((0, 21), (1, 2), (2, 1), (12, 1))
    assert histogram.cumulative_statistics().quantiles() == [
        0, 0, 0, 0, 1.0666666666666667, 2.05, 12.5, 12.5, 12.5, 12.5,
    ]  # fmt: skip


def test_quantiles_within_one_bucket_are_those_of_envoy() -> None:
    assert merged((1, 34)).cumulative_statistics().quantiles() == [
        1.002857142857143, 1.0257142857142858, 1.0485714285714285, 1.0742857142857143, 1.0885714285714285,
        1.0942857142857143, 1.0971428571428572, 1.0971428571428572, 1.0971428571428572, 1.0971428571428572,
    ]  # fmt: skip


def test_the_sum_takes_harmonic_means_as_envoy_does() -> None:
    statistics = merged((0, 21), (1, 2), (2, 1), (12, 1)).cumulative_statistics()
    assert f"{statistics.sample_sum:.32g}" == "16.624018583042975194530299631879"
    assert statistics.sample_count == 25


def test_nothing_is_seen_before_the_merge() -> None:
    histogram = Histogram()
    histogram.record(3)
    assert not histogram.used
    assert histogram.cumulative_statistics().sample_count == 0
    assert all(isnan(value) for value in histogram.cumulative_statistics().quantiles())


def test_the_interval_holds_what_came_between_two_merges() -> None:
    histogram = merged((3, 2))
    histogram.record(70)
    histogram.merge()
    assert [bucket.lower_bound for bucket in histogram.interval_statistics().buckets] == [70]
    assert [bucket.lower_bound for bucket in histogram.cumulative_statistics().buckets] == [3, 70]
    histogram.merge()
    assert histogram.interval_statistics().sample_count == 0
    assert histogram.used


def test_many_different_values_without_a_merge_stay_bounded_and_counted() -> None:
    histogram = Histogram()
    for value in range(10 * MAX_PENDING):
        histogram.record(value)
        assert len(histogram._pending) <= MAX_PENDING
    histogram.merge()
    assert histogram.cumulative_statistics().sample_count == 10 * MAX_PENDING


def test_what_is_recorded_in_a_part_counts_in_the_whole_whichever_is_merged_first() -> None:
    for first in (0, 1):
        whole, inside, outside = Histogram("ms"), Histogram("ms"), Histogram("ms")
        for part in (inside, outside, outside):
            part.become_part_of(whole)
        for value in range(MAX_PENDING + 2):
            outside.record(value)
        inside.record(5)
        for histogram in ((whole, inside, outside), (inside, outside, whole))[first]:
            histogram.merge()
        counts = [each.interval_statistics().sample_count for each in (whole, inside, outside)]
        assert counts == [MAX_PENDING + 3, 1, MAX_PENDING + 2]
        whole.merge()
        assert whole.interval_statistics().sample_count == 0
        assert whole.cumulative_statistics().sample_count == MAX_PENDING + 3
