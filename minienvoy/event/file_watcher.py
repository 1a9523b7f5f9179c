"""Tells when a file, a directory or a symbolic link was replaced.

Envoy: `Filesystem::Watcher` with `Events::MovedTo`. What counts is that something was moved to the name: its inode is
another one. What is written into a file that stays where it is is not noticed, as in Envoy, so that no half of a file
is ever read. The kernel is not asked to tell (inotify is Linux's); each name is looked at now and then.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .dispatcher import Dispatcher, Timer

INTERVAL = 0.1
"""Seconds between two looks."""

_Identity = tuple[int, int, int] | None


class _Watch:
    __slots__ = ("on_moved", "path", "seen")

    def __init__(self, path: str, on_moved: Callable[[], None]) -> None:
        self.path = path.rstrip("/") or "/"
        self.on_moved = on_moved
        self.seen = _identity(path)


class FileWatcher:
    """Looks while there is something to look at; `stop` ends it."""

    def __init__(self, dispatcher: Dispatcher) -> None:
        self._dispatcher = dispatcher
        self._watched: list[_Watch] = []
        self._timer: Timer | None = None

    def add_watch(self, path: str, on_moved: Callable[[], None]) -> None:
        """Call `on_moved` when something is moved to `path`."""
        self._watched.append(_Watch(path, on_moved))
        if self._timer is None:
            self._timer = self._dispatcher.create_timer(self._look)
            self._timer.enable(INTERVAL)

    def remove_watch(self, on_moved: Callable[[], None]) -> None:
        """Call it no more."""
        # A new list: whoever is looking goes through the old one to its end.
        self._watched = [each for each in self._watched if each.on_moved != on_moved]

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.disable()
            self._timer = None
        self._watched = []

    def _look(self) -> None:
        for watch in self._watched:
            now = _identity(watch.path)
            if now != watch.seen:
                watch.seen = now
                # What was taken away is no news until there is something in its place.
                if now is not None and watch in self._watched:
                    watch.on_moved()
        if self._timer is not None:
            self._timer.enable(INTERVAL)


def _identity(path: str) -> _Identity:
    """Of the name itself: a symbolic link is not followed. The time it was made tells a reused inode."""
    try:
        found = os.lstat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_mtime_ns if _is_link(found) or _is_directory(found) else 0


def _is_directory(found: os.stat_result) -> bool:
    """Its time is that of the last change of what is in it."""
    return (found.st_mode & 0o170000) == 0o040000


def _is_link(found: os.stat_result) -> bool:
    return (found.st_mode & 0o170000) == 0o120000
