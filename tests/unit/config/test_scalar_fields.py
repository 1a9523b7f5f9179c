"""What a string means to fields that are no strings."""

from __future__ import annotations

from typing import Any

import pytest

from minienvoy.config.api import message_class
from minienvoy.config.proto_fill import FillError, fill


def filled(name: str, value: Any) -> Any:
    message = message_class(name)()
    assert fill(message, value) == []
    return message


def refusal(name: str, value: Any) -> str:
    with pytest.raises(FillError) as error:
        fill(message_class(name)(), value)
    return error.value.problem


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        *((text, True) for text in ("true", "True", "tRue", "t", "T", "yes", "YES", "y", "1")),
        *((text, False) for text in ("false", "False", "f", "no", "No", "n", "0")),
    ],
)
def test_bool_may_be_written_as_a_word(text: str, meant: bool) -> None:
    assert filled("google.protobuf.BoolValue", text).value is meant
    cluster = filled("envoy.config.cluster.v3.Cluster", {"ignore_health_on_host_removal": text})
    assert cluster.ignore_health_on_host_removal is meant


@pytest.mark.parametrize("value", ["on", "off", "2", "", " true", 1, 0])
def test_other_words_and_numbers_are_no_bools(value: Any) -> None:
    said = refusal("envoy.config.cluster.v3.Cluster", {"ignore_health_on_host_removal": value})
    assert said.endswith("ignore_health_on_host_removal: bool: expected 'true' or 'false'")


@pytest.mark.parametrize(
    ("text", "data"),
    [
        ("", b""),
        ("aGVsbG8=", b"hello"),
        ("aGVsbG8", b"hello"),
        ("a-+b", b"k\xef\x9b"),
        ("aA", b"h"),
        ("aA==", b"h"),
        ("aGU=", b"he"),
        ("aGVs", b"hel"),
    ],
)
def test_padding_of_bytes_may_be_left_out(text: str, data: bytes) -> None:
    assert filled("envoy.config.core.v3.DataSource", {"inline_bytes": text}).inline_bytes == data


@pytest.mark.parametrize("text", ["=", "==", "====", "a", "a=", "ab=", "abc==", "abcd=", "abcd====", "ab=c", "ab c"])
def test_padding_that_does_not_fit_is_corrupt(text: str) -> None:
    assert refusal("envoy.config.core.v3.DataSource", {"inline_bytes": text}).endswith("corrupt base64")


def test_empty_name_is_no_field() -> None:
    (unknown,) = fill(message_class("envoy.config.cluster.v3.Cluster")(), {"": "x"})
    assert unknown.problem.endswith("no such field: ''")
