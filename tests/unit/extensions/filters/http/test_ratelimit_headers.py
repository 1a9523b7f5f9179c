"""What a client is told of its limits."""

from __future__ import annotations

from typing import Any

from minienvoy.config.api import message_class
from minienvoy.extensions.filters.http.ratelimit_headers import retry_after, x_ratelimit_headers
from minienvoy.router.rate_limit import Descriptor


def status(code: str = "OK", remaining: int = 0, seconds: int = 0, **limit: Any) -> Any:
    make = message_class("envoy.service.ratelimit.v3.RateLimitResponse").DescriptorStatus
    more = {"current_limit": limit} if limit else {}
    return make(code=code, limit_remaining=remaining, duration_until_reset={"seconds": seconds}, **more)


def descriptor(told: bool | None = None) -> Descriptor:
    return Descriptor((), x_ratelimit_headers=told)


MINUTE = status(remaining=5, seconds=30, name="first", requests_per_unit=10, unit="MINUTE")
SECOND = status(remaining=3, seconds=1, requests_per_unit=4, unit="SECOND")


def test_the_limit_with_the_least_left_is_told_and_all_are_listed() -> None:
    assert x_ratelimit_headers([MINUTE, SECOND], [], True) == [
        (b"x-ratelimit-limit", b'4, 10;w=60;name="first", 4;w=1'),
        (b"x-ratelimit-remaining", b"3"),
        (b"x-ratelimit-reset", b"1"),
    ]


def test_a_limit_without_a_window_is_told_and_not_listed() -> None:
    (limit, *_) = x_ratelimit_headers([status(requests_per_unit=7)], [], True)
    assert limit == (b"x-ratelimit-limit", b"7")


def test_a_window_may_be_several_units() -> None:
    (limit, *_) = x_ratelimit_headers(
        [status(requests_per_unit=7, unit="HOUR", unit_multiplier={"value": 3})], [], True
    )
    assert limit == (b"x-ratelimit-limit", b"7, 7;w=10800")


def test_each_descriptor_says_whether_its_limit_is_told() -> None:
    assert x_ratelimit_headers([MINUTE, SECOND], [descriptor(True), descriptor(False)], True) == []
    (limit, *_) = x_ratelimit_headers([MINUTE, SECOND], [descriptor(), descriptor(True)], False)
    assert limit == (b"x-ratelimit-limit", b"4, 4;w=1")


def test_without_limits_nothing_is_told() -> None:
    assert x_ratelimit_headers([status("OVER_LIMIT")], [], True) == []


def test_who_is_to_come_again_waits_for_the_last_limit_and_a_second_at_least() -> None:
    statuses = [status("OVER_LIMIT", seconds=58), status("OVER_LIMIT", seconds=61), status("OK", seconds=90)]
    assert retry_after(statuses) == (b"retry-after", b"61")
    assert retry_after([]) == (b"retry-after", b"1")
