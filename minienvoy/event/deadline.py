"""A block of a task that must not be silent for longer than some seconds.

No Envoy counterpart: Envoy has no tasks. `asyncio.timeout` does this for the loop's clock; here the dispatcher's timers
count, so that a test moves time.
"""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .dispatcher import Dispatcher


class Deadline:
    """`async with Deadline(dispatcher, 90) as silence:` ends in TimeoutError when 90 seconds have passed,
    since it began or since the last `silence.extend()`."""

    def __init__(self, dispatcher: Dispatcher, seconds: float) -> None:
        self._seconds = seconds
        self._timer = dispatcher.create_lazy_timer(self._expire)
        self._task: asyncio.Task[object] | None = None
        self._expired = False

    def extend(self) -> None:
        """Count from now."""
        self._timer.enable(self._seconds)

    async def __aenter__(self) -> Deadline:
        self._task = asyncio.current_task()
        self.extend()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._timer.close()
        # Somebody else may have cancelled the task as well: then it ends.
        ours = self._expired and kind is asyncio.CancelledError
        if ours and self._task is not None and self._task.uncancel() == 0:
            raise TimeoutError from error

    def _expire(self) -> None:
        if self._task is not None:
            self._expired = True
            self._task.cancel()
