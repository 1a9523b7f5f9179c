from __future__ import annotations

import pytest

from minienvoy.server.admin.request import AdminRequest, QueryParams, percent_decode


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("", {}),
        ("a=1&b=2", {"a": "1", "b": "2"}),
        ("b=2&a=1", {"a": "1", "b": "2"}),
        ("a=1&a=2", {"a": "1"}),
        ("a", {"a": ""}),
        ("a=", {"a": ""}),
        ("a=b=c", {"a": "b=c"}),
        ("a&", {"a": ""}),
        ("%41=%42+c", {"A": "B+c"}),
    ],
)
def test_queries_are_split_and_decoded(text, values):
    assert QueryParams.parse(text).first_values() == values


@pytest.mark.parametrize(
    ("text", "decoded"),
    [("%41", "A"), ("%4", "%4"), ("%zz", "%zz"), ("100%", "100%"), ("%c3%a9", "é"), ("%ff", "\ufffd"), ("%%41", "%A")],
)
def test_percent_signs_without_two_digits_stay(text, decoded):
    assert percent_decode(text) == decoded


def test_a_form_stands_for_the_query_only_if_there_is_none():
    form = ("application/x-www-form-urlencoded", b"foo=7&x=%41")
    assert AdminRequest.from_parts("POST", "/p", *form).query.first_values() == {"foo": "7", "x": "A"}
    assert AdminRequest.from_parts("POST", "/p?a=1", *form).query.first_values() == {"a": "1"}
    assert AdminRequest.from_parts("POST", "/p", "text/plain", b"foo=7").query.first_values() == {}
