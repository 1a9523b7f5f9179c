"""Lets a body pass no faster than so many bytes a second.

Envoy: `Extensions::HttpFilters::Common::StreamRateLimiter`. A filter gives it all data with `write_data`, answers
STOP_ITERATION_NO_BUFFER, and is called back with what may go on.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from .....event.dispatcher import Dispatcher
from .....event.token_bucket import TokenBucket

FILL_INTERVAL: Final = 0.05
"""Seconds between two portions, if nothing else is said."""
MIN_FILL_INTERVAL: Final = 0.02
MAX_FILL_INTERVAL: Final = 1.0
KIBIBYTE: Final = 1024


class StreamRateLimiter:
    """
    Args:
        limit: bytes a second.
        buffer_limit: more bytes than this make the sender wait; 0 for no limit.
        pause, resume: make the sender wait, or not any longer.
        write: goes on with data, True if that is all.
        proceed: goes on with trailers.
        on_portion: is told how many bytes go on and whether others stay behind.
        token_bucket: shared with others; None for one of its own.
        fill_interval: seconds between two portions.
    """

    __slots__ = (
        "_bucket",
        "_buffer",
        "_buffer_limit",
        "_fill_interval",
        "_limit",
        "_on_portion",
        "_pause",
        "_paused",
        "_proceed",
        "_resume",
        "_saw_data",
        "_saw_end",
        "_saw_trailers",
        "_shared",
        "_timer",
        "_write",
    )

    def __init__(
        self,
        dispatcher: Dispatcher,
        limit: int,
        buffer_limit: int,
        pause: Callable[[], None],
        resume: Callable[[], None],
        write: Callable[[bytes, bool], None],
        proceed: Callable[[], None],
        on_portion: Callable[[int, bool], None] | None = None,
        token_bucket: TokenBucket | None = None,
        fill_interval: float = FILL_INTERVAL,
    ) -> None:
        self._limit = limit
        self._buffer_limit = buffer_limit
        self._pause, self._resume, self._write, self._proceed = pause, resume, write, proceed
        self._on_portion = on_portion
        self._shared = token_bucket is not None
        self._bucket = token_bucket or TokenBucket(limit, limit, dispatcher.monotonic_time)
        self._fill_interval = fill_interval
        self._buffer = bytearray()
        self._paused = self._saw_data = self._saw_end = self._saw_trailers = False
        self._timer = dispatcher.create_timer(self._on_timer)

    @property
    def holds_data(self) -> bool:
        return bool(self._buffer)

    def write_data(self, data: bytes, end_stream: bool, *, trailers: bool = False) -> None:
        """Take `data`; with `trailers`, they come after it and `proceed` lets them go."""
        self._buffer += data
        self._saw_end = end_stream
        self._saw_trailers = self._saw_trailers or trailers
        if len(self._buffer) > self._buffer_limit > 0 and not self._paused:
            self._paused = True
            self._pause()
        if not self._timer.enabled:
            # Not from inside this call: the filter has not said yet that it keeps the data.
            self._timer.enable(0.0)

    def on_trailers(self) -> bool:
        """True if trailers have to wait for data that is held back."""
        self._saw_end = self._saw_trailers = True
        return bool(self._buffer)

    def destroy(self) -> None:
        self._timer.disable()
        self._let_send()
        self._buffer.clear()

    def _on_timer(self) -> None:
        if not self._saw_data:
            self._saw_data = True
            if not self._shared:
                # Begin at the pace that is wanted, not with what a whole second allows. A bucket that is shared has
                # been told when it was made.
                self._bucket.reset(int(self._limit * self._fill_interval))
        size = self._bucket.consume_up_to(len(self._buffer))
        portion = bytes(self._buffer[:size])
        del self._buffer[:size]
        left = bool(self._buffer)
        if self._on_portion is not None:
            self._on_portion(size, left)
        if left:
            self._timer.enable(self._fill_interval)
        if len(self._buffer) <= self._buffer_limit // 2:
            self._let_send()
        self._write(portion, self._saw_end and not left and not self._saw_trailers)
        if not left and self._saw_trailers:
            self._proceed()

    def _let_send(self) -> None:
        if self._paused:
            self._paused = False
            self._resume()
