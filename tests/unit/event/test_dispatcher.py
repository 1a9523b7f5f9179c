"""The dispatcher over an event loop that only remembers; `Loop.run_until` plays its part."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import cast

import pytest

from minienvoy.event.dispatcher import TICK, Dispatcher


class Handle:
    def __init__(self, when: float, callback: Callable[[], None]) -> None:
        self.when = when
        self.callback = callback
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


class Loop:
    """Time moves in `run_until` only."""

    def __init__(self) -> None:
        self.now = 100.0
        self.handles: list[Handle] = []
        self.soon: list[Callable[[], None]] = []

    def time(self) -> float:
        return self.now

    def call_at(self, when: float, callback: Callable[[], None]) -> Handle:
        self.handles.append(Handle(when, callback))
        return self.handles[-1]

    def call_soon(self, callback: Callable[[], None]) -> None:
        self.soon.append(callback)

    @property
    def armed(self) -> list[Handle]:
        return [each for each in self.handles if not each.cancelled]

    def run_until(self, end: float) -> int:
        """How often it was woken up."""
        wakes = 0
        while due := [each for each in self.armed if each.when <= end]:
            first = min(due, key=lambda each: each.when)
            self.handles.remove(first)
            self.now = max(self.now, first.when)
            first.callback()
            wakes += 1
        self.now = end
        return wakes


@pytest.fixture
def loop() -> Loop:
    return Loop()


@pytest.fixture
def dispatcher(loop: Loop) -> Dispatcher:
    return Dispatcher(cast(asyncio.AbstractEventLoop, loop))


def test_a_timer_fires_once_never_early_and_at_most_a_tick_late(loop: Loop, dispatcher: Dispatcher) -> None:
    fired: list[float] = []
    timer = dispatcher.create_timer(lambda: fired.append(loop.now))
    timer.enable(1.2345)
    assert timer.enabled
    loop.run_until(110)
    assert not timer.enabled
    assert len(fired) == 1
    assert 101.2345 <= fired[0] <= 101.2345 + TICK


def test_a_timer_that_is_disabled_does_not_fire(loop: Loop, dispatcher: Dispatcher) -> None:
    fired: list[float] = []
    timer = dispatcher.create_timer(lambda: fired.append(loop.now))
    timer.enable(1)
    timer.disable()
    timer.disable()
    loop.run_until(110)
    assert fired == []


def test_an_earlier_deadline_is_forgotten(loop: Loop, dispatcher: Dispatcher) -> None:
    fired: list[float] = []
    timer = dispatcher.create_timer(lambda: fired.append(loop.now))
    timer.enable(1)
    timer.enable(3)
    loop.run_until(110)
    assert fired == [pytest.approx(103, abs=TICK)]


def test_the_loop_is_asked_for_one_wake_up_however_many_timers_there_are(loop: Loop, dispatcher: Dispatcher) -> None:
    for delay in (5.0, 3.0, 4.0, 3.0):
        dispatcher.create_timer(lambda: None).enable(delay)
    assert [round(each.when) for each in loop.armed] == [103]
    assert loop.run_until(110) == 3
    assert loop.armed == []


def test_a_timer_that_arms_itself_for_now_lets_others_have_their_turn(loop: Loop, dispatcher: Dispatcher) -> None:
    fired: list[float] = []

    def again() -> None:
        fired.append(loop.now)
        timer.enable(0)

    timer = dispatcher.create_timer(again)
    timer.enable(0)
    wakes = loop.run_until(100 + 5.5 * TICK)
    assert len(fired) == wakes
    assert 5 <= wakes <= 7


def test_a_timer_may_disable_another_that_is_due_with_it(loop: Loop, dispatcher: Dispatcher) -> None:
    fired: list[str] = []
    second = dispatcher.create_timer(lambda: fired.append("second"))

    def first() -> None:
        fired.append("first")
        second.disable()

    dispatcher.create_timer(first).enable(1)
    second.enable(1)
    loop.run_until(110)
    assert fired == ["first"]


def test_a_lazy_timer_that_is_pushed_back_again_and_again(loop: Loop, dispatcher: Dispatcher) -> None:
    fired: list[float] = []
    timer = dispatcher.create_lazy_timer(lambda: fired.append(loop.now))
    timer.enable(2)
    for now in (101, 102, 103):
        loop.run_until(now)
        timer.enable(2)
    assert fired == []
    loop.run_until(110)
    assert fired == [pytest.approx(105, abs=TICK)]


def test_a_lazy_timer_may_be_armed_for_an_earlier_time(loop: Loop, dispatcher: Dispatcher) -> None:
    fired: list[float] = []
    timer = dispatcher.create_lazy_timer(lambda: fired.append(loop.now))
    timer.enable(5)
    timer.enable(1)
    loop.run_until(110)
    assert fired == [pytest.approx(101, abs=TICK)]


def test_a_lazy_timer_that_is_closed_leaves_nothing_behind(loop: Loop, dispatcher: Dispatcher) -> None:
    fired: list[float] = []
    timer = dispatcher.create_lazy_timer(lambda: fired.append(loop.now))
    timer.close()
    timer.enable(5)
    timer.disable()
    loop.run_until(106)
    timer.enable(5)
    timer.close()
    loop.run_until(120)
    assert (fired, loop.armed) == ([], [])


def test_what_is_posted_is_called_later(loop: Loop, dispatcher: Dispatcher) -> None:
    called: list[str] = []
    dispatcher.post(lambda: called.append("posted"))
    assert called == []
    loop.soon.pop()()
    assert called == ["posted"]


def test_a_timer_armed_by_another_does_not_put_off_the_one_that_waits(loop: Loop, dispatcher: Dispatcher) -> None:
    fired: list[float] = []
    late = dispatcher.create_timer(lambda: None)
    dispatcher.create_timer(lambda: late.enable(5)).enable(1)
    dispatcher.create_timer(lambda: fired.append(loop.now)).enable(2)
    loop.run_until(110)
    assert fired == [pytest.approx(102)]


def test_timers_that_are_disarmed_long_before_their_time_leave_nothing(loop: Loop, dispatcher: Dispatcher) -> None:
    """Connections come and go, each with an idle timeout of an hour: what is kept does not grow with them."""
    fired: list[float] = []
    stays = dispatcher.create_timer(lambda: fired.append(loop.now))
    stays.enable(1800)
    for at in range(20_000):
        loop.run_until(100 + at * 2 * TICK)
        timer = dispatcher.create_timer(lambda: fired.append(-1))
        timer.enable(3600)
        timer.disable()
    assert len(dispatcher._buckets) == len(dispatcher._ticks) <= 512
    loop.run_until(2000)
    assert fired == [pytest.approx(1900, abs=TICK * 1.01)]


def test_buckets_are_swept_out_while_timers_fire(loop: Loop, dispatcher: Dispatcher) -> None:
    fired: list[float] = []

    def arm_and_disarm_many() -> None:
        for at in range(2000):
            timer = dispatcher.create_timer(lambda: fired.append(-1))
            timer.enable(10 + at * TICK)
            timer.disable()
        fired.append(loop.now)

    first, second = dispatcher.create_timer(arm_and_disarm_many), dispatcher.create_timer(arm_and_disarm_many)
    first.enable(1)
    second.enable(2)
    loop.run_until(200)
    assert fired == [pytest.approx(101, abs=TICK * 1.01), pytest.approx(102, abs=TICK * 1.01)]
