"""A name is watched for what is moved to it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from minienvoy.event.file_watcher import INTERVAL, FileWatcher
from minienvoy.event.simulated import SimulatedDispatcher


@pytest.fixture
def dispatcher() -> Iterator[SimulatedDispatcher]:
    loop = asyncio.new_event_loop()
    yield SimulatedDispatcher(loop)
    loop.close()


class Watched:
    def __init__(self, dispatcher: SimulatedDispatcher, path: Path) -> None:
        self.count = 0
        self.dispatcher = dispatcher
        self.watcher = FileWatcher(dispatcher)
        self.watcher.add_watch(str(path), self._moved)

    def _moved(self) -> None:
        self.count += 1

    def look(self) -> int:
        self.dispatcher.advance(INTERVAL * 2)
        return self.count


def test_a_link_that_is_swapped_is_told_once(dispatcher: SimulatedDispatcher, tmp_path: Path) -> None:
    link = tmp_path / "current"
    link.symlink_to("v1")
    watched = Watched(dispatcher, link)
    assert watched.look() == 0
    (tmp_path / "new").symlink_to("v2")
    (tmp_path / "new").replace(link)
    assert watched.look() == 1
    assert watched.look() == 1


def test_a_file_that_is_written_where_it_stands_is_no_news(dispatcher: SimulatedDispatcher, tmp_path: Path) -> None:
    file = tmp_path / "lds.yaml"
    file.write_text("old")
    watched = Watched(dispatcher, file)
    file.write_text("new")
    assert watched.look() == 0
    (tmp_path / "other").write_text("newer")
    (tmp_path / "other").replace(file)
    assert watched.look() == 1


def test_what_goes_away_is_told_when_it_is_replaced(dispatcher: SimulatedDispatcher, tmp_path: Path) -> None:
    directory = tmp_path / "current"
    directory.mkdir()
    watched = Watched(dispatcher, directory)
    directory.rename(tmp_path / "old")
    assert watched.look() == 0
    (tmp_path / "next").mkdir()
    (tmp_path / "next").rename(directory)
    assert watched.look() == 1


def test_a_stopped_watcher_leaves_no_timer(dispatcher: SimulatedDispatcher, tmp_path: Path) -> None:
    watched = Watched(dispatcher, tmp_path / "nothing")
    watched.watcher.stop()
    assert dispatcher.next_deadline() is None


def test_who_was_removed_hears_no_more_not_even_in_the_middle_of_a_look(
    dispatcher: SimulatedDispatcher, tmp_path: Path
) -> None:
    watcher = FileWatcher(dispatcher)
    heard = []

    def second() -> None:
        heard.append("second")

    def first() -> None:
        heard.append("first")
        watcher.remove_watch(second)

    for name, on_moved in (("a", first), ("b", second)):
        (tmp_path / name).write_text("old")
        watcher.add_watch(str(tmp_path / name), on_moved)
        (tmp_path / "new").write_text("new")
        (tmp_path / "new").replace(tmp_path / name)
    dispatcher.advance(INTERVAL * 2)
    assert heard == ["first"]
