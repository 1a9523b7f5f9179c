"""Conditions of routes, and what a route makes of host and path."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from minienvoy.errors import ConfigError
from minienvoy.http.header_map import RequestHeaderMap
from minienvoy.router.config import RouteConfig
from tests.unit.router.conftest import Stream

MakeConfig = Callable[..., RouteConfig]
MakeHeaders = Callable[..., RequestHeaderMap]


def answering(**match: Any) -> list[Any]:
    return [{"match": {"prefix": "/", **match}, "direct_response": {"status": 200}}]


def test_a_connect_matcher_is_for_connect_requests_and_nothing_else_is(
    route_config: MakeConfig, request_headers: MakeHeaders, stream: Stream
) -> None:
    config = route_config(
        [
            {"match": {"prefix": ""}, "name": "prefix", "direct_response": {"status": 200}},
            {"match": {"connect_matcher": {}}, "name": "connect", "direct_response": {"status": 200}},
        ]
    )
    found = [
        config.route(request_headers("", method="CONNECT"), stream),
        config.route(request_headers("/", method="GET"), stream),
    ]
    assert [route and route.name for route in found] == ["connect", "prefix"]


@pytest.mark.parametrize(
    ("ssl", "context", "matches"),
    [
        (None, {"presented": True}, False),
        (None, {"presented": False, "validated": False}, True),
        ((True, False), {"presented": True}, True),
        ((True, False), {"presented": True, "validated": True}, False),
        ((True, True), {"presented": True, "validated": True}, True),
    ],
)
def test_what_the_client_has_shown_of_itself(
    route_config: MakeConfig,
    request_headers: MakeHeaders,
    stream: Stream,
    ssl: tuple[bool, bool] | None,
    context: dict[str, bool],
    matches: bool,
) -> None:
    facts = ssl and SimpleNamespace(peer_certificate_presented=ssl[0], validated=ssl[1])
    stream.connection = SimpleNamespace(ssl=facts)  # type: ignore[assignment]
    assert bool(route_config(answering(tls_context=context)).route(request_headers(), stream)) is matches


def test_metadata_that_filters_have_left(
    route_config: MakeConfig, request_headers: MakeHeaders, stream: Stream
) -> None:
    wanted = {"filter": "f", "path": [{"key": "k"}], "value": {"string_match": {"exact": "v"}}}
    config = route_config(answering(dynamic_metadata=[wanted]))
    assert config.route(request_headers(), stream) is None
    stream.dynamic_metadata["f"] = {"k": "v"}
    assert config.route(request_headers(), stream) is not None


def test_state_that_filters_have_left(route_config: MakeConfig, request_headers: MakeHeaders, stream: Stream) -> None:
    config = route_config(answering(filter_state=[{"key": "k", "string_match": {"prefix": "v"}}]))
    assert config.route(request_headers(), stream) is None
    stream.filter_state["k"] = "value"
    assert config.route(request_headers(), stream) is not None


def test_require_tls_comes_before_routes(
    route_config: MakeConfig, request_headers: MakeHeaders, stream: Stream
) -> None:
    config = route_config(virtual_hosts=[{"name": "v", "domains": ["*"], "require_tls": "ALL", "routes": []}])
    route = config.route(request_headers("/a?b"), stream)
    assert route is not None and route.direct_response is not None
    assert route.direct_response.location(request_headers("/a?b"), stream) == b"https://a.com/a?b"
    assert config.route(request_headers(headers={"x-forwarded-proto": "https"}), stream) is None


@pytest.mark.parametrize(("internal", "redirected"), [({}, True), ({"x-envoy-internal": "true"}, False)])
def test_require_tls_of_those_outside_only(
    route_config: MakeConfig, request_headers: MakeHeaders, stream: Stream, internal: dict[str, str], redirected: bool
) -> None:
    host = {"name": "v", "domains": ["*"], "require_tls": "EXTERNAL_ONLY", "routes": []}
    config = route_config(virtual_hosts=[host])
    assert bool(config.route(request_headers(headers=internal), stream)) is redirected


@pytest.mark.parametrize(
    ("rewrite", "path", "new"),
    [
        ({"regex_rewrite": {"pattern": {"regex": "/a"}, "substitution": "/b"}}, "/a/a?/a", b"/b/b?/a"),
        ({"path_rewrite": "/%REQ(:METHOD)%"}, "/a?b", b"/GET?b"),
        ({"path_rewrite": "%REQ(x-none)%"}, "/a?b", b"/a?b"),
        ({"prefix_rewrite": "/b"}, "/a?b", b"/b?b"),
    ],
)
def test_paths_are_rewritten(
    route_config: MakeConfig,
    request_headers: MakeHeaders,
    stream: Stream,
    rewrite: dict[str, Any],
    path: str,
    new: bytes,
) -> None:
    config = route_config([{"match": {"prefix": "/a"}, "route": {"cluster": "a", **rewrite}}])
    headers = request_headers(path)
    route = config.route(headers, stream)
    assert route is not None
    route.finalize_request_headers(headers, stream)
    assert headers.path == new


def test_a_prefix_that_path_parameters_hide_is_not_rewritten(
    route_config: MakeConfig, request_headers: MakeHeaders, stream: Stream
) -> None:
    config = route_config(
        [{"match": {"prefix": "/a/b"}, "route": {"cluster": "a", "prefix_rewrite": "/c"}}],
        ignore_path_parameters_in_path_matching=True,
    )
    headers = request_headers("/a;v=1/b")
    route = config.route(headers, stream)
    assert route is not None
    route.finalize_request_headers(headers, stream)
    assert headers.path == b"/a;v=1/b"


@pytest.mark.parametrize(
    ("rewrite", "host"),
    [
        ({"host_rewrite_header": "X-Host"}, b"h.test"),
        ({"host_rewrite_header": "x-none"}, b"a.com"),
        ({"host_rewrite_path_regex": {"pattern": {"regex": "^/(.+)/.*$"}, "substitution": "\\1"}}, b"p.test"),
        ({"host_rewrite": "%REQ(x-host)%.%REQ(:METHOD)%"}, b"h.test.GET"),
    ],
)
def test_hosts_are_rewritten(
    route_config: MakeConfig, request_headers: MakeHeaders, stream: Stream, rewrite: dict[str, Any], host: bytes
) -> None:
    headers = request_headers("/p.test/x", headers={"x-host": "h.test"})
    route = route_config([{"match": {"prefix": "/"}, "route": {"cluster": "a", **rewrite}}]).route(headers, stream)
    assert route is not None
    route.finalize_request_headers(headers, stream)
    assert headers.authority == host


def test_what_came_is_not_told_if_that_is_not_wanted(
    route_config: MakeConfig, request_headers: MakeHeaders, stream: Stream
) -> None:
    action = {"cluster": "a", "prefix_rewrite": "/b", "host_rewrite_literal": "b.test"}
    headers = request_headers("/a")
    route = route_config([{"match": {"prefix": "/a"}, "route": action}]).route(headers, stream)
    assert route is not None
    route.finalize_request_headers(headers, stream, False)
    assert (headers.authority, headers.path, headers.entries) == (b"b.test", b"/b", [])


def test_an_unknown_filter_setting_is_refused(route_config: MakeConfig) -> None:
    settings = {"f": {"@type": "type.googleapis.com/google.protobuf.Struct", "value": {}}}
    with pytest.raises(ConfigError) as error:
        route_config([{"match": {"prefix": "/"}, "route": {"cluster": "a"}, "typed_per_filter_config": settings}])
    assert error.value.path.startswith("route_config.virtual_hosts[0].routes[0].typed_per_filter_config[f]")


def test_the_most_specific_filter_setting_counts(
    route_config: MakeConfig, request_headers: MakeHeaders, stream: Stream, monkeypatch: pytest.MonkeyPatch
) -> None:
    from minienvoy.registry import Entry
    from minienvoy.router.filter_config import ROUTE_FILTER_CONFIGS

    kind = "google.protobuf.StringValue"
    monkeypatch.setitem(
        ROUTE_FILTER_CONFIGS._by_type, kind, Entry("f", kind, lambda message, path, server: message.value)
    )

    def setting(value: str) -> dict[str, Any]:
        return {"@type": f"type.googleapis.com/{kind}", "value": value}

    wrapped = {"@type": "type.googleapis.com/envoy.config.route.v3.FilterConfig", "config": setting("route")}
    route = {"match": {"prefix": "/"}, "route": {"cluster": "a"}, "typed_per_filter_config": {"f": wrapped}}
    host = {"name": "v", "domains": ["*"], "routes": [route]}
    host["typed_per_filter_config"] = {"f": setting("host"), "g": setting("host")}
    config = route_config(
        virtual_hosts=[host], typed_per_filter_config={name: setting("config") for name in ("f", "g", "h")}
    )
    found = config.route(request_headers(), stream)
    assert found is not None
    assert [found.per_filter_config(name) for name in "fghi"] == ["route", "host", "config", None]
