"""An event loop in a thread of its own, for programs that have none.

No Envoy counterpart.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from ..errors import UsageError

T = TypeVar("T")


class LoopThread:
    """`start`, then `run` and `call` from any other thread, then `stop`."""

    def __init__(self, name: str = "minienvoy") -> None:
        self._name = name
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    @property
    def running(self) -> bool:
        return self._thread is not None

    def start(self) -> None:
        """Begin; a second call does nothing."""
        if self._thread is not None:
            return
        self._loop = loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=_turn, args=(loop,), name=self._name, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the loop and the thread; what still runs in it is given up."""
        thread, loop = self._thread, self._loop
        if thread is None or loop is None:
            return
        self._not_inside()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        self._thread = self._loop = None

    def run(self, coroutine: Coroutine[Any, Any, T], timeout: float | None = None) -> T:
        """Wait for what `coroutine` comes to, there.

        Raises:
            UsageError: the thread does not run, or it is this one.
            TimeoutError: `timeout` seconds have passed; the coroutine is cancelled.
        """
        if self._loop is None:
            coroutine.close()
            raise UsageError("the thread does not run", "start it first")
        try:
            self._not_inside()
        except UsageError:
            coroutine.close()
            raise
        future = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        try:
            return future.result(timeout)
        except TimeoutError:
            future.cancel()
            raise

    def call(self, function: Callable[[], T]) -> T:
        """Call `function` there, between two events; as `run`."""

        async def once() -> T:
            return function()

        return self.run(once())

    def _not_inside(self) -> None:
        if threading.current_thread() is self._thread:
            raise UsageError("this is the thread itself", "it can not wait for itself: await instead")


def _turn(loop: asyncio.AbstractEventLoop) -> None:
    asyncio.set_event_loop(loop)
    try:
        loop.run_forever()
        loop.run_until_complete(loop.shutdown_asyncgens())
    finally:
        asyncio.set_event_loop(None)
        loop.close()
