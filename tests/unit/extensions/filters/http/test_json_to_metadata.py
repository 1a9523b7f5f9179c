"""Metadata of JSON; what Envoy does is in tests/conformance/scenarios/json_to_metadata.yaml."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minienvoy.config.loader import load_dict
from minienvoy.errors import ConfigError
from minienvoy.extensions.filters.http.json_to_metadata import TYPE, create_route_json_to_metadata, read_json
from minienvoy.stats.store import Store
from tests.unit.http_bench import OK, Bench

MakeBench = Callable[..., Bench]

RULES = {
    "rules": [
        {
            "selectors": [{"key": "a"}, {"key": "b"}],
            "on_present": {"metadata_namespace": "n", "key": "k"},
            "on_missing": {"metadata_namespace": "n", "key": "k", "value": "missing"},
            "on_error": {"metadata_namespace": "n", "key": "k", "value": "error"},
        }
    ]
}
POST = "POST / HTTP/1.1\r\nhost: a.test\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n"


def names(stage: str) -> tuple[str, ...]:
    return tuple(f"json_to_metadata.{stage}.{name}" for name in ("success", "no_body", "invalid_json_body"))


def test_a_body_is_held_until_it_is_complete(bench: MakeBench) -> None:
    b = bench(http_filters={"json_to_metadata": {"request_rules": RULES}})
    client = b.client()
    body = b'{"a":{"b":1}}'
    client.send(POST.format(len(body)).encode() + body[:5])
    assert b.upstreams == []
    client.send(body[5:])
    assert body in b.upstream.received()
    b.upstream.send(OK)
    assert b.stats(*names("rq")) == [1, 0, 0]


@pytest.mark.parametrize(
    ("body", "counted"), [(b"", [0, 1, 0]), (b"no", [0, 0, 1]), (b"[" * 100_000, [0, 0, 1]), (b"[]", [1, 0, 0])]
)
def test_what_is_counted(bench: MakeBench, body: bytes, counted: list[int]) -> None:
    b = bench(http_filters={"json_to_metadata": {"request_rules": RULES}})
    b.client().send(POST.format(len(body)).encode() + body)
    b.upstream.received()
    b.upstream.send(OK)
    assert b.stats(*names("rq")) == counted


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({}, "must at least specify one of request_rules or response_rules"),
        ({"selectors": [{"key": "a"}]}, "neither `on_present` nor `on_missing` set"),
        ({"selectors": [{"key": "a"}], "on_missing": {"key": "k"}}, "on_missing rule with empty value"),
        (
            {"selectors": [{"key": "a"}], "on_present": {"key": "k"}, "on_error": {"key": "k"}},
            "on_error rule with empty value",
        ),
    ],
)
def test_rules_that_make_no_sense(fields: dict[str, Any], says: str) -> None:
    proto = load_dict({"request_rules": {"rules": [fields]}} if fields else {}, TYPE).message
    server: Any = type("Server", (), {"stats": Store()})
    with pytest.raises(ConfigError, match=says):
        create_route_json_to_metadata(proto, "", server)


VALUES = st.recursive(
    st.none() | st.booleans() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=8,
)


@given(VALUES)
def test_what_json_writes_is_read(value: Any) -> None:
    assert read_json(json.dumps(value).encode()) == value


@given(st.binary())
def test_any_bytes_are_read_or_refused(body: bytes) -> None:
    try:
        read_json(body)
    except ValueError:
        pass
