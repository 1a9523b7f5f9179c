from __future__ import annotations

import pytest

from minienvoy.event.simulated import SimulatedDispatcher


class NoLoop:
    """Simulated time asks nothing of the loop."""

    time = staticmethod(lambda: 0.0)


@pytest.fixture
def dispatcher():
    return SimulatedDispatcher(NoLoop())


def timers(dispatcher, *delays):
    """One timer for each delay; when each of them fired."""
    fired = []
    for delay in delays:
        dispatcher.create_timer(lambda delay=delay: fired.append((delay, dispatcher.monotonic_time()))).enable(delay)
    return fired


def test_time_stands_still(dispatcher):
    fired = timers(dispatcher, 0.0)
    assert (dispatcher.monotonic_time(), dispatcher.wall_time(), fired) == (0.0, 1_700_000_000.0, [])


def test_timers_fire_in_the_order_of_their_deadlines_each_at_its_own_instant(dispatcher):
    fired = timers(dispatcher, 30.0, 0.25, 2.0)
    dispatcher.advance(10.0)
    assert fired == [(0.25, 0.25), (2.0, 2.0)]
    assert (dispatcher.monotonic_time(), dispatcher.wall_time()) == (10.0, 1_700_000_010.0)
    dispatcher.advance(19.99)
    assert len(fired) == 2
    dispatcher.advance(0.01)
    assert fired[2] == (30.0, 30.0)


def test_timers_of_one_instant_fire_in_the_order_in_which_they_were_armed(dispatcher):
    fired = timers(dispatcher, 1.001, 1.002, 1.0005)
    dispatcher.advance(2.0)
    assert [delay for delay, _ in fired] == [1.001, 1.002, 1.0005]


def test_a_timer_that_arms_itself_again_goes_on(dispatcher):
    fired = []

    def fire():
        fired.append(round(dispatcher.monotonic_time(), 6))
        timer.enable(5.0)

    timer = dispatcher.create_timer(fire)
    timer.enable(5.0)
    dispatcher.advance(17.0)
    assert fired == [5.0, 10.0, 15.0]
    timer.disable()
    dispatcher.advance(17.0)
    assert len(fired) == 3


@pytest.mark.parametrize("lazy", [False, True])
@pytest.mark.parametrize("delay", [0.1, 0.2, 0.3, 0.7, 1.1, 2.3, 31.0])
def test_a_deadline_is_reached_when_exactly_that_much_time_has_passed(dispatcher, delay, lazy):
    for step in (0.1, 0.2, 0.01, 0.7):  # sums of these are not what they are in decimals
        dispatcher.advance(step)
        fired = []
        make = dispatcher.create_lazy_timer if lazy else dispatcher.create_timer
        make(lambda fired=fired: fired.append(1)).enable(delay)
        dispatcher.advance(delay - 0.02)
        assert fired == []
        dispatcher.advance(0.02)
        assert fired == [1]


def test_a_lazy_timer_that_was_pushed_back_fires_at_its_last_deadline(dispatcher):
    fired = []
    timer = dispatcher.create_lazy_timer(lambda: fired.append(dispatcher.monotonic_time()))
    timer.enable(5.0)
    for _ in range(3):
        dispatcher.advance(4.0)
        timer.enable(5.0)
    dispatcher.advance(60.0)
    assert fired == [pytest.approx(17.0)]


def test_the_next_deadline_is_that_of_a_timer_that_is_still_armed(dispatcher):
    assert dispatcher.next_deadline() is None
    first, second = dispatcher.create_timer(lambda: None), dispatcher.create_timer(lambda: None)
    first.enable(1.0)
    second.enable(2.0)
    assert dispatcher.next_deadline() == pytest.approx(1.0)
    first.disable()
    assert dispatcher.next_deadline() == pytest.approx(2.0)
    dispatcher.advance(0.5)
    assert dispatcher.next_deadline() == pytest.approx(1.5)
