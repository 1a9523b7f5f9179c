from __future__ import annotations

import pytest

from minienvoy.upstream.event_time import timestamp


@pytest.mark.parametrize(
    ("time", "shown"),
    [
        (0.0, "1970-01-01T00:00:00Z"),
        (1_700_000_000.5, "2023-11-14T22:13:20.500Z"),
        (1.000002, "1970-01-01T00:00:01.000002Z"),
    ],
)
def test_a_moment_has_as_many_digits_as_it_needs(time: float, shown: str) -> None:
    assert timestamp(time) == shown
