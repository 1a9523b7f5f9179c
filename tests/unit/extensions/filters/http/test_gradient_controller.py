"""The limit of requests under way, over time that the test moves."""

from __future__ import annotations

from typing import Any

import pytest

from minienvoy.config.loader import load_dict
from minienvoy.extensions.filters.http.gradient_controller import (
    GradientController,
    GradientControllerStats,
    GradientSettings,
)

TYPE = "envoy.extensions.filters.http.adaptive_concurrency.v3.GradientControllerConfig"


class World:
    """A controller and an upstream that takes `latency` seconds for everything."""

    def __init__(self, **measuring: Any) -> None:
        fields = {
            "concurrency_limit_params": {"concurrency_update_interval": "0.1s", "max_concurrency_limit": 200},
            "min_rtt_calc_params": {"interval": "60s", "request_count": 10, "jitter": {"value": 0}, **measuring},
        }
        self.now = 0.0
        self.stats = GradientControllerStats()
        settings = GradientSettings.from_proto(load_dict(fields, TYPE).message, "")
        self.controller = GradientController(settings, self.stats, lambda: self.now, lambda: 0.0)

    def run(self, seconds: float, latency: float) -> None:
        """As many requests as are let through, in waves."""
        end = self.now + seconds
        while self.now < end:
            start = self.now
            sent = 0
            while self.controller.may_forward():
                sent += 1
            self.now += latency
            for _ in range(sent):
                self.controller.record_latency(start)
            self.now += 0.001


def test_few_requests_are_let_through_while_the_best_is_measured() -> None:
    world = World()
    assert [world.controller.may_forward() for _ in range(4)] == [True, True, True, False]
    assert world.stats.rq_blocked == 1
    assert world.stats.min_rtt_calculation_active == 1


def test_the_limit_grows_while_requests_take_as_long_as_at_best() -> None:
    world = World()
    world.run(5.0, 0.010)
    assert world.stats.min_rtt_msecs == 10
    assert world.stats.min_rtt_calculation_active == 0
    assert world.controller.limit == 200  # the most that is allowed


def test_the_limit_shrinks_when_requests_take_longer() -> None:
    world = World()
    world.run(5.0, 0.010)
    world.run(0.75, 0.100)
    assert 99 <= world.stats.sample_rtt_msecs <= 110
    assert 3 <= world.controller.limit < 30


def test_the_best_is_measured_again() -> None:
    world = World()
    world.run(5.0, 0.010)
    world.run(62.0, 0.020)
    assert world.stats.min_rtt_msecs in (20, 21)


def test_five_windows_at_the_minimum_are_a_reason_to_measure_again() -> None:
    world = World()
    world.run(1.0, 0.010)
    world.run(20.0, 0.500)
    assert world.stats.min_rtt_msecs >= 500


def test_a_fixed_minimum_is_not_measured() -> None:
    world = World(fixed_value="0.010s")
    assert world.stats.min_rtt_calculation_active == 0
    world.run(3.0, 0.010)
    assert world.controller.limit == 200


def test_who_has_ended_some_other_way_makes_room_and_tells_nothing() -> None:
    world = World()
    for _ in range(3):
        assert world.controller.may_forward()
    world.controller.cancel()
    assert world.controller.may_forward()
    assert world.controller.outstanding == 3
    assert world.controller._sample_count == 0


@pytest.mark.parametrize("idle", [10.0, 1000.0])
def test_a_long_silence_changes_nothing(idle: float) -> None:
    world = World(interval="100000s")
    world.run(5.0, 0.010)
    world.now += idle
    world.run(1.0, 0.010)
    assert world.controller.limit == 200
