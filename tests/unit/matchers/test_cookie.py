"""Cookies as routes look at them."""

from __future__ import annotations

from typing import Any

import pytest

from minienvoy.config.loader import load_dict
from minienvoy.matchers.cookie import CookieMatcher, parse_cookies


def matcher(**fields: Any) -> CookieMatcher:
    return CookieMatcher.from_proto(load_dict(fields, "envoy.config.route.v3.CookieMatcher").message)


def test_the_first_of_several_cookies_counts() -> None:
    assert parse_cookies([b"a=1; b=2;a=3", b"b=4; c"]) == {b"a": b"1", b"b": b"2"}


def test_quotes_around_a_value_are_no_part_of_it() -> None:
    assert parse_cookies([b'a="1"; b="']) == {b"a": b"1", b"b": b'"'}


@pytest.mark.parametrize(
    ("invert", "cookies", "matches"),
    [
        (False, {b"a": b"1"}, True),
        (False, {b"a": b"2"}, False),
        (False, {}, False),
        (True, {b"a": b"1"}, False),
        (True, {b"a": b"2"}, True),
        (True, {}, True),
    ],
)
def test_an_inverted_matcher_takes_what_the_other_does_not(
    invert: bool, cookies: dict[bytes, bytes], matches: bool
) -> None:
    assert matcher(name="a", string_match={"exact": "1"}, invert_match=invert).matches(cookies) is matches
