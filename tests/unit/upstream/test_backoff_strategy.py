from __future__ import annotations

import random

from minienvoy.upstream.backoff_strategy import FixedBackOffStrategy, JitteredExponentialBackOffStrategy


class Always(random.Random):
    def random(self) -> float:
        return 0.5


def test_interval_doubles_up_to_the_maximum() -> None:
    back_off = JitteredExponentialBackOffStrategy(1.0, 5.0, Always())
    assert [back_off.next_back_off() for _ in range(5)] == [0.5, 1.0, 2.0, 2.5, 2.5]
    back_off.reset()
    assert back_off.next_back_off() == 0.5


def test_fixed_interval_stays() -> None:
    back_off = FixedBackOffStrategy(3.0)
    assert back_off.next_back_off() == 3.0
    back_off.reset()
    assert back_off.next_back_off() == 3.0
