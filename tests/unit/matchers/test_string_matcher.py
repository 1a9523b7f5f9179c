from __future__ import annotations

import pytest

from minienvoy.errors import ConfigError
from minienvoy.matchers.regex import compile_regex, compile_substitution
from minienvoy.matchers.string import compile_string_matcher

STRING = "envoy.type.matcher.v3.StringMatcher"


@pytest.mark.parametrize(
    ("fields", "yes", "no"),
    [
        ({"exact": "ab"}, b"ab", b"abc"),
        ({"prefix": "ab"}, b"abc", b"cab"),
        ({"suffix": "ab"}, b"cab", b"abc"),
        ({"contains": "ab"}, b"cabc", b"acb"),
        ({"exact": "aB", "ignore_case": True}, b"Ab", b"a"),
        ({"prefix": "aB", "ignore_case": True}, b"AbC", b"cab"),
        ({"suffix": "aB", "ignore_case": True}, b"cAb", b"abc"),
        ({"contains": "aB", "ignore_case": True}, b"cAbc", b"acb"),
        ({"safe_regex": {"regex": "a+"}}, b"aaa", b"aaab"),
    ],
)
def test_each_kind_of_pattern(proto, fields, yes, no):
    matches = compile_string_matcher(proto(STRING, fields))
    assert matches(yes)
    assert not matches(no)


@pytest.mark.parametrize(
    ("regex", "problem"),
    [
        ("(a", "missing ): (a"),
        ("a{1,2000}", "invalid repetition size: {1,2000}"),
        ("(?=a)", "invalid perl operator: (?="),
        (r"\1", r"invalid escape sequence: \1"),
    ],
)
def test_a_wrong_regex_is_refused_in_envoys_words(proto, regex, problem):
    with pytest.raises(ConfigError) as refused:
        compile_string_matcher(proto(STRING, {"safe_regex": {"regex": regex}}), "match")
    assert (refused.value.problem, refused.value.path) == (problem, "match.safe_regex.regex")


def test_ignoring_the_case_of_a_regex_is_refused(proto):
    with pytest.raises(ConfigError, match="ignore_case has no effect for safe_regex"):
        compile_string_matcher(proto(STRING, {"safe_regex": {"regex": "a"}, "ignore_case": True}))


def test_a_custom_matcher_is_refused(proto):
    with pytest.raises(ConfigError, match="custom string matchers are not supported"):
        compile_string_matcher(proto(STRING, {"custom": {"name": "x"}}), "match")


def test_a_hostile_text_takes_linear_time(proto):
    matches = compile_regex(proto("envoy.type.matcher.v3.RegexMatcher", {"regex": "(a|aa)+b"})).full_match
    assert not matches(b"a" * 20_000)


@pytest.mark.parametrize(
    ("regex", "substitution", "result"),
    [
        ("(a)(b)?", r"[\2\1\0\\]", b"/[baab\\]c[aa\\]"),
        ("x*", "-", b"-/-a-b-c-a-"),
        ("^/", "//", b"//abca"),
        ("b*", "", b"/aca"),
        ("a", r"\1", b"/abca"),
    ],
)
def test_substitution_replaces_every_match_as_envoy_does(proto, regex, substitution, result):
    fields = {"pattern": {"regex": regex}, "substitution": substitution}
    assert compile_substitution(proto("envoy.type.matcher.v3.RegexMatchAndSubstitute", fields))(b"/abca") == result
