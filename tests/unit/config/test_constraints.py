from __future__ import annotations

from typing import Any

import pytest

from minienvoy.config import api
from minienvoy.config.constraints import Violation, go_duration, go_quote, scalar_check

STRING_FIELD = api.descriptor("google.protobuf.StringValue").fields_by_name["value"]


@pytest.mark.parametrize(
    ("nanoseconds", "text"),
    [
        (0, "0s"), (1, "1ns"), (1_500, "1.5µs"), (2_000_000, "2ms"), (1_500_000, "1.5ms"), (10**9, "1s"),
        (1_500_000_000, "1.5s"), (60 * 10**9, "1m0s"), (300 * 10**9, "5m0s"), (3600 * 10**9, "1h0m0s"),
        (9_000_000_000 * 10**9, "2500000h0m0s"), (-10**9, "-1s"), (-1_000_000, "-1ms"),
        (3661 * 10**9 + 5, "1h1m1.000000005s"),
    ],
)  # fmt: skip
def test_duration_is_written_as_go_writes_it(nanoseconds: int, text: str) -> None:
    assert go_duration(nanoseconds) == text


def test_text_is_quoted_as_go_quotes_it() -> None:
    assert go_quote('a"\\\n\x00\x7fé') == '"a\\"\\\\\\n\\x00\\x7fé"'


@pytest.mark.parametrize(
    ("rules", "good", "bad", "reason"),
    [
        ({"const": "a"}, "a", "b", "value must equal a"),
        ({"len": 2}, "éé", "a", "value must be 2 characters"),
        ({"min_len": 1, "max_len": 3}, "abc", "abcd", "value must have between 1 and 3 characters inclusive"),
        ({"max_len": 3}, "", "abcd", "value length must be at most 3 characters"),
        ({"max_bytes": 3}, "abc", "éé", "value length must be at most 3 bytes"),
        ({"min_bytes": 1, "max_bytes": 2}, "é", "", "value length must be between 1 and 2 bytes, inclusive"),
        ({"prefix": "/"}, "/a", "a", 'value does not have prefix "/"'),
        ({"suffix": "%"}, "a%", "a", 'value does not have suffix "%"'),
        ({"contains": "x"}, "axb", "ab", 'value does not contain substring "x"'),
        ({"not_contains": "x"}, "ab", "axb", 'value contains substring "x"'),
        ({"in": ["a", "b"]}, "b", "c", "value must be in list [a b]"),
        ({"not_in": ["a"]}, "b", "a", "value must not be in list [a]"),
        ({"pattern": "^[a-z]+$"}, "abc", "abc1", 'value does not match regex pattern "^[a-z]+$"'),
        ({"ip": True}, "::1", "x", "value must be a valid IP Address"),
        ({"ipv4": True}, "1.2.3.4", "::1", "value must be a valid IPv4 Address"),
        ({"ipv6": True}, "::1", "1.2.3.4", "value must be a valid IPv6 Address"),
        ({"hostname": True}, "a-b.example.", "-a.example", "value must be a valid hostname"),
        ({"address": True}, "a.example", "a b", "value must be an ip address, or a hostname."),
        ({"uri": True}, "https://a/b?c", "/b c", "value must be a valid URI"),
        ({"uuid": True}, "123e4567-e89b-12d3-a456-426614174000", "123e4567", "value must be a valid UUID"),
        (
            {"well_known_regex": 1},
            ":path",
            "a b",
            'value does not match regex pattern "^:?[0-9a-zA-Z!#$%&\'*+-.^_|~`]+$"',
        ),
        ({"well_known_regex": 2}, "a b\t", "a\n", 'value does not match regex pattern "^[^\\x00-\\b\\n-\\x1f\\x7f]*$"'),
        (
            {"well_known_regex": 1, "strict": False},
            "a b",
            "a\n",
            'value does not match regex pattern "^[^\\x00\\n\\r]*$"',
        ),
    ],
)
def test_string_rule(rules: dict[str, Any], good: str, bad: str, reason: str) -> None:
    proto = api.message_class("validate.FieldRules")()
    proto.string.MergeFrom(api.message_class("validate.StringRules")(**rules))
    check = scalar_check(STRING_FIELD, proto)
    assert check is not None
    check(good)
    with pytest.raises(Violation) as caught:
        check(bad)
    assert caught.value.reason == reason


@pytest.mark.parametrize(
    ("kind", "rules", "good", "bad", "reason"),
    [
        ("uint32", {"gt": 1, "lte": 3}, 3, 1, "value must be inside range (1, 3]"),
        ("uint32", {"gte": 5, "lt": 3}, 2, 4, "value must be outside range [3, 5)"),
        ("uint32", {"lt": 3}, 2, 3, "value must be less than 3"),
        ("int64", {"gte": -1}, -1, -2, "value must be greater than or equal to -1"),
        ("double", {"gte": 0, "lte": 1.5}, float("nan"), 2.0, "value must be inside range [0, 1.5]"),
        ("uint32", {"const": 3}, 3, 4, "value must equal 3"),
        ("uint32", {"in": [1, 2]}, 1, 3, "value must be in list [1 2]"),
        ("uint32", {"gt": 1, "ignore_empty": True}, 0, 1, "value must be greater than 1"),
        ("bool", {"const": True}, True, False, "value must equal true"),
        ("bytes", {"min_len": 2}, b"ab", b"a", "value length must be at least 2 bytes"),
    ],
)
def test_rule_of_another_type(kind: str, rules: dict[str, Any], good: Any, bad: Any, reason: str) -> None:
    names = {"uint32": "UInt32", "int64": "Int64", "double": "Double", "bool": "Bool", "bytes": "Bytes"}
    proto = api.message_class("validate.FieldRules")()
    getattr(proto, kind).MergeFrom(api.message_class(f"validate.{names[kind]}Rules")(**rules))
    field = api.descriptor(f"google.protobuf.{names[kind]}Value").fields_by_name["value"]
    check = scalar_check(field, proto)
    assert check is not None
    check(good)
    with pytest.raises(Violation) as caught:
        check(bad)
    assert caught.value.reason == reason
