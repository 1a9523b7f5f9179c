from __future__ import annotations

import asyncio
import random
from typing import Any, cast

from minienvoy.event.simulated import SimulatedDispatcher
from minienvoy.server.drain_manager import DrainManager, DrainStrategy


class Loop:
    def time(self) -> float:
        return 0.0


def drain_manager(**options: Any) -> tuple[SimulatedDispatcher, DrainManager]:
    dispatcher = SimulatedDispatcher(cast(asyncio.AbstractEventLoop, Loop()))
    return dispatcher, DrainManager(dispatcher, random.Random(1), 10.0, **options)


def share(manager: DrainManager) -> float:
    return sum(manager.drain_close() for _ in range(1000)) / 1000


def test_nothing_is_closed_before_draining() -> None:
    _, manager = drain_manager()
    assert share(manager) == 0


def test_gradual_draining_closes_more_and_more() -> None:
    dispatcher, manager = drain_manager()
    done: list[str] = []
    assert manager.start_drain_sequence(lambda: done.append("done"))
    assert share(manager) == 0
    dispatcher.advance(0.9)
    assert share(manager) == 0
    dispatcher.advance(0.1)
    assert 0.15 < share(manager) < 0.25
    dispatcher.advance(2.5)
    assert 0.55 < share(manager) < 0.65
    dispatcher.advance(1.5)
    assert share(manager) == 1
    assert not done
    dispatcher.advance(5)
    assert share(manager) == 1
    assert done == ["done"]


def test_immediate_draining_closes_everything() -> None:
    _, manager = drain_manager(strategy=DrainStrategy.IMMEDIATE)
    manager.start_drain_sequence(lambda: None)
    assert share(manager) == 1


def test_draining_begins_once() -> None:
    dispatcher, manager = drain_manager()
    assert manager.start_drain_sequence(lambda: None)
    dispatcher.advance(5)
    assert not manager.start_drain_sequence(lambda: None)
    dispatcher.advance(5)
    assert share(manager) == 1


def test_stopped_manager_does_not_call_back() -> None:
    dispatcher, manager = drain_manager()
    manager.start_drain_sequence(lambda: (_ for _ in ()).throw(AssertionError))
    manager.stop()
    dispatcher.advance(20)
    assert manager.draining


def test_failed_health_check_closes_everything() -> None:
    failed = [False]
    _, manager = drain_manager(health_check_failed=lambda: failed[0])
    normal, modify_only = manager.create_child(), manager.create_child(modify_only=True)
    assert not normal.drain_close()
    failed[0] = True
    assert manager.drain_close()
    assert normal.drain_close()
    assert not modify_only.drain_close()


def test_child_drains_with_its_parent_and_alone() -> None:
    dispatcher, parent = drain_manager()
    one, other = parent.create_child(), parent.create_child()
    one.start_drain_sequence(lambda: None)
    dispatcher.advance(10)
    assert (share(one), share(other)) == (1, 0)
    parent.start_drain_sequence(lambda: None)
    dispatcher.advance(10)
    assert share(other) == 1


def test_who_is_not_asked_anything_ends_between_two_thirds_of_the_time_and_what_it_takes_to_end() -> None:
    dispatcher, manager = drain_manager()
    assert manager.drain_delay(1.0) is None
    manager.start_drain_sequence(lambda: None)
    dispatcher.advance(1)
    delays = [manager.drain_delay(1.0) or 0.0 for _ in range(1000)]
    assert 10 * 2 / 3 - 1 <= min(delays) < 5.8
    assert 7.9 < max(delays) < 8


def test_who_takes_too_long_to_end_or_comes_too_late_is_not_asked_to() -> None:
    dispatcher, manager = drain_manager()
    manager.start_drain_sequence(lambda: None)
    assert manager.drain_delay(10 / 3) is None
    assert manager.drain_delay(3.3) is not None
    dispatcher.advance(6.7)
    assert manager.drain_delay(1.0) is None


def test_a_listener_ends_its_connections_when_its_server_drains() -> None:
    _, manager = drain_manager()
    listener = manager.create_child()
    manager.start_drain_sequence(lambda: None)
    assert listener.drain_delay(1.0) is not None
    assert manager.create_child(modify_only=True).drain_delay(1.0) is not None


def test_whoever_wants_to_know_hears_that_something_drains() -> None:
    _, manager = drain_manager()
    heard: list[bool] = []
    manager._state.watchers.add(lambda: heard.append(manager.drain_delay(1.0) is not None))
    manager.create_child().start_drain_sequence(lambda: None)
    manager.start_drain_sequence(lambda: None)
    assert heard == [False, True]
