"""Scopes: which key a request has, and which route configuration that is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from minienvoy.config.loader import load_dict
from minienvoy.explain.explanation import Explanation
from minienvoy.http.header_map import RequestHeaderMap
from minienvoy.router.config import RouteConfig
from minienvoy.router.scoped_config import ScopedConfig
from tests.unit.router.conftest import Stream

CONFIG_TYPE = "envoy.extensions.filters.network.http_connection_manager.v3.ScopedRoutes"
MakeHeaders = Callable[..., RequestHeaderMap]


def scopes(extractor: dict[str, Any], *keys: str) -> ScopedConfig:
    routes = [{"match": {"prefix": "/"}, "direct_response": {"status": 200}}]
    configurations = [
        {
            "name": key,
            "key": {"fragments": [{"string_key": key}]},
            "route_configuration": {
                "name": key,
                "internal_only_headers": [f"x-{key}"],
                "virtual_hosts": [{"name": "v", "domains": ["*"], "routes": [{"name": f"of {key}", **routes[0]}]}],
            },
        }
        for key in keys
    ]
    fields = {
        "name": "scopes",
        "scope_key_builder": {"fragments": [{"header_value_extractor": {"name": "X-Scope", **extractor}}]},
        "scoped_route_configurations_list": {"scoped_route_configurations": configurations},
    }
    return ScopedConfig(load_dict(fields, CONFIG_TYPE).message, "scoped_routes", RouteConfig)


def test_the_key_chooses_the_configuration(request_headers: MakeHeaders) -> None:
    config = scopes({"index": 0}, "a", "b")
    found = config.route(request_headers("/", headers={"x-scope": "b"}), Stream())
    assert found is not None
    assert found.name == "of b"


@pytest.mark.parametrize(
    ("extractor", "value", "key"),
    [
        ({"index": 0}, "a,b", (b"a,b",)),
        ({"element_separator": ",", "index": 1}, "a,b", (b"b",)),
        ({"element_separator": ",", "index": 1}, "a", None),
        ({"element_separator": ";", "element": {"separator": "=", "key": "k"}}, "j=x;k=y=z;k=w", (b"y=z",)),
        ({"element_separator": ";", "element": {"separator": "=", "key": "k"}}, "k", (b"",)),
        ({"element_separator": ";", "element": {"separator": "=", "key": "k"}}, "j=x", None),
    ],
)
def test_how_a_key_is_made(
    request_headers: MakeHeaders, extractor: dict[str, Any], value: str, key: tuple[bytes, ...] | None
) -> None:
    assert scopes(extractor, "a").scope_key(request_headers("/", headers={"x-scope": value})) == key


def test_who_has_no_scope_is_told_so(request_headers: MakeHeaders) -> None:
    config, explain = scopes({"index": 0}, "a"), Explanation()
    assert config.route(request_headers("/"), Stream(explain)) is None
    assert config.route(request_headers("/", headers={"x-scope": "c"}), Stream(explain)) is None
    assert [each.because for each in explain.all("route")] == ["no scope key", "no scope for c"]


def test_internal_headers_of_every_scope_are_kept_inside() -> None:
    assert scopes({"index": 0}, "a", "b").internal_only_headers == (b"x-a", b"x-b")
