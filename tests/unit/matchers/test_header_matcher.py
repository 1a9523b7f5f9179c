"""Requests that the real Envoy 1.40 matched (Y) and did not match (N)."""

from __future__ import annotations

import json

import pytest

from minienvoy.http.header_map import RequestHeaderMap, entry
from minienvoy.matchers.header import HeaderMatcher, compile_header_matchers, matches_all

OBSERVED = """\
{"string_match": {"exact": "1"}} | 1&2 Y | 1 Y | - N | "" N
{"string_match": {"exact": "1,2"}} | 1&2 N | 1,2 Y
{"string_match": {"exact": "2"}} | 1&2 Y
{"string_match": {"exact": ""}} | "" Y | - N
{"string_match": {"exact": "AbC", "ignore_case": true}} | aBc Y | abcd N
{"string_match": {"prefix": "Ab", "ignore_case": true}} | aBc Y
{"string_match": {"suffix": "bc", "ignore_case": true}} | aBC Y
{"string_match": {"contains": "B", "ignore_case": true}} | abc Y
{"string_match": {"contains": "1,2"}} | 1&2 N
{"string_match": {"exact": "É", "ignore_case": true}} | Ã© N
{"string_match": {"safe_regex": {"regex": "a.c"}}} | abc Y | abcd N | aÿc Y | aÃ©c N
{"string_match": {"safe_regex": {"regex": "é"}}} | Ã© Y
{"string_match": {"safe_regex": {"regex": "[é]"}}} | Ã© N
{"string_match": {"safe_regex": {"regex": "1,2"}}} | 1&2 N
{"string_match": {"safe_regex": {"regex": "(?i)abc"}}} | ABC Y
{"string_match": {"exact": "x"}, "invert_match": true} | x N | y Y | - N
{"string_match": {"exact": "1"}, "invert_match": true} | 1&2 N
{"string_match": {"exact": "2"}, "invert_match": true} | 1&2 N
{"string_match": {"exact": "3"}, "invert_match": true} | 1&2 Y
{"string_match": {"exact": ""}, "treat_missing_header_as_empty": true} | - Y | "" Y | a N
{"string_match": {"exact": "x"}, "invert_match": true, "treat_missing_header_as_empty": true} | - Y | x N
{"string_match": {"exact": ""}, "invert_match": true, "treat_missing_header_as_empty": true} | - N | "" N | a Y
{"present_match": true} | - N | "" Y | a Y
{"present_match": false} | - Y | "" N | a N
{"present_match": true, "invert_match": true} | - Y | a N
{"present_match": false, "invert_match": true} | - N | a Y
{"present_match": true, "treat_missing_header_as_empty": true} | - Y | a Y
{"present_match": false, "treat_missing_header_as_empty": true} | - N | 1 N
{"present_match": true, "treat_missing_header_as_empty": true, "invert_match": true} | - N | 1 N
{} | - N | a Y
{"invert_match": true} | - Y | a N
{"range_match": {"start": -10, "end": 10}} | -10 Y | 10 N | 9 Y | +5 Y | 5a N | "" N | - N
{"range_match": {"start": -10, "end": 10}} | 0x5 N | 05 Y | 1&2 Y | 1_0 N
{"range_match": {"start": -10, "end": 10}, "invert_match": true} | - N | abc Y | 5 N | 50 Y
{"range_match": {"start": 2, "end": 3}} | 1&2 Y
{"range_match": {"start": 2, "end": 3}, "invert_match": true} | 1&2 N | 2&2 N
{"range_match": {"start": 0, "end": 10}, "treat_missing_header_as_empty": true} | - N
{"range_match": {"start": -10, "end": 10}} | 99999999999999999999 N
{"exact_match": "1"} | 1&2 Y | 1 Y
{"prefix_match": "1"} | 1&2 Y | 12 Y
{"suffix_match": "2"} | 1&2 Y | 12 Y
{"contains_match": "1"} | 1&2 Y | 212 Y
{"safe_regex_match": {"regex": "[0-9]"}} | 1&2 Y | 1 Y
"""


def observations():
    for row in OBSERVED.splitlines():
        matcher, *outcomes = row.split(" | ")
        for outcome in outcomes:
            yield pytest.param(json.loads(matcher), *outcome.rsplit(" ", 1), id=f"{matcher} {outcome}")


def request(*values: str) -> RequestHeaderMap:
    return RequestHeaderMap(b"GET", b"/?a", b"a.com", [entry(b"x", value.encode("latin-1")) for value in values])


@pytest.mark.parametrize(("matcher", "values", "outcome"), list(observations()))
def test_matches_what_envoy_matched(proto, matcher, values, outcome):
    headers = request(*() if values == "-" else values.replace('""', "").split("&"))
    compiled = HeaderMatcher.from_proto(proto("envoy.config.route.v3.HeaderMatcher", {"name": "X", **matcher}))
    assert compiled.matches(headers) is (outcome == "Y")


@pytest.mark.parametrize(
    ("name", "match"),
    [
        (":method", {"exact": "GET"}),
        (":path", {"contains": "?"}),
        ("host", {"exact": "a.com"}),
        (":authority", {"exact": "a.com"}),
    ],
)
def test_pseudo_headers_can_be_matched(proto, name, match):
    matcher = HeaderMatcher.from_proto(
        proto("envoy.config.route.v3.HeaderMatcher", {"name": name, "string_match": match})
    )
    assert matcher.matches(request())


def test_all_matchers_must_match(proto):
    protos = [
        proto("envoy.config.route.v3.HeaderMatcher", {"name": "x", "string_match": {"exact": "1"}}),
        proto("envoy.config.route.v3.HeaderMatcher", {"name": "y", "present_match": False}),
    ]
    matchers = compile_header_matchers(protos)
    assert matches_all(matchers, request("1"))
    assert not matches_all(matchers, request("2"))
    assert matches_all((), request())


def test_a_matcher_describes_itself_in_envoys_words(proto):
    fields = {"name": "x-user", "string_match": {"exact": "bob", "ignore_case": True}, "invert_match": True}
    matcher = HeaderMatcher.from_proto(proto("envoy.config.route.v3.HeaderMatcher", fields))
    assert matcher.description == 'x-user not exact "bob" (any case)'
