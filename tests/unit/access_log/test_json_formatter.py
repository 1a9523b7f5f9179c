"""Lines as the real Envoy 1.40 wrote them."""

from __future__ import annotations

import pytest

from minienvoy.access_log.json_formatter import JsonFormatter
from minienvoy.access_log.json_text import json_number, json_string, json_value


def test_values_keep_their_types_and_keys_are_sorted(proxied):
    fields = {
        "z": "%REQ(hi)%",
        "b": "%REQ(quote)%",
        "a": {"y": "%RESPONSE_CODE%", "x": ["%REQ(no)%", "%PROTOCOL% %RESPONSE_CODE%", {"q": "%REQ(no)%x"}, 7.0, 1.5]},
        "c": "const",
        "d": "",
        "e": "100%%",
        "f": "%CLUSTER_METADATA(ns)%",
        "é": "é\u2028\x7f",
        'k"y': "%REQ(multi)%",
        "n": None,
        "t": True,
    }
    assert JsonFormatter(fields).format(proxied).encode("latin-1").decode() == (
        '{"a":{"x":[null,"HTTP/1.1 200",{"q":"-x"},7,1.5],"y":200},"b":"a\\"b\\\\c\\td/</script>","c":"const","d":"",'
        '"e":"100%","f":{"k":"v","n":3,"o":{"a":[1,"x"],"b":true}},"k\\"y":"1","n":null,"t":true,"z":"\\u00e9",'
        '"é":"é\u2028\x7f"}\n'
    )


def test_omitting_drops_nulls_and_empty_objects_but_keeps_lists_and_empty_strings(proxied):
    fields = {
        "z": "%REQ(no)%",
        "b": "%REQ(no)%x%REQ(no)%",
        "a": {"y": "%REQ(no)%"},
        "l": ["%REQ(no)%", "%REQ(multi)%"],
        "e": "%REQ(empty)%",
        "d": "",
        "x": {},
        "m": [],
        "n": [None, 1],
        "o": {"x": {"y": "%REQ(no)%"}},
    }
    line = JsonFormatter(fields, omit_empty_values=True).format(proxied)
    assert line == '{"b":"x","d":"","e":"","l":["1"],"m":[],"n":[1]}\n'


def test_an_empty_object_stays_one(proxied):
    assert JsonFormatter({}).constant == "{}\n"
    assert JsonFormatter({"a": "%REQ(no)%"}, omit_empty_values=True).format(proxied) == "{}\n"


def test_a_number_that_was_chosen_becomes_a_double(proxied):
    proxied.stream_info.bytes_sent = 100000
    fields = {"b": "%BYTES_SENT%", "c": '%COALESCE({"operators": ["BYTES_SENT"]})%', "d": "%BYTES_SENT%|"}
    assert JsonFormatter(fields).format(proxied) == '{"b":100000,"c":1e+05,"d":"100000|"}\n'


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (1e15, "1e+15"), (1e17, "1e+17"), (123456789012345678, "123456789012345680"), (1e-4, "1e-04"), (1e-6, "1e-06"),
        (1.1e-7, "1.1e-07"), (3.0, "3"), (2**53, "9007199254740992"),
        (1.7976931348623157e308, "1.7976931348623157e+308"),
        (100000.5, "100000.5"), (12345678901234567.5, "12345678901234568"), (100000, "1e+05"), (1000000, "1e+06"),
        (123000, "123000"), (1e4, "10000"), (0.001, "0.001"), (0.0012, "0.0012"), (120000.0, "120000"),
        (1200000.0, "1200000"), (100100000, "100100000"), (0.01, "0.01"), (-100000, "-1e+05"), (0.00123, "0.00123"),
        (0, "0"), (-0.0, "-0"), (1e21, "1e+21"), (123456789012345, "123456789012345"), (0.1, "0.1"), (0.5, "0.5"),
    ],
)  # fmt: skip
def test_numbers_are_the_shorter_of_two_notations(number, text):
    assert json_number(number) == text


def test_a_string_that_is_not_utf8_is_escaped_byte_by_byte():
    assert json_string("\xe9\xc3\xa9") == '"\\u00e9\\u00c3\\u00a9"'
    assert json_string("\xc3\xa9") == '"\xc3\xa9"'
    assert json_string("a\x80\xffz") == '"a\\u0080\\u00ffz"'


def test_plain_values_are_written_as_utf8():
    assert json_value({"b": [True, None, "é"], "a": {}}) == '{"a":{},"b":[true,null,"Ã©"]}'
