"""One direction of a filter chain: who has seen what, who holds what back.

Envoy: `Http::ActiveStreamFilterBase` (`commonContinue`, `commonHandleAfterHeadersCallback`, ...). Requests and
responses go through the same machine; only the hooks and what stands at the end differ.

A filter may stop the headers (and still get the data), stop everything, or stop the data. What is held back is one
buffer for the direction. Each filter's state is:

    0            it lets things pass;
    STOP         it stopped headers or data; it gets later data, and letting one pass lets go of all that is held;
    STOP_ALL     it gets nothing until it says `continue`, and then starts with the data it has not seen.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from .filter import FilterDataStatus, FilterHeadersStatus, FilterTrailersStatus
from .header_map import HeaderMap

STOP, STOP_ALL = 1, 2

HeadersHook = Callable[[Any, bool], FilterHeadersStatus]
DataHook = Callable[[bytes, bool], FilterDataStatus]
TrailersHook = Callable[[HeaderMap], FilterTrailersStatus]

_HEADERS_CONTINUE = FilterHeadersStatus.CONTINUE
_DATA_CONTINUE = FilterDataStatus.CONTINUE


class FilterIteration:
    """Hooks are None where a filter does not override them; `over` tells that the stream has ended meanwhile.

    Attributes:
        buffer_limit: bytes that may be held back; more calls `on_overflow` (buffering filter) or
            `on_watermark(True)` (filter that lets the sender wait), and `on_watermark(False)` when it is gone.
    """

    __slots__ = (
        "_buffer",
        "_data_end",
        "_data_hooks",
        "_headers",
        "_headers_at",
        "_headers_end",
        "_headers_hooks",
        "_on_overflow",
        "_on_watermark",
        "_over",
        "_sink_data",
        "_sink_headers",
        "_sink_trailers",
        "_states",
        "_trailers",
        "_trailers_at",
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
        self._headers: Any = None
        self._headers_end = False
        self._headers_at = 0
        self._buffer = b""
        self._data_end = False
        self._trailers: HeaderMap | None = None
        self._trailers_at = 0
        self._watermark = False

    @property
    def buffer(self) -> bytes:
        return self._buffer

    def headers(self, headers: Any, end_stream: bool) -> None:
        self._headers = headers
        self._headers_end = end_stream
        self._run_headers(0)

    def data(self, data: bytes, end_stream: bool) -> None:
        if end_stream:
            self._data_end = True
        self._run_data(0, data, end_stream)

    def trailers(self, trailers: HeaderMap) -> None:
        self._trailers = trailers
        self._run_trailers(0)

    def add_data(self, data: bytes) -> None:
        """Put `data` behind what is held back."""
        self._buffer += data

    def resume(self, at: int) -> None:
        """Filter `at` lets go."""
        state = self._states[at]
        if not state or self._over():
            return
        self._states[at] = 0
        if self._headers_at <= at:
            self._run_headers(at + 1)
            if self._over():
                return
        self._release(at if state == STOP_ALL else at + 1)

    # -- inside

    def _run_headers(self, at: int) -> None:
        hooks = self._headers_hooks
        while at < len(hooks):
            hook = hooks[at]
            if hook is not None:
                status = hook(self._headers, self._headers_end)
                if self._over():
                    return
                if status is not _HEADERS_CONTINUE:
                    if status is FilterHeadersStatus.CONTINUE_AND_DONT_END_STREAM:
                        self._headers_end = False
                    else:
                        self._states[at] = STOP if status is FilterHeadersStatus.STOP_ITERATION else STOP_ALL
                        self._watermark = status is not FilterHeadersStatus.STOP_ALL_ITERATION_AND_BUFFER
                        self._headers_at = at
                        return
            at += 1
        self._headers_at = at
        # A filter that let go of headers-only after `add_data` has made it a stream with a body.
        end_stream = self._headers_end and not self._buffer
        self._sink_headers(self._headers, end_stream)
        if self._headers_end and self._buffer and not self._over():
            self._data_end = True
            held, self._buffer = self._buffer, b""
            self._sink_data(held, True)

    def _run_data(self, at: int, data: bytes, end_stream: bool) -> None:
        hooks, states = self._data_hooks, self._states
        while at < len(hooks):
            state = states[at]
            if state == STOP_ALL:
                self._hold(data, self._watermark)
                return
            hook = hooks[at]
            if hook is not None:
                status = hook(data, end_stream)
                if self._over():
                    return
                if status is _DATA_CONTINUE:
                    if state:
                        self._buffer += data
                        states[at] = 0
                        if self._headers_at <= at:
                            self._run_headers(at + 1)
                            if self._over():
                                return
                        self._release(at + 1)
                        return
                else:
                    states[at] = STOP
                    if status is not FilterDataStatus.STOP_ITERATION_NO_BUFFER:
                        self._hold(data, status is FilterDataStatus.STOP_ITERATION_AND_WATERMARK)
                    return
            elif state:
                # It stopped the headers and takes no interest in data: data waits with the headers.
                self._hold(data, self._watermark)
                return
            at += 1
        self._sink_data(data, end_stream)

    def _run_trailers(self, at: int) -> None:
        hooks, states = self._trailers_hooks, self._states
        assert self._trailers is not None
        while at < len(hooks):
            if states[at] == STOP_ALL or (states[at] and hooks[at] is None):
                self._trailers_at = at
                return
            hook = hooks[at]
            if hook is not None:
                status = hook(self._trailers)
                if self._over():
                    return
                if status is FilterTrailersStatus.STOP_ITERATION:
                    states[at] = STOP
                    self._trailers_at = at + 1
                    return
                if states[at]:
                    states[at] = 0
                    if self._headers_at <= at:
                        self._run_headers(at + 1)
                    if self._buffer and not self._over():
                        held, self._buffer = self._buffer, b""
                        self._run_data(at + 1, held, False)
                    if self._over():
                        return
            at += 1
        trailers, self._trailers = self._trailers, None
        self._sink_trailers(trailers)

    def _release(self, at: int) -> None:
        """Hand on what was held back, from filter `at`."""
        if self._headers_at < len(self._headers_hooks):
            return
        if self._buffer or (self._data_end and self._trailers is None):
            held, self._buffer = self._buffer, b""
            if self._watermark:
                self._on_watermark(False)
            self._run_data(at, held, self._data_end)
        if self._trailers is not None and not self._over():
            self._run_trailers(max(at, self._trailers_at))

    def _hold(self, data: bytes, watermark: bool) -> None:
        self._buffer += data
        if len(self._buffer) > self.buffer_limit > 0:
            if watermark:
                self._watermark = True
                self._on_watermark(True)
            else:
                self._on_overflow()
