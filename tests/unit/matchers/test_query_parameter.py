"""Queries that the real Envoy 1.40 matched (Y) and did not match (N)."""

from __future__ import annotations

import pytest

from minienvoy.matchers.query_parameter import QueryParameterMatcher, compile_query_parameter_matchers, parse_query

OBSERVED = [
    ({"string_match": {"exact": "1"}}, "q=1 Y,q=2&q=1 N,q=1&q=2 Y,Q=1 N,q=%31 N,q N, N,%71=1 N,q=1;a N,a&q=1 Y"),
    ({"present_match": True}, "q Y,q= Y, N,qq=1 N"),
    ({"present_match": False}, "q N,a Y"),
    ({"string_match": {"exact": "a b"}}, "q=a%20b N,q=a+b N"),
    ({"string_match": {"safe_regex": {"regex": "[a-z]+"}}}, "q=abc Y,q=ab1 N"),
    ({}, "q Y,a N"),
    ({"string_match": {"prefix": "A", "ignore_case": True}}, "q=abc Y"),
]


@pytest.mark.parametrize(
    ("fields", "query", "outcome"),
    [(fields, *one.rsplit(" ", 1)) for fields, several in OBSERVED for one in several.split(",")],
)
def test_matches_what_envoy_matched(proto, fields, query, outcome):
    message = proto("envoy.config.route.v3.QueryParameterMatcher", {"name": "q", **fields})
    matcher = QueryParameterMatcher.from_proto(message)
    assert matcher.matches(parse_query(f"/x?{query}".encode())) is (outcome == "Y")


def test_a_path_without_a_query_has_no_parameters():
    assert parse_query(b"/a") == {}
    assert parse_query(b"/a?") == {}


def test_matchers_know_the_parameter_they_ask_for(proto):
    message = proto("envoy.config.route.v3.QueryParameterMatcher", {"name": "q", "present_match": True})
    (matcher,) = compile_query_parameter_matchers([message], "match.query_parameters")
    assert (matcher.name, matcher.description) == (b"q", "q present")
