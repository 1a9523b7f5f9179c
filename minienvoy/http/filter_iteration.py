"""One direction of a filter chain: who has seen what, who holds what back.

Envoy: `Http::ActiveStreamFilterBase` (`commonContinue`, `commonHandleAfterHeadersCallback`, ...) and the loops of
`Http::FilterManager` (`decodeHeaders`, `decodeData`, ...). Requests and responses go through the same machine; only the
hooks and what stands at the end differ.

A filter may stop the headers (and still get the data), stop everything, or stop the data. What is held back is one
buffer for the direction, whoever holds it. Each filter's state is:

    0                   it lets things pass;
    STOP                it stopped headers or data and still gets later data; letting one pass lets go of all held data;
    STOP_ALL_BUFFER     it gets nothing until it says `continue`, and then starts with the data it has not seen;
    STOP_ALL_WATERMARK  likewise, but too much data makes the sender wait and is not an error.

Letting go (`_continue`) hands on, in this order and as far as they are there: headers that went no further than this
filter, the buffer, trailers. Each of them may be stopped again further down, and the rest is still handed on: the
filter that stopped it keeps it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from .filter import FilterDataStatus, FilterHeadersStatus, FilterTrailersStatus
from .header_map import HeaderMap

STOP, STOP_ALL_BUFFER, STOP_ALL_WATERMARK = 1, 2, 3

HeadersHook = Callable[[Any, bool], FilterHeadersStatus]
DataHook = Callable[[bytes, bool], FilterDataStatus]
TrailersHook = Callable[[HeaderMap], FilterTrailersStatus]

_HEADERS_CONTINUE = FilterHeadersStatus.CONTINUE
_DATA_CONTINUE = FilterDataStatus.CONTINUE
_TRAILERS_CONTINUE = FilterTrailersStatus.CONTINUE
_STATE_AFTER_HEADERS = {
    FilterHeadersStatus.STOP_ITERATION: STOP,
    FilterHeadersStatus.STOP_ALL_ITERATION_AND_BUFFER: STOP_ALL_BUFFER,
    FilterHeadersStatus.STOP_ALL_ITERATION_AND_WATERMARK: STOP_ALL_WATERMARK,
}


class FilterIteration:
    """Hooks are None where a filter does not override them; `over` tells that the stream has ended meanwhile.

    Attributes:
        buffer_limit: bytes that may be held back, 0 for no limit; more calls `on_overflow` (buffering filter) or
            `on_watermark(True)` (filter that lets the sender wait), and `on_watermark(False)` when they are gone.
    """

    __slots__ = (
        "_buffer",
        "_data_hooks",
        "_end_seen",
        "_headers",
        "_headers_hooks",
        "_headers_passed",
        "_in_trailers",
        "_inside",
        "_observed_end",
        "_on_overflow",
        "_on_watermark",
        "_over",
        "_replacement",
        "_resumed",
        "_sink_data",
        "_sink_headers",
        "_sink_trailers",
        "_states",
        "_trailers",
        "_trailers_hooks",
        "_watermark",
        "buffer_limit",
    )

    def __init__(
        self,
        headers_hooks: Sequence[HeadersHook | None],
        data_hooks: Sequence[DataHook | None],
        trailers_hooks: Sequence[TrailersHook | None],
        sink_headers: Callable[[Any, bool], object],
        sink_data: Callable[[bytes, bool], object],
        sink_trailers: Callable[[HeaderMap], object],
        over: Callable[[], bool],
        buffer_limit: int,
        on_overflow: Callable[[], None],
        on_watermark: Callable[[bool], None],
    ) -> None:
        self._headers_hooks = headers_hooks
        self._data_hooks = data_hooks
        self._trailers_hooks = trailers_hooks
        self._sink_headers = sink_headers
        self._sink_data = sink_data
        self._sink_trailers = sink_trailers
        self._over = over
        self.buffer_limit = buffer_limit
        self._on_overflow = on_overflow
        self._on_watermark = on_watermark
        self._states = bytearray(len(headers_hooks))
        # Per filter: its hook is running; that hook has asked to go on; its headers have gone on to the next one; it
        # has been told that the stream ends.
        self._inside = bytearray(len(headers_hooks))
        self._resumed = bytearray(len(headers_hooks))
        self._headers_passed = bytearray(len(headers_hooks))
        self._end_seen = bytearray(len(headers_hooks))
        self._headers: Any = None
        self._trailers: HeaderMap | None = None
        # None: nothing is held back; empty: the end of the stream is.
        self._buffer: bytes | None = None
        self._observed_end = False
        self._watermark = False
        self._in_trailers = -1
        self._replacement: bytes | None = None

    @property
    def buffer(self) -> bytes:
        return self._buffer or b""

    def modify_buffer(self, data: bytes) -> None:
        """Hold back `data` in place of what is held back."""
        if self._buffer is not None:
            self._buffer = data
            self._look_at_size(True)

    def headers(self, headers: Any, end_stream: bool) -> None:
        self._headers = headers
        self._observed_end = end_stream
        self._run_headers(0, end_stream)

    def data(self, data: bytes, end_stream: bool) -> None:
        if end_stream:
            self._observed_end = True
        self._run_data(0, data, end_stream)

    def trailers(self, trailers: HeaderMap) -> None:
        self._observed_end = True
        self._trailers = trailers
        self._run_trailers(0)

    def add_data(self, at: int, data: bytes) -> None:
        """Filter `at` puts `data` behind what is held back; from its trailers hook it goes to the next filter."""
        if self._in_trailers == at and not self._states[at]:
            self._run_data(at + 1, data, False)
        else:
            self._buffer = data if self._buffer is None else self._buffer + data
            # There is nobody to wait for here: whatever is added has been produced already.
            self._look_at_size(self._states[at] != STOP_ALL_BUFFER)

    def add_trailers(self, trailers: HeaderMap) -> None:
        """A filter whose data hook runs, and sees the end of the stream, puts `trailers` behind that."""
        self._trailers = trailers

    def replace_data(self, data: bytes) -> None:
        """From a data hook: what it returns is about `data`, in place of what it was given."""
        self._replacement = data

    def inject_data(self, at: int, data: bytes, end_stream: bool) -> None:
        """Filter `at` gives `data` to the next one, past what is held back."""
        if end_stream:
            self._observed_end = True
        if not self._headers_passed[at] and not self._over():
            self._headers_passed[at] = 1
            self._run_headers(at + 1, False)
        if not self._over():
            self._run_data(at + 1, data, end_stream)

    def resume(self, at: int) -> None:
        """Filter `at` lets go. From inside its own hook, whatever that returns counts as CONTINUE."""
        if self._over():
            return
        if self._inside[at]:
            self._resumed[at] = 1
        elif self._states[at]:
            self._continue(at)

    def close(self) -> None:
        """The stream is over: nobody waits for anything any more."""
        self._buffer = None
        if self._watermark:
            self._watermark = False
            self._on_watermark(False)

    # -- inside

    def _run_headers(self, at: int, end_stream: bool) -> None:
        hooks = self._headers_hooks
        added_at = -1
        while at < len(hooks):
            hook = hooks[at]
            mine = end_stream and added_at < 0
            self._end_seen[at] = mine
            if hook is not None:
                self._inside[at] = 1
                status = hook(self._headers, mine)
                self._inside[at] = 0
                if self._over():
                    return
                if self._resumed[at]:
                    self._resumed[at] = 0
                    status = _HEADERS_CONTINUE
                if status is not _HEADERS_CONTINUE:
                    if status is FilterHeadersStatus.CONTINUE_AND_DONT_END_STREAM:
                        end_stream = self._observed_end = False
                    else:
                        self._states[at] = _STATE_AFTER_HEADERS[status]
                        if added_at >= 0:
                            self._continue(added_at)
                        return
                if end_stream and self._buffer is not None and added_at < 0:
                    # Headers were all there was, and this filter has added a body.
                    added_at = at
            self._headers_passed[at] = 1
            at += 1
        self._sink_headers(self._headers, end_stream and added_at < 0)
        if added_at >= 0 and not self._over():
            self._continue(added_at)

    def _run_data(self, at: int, data: bytes, end_stream: bool) -> None:
        hooks, states, end_seen = self._data_hooks, self._states, self._end_seen
        added_at = -1
        while at < len(hooks):
            if states[at] >= STOP_ALL_BUFFER:
                self._hold(data, states[at] == STOP_ALL_WATERMARK)
                return
            if end_seen[at]:
                # It has had all data already, through a filter that let go meanwhile.
                return
            end_seen[at] = end_stream
            hook = hooks[at]
            if hook is not None:
                self._inside[at] = 1
                status = hook(data, end_stream)
                self._inside[at] = 0
                if self._over():
                    return
                if self._replacement is not None:
                    data, self._replacement = self._replacement, None
                if end_stream and self._trailers is not None:
                    end_stream = False
                    added_at = at
                if self._resumed[at]:
                    self._resumed[at] = 0
                elif status is not _DATA_CONTINUE:
                    states[at] = STOP
                    if status is not FilterDataStatus.STOP_ITERATION_NO_BUFFER:
                        self._hold(data, status is FilterDataStatus.STOP_ITERATION_AND_WATERMARK)
                    elif end_stream and self._buffer is None:
                        # Letting go must at least tell that the stream ends.
                        self._buffer = b""
                    if 0 <= added_at < at:
                        # Data waits here, and does so for the trailers that a filter before this one has added.
                        self._run_trailers(added_at + 1)
                    return
            if states[at]:
                self._buffer = data if self._buffer is None else self._buffer + data
                self._continue(at)
                return
            at += 1
        self._sink_data(data, end_stream)
        if added_at >= 0 and not self._over():
            self._run_trailers(added_at + 1)

    def _run_trailers(self, at: int) -> None:
        hooks, states = self._trailers_hooks, self._states
        trailers = self._trailers
        assert trailers is not None
        while at < len(hooks):
            if states[at] >= STOP_ALL_BUFFER:
                return
            hook = hooks[at]
            if hook is not None:
                self._inside[at] = 1
                self._in_trailers = at
                status = hook(trailers)
                self._in_trailers = -1
                self._inside[at] = 0
                if self._over():
                    return
                if self._resumed[at]:
                    self._resumed[at] = 0
                elif status is not _TRAILERS_CONTINUE:
                    self._end_seen[at] = 1
                    states[at] = STOP
                    return
            self._end_seen[at] = 1
            if states[at]:
                self._continue(at)
                return
            at += 1
        self._sink_trailers(trailers)

    def _continue(self, at: int) -> None:
        """Filter `at` lets go of everything (`commonContinue`)."""
        # Who stopped everything has not seen the data; who stopped headers or data has.
        first = at if self._states[at] >= STOP_ALL_BUFFER and not self._end_seen[at] else at + 1
        self._states[at] = 0
        had_trailers = self._trailers is not None
        if not self._headers_passed[at]:
            self._headers_passed[at] = 1
            self._run_headers(at + 1, self._observed_end and self._buffer is None and not had_trailers)
            if self._over():
                return
        if self._buffer is not None:
            held, self._buffer = self._buffer, None
            if self._watermark:
                self._watermark = False
                self._on_watermark(False)
            self._run_data(first, held, self._observed_end and not had_trailers)
            if self._over():
                return
        if had_trailers:
            self._run_trailers(first)

    def _hold(self, data: bytes, may_wait: bool) -> None:
        self._buffer = data if self._buffer is None else self._buffer + data
        self._look_at_size(may_wait)

    def _look_at_size(self, may_wait: bool) -> None:
        if self._buffer is not None and len(self._buffer) > self.buffer_limit > 0:
            if not may_wait:
                self._on_overflow()
            elif not self._watermark:
                self._watermark = True
                self._on_watermark(True)
