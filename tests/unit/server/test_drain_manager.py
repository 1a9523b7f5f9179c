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
    dispatcher.advance(2.5)
    assert 0.2 < share(manager) < 0.3
    dispatcher.advance(5)
    assert 0.7 < share(manager) < 0.8
    assert not done
    dispatcher.advance(2.5)
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
