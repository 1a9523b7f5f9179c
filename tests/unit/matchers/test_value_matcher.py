from __future__ import annotations

import pytest

from minienvoy.matchers.value import MISSING, MetadataMatcher, compile_value_matcher

VALUE = "envoy.type.matcher.v3.ValueMatcher"


@pytest.mark.parametrize(
    ("fields", "yes", "no"),
    [
        ({"null_match": {}}, [None], [0, "", False, MISSING]),
        ({"double_match": {"exact": 1.5}}, [1.5], [1, True, "1.5", MISSING]),
        ({"double_match": {"range": {"start": 1, "end": 2}}}, [1, 1.9], [2, True, 0.9, None]),
        ({"string_match": {"prefix": "a"}}, ["ab", "a"], ["b", 1, None, MISSING]),
        ({"bool_match": True}, [True], [1, False, MISSING]),
        ({"bool_match": False}, [False], [0, True, None]),
        ({"present_match": True}, [None, 0, "a"], [MISSING]),
        ({"present_match": False}, [MISSING], ["a"]),
        ({"list_match": {"one_of": {"string_match": {"exact": "a"}}}}, [["b", "a"]], [["b"], [], "a", MISSING]),
        ({"or_match": {"value_matchers": [{"bool_match": True}, {"null_match": {}}]}}, [True, None], [False, "a"]),
    ],
)
def test_each_kind_of_value(proto, fields, yes, no):
    matches = compile_value_matcher(proto(VALUE, fields))
    assert [matches(value) for value in (*yes, *no)] == [True] * len(yes) + [False] * len(no)


def metadata_matcher(proto, **more):
    fields = {"filter": "f", "path": [{"key": "a"}, {"key": "b"}], "value": {"string_match": {"exact": "x"}}, **more}
    return MetadataMatcher.from_proto(proto("envoy.type.matcher.v3.MetadataMatcher", fields))


def test_metadata_is_found_by_its_path(proto):
    matcher = metadata_matcher(proto)
    assert matcher.matches({"f": {"a": {"b": "x"}}})
    assert not matcher.matches({"f": {"a": {"b": "y"}}})
    assert not matcher.matches({"f": {"a": "x"}})
    assert not matcher.matches(None)
    assert matcher.find({"f": {"a": {}}}) is MISSING


def test_an_inverted_matcher_matches_everything_else(proto):
    matcher = metadata_matcher(proto, invert=True)
    assert not matcher.matches({"f": {"a": {"b": "x"}}})
    assert matcher.matches(None)
