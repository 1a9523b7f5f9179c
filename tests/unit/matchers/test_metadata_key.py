"""Where in metadata a value stands."""

from __future__ import annotations

from typing import Any

import pytest

from minienvoy.config.loader import load_dict
from minienvoy.matchers.metadata_key import metadata_key

METADATA = {"m": {"l": ["zero", {"k": "one"}, ["two"]], "s": "text", "o": {"0": "object"}}}


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ([{"key": "s"}], "text"),
        ([{"key": "l"}, {"index": 0}], "zero"),
        ([{"key": "l"}, {"index": 1}, {"key": "k"}], "one"),
        ([{"key": "l"}, {"index": 2}, {"index": 0}], "two"),
        ([{"key": "l"}, {"index": 3}], None),
        ([{"key": "l"}, {"key": "0"}], None),
        ([{"key": "s"}, {"index": 0}], None),
        ([{"key": "o"}, {"index": 0}], None),
        ([{"key": "nope"}, {"key": "k"}], None),
    ],
)
def test_steps_are_keys_of_objects_and_places_in_lists(path: list[Any], value: str | None) -> None:
    proto = load_dict({"key": "m", "path": path}, "envoy.type.metadata.v3.MetadataKey").message
    assert metadata_key(proto)(METADATA) == value
    assert metadata_key(proto)(None) is None
