from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minienvoy.config.json_reader import Repeated, position, read_json
from minienvoy.errors import ConfigError

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(value=st.dictionaries(st.text(), values), ascii_=st.booleans(), indent=st.sampled_from([None, 1]))
def test_json_is_read_as_everyone_reads_it(value: Any, ascii_: bool, indent: int | None) -> None:
    assert read_json(json.dumps(value, ensure_ascii=ascii_, indent=indent)) == value


@given(text=st.text(alphabet="{}[]:,\"'\\aeu0123.-+ \n", max_size=40))
def test_any_text_is_a_value_or_a_clear_error(text: str) -> None:
    try:
        read_json(text, "f")
    except ConfigError as error:
        assert error.location.startswith("f:")
        assert error.problem.startswith("Unable to parse JSON as proto (INVALID_ARGUMENT: ")


def test_dialect_of_protobuf_is_read() -> None:
    assert read_json("{a: 'it\\'s', \"b\": [1, 2,], c_1: {$d: null,},}") == {
        "a": "it's",
        "b": [1, 2],
        "c_1": {"$d": None},
    }


def test_key_that_stands_twice_is_kept_twice() -> None:
    value = read_json('{"a": 1, "b": 2, "a": 3}')
    assert isinstance(value, Repeated)
    assert value == {"a": 3, "b": 2}
    assert value.pairs == [("a", 1), ("b", 2), ("a", 3)]


def test_positions_are_those_of_keys_and_elements() -> None:
    text = '{"a": [1,\n  {b: 2}]}'
    positions: dict[tuple[str | int, ...], int] = {}
    read_json(text, positions=positions)
    assert {path: position(text, at) for path, at in positions.items()} == {
        ("a",): "1:2", ("a", 0): "1:8", ("a", 1): "2:3", ("a", 1, "b"): "2:4",
    }  # fmt: skip


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 100_000, "[" * 101 + "]" * 101])
def test_nesting_without_end_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="too deeply nested"):
        read_json(text)


def test_integer_of_a_thousand_digits_is_refused() -> None:
    with pytest.raises(ConfigError, match="invalid number: '9999"):
        read_json("9" * 5000)


def test_error_says_where() -> None:
    with pytest.raises(ConfigError, match=r"near 2:7 \(offset 8\): expected ','") as caught:
        read_json('{\n"a":1 2}', "f")
    assert caught.value.location == "f:2:7"
