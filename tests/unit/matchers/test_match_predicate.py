from __future__ import annotations

from typing import Any

import pytest

from minienvoy.config.loader import load_dict
from minienvoy.http.header_map import ResponseHeaderMap, entry
from minienvoy.matchers.match_predicate import compile_match_predicate

A = {"http_response_headers_match": {"headers": [{"name": "a", "present_match": True}]}}
B = {"http_response_headers_match": {"headers": [{"name": "b", "string_match": {"exact": "1"}}]}}
STATUS = {"http_response_headers_match": {"headers": [{"name": ":status", "string_match": {"prefix": "4"}}]}}


@pytest.mark.parametrize(
    ("predicate", "headers", "matches"),
    [
        (A, "a", True),
        (A, "b", False),
        ({"not_match": A}, "b", True),
        ({"or_match": {"rules": [A, B]}}, "b", True),
        ({"or_match": {"rules": [A, B]}}, "c", False),
        ({"and_match": {"rules": [A, B]}}, "b", False),
        ({"and_match": {"rules": [A, B]}}, "ab", True),
        ({"any_match": True}, "", True),
        (STATUS, "", True),
    ],
)
def test_a_response_is_judged_by_its_headers(predicate: dict[str, Any], headers: str, matches: bool) -> None:
    message = load_dict(predicate, "envoy.config.common.matcher.v3.MatchPredicate").message
    response = ResponseHeaderMap(404, [entry(name.encode(), b"1") for name in headers])
    assert compile_match_predicate(message)(response) is matches
