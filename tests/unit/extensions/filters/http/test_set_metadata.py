"""The filter that sets metadata; what Envoy does is in tests/conformance/scenarios/set_metadata.yaml."""

from __future__ import annotations

from collections.abc import Callable

from minienvoy.extensions.filters.http.set_metadata import merged
from tests.unit.http_bench import OK, Bench

MakeBench = Callable[..., Bench]


def test_what_is_put_together_is_new() -> None:
    old = {"list": [1], "object": {"a": 1, "b": {"c": 1}}, "number": 1, "other": [1]}
    new = {"list": [2], "object": {"b": {"d": 2}}, "number": 2, "other": {"a": 1}}
    assert merged(old, new) == {
        "list": [1, 2],
        "object": {"a": 1, "b": {"c": 1, "d": 2}},
        "number": 2,
        "other": {"a": 1},
    }
    assert old["object"] == {"a": 1, "b": {"c": 1}}


def test_a_stream_has_it_and_the_next_one_has_its_own(bench: MakeBench) -> None:
    entries = [
        {"metadata_namespace": "a", "value": {"x": [1]}},
        {"metadata_namespace": "a", "allow_overwrite": True, "value": {"x": [2]}},
        {"metadata_namespace": "a", "value": {"x": [3]}},
    ]
    b = bench(http_filters={"set_metadata": {"metadata": entries}})
    client = b.client()
    for _ in range(2):
        client.get()
        b.upstream.send(OK)
        assert b.stream.dynamic_metadata == {"a": {"x": [1, 2]}}
    assert b.stat("http.set_metadata.overwrite_denied") == 2
