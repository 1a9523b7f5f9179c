"""The `date` header, made twice a second at most.

Envoy: `Http::TlsCachingDateProviderImpl`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .header_map import Entry, entry

if TYPE_CHECKING:
    from ..event.dispatcher import Dispatcher

_REFRESH = 0.5
_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


class DateProvider:
    """`now()` gives the header as an entry that is ready for the wire."""

    __slots__ = ("_dispatcher", "_entry", "_stale_at")

    def __init__(self, dispatcher: Dispatcher) -> None:
        self._dispatcher = dispatcher
        self._stale_at = float("-inf")
        self._entry = entry(b"date", b"")

    def now(self) -> Entry:
        monotonic = self._dispatcher.monotonic_time()
        if monotonic >= self._stale_at:
            self._stale_at = monotonic + _REFRESH
            self._entry = entry(b"date", format_date(self._dispatcher.wall_time()))
        return self._entry


def format_date(seconds: float) -> bytes:
    """RFC 9110 5.6.7, e.g. `Mon, 23 Nov 2026 05:23:03 GMT`; `seconds` since the epoch."""
    from datetime import UTC, datetime

    moment = datetime.fromtimestamp(int(seconds), UTC)
    return (
        f"{_DAYS[moment.weekday()]}, {moment.day:02d} {_MONTHS[moment.month - 1]} {moment.year}"
        f" {moment.hour:02d}:{moment.minute:02d}:{moment.second:02d} GMT"
    ).encode()
