"""Who knows a key; what Envoy answers is in tests/conformance/scenarios."""

from __future__ import annotations

from typing import Any

import pytest

from minienvoy.config.api import message_class
from minienvoy.errors import ConfigError
from minienvoy.extensions.filters.http.api_key_auth import KeySource, Settings
from minienvoy.http.header_map import RequestHeaderMap, entry

_TYPE = "envoy.extensions.filters.http.api_key_auth.v3"


def request() -> RequestHeaderMap:
    entries = [entry(b"authorization", b"Bearer k1"), entry(b"cookie", b"a=1; c=k3"), entry(b"cookie", b"b=2")]
    return RequestHeaderMap(b"GET", b"/p?b=1&key=k%32&a=x", b"a.test", entries)


def source(**fields: str) -> KeySource:
    return KeySource.from_proto(message_class(f"{_TYPE}.KeySource")(**fields), "source")


@pytest.mark.parametrize(
    ("fields", "key"),
    [
        ({"header": "Authorization"}, b"k1"),
        ({"query": "key"}, b"k2"),
        ({"cookie": "c"}, b"k3"),
        ({"header": "x-none", "query": "key"}, b""),
        ({"query": "none"}, b""),
        ({"cookie": "none"}, b""),
    ],
)
def test_a_key_is_found_where_it_is_looked_for(fields: dict[str, str], key: bytes) -> None:
    assert source(**fields).find(request()) == key


def test_what_is_hidden_leaves_the_rest() -> None:
    headers = request()
    for fields in ({"header": "authorization"}, {"query": "key"}, {"cookie": "c"}, {"cookie": "none"}):
        source(**fields).hide(headers)
    assert (headers.path, headers.get_all(b"cookie")) == (b"/p?a=x&b=1", [b"a=1; b=2"])
    assert headers.get(b"authorization") is None


@pytest.mark.parametrize(
    ("fields", "place"),
    [
        ({"key_sources": [{}]}, r"key_sources\[0\]"),
        ({"credentials": [{"key": "a", "client": "b"}, {"key": "a", "client": "c"}]}, r"credentials\[1\]"),
    ],
)
def test_what_can_not_be_is_refused_with_its_place(fields: dict[str, Any], place: str) -> None:
    with pytest.raises(ConfigError, match=place):
        Settings.from_proto(message_class(f"{_TYPE}.ApiKeyAuth")(**fields), "")
