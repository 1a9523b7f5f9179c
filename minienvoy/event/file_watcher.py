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


class FileWatcher:
    """Looks while there is something to look at; `stop` ends it."""

    def __init__(self, dispatcher: Dispatcher) -> None:
        self._dispatcher = dispatcher
        self._watched: list[tuple[str, Callable[[], None]]] = []
        self._seen: list[_Identity] = []
        self._timer: Timer | None = None

    def add_watch(self, path: str, on_moved: Callable[[], None]) -> None:
        """Call `on_moved` when something is moved to `path`."""
        self._watched.append((path.rstrip("/") or "/", on_moved))
        self._seen.append(_identity(path))
        if self._timer is None:
            self._timer = self._dispatcher.create_timer(self._look)
            self._timer.enable(INTERVAL)

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.disable()
            self._timer = None
        self._watched.clear()
        self._seen.clear()

    def _look(self) -> None:
        for at, (path, on_moved) in enumerate(self._watched):
            now = _identity(path)
            if now != self._seen[at]:
                self._seen[at] = now
                # What was taken away is no news until there is something in its place.
                if now is not None:
                    on_moved()
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
