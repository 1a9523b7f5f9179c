"""What is waited for before something can be used."""

from __future__ import annotations

from collections.abc import Callable

from minienvoy.event.init_manager import InitManager

Ready = Callable[[], None]


def test_nothing_to_wait_for_is_ready_at_once() -> None:
    told: list[str] = []
    InitManager().initialize(lambda: told.append("ready"))
    assert told == ["ready"]


def test_it_is_ready_when_all_targets_are_and_says_so_once() -> None:
    waiting: list[Ready] = []
    told: list[str] = []
    manager = InitManager()
    manager.add(waiting.append)
    manager.add(waiting.append)
    assert not waiting
    manager.initialize(lambda: told.append("ready"))
    assert len(waiting) == 2 and not told
    waiting[0]()
    waiting[0]()
    assert not told
    waiting[1]()
    assert told == ["ready"] and manager.initialized
    waiting[1]()
    assert told == ["ready"]


def test_a_target_that_comes_while_others_are_waited_for_is_waited_for_too() -> None:
    waiting: list[Ready] = []
    told: list[str] = []
    manager = InitManager()
    manager.add(waiting.append)
    manager.initialize(lambda: told.append("ready"))
    manager.add(waiting.append)
    waiting[0]()
    assert not told
    waiting[1]()
    assert told == ["ready"]


def test_what_comes_afterwards_is_begun_and_not_waited_for() -> None:
    begun: list[Ready] = []
    manager = InitManager()
    manager.initialize(lambda: None)
    manager.add(begun.append)
    assert len(begun) == 1 and manager.initialized


def test_nobody_is_told_after_it_was_cancelled() -> None:
    waiting: list[Ready] = []
    told: list[str] = []
    manager = InitManager()
    manager.add(waiting.append)
    manager.initialize(lambda: told.append("ready"))
    manager.cancel()
    waiting[0]()
    assert not told
