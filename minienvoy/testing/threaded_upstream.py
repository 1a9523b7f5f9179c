"""A `FakeUpstream` for tests that do not await.

No Envoy counterpart.
"""

from __future__ import annotations

from typing import Self

from ..event.loop_thread import LoopThread
from .fake_upstream import FakeUpstream, Request


class ThreadedUpstream:
    """Runs in a thread; enter it to listen.

    Attributes:
        address: `127.0.0.1:<port>`.
    """

    def __init__(self, upstream: FakeUpstream, thread: LoopThread | None = None) -> None:
        """With `thread` it shares one that somebody else stops; otherwise it has its own."""
        self._upstream = upstream
        self._owns_thread = thread is None
        self._thread = thread or LoopThread("fake upstream")

    def start(self) -> Self:
        self._thread.start()
        self._thread.run(self._upstream.start())
        return self

    def stop(self) -> None:
        if self._thread.running:
            self._thread.run(self._upstream.stop())
        if self._owns_thread:
            self._thread.stop()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *error: object) -> None:
        self.stop()

    @property
    def address(self) -> str:
        return self._upstream.address

    @property
    def requests(self) -> list[Request]:
        """What has arrived so far."""
        if not self._thread.running:
            return list(self._upstream.requests)
        return self._thread.call(lambda: list(self._upstream.requests))

    @property
    def connections(self) -> int:
        """How many were accepted so far."""
        return self._upstream.connections

    def wait_for_requests(self, count: int = 1, timeout: float = 10.0) -> list[Request]:
        """Wait until so many have arrived; TimeoutError if they do not within `timeout` seconds."""
        return self._thread.run(self._upstream.wait_for_requests(count), timeout)
