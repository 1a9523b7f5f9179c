from __future__ import annotations

import pytest

from minienvoy.server.admin.json_text import json_string, json_text


def test_layout_is_one_blank_per_level():
    assert json_text({"a": [1, {"b": None}], "c": {}, "d": []}) == (
        '{\n "a": [\n  1,\n  {\n   "b": null\n  }\n ],\n "c": {},\n "d": []\n}'
    )


# What Envoy printed for numbers in a Struct.
@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1.0, "1"),
        (-1.0, "-1"),
        (1.5, "1.5"),
        (0.1, "0.1"),
        (1 / 3, "0.33333333333333331"),
        (123456.789, "123456.789"),
        (100000.0, "100000"),
        (1e15, "1e+15"),
        (1e21, "1e+21"),
        (123456789012345678.0, "1.2345678901234568e+17"),
        (1e-7, "1e-07"),
        (0.0001, "0.0001"),
        (5e-324, "4.94065645841247e-324"),
        (1.7976931348623157e308, "1.7976931348623157e+308"),
        (True, "true"),
        (False, "false"),
        (None, "null"),
        (2**53 + 1, "9007199254740993"),
    ],
)
def test_numbers_are_written_as_cpp_writes_them(value, text):
    assert json_text(value) == text


# What Envoy printed for strings in a Struct.
@pytest.mark.parametrize(
    ("text", "quoted"),
    [
        ('a"b\\c/', '"a\\"b\\\\c/"'),
        ("\b\f\n\r\t\x01\x1f", '"\\b\\f\\n\\r\\t\\u0001\\u001f"'),
        ("<a> & 'b'", "\"\\u003ca\\u003e & 'b'\""),
        ("\x7e\x7f\x80\x9f\xa0\xad\xae", '"~\\u007f\\u0080\\u009f\xa0\\u00ad\xae"'),
        ("é😀", '"é😀"'),
        ("\u0600\u0603\u0604\u06dd\u070f", '"\\u0600\\u0603\u0604\\u06dd\\u070f"'),
        (
            "\u200a\u200b\u2028\u202e\u202f\u2060\u2064\u2065\ufeff",
            '"\u200a\\u200b\\u2028\\u202e\u202f\\u2060\\u2064\u2065\\ufeff"',
        ),
        ("\U0001d173\U000e0001", '"\\ud834\\udd73\\udb40\\udc01"'),
    ],
)
def test_strings_are_escaped_as_cpp_escapes_them(text, quoted):
    assert json_string(text) == quoted


def test_what_json_does_not_have_is_an_error():
    with pytest.raises(TypeError, match="set is not JSON"):
        json_text({"a": set()})
