from __future__ import annotations

from typing import cast

import pytest

from minienvoy.event.dispatcher import Dispatcher
from minienvoy.http.date_provider import DateProvider, format_date


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def wall_time(self) -> float:
        return self.now


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, b"Thu, 01 Jan 1970 00:00:00 GMT"),
        (784111777, b"Sun, 06 Nov 1994 08:49:37 GMT"),
        (1_709_164_799.999, b"Wed, 28 Feb 2024 23:59:59 GMT"),
    ],
)
def test_dates_are_those_of_rfc_9110(seconds: float, text: bytes) -> None:
    assert format_date(seconds) == text


def test_a_date_is_kept_for_half_a_second() -> None:
    clock = Clock()
    date = DateProvider(cast(Dispatcher, clock))
    assert date.stale_at < 0
    assert date.refresh(10.0)[2] == b"date: Thu, 01 Jan 1970 00:00:00 GMT\r\n"
    assert date.stale_at == 10.5
    clock.now = 1.0
    assert date.refresh(10.5)[1] == date.entry[1] == b"Thu, 01 Jan 1970 00:00:01 GMT"
