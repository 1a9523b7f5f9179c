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
    """Attributes:
    entry: the header, ready for the wire, until `stale_at` (monotonic seconds); then `refresh` it.
    """

    __slots__ = ("_dispatcher", "entry", "stale_at")

    def __init__(self, dispatcher: Dispatcher) -> None:
        self._dispatcher = dispatcher
        self.stale_at = float("-inf")
        self.entry = entry(b"date", b"")

    def refresh(self, now: float) -> Entry:
        self.stale_at = now + _REFRESH
        self.entry = entry(b"date", format_date(self._dispatcher.wall_time()))
        return self.entry


def format_date(seconds: float) -> bytes:
    """RFC 9110 5.6.7, e.g. `Mon, 23 Nov 2026 05:23:03 GMT`; `seconds` since the epoch."""
    from datetime import UTC, datetime

    moment = datetime.fromtimestamp(int(seconds), UTC)
    return (
        f"{_DAYS[moment.weekday()]}, {moment.day:02d} {_MONTHS[moment.month - 1]} {moment.year}"
        f" {moment.hour:02d}:{moment.minute:02d}:{moment.second:02d} GMT"
    ).encode()
