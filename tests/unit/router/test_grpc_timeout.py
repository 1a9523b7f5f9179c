"""Deadlines of gRPC clients."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from minienvoy.http.header_map import RequestHeaderMap
from minienvoy.router.grpc_timeout import AT_ONCE, GrpcTimeouts, grpc_timeout, set_grpc_timeout

MakeHeaders = Callable[..., RequestHeaderMap]


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1H", 3600.0),
        ("2M", 120.0),
        ("5S", 5.0),
        ("50m", 0.05),
        ("100001u", 0.101),
        ("1n", 0.001),
        ("0S", 0.0),
        ("99999999m", 99999.999),
        ("999999999m", None),
        ("5", None),
        ("S", None),
        ("-1S", None),
        ("5x", None),
        ("", None),
    ],
)
def test_a_deadline_has_eight_digits_and_a_unit(request_headers: MakeHeaders, text: str, seconds: float | None) -> None:
    assert grpc_timeout(request_headers(headers={"grpc-timeout": text})) == seconds


def test_no_header_is_no_deadline(request_headers: MakeHeaders) -> None:
    assert grpc_timeout(request_headers()) is None


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.05, "50m"), (99999.999, "99999999m"), (100000.0, "100000S"), (359999996399.9, "99999998H")],
)
def test_a_deadline_is_told_in_the_smallest_unit_that_has_room(
    request_headers: MakeHeaders, seconds: float, text: str
) -> None:
    headers = request_headers()
    set_grpc_timeout(headers, seconds)
    assert headers["grpc-timeout"] == text


@pytest.mark.parametrize(
    ("longest", "offset", "asked", "timeout"),
    [
        (10.0, 0.0, "5S", 5.0),
        (10.0, 0.0, "1M", 10.0),
        (10.0, 0.0, "", 10.0),
        (0.0, 0.0, "", 0.0),
        (0.0, 0.1, "5S", 4.9),
        (0.0, 0.1, "50m", 0.05),
    ],
)
def test_the_deadline_replaces_the_timeout_of_the_route(
    request_headers: MakeHeaders, longest: float, offset: float, asked: str, timeout: float
) -> None:
    headers = request_headers(headers={"grpc-timeout": asked})
    assert GrpcTimeouts(longest, offset, None, 0.0).timeout(headers) == timeout


@pytest.mark.parametrize(
    ("longest", "offset", "asked", "duration"),
    [
        (None, 0.0, "5S", None),
        (10.0, 0.0, "", None),
        (10.0, 0.5, "5S", 4.5),
        (1.0, 0.5, "5S", 0.5),
        (0.0, 0.0, "5S", 5.0),
        (0.0, 6.0, "5S", AT_ONCE),
    ],
)
def test_the_deadline_may_bound_the_life_of_the_stream(
    request_headers: MakeHeaders, longest: float | None, offset: float, asked: str, duration: float | None
) -> None:
    headers = request_headers(headers={"grpc-timeout": asked})
    assert GrpcTimeouts(None, 0.0, longest, offset).stream_duration(headers) == duration
